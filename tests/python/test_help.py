"""What ``help()`` shows is complete, and is text for people."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

import pytest

import rkllm_rs
from rkllm_rs import runtimes
from rkllm_rs.chat import tools

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULES = (rkllm_rs, runtimes, tools)
PUBLIC = {name: getattr(module, name) for module in MODULES for name in module.__all__}
CLASSES = [value for value in PUBLIC.values() if isinstance(value, type)]


def own(value: type) -> list[type]:
    """A class and those of this package that it inherits from."""
    return [base for base in value.__mro__ if base.__module__.startswith("rkllm_rs")]


def docstrings() -> Iterator[tuple[str, str]]:
    for name, value in PUBLIC.items():
        yield name, inspect.getdoc(value) or ""
        for base in own(value) if isinstance(value, type) else []:
            for member, attribute in vars(base).items():
                yield f"{name}.{member}", getattr(attribute, "__doc__", None) or ""


DOCSTRINGS = dict(docstrings())


def test_docstrings_are_found() -> None:
    assert DOCSTRINGS["RKLLM.generate"]
    assert DOCSTRINGS["Chunk.token_id"]
    assert len(DOCSTRINGS) > 500


def test_no_markup_of_a_tool_is_in_a_docstring() -> None:
    """Roles of Sphinx are for a program that makes pages: ``help()`` shows them as they are."""
    found = {name for name, text in DOCSTRINGS.items() if re.search(r":[a-z]+(:[a-z]+)?:`", text)}
    assert found == set()


@pytest.mark.parametrize("value", CLASSES, ids=lambda value: value.__name__)
def test_every_class_says_what_threads_may_do_with_it(value: type) -> None:
    assert any("thread" in (base.__doc__ or "") for base in own(value))
