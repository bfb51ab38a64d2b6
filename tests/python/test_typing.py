"""The stub against the compiled module, and the types that programs see."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import typing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import rkllm_rs
from rkllm_rs import RKLLM, Generation, SamplingParams, Tokens, TokenStream, _native

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "words",
    [
        ("mypy.stubtest", "rkllm_rs", "--mypy-config-file", "pyproject.toml"),
        ("mypy", "--cache-dir", os.devnull),
        ("basedpyright", "--warnings"),
    ],
    ids=lambda words: words[0],
)
def test_type_checkers_find_nothing(words: tuple[str, ...]) -> None:
    module = words[0].partition(".")[0]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed: its findings are not looked for")
    command = [sys.executable, "-m", *words]
    if module == "basedpyright":
        # It runs Node, which keeps what it needs under the home folder.
        command += ["--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def documented() -> Iterator[tuple[str, object]]:
    for name in rkllm_rs.__all__:
        value = getattr(rkllm_rs, name)
        if not isinstance(value, str):
            yield name, value
        if isinstance(value, type) and not issubclass(value, BaseException):
            for member, attribute in vars(value).items():
                if not member.startswith("_"):
                    yield f"{name}.{member}", attribute


def test_help_has_something_to_say_about_every_public_name() -> None:
    assert [name for name, value in documented() if not getattr(value, "__doc__", None)] == []


def test_public_classes_name_the_package_they_are_imported_from() -> None:
    natives = {value for value in vars(_native).values() if isinstance(value, type)}
    assert {value.__module__ for value in natives - {_native.Model}} == {"rkllm_rs"}


def test_hints_of_calls_can_be_resolved_at_run_time() -> None:
    hints = typing.get_type_hints(RKLLM.generate)
    assert hints["input"] == str | Tokens
    assert hints["sampling"] == SamplingParams | None
    assert hints["return"] is Generation
    assert typing.get_type_hints(RKLLM.stream)["return"] is TokenStream


def test_import_loads_nothing_slow() -> None:
    program = (
        "import sys; before = set(sys.modules); import rkllm_rs; "
        "print(*sorted(m for m in set(sys.modules) - before if m.partition('.')[0] != 'rkllm_rs'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"__future__", "atexit"}
