"""The stubs of the compiled module: their place, and that they say what ``help()`` says."""

from __future__ import annotations

import importlib
import inspect
import pickle
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rkllm_rs import _native
from surface import natives

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
stub_docs = importlib.import_module("stub_docs")

SOURCES = sorted((ROOT / "python" / "rkllm_rs" / "_native").glob("*.pyi"))
#: One class with all that the script has to deal with.
STUB = '''
class SamplingParams:
    """Old.

    And long.
    """

    def __new__(cls) -> Self:
        """Old."""
    @property
    def top_k(self) -> int: ...
    def __repr__(self) -> str: ...
'''


def test_the_folder_of_stubs_is_installed_and_does_not_hide_the_compiled_module() -> None:
    installed = Path(_native.__file__).parent / "_native"
    assert {path.name for path in installed.iterdir()} == {path.name for path in SOURCES}
    assert _native.__file__.endswith(".so")


def test_pickle_helpers_are_reachable_but_not_exported() -> None:
    assert not [name for name in _native.__all__ if name.startswith("_") and name != "__version__"]
    chunk = _native._chunk("Hi", 7)
    assert pickle.loads(pickle.dumps(chunk)).token_id == 7  # noqa: S301


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_stubs_say_what_help_says(path: Path) -> None:
    source = path.read_text()
    assert stub_docs.rewritten(source, _native) == source, "run scripts/stub_docs.py"


def test_old_texts_are_replaced_and_new_ones_added() -> None:
    new = stub_docs.rewritten(STUB, _native)
    assert "Old." not in new
    assert "And long." not in new
    assert "        top_k: " in new
    assert "    def __new__(cls) -> Self: ...\n" in new
    assert '    def top_k(self) -> int:\n        """' in new
    assert "    def __repr__(self) -> str: ...\n" in new
    assert max(map(len, new.splitlines())) <= stub_docs.WIDTH
    assert stub_docs.rewritten(new, _native) == new


def calls() -> Iterator[tuple[str, object, inspect.Signature]]:
    """Public native classes and their methods, as far as they take arguments."""
    for cls in natives():
        for name, value in [("", cls), *vars(cls).items()]:
            value = getattr(value, "__func__", value)  # noqa: PLW2901
            if name.startswith("_") or not callable(value):
                continue
            try:
                signature = inspect.signature(value)
            except ValueError:  # a class that programs cannot make
                continue
            if [word for word in signature.parameters if word != "self"]:
                yield f"{cls.__name__}.{name}".rstrip("."), value, signature


CALLS = {name: (value, signature) for name, value, signature in calls()}


def test_calls_with_arguments_are_found() -> None:
    assert {"SamplingParams", "Multimodal", "Steps.send", "Runtime.load"} <= set(CALLS)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_docstrings_have_every_argument_and_what_is_raised(name: str) -> None:
    value, signature = CALLS[name]
    text = inspect.getdoc(value) or ""
    missing = [
        word for word in signature.parameters if word != "self" and not re.search(rf"(?m)^    {word}: ", text)
    ]
    assert missing == []
    assert re.search(r"(?m)^Raises:$", text)


def test_classes_and_members_have_docstrings() -> None:
    silent = [
        f"{cls.__name__}.{name}"
        for cls in natives()
        for name, value in [("__doc__", cls), *vars(cls).items()]
        if (name == "__doc__" or not name.startswith("_")) and not getattr(value, "__doc__", None)
    ]
    assert silent == []
