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

import rkllm_rs
from rkllm_rs import _native
from surface import natives

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
stub_docs = importlib.import_module("stub_docs")

SOURCES = sorted((ROOT / "python" / "rkllm_rs" / "_native").glob("*.pyi"))
#: Classes that calls return and programs do not make.
RESULTS = {"BatchStream", "Score", "TokenLogprob", "TopLogprob"}
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


def calls() -> Iterator[tuple[str, object]]:
    """Every public function, class and method, inherited ones too."""
    for name in rkllm_rs.__all__:
        value = getattr(rkllm_rs, name)
        if inspect.isroutine(value):
            yield name, value
        elif isinstance(value, type) and not issubclass(value, BaseException):
            yield name, value
            for base in value.__mro__:
                if base.__module__.startswith("rkllm_rs"):
                    for member, attribute in vars(base).items():
                        function = getattr(attribute, "__func__", attribute)
                        if not member.startswith("_") and inspect.isroutine(function):
                            yield f"{name}.{member}", function


def arguments(value: object) -> list[str]:
    try:
        found = inspect.signature(value).parameters
    except ValueError:  # a class that programs cannot make
        return []
    return [name for name in found if name not in {"self", "cls"}]


CALLS = {name: value for name, value in calls() if arguments(value)}


def test_calls_with_arguments_are_found() -> None:
    assert {"SamplingParams", "Multimodal", "Steps.send", "Runtime.load", "RKLLM.generate"} <= set(CALLS)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_docstrings_have_every_argument_and_what_is_raised(name: str) -> None:
    text = inspect.getdoc(CALLS[name]) or ""
    if isinstance(CALLS[name], type):
        text += "\n" + (inspect.getdoc(CALLS[name].__init__) or "")
    missing = [word for word in arguments(CALLS[name]) if not re.search(rf"(?m)^    \**{word}: ", text)]
    assert missing == []
    assert name in RESULTS or re.search(r"(?m)^Raises:$", text)


def test_classes_and_members_have_docstrings() -> None:
    silent = [
        f"{cls.__name__}.{name}"
        for cls in natives()
        for name, value in [("__doc__", cls), *vars(cls).items()]
        if (name == "__doc__" or not name.startswith("_")) and not getattr(value, "__doc__", None)
    ]
    assert silent == []
