"""The reference pages say what the docstrings say, and leave no public name out."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

import rkllm_rs
from rkllm_rs import doctor, models, runtimes, verify
from rkllm_rs.chat import tools

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
reference = importlib.import_module("reference")

PAGES = reference.Reference().pages()
FOLDER = ROOT / "docs" / "reference"
HEADINGS = {
    line.lstrip("# ") for page in PAGES.values() for line in page.splitlines() if line.startswith("##")
}


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_current(name: str) -> None:
    assert (FOLDER / name).read_text() == PAGES[name], "run scripts/reference.py"


def test_every_page_is_in_the_index_and_no_other_page_is_there() -> None:
    index = (FOLDER / "index.md").read_text()
    site = (ROOT / "docs" / "index.md").read_text()
    assert {path.name for path in FOLDER.iterdir()} == {*PAGES, "index.md"}
    assert [name for name in PAGES if f"({name})" not in index] == []
    assert [name for name in PAGES if f"\nreference/{name.removesuffix('.md')}\n" not in site] == []


def test_no_public_name_is_left_out() -> None:
    modules = (rkllm_rs, runtimes, doctor, models, verify, tools)
    names = {name for module in modules for name in module.__all__}
    names -= {"__version__", "MAX_CHARACTERS", "Status", "Verdict"}
    assert names - HEADINGS == set()


@pytest.mark.parametrize(
    "kind", [rkllm_rs.RKLLM, rkllm_rs.AsyncRKLLM, rkllm_rs.TokenStream, rkllm_rs.Runtime, tools.Tools]
)
def test_no_public_method_is_left_out(kind: type) -> None:
    methods = {
        f"{kind.__name__}.{name}"
        for name, value in vars(kind).items()
        if not name.startswith("_") and callable(getattr(value, "__func__", value))
    }
    assert methods
    assert methods - HEADINGS == set()


def test_a_changed_docstring_changes_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    package = tmp_path / "rkllm_rs"
    shutil.copytree(reference.PACKAGE, package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    source = package / "llm.py"
    text = source.read_text()
    old = "max_new_tokens: Maximum number of tokens to generate."
    assert old in text
    source.write_text(text.replace(old, "max_new_tokens: Another text."))
    monkeypatch.setattr(reference, "PACKAGE", package)
    pages = reference.Reference().pages()
    assert "- `max_new_tokens`: Another text." in pages["model.md"]
    assert {name for name in PAGES if pages[name] != PAGES[name]} == {"model.md", "asynchronous.md"}
