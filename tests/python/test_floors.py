"""The check of the order of floors: it passes here, and names what breaks it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
floors = importlib.import_module("floors")

#: A house of a few rooms, each of which does what it may.
HOUSE = {
    "Cargo.toml": '[workspace]\nmembers = [".", "crates/ffi", "crates/text"]\n[package]\nname = "rkllm_rs"\n'
    '[dependencies]\nrkllm-ffi = { path = "crates/ffi" }\n',
    "crates/ffi/Cargo.toml": '[package]\nname = "rkllm-ffi"\n',
    "crates/ffi/src/lib.rs": "//! C.\n#![allow(unsafe_code)]\npub unsafe fn call() {}\n",
    "crates/text/Cargo.toml": '[package]\nname = "rkllm-text"\n',
    "crates/text/src/lib.rs": "//! Text.\n#![forbid(unsafe_code)]\n",
    "src/lib.rs": "//! All.\nmod engine;\nmod host;\nmod py;\npub use engine::Engine;\n",
    "src/py/mod.rs": "//! Python.\nuse pyo3::prelude::*;\nuse crate::{Engine, host::wake};\n",
    "src/engine/mod.rs": "//! Turns, not `unsafe`: see [`crate::py`].\n\nmod turn;\nuse crate::host;\n",
    "src/engine/turn.rs": '//! One.\npub(in crate::engine) const NAME: &str = "crate::py, pyo3, unsafe";\n',
    "src/host/mod.rs": "//! System calls.\npub mod wake;\nunsafe fn call() {}\n",
    "src/host/wake.rs": "//! Wakes.\nuse super::call;\nmod tests {\n    use super::super::call;\n}\n",
    "python/rkllm_rs/__init__.py": '"""All."""\nfrom . import _native\nfrom .llm import RKLLM\n',
    "python/rkllm_rs/llm.py": '"""Models."""\nfrom ._native import Model\nfrom .errors import RkllmError\n',
    "python/rkllm_rs/errors.py": '"""Errors."""\nimport json\n',
    "python/rkllm_rs/_native/__init__.pyi": '"""Stubs."""\n',
    "docs/concepts/architecture.md": "# House\n\n<!-- made by scripts/floors.py --draw -->\n"
    "<!-- end of what is made -->\n",
    "scripts/floors.toml": """
