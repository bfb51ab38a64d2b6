"""What the exceptions keep, and what else they are."""

from __future__ import annotations

import copy
import errno
import pickle
from typing import TYPE_CHECKING, Any

import pytest

import rkllm_rs
from rkllm_rs import (
    RKLLM,
    Generation,
    GenerationTimeout,
    InvalidArgumentError,
    InvalidTypeError,
    LibraryNotFoundError,
    ModelNotFoundError,
    RkllmError,
    Runtime,
    SamplingParams,
    Tokens,
    errors,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Opener

CLASSES = [value for name in errors.__all__ if issubclass(value := getattr(errors, name), RkllmError)]


def through_pickle(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own bytes


def through_old_pickle(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value, protocol=2))  # noqa: S301 - our own bytes


every_copy = pytest.mark.parametrize(
    "again", [through_pickle, through_old_pickle, copy.copy, copy.deepcopy], ids=lambda f: f.__name__
)


@every_copy
@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_a_copy_keeps_everything(kind: type[RkllmError], again: Callable[[Any], Any]) -> None:
    error = kind("it failed", hint="try again", log=["E rkllm: no", "W rkllm: hm"])
    error.__cause__ = KeyError("not copied, as with every exception")
    found = again(error)
    assert type(found) is kind
    assert found.args == ("it failed",)
    assert (found.hint, found.log) == ("try again", ["E rkllm: no", "W rkllm: hm"])
    assert (str(found), repr(found)) == (str(error), repr(error))


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_text_and_repr(kind: type[RkllmError]) -> None:
    plain = kind("it failed")
    assert (str(plain), plain.hint, plain.log) == ("it failed", None, [])
    assert repr(plain) == f"{kind.__name__}('it failed')"
    hinted = kind("it failed", hint="try again")
    assert str(hinted) == "it failed\nhint: try again"
    assert repr(hinted) == f"{kind.__name__}('it failed', hint='try again')"
    assert str(kind("it failed: try again", hint="try again")) == "it failed: try again"
    assert str(kind()) == ""


def test_each_is_also_what_python_calls_it() -> None:
    also = {
        "LibraryNotFoundError": OSError,
        "ModelNotFoundError": FileNotFoundError,
        "NpuMemoryError": MemoryError,
        "ContextLengthError": ValueError,
        "GenerationTimeout": TimeoutError,
        "InvalidArgumentError": ValueError,
        "InvalidTypeError": TypeError,
    }
    for name, builtin in also.items():
        assert issubclass(getattr(errors, name), builtin)
    for kind in (errors.BackendFallbackWarning, errors.RkllmWarning):
        assert issubclass(kind, UserWarning)
    assert set(errors.__all__) <= set(rkllm_rs.__all__)


def test_a_library_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LibraryNotFoundError) as caught:
        Runtime.load(tmp_path / "librkllmrt.so")
    error = caught.value
    assert isinstance(error, OSError)
    assert (error.errno, error.strerror, error.filename) == (None, None, None)
    assert str(tmp_path / "librkllmrt.so") in str(error)
    assert error.hint
    assert str(error).count(error.hint) == 1
    assert str(through_pickle(error)) == str(error)


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        RKLLM(tmp_path / "model.rkllm")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, str(tmp_path / "model.rkllm"))
    assert str(tmp_path / "model.rkllm") in str(caught.value)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: RKLLM(5), "model"),
        (lambda: RKLLM(["a.rkllm", 5]), r"model\[1\]"),
        (lambda: RKLLM("a.rkllm", library=5), "library"),
        (lambda: RKLLM("a.rkllm", backend=5), "backend"),
        (lambda: Runtime.load(5), "path"),
        (lambda: Runtime.load(backend=5), "backend"),
        (lambda: Runtime.load(abi=5), "abi"),
    ],
)
def test_a_wrong_type_is_named(call: Callable[[], object], name: str) -> None:
    with pytest.raises(InvalidTypeError, match=rf"\A{name} .*got int\nhint: \w"):
        call()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: RKLLM(""), "model"),
        (lambda: RKLLM("a\0.rkllm"), "model"),
        (lambda: Runtime.load(""), "path"),
        (lambda: Runtime.load(backend="gpu"), "backend"),
        (lambda: Runtime.load(abi="v9"), "abi"),
    ],
)
def test_a_wrong_value_is_named(call: Callable[[], object], name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=rf"\A{name} "):
        call()


@every_copy
def test_inputs_can_be_copied(again: Callable[[Any], Any]) -> None:
    for value in (SamplingParams(), SamplingParams(temperature=0.7, top_k=4), Tokens([1, 2, 3])):
        found = again(value)
        assert type(found) is type(value)
        assert (found, repr(found)) == (value, repr(value))


@every_copy
def test_outputs_can_be_copied(again: Callable[[Any], Any], open_model: Opener) -> None:
    llm = open_model(["a", "b"])
    stream = llm.stream("hello")
    chunk = next(stream)
    answer = stream.result()
    found = again(answer)
    assert type(found) is Generation
    for name in ("text", "token_ids", "finish_reason"):
        assert getattr(found, name) == getattr(answer, name)
    for name in (name for name in dir(answer.perf) if not name.startswith("_")):
        assert getattr(found.perf, name) == getattr(answer.perf, name)
    assert repr(again(chunk)) == repr(chunk)


def test_a_deadline_keeps_what_came_also_through_pickle(open_model: Opener) -> None:
    llm = open_model(["a", {"text": "b", "delay_ms": 100_000}])
    with pytest.raises(GenerationTimeout) as caught:
        llm.generate("hello", timeout=1)
    for error in (caught.value, through_pickle(caught.value)):
        assert error.partial.text == "a"
        assert len(error.partial.token_ids) == 1
        assert error.partial.finish_reason == "cancelled"
        assert error.hint
