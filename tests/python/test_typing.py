"""The stub against the compiled module, and the types that programs see."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import rkllm_rs
from rkllm_rs import (
    RKLLM,
    Embeddings,
    FloatArray,
    Generation,
    ModelInfo,
    Multimodal,
    SamplingParams,
    Tokens,
    TokenStream,
)
from surface import natives

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]


def documented() -> Iterator[tuple[str, object]]:
    for name in rkllm_rs.__all__:
        value = getattr(rkllm_rs, name)
        if not isinstance(value, str):
            yield name, value
        if isinstance(value, type) and not issubclass(value, BaseException):
            for member, attribute in vars(value).items():
                if not member.startswith("_"):
                    yield f"{name}.{member}", attribute


def documentation(value: object) -> str | None:
    # That of a slot stands in its class, where help() finds it.
    return inspect.getdoc(value) if inspect.ismemberdescriptor(value) else value.__doc__


def test_help_has_something_to_say_about_every_public_name() -> None:
    assert [name for name, value in documented() if not documentation(value)] == []


def test_public_classes_name_the_package_they_are_imported_from() -> None:
    assert {value.__module__ for value in natives()} == {"rkllm_rs"}
    assert natives() <= {getattr(rkllm_rs, name) for name in rkllm_rs.__all__}


def test_hints_of_calls_can_be_resolved_at_run_time() -> None:
    hints = typing.get_type_hints(RKLLM.generate)
    assert hints["input"] == str | Tokens | Embeddings | Multimodal
    assert hints["sampling"] == SamplingParams | None
    assert hints["return"] is Generation
    assert typing.get_type_hints(RKLLM.stream)["return"] is TokenStream
    assert typing.get_type_hints(RKLLM.__enter__)["return"] is RKLLM
    assert typing.get_type_hints(RKLLM.embed)["pooling"] == Literal["last", "mean"]
    assert typing.get_type_hints(RKLLM.hidden_states)["return"] is FloatArray
    assert hints_of(RKLLM.info) == {"return": ModelInfo}


def hints_of(value: object) -> dict[str, Any]:
    """Hints of a function, or of what a class keeps in its place."""
    if isinstance(value, property):
        value = value.fget
    return typing.get_type_hints(inspect.unwrap(getattr(value, "__func__", value)))


def written_in_python() -> Iterator[tuple[str, object]]:
    for name in rkllm_rs.__all__:
        value = getattr(rkllm_rs, name)
        if inspect.isfunction(value) or isinstance(value, type):
            yield name, value
        # Inherited ones too: each is looked up in the module that it was written in.
        for base in value.__mro__ if isinstance(value, type) else ():
            if base.__module__.startswith("rkllm_rs"):
                for member, attribute in vars(base).items():
                    if isinstance(attribute, property | classmethod | staticmethod) or callable(attribute):
                        public = not member.startswith("_") or member.endswith("__")
                        if public and not isinstance(attribute, type):
                            yield f"{name}.{member}", attribute


FOUND = dict(written_in_python())


def test_public_calls_are_found() -> None:
    assert {"RKLLM", "RKLLM.__init__", "Score.logprob", "backends"} <= set(FOUND)


def test_hints_of_every_public_call_can_be_resolved_at_run_time() -> None:
    assert len(FOUND) > 100
    # What is written in Rust has no hints at run time; only that may be so.
    for call in FOUND.values():
        if inspect.isfunction(call) or isinstance(call, property):
            hints_of(call)


def test_import_loads_nothing_slow() -> None:
    program = (
        "import sys; before = set(sys.modules); import rkllm_rs; "
        "print(*sorted(m for m in set(sys.modules) - before if m.partition('.')[0] != 'rkllm_rs'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"__future__", "atexit"}