[rust]
root = "src"
floors = ["py lib", "engine", "host", "rkllm_text", "rkllm_ffi"]
pyo3 = ["src/py/"]
unsafe = ["src/host/", "crates/ffi/"]
forbids_unsafe = ["crates/text"]
[python]
root = "python/rkllm_rs"
floors = ["__init__", "llm", "errors", "_native"]
[crates]
rkllm_rs = ["rkllm-ffi"]
[length]
limit = 20
roots = ["src", "python"]
[known]
edges = []
long = []
""",
}

#: What is added to a file, and what the check then says first.
PLANTED = {
    "rust upwards": (
        "src/host/wake.rs",
        "use crate::engine::Engine;",
        "src/host/wake.rs:6: host -> engine: use crate::engine::Engine;",
    ),
    "in a group": (
        "src/engine/turn.rs",
        "use crate::{\n    host::{self, wake},\n    py::Class,\n};",
        "src/engine/turn.rs:5: engine -> py: py::Class,",
    ),
    "by super": (
        "src/host/wake.rs",
        "fn f() { super::super::engine::f() }",
        "src/host/wake.rs:6: host -> engine: fn f() { super::super::engine::f() }",
    ),
    "to what lib.rs exports": (
        "src/engine/turn.rs",
        "type One = crate::Engine;",
        "src/engine/turn.rs:3: engine -> lib: type One = crate::Engine;",
    ),
    "by all of lib.rs": (
        "src/engine/turn.rs",
        "use crate::*;",
        "src/engine/turn.rs:3: engine -> lib: use crate::*;",
    ),
    "by another name": (
        "src/engine/turn.rs",
        "use self::super::super as top;",
        "src/engine/turn.rs:3: engine -> lib: use self::super::super as top;",
    ),
    "by a name of this crate": (
        "src/engine/turn.rs",
        "extern crate self as top;",
        "src/engine/turn.rs:3: engine -> lib: extern crate self as top;",
    ),
    "crates by another name": (
        "crates/ffi/Cargo.toml",
        '[dependencies.top]\npackage = "rkllm_rs"\npath = "../.."',
        'crates/ffi/Cargo.toml:4: rkllm-ffi -> rkllm_rs: package = "rkllm_rs"',
    ),
    "crates": (
        "crates/ffi/Cargo.toml",
        '[dev-dependencies]\nrkllm_rs = { path = "../.." }',
        'crates/ffi/Cargo.toml:4: rkllm-ffi -> rkllm_rs: rkllm_rs = { path = "../.." }',
    ),
    "unsafe": (
        "src/engine/mod.rs",
        "fn f() { unsafe { g() } }",
        "src/engine/mod.rs:5: unsafe code does not belong here: fn f() { unsafe { g() } }",
    ),
    "unsafe allowed": (
        "src/py/mod.rs",
        "#[expect(unsafe_code)]",
        "src/py/mod.rs:4: unsafe code does not belong here: #[expect(unsafe_code)]",
    ),
    "pyo3": (
        "src/engine/turn.rs",
        "use pyo3::Python;",
        "src/engine/turn.rs:3: pyo3 does not belong here: use pyo3::Python;",
    ),
    "python upwards": (
        "python/rkllm_rs/errors.py",
        "from .llm import RKLLM",
        "python/rkllm_rs/errors.py:3: errors -> llm: from .llm import RKLLM",
    ),
    "python in a function": (
        "python/rkllm_rs/errors.py",
        "def f():\n    import rkllm_rs.llm",
        "python/rkllm_rs/errors.py:4: errors -> llm: import rkllm_rs.llm",
    ),
    "python to the package": (
        "python/rkllm_rs/llm.py",
        "from . import RKLLM",
        "python/rkllm_rs/llm.py:4: llm -> __init__: from . import RKLLM",
    ),
    "python by its name": (
        "python/rkllm_rs/errors.py",
        "def f():\n    return importlib.import_module('.llm', __package__)",
        "python/rkllm_rs/errors.py:4: errors -> llm: return importlib.import_module('.llm', __package__)",
    ),
    "a room without a floor": (
        "src/attic/mod.rs",
        "//! Things.",
        "src/attic:1: stands on no floor of scripts/floors.toml",
    ),
    "long": (
        "src/host/mod.rs",
        "\n" * 20,
        "src/host/mod.rs:1: 24 lines; say why in the first comment (Long because ...), or cut it",
    ),
    "drawing": (
        "python/rkllm_rs/__init__.py",
        "from .errors import RkllmError",
        "docs/concepts/architecture.md:1: the drawing is not current: run scripts/floors.py --draw",
    ),
}


Check = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Check:
    """Runs the check, or draws."""

    def run(root: Path, *arguments: str) -> tuple[int, list[str]]:
        status = floors.main(["--root", str(root), *arguments])
        return status, capsys.readouterr().out.splitlines()

    return run


@pytest.fixture
def house(tmp_path: Path, check: Check) -> Path:
    """The small house, with its drawing."""
    for name, text in HOUSE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert check(tmp_path, "--draw") == (0, [])
    return tmp_path


def test_this_house_keeps_the_order(check: Check) -> None:
    assert check(ROOT) == (0, [])


def test_a_house_that_keeps_the_order(house: Path, check: Check) -> None:
    assert check(house) == (0, [])
    drawn = (house / "docs/concepts/architecture.md").read_text().split("```")[1]
    assert "python_llm --> python_errors" in drawn
    assert "src_py --> src_host" in drawn
    assert "python_llm --> python__native" in drawn
    assert "python___init__ --> python__native" not in drawn, "what llm stands for"


@pytest.mark.parametrize("kind", PLANTED)
def test_what_breaks_it_is_named(house: Path, check: Check, kind: str) -> None:
    file, planted, said = PLANTED[kind]
    (house / file).parent.mkdir(exist_ok=True)
    with (house / file).open("a") as text:
        text.write(planted + "\n")
    assert check(house) == (1, [said])


def test_unsafe_code_has_to_be_forbidden(house: Path, check: Check) -> None:
    (house / "crates/text/src/lib.rs").write_text("//! Text.\n// #![forbid(unsafe_code)]\n")
    assert check(house) == (1, ["crates/text/src/lib.rs:1: #![forbid(unsafe_code)] is missing"])


def test_a_long_file_with_a_reason(house: Path, check: Check) -> None:
    (house / "src/host/mod.rs").write_text(
        "//! System calls.\n//!\n//! Long because it is a table.\n" + "\n" * 20
    )
    assert check(house) == (0, [])


def test_known_ones_are_let_through_until_they_are_gone(house: Path, check: Check) -> None:
    data, wake = house / "scripts/floors.toml", house / "src/host/wake.rs"
    data.write_text(data.read_text().replace("edges = []", 'edges = ["host -> engine"]'))
    before = wake.read_text()
    wake.write_text(before + "use crate::engine::Engine;\n")
    assert check(house) == (0, [])
    wake.write_text(before)
    gone = "scripts/floors.toml:1: host -> engine does not occur any more: remove it from [known]"
    assert check(house) == (1, [gone])
    data.write_text(data.read_text().split("[known]")[0])
    assert check(house) == (0, [])
