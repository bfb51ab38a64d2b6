"""What programs write out of habit for other packages is answered with what to write here."""

from __future__ import annotations

import abc
import asyncio
import pydoc
from typing import TYPE_CHECKING, Any

import pytest

import rkllm_rs
from rkllm_rs import (
    RKLLM,
    AsyncRKLLM,
    InvalidTypeError,
    LibraryNotFoundError,
    UnsupportedFeatureError,
    runtimes,
)
from rkllm_rs._aliases import MADE_BY, METHODS, NAMES
from rkllm_rs.chat import tools
from surface import aio

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Opener

METHODS_OF_OTHERS = ["create_chat_completion", "from_pretrained", "invoke", "predict", "tokenizer"]


def answered(use: Callable[[], object], *words: str) -> None:
    with pytest.raises(InvalidTypeError) as caught:
        use()
    hint = caught.value.hint
    assert hint
    assert all(word in hint for word in words), hint


@pytest.mark.parametrize("name", sorted(MADE_BY))
def test_classes_that_programs_do_not_call(name: str) -> None:
    kind: Any = getattr(rkllm_rs, name, None) or getattr(rkllm_rs._native, name)
    for given in ((), ("x",)):
        answered(lambda given=given: kind(*given), MADE_BY[name])
    answered(lambda: kind(bogus=1), MADE_BY[name])


@pytest.mark.parametrize("name", METHODS_OF_OTHERS)
def test_methods_of_other_packages(open_model: Opener, name: str) -> None:
    model = open_model(["a"])
    for owner in (model, AsyncRKLLM("none.gguf"), RKLLM, AsyncRKLLM):
        with pytest.raises(AttributeError, match="use "):
            getattr(owner, name)
        assert not hasattr(owner, name)


def test_no_method_of_ours_is_taken_for_one_of_others() -> None:
    assert not {name for name in METHODS if hasattr(RKLLM, name)}
    assert not {name for name in NAMES if hasattr(rkllm_rs, name)}


def test_names_of_other_packages() -> None:
    package: Any = rkllm_rs
    for name in ("Llama", "AutoModelForCausalLM", "GenerationConfig"):
        with pytest.raises(AttributeError, match="use "):
            getattr(package, name)


def test_a_model_is_no_function(open_model: Opener) -> None:
    model: Any = open_model(["a"])
    answered(lambda: model("Hello"), "generate")
    unopened: Any = AsyncRKLLM("none.gguf")
    answered(lambda: unopened("Hello"), "await")


def test_with_and_async_with(open_model: Opener) -> None:
    model: Any = open_model(["a"])

    async def enter() -> None:
        async with model:
            pass

    answered(lambda: asyncio.run(enter()), "AsyncRKLLM")
    unopened: Any = AsyncRKLLM("none.gguf")

    def enter_now() -> None:
        with unopened:
            pass

    answered(enter_now, "async with")
    # Programs that take both kinds look for these.
    assert not hasattr(model, "__aenter__")
    assert not hasattr(unopened, "__enter__")


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("method", ["stream", "chat_stream"])
def test_streams_are_not_awaited(open_model: Opener, method: str, opened: bool) -> None:  # noqa: FBT001
    model: Any = aio(open_model(["a"]))
    prompt: Any = "x" if method == "stream" else [{"role": "user", "content": "x"}]

    async def wrong() -> None:
        async with model:
            if opened:
                await model.open()
            await getattr(model, method)(prompt)

    async def unopened() -> None:
        await getattr(AsyncRKLLM("none.gguf"), method)(prompt)

    answered(lambda: asyncio.run(wrong() if opened else unopened()), "async for")


def test_help_shows_none_of_it() -> None:
    for value in (RKLLM, AsyncRKLLM):
        text = pydoc.plain(pydoc.render_doc(value))
        for name in ("__getattr__", "__annotations__", "__call__"):
            assert name not in text, (value, name)
    assert "__aenter__" not in pydoc.plain(pydoc.render_doc(RKLLM))
    assert "__enter__" not in pydoc.plain(pydoc.render_doc(AsyncRKLLM))
    assert not {"__getattr__", "__dir__", "__annotations__"} & {*dir(rkllm_rs)}


def test_models_can_be_derived_with_abstract_classes() -> None:
    class Base(abc.ABC):
        @abc.abstractmethod
        def answer(self) -> str: ...

    class Mine(RKLLM, Base):
        def answer(self) -> str:
            return "yes"

    assert issubclass(Mine, Base)


def test_a_library_that_is_missing_comes_before_the_model(tmp_path: Path) -> None:
    model = tmp_path / "m.gguf"
    model.write_bytes(b"GGUF")
    for name in ("none.so", "text.so"):
        (tmp_path / "text.so").write_text("no library")
        for kind in ("m.gguf", "m"):
            with pytest.raises(LibraryNotFoundError) as caught:
                RKLLM(tmp_path / kind, library=tmp_path / name)
            assert name in str(caught.value)


def test_functions_for_libraries_and_tools_name_their_arguments(open_model: Opener) -> None:
    any_tools: Any = tools
    any_runtimes: Any = runtimes
    calls: dict[str, Callable[[], object]] = {
        "file": lambda: any_runtimes.verify(3),
        "source": lambda: any_runtimes.install("1.3.0", arch="aarch64", source=3),
        "allow_unknown": lambda: any_runtimes.install("1.3.0", arch="aarch64", source=".", allow_unknown=3),
        "progress": lambda: any_runtimes.install("1.3.0", arch="aarch64", source=".", progress=3),
        "release": lambda: any_runtimes.official(3),
        "arch": lambda: any_runtimes.official(arch=3),
        "project": lambda: any_runtimes.chosen(project=3),
        "model": lambda: any_runtimes.path(model=3),
        "schema": lambda: any_tools.strict_schema(3),
        "text": lambda: open_model(["a"]).count_tokens(3),  # type: ignore[arg-type]
    }
    for name, call in calls.items():
        with pytest.raises(InvalidTypeError) as caught:
            call()
        assert str(caught.value).startswith(f"{name} must be "), str(caught.value)
        assert caught.value.hint
    for kind in (any_tools.ToolResult, any_runtimes.InstalledRuntime, any_runtimes.OfficialFile):
        answered(kind, kind.__name__)
        answered(lambda kind=kind: kind(bogus=1), kind.__name__)
    result = any_tools.ToolResult("name", content="text")
    assert (result.name, result.content) == ("name", "text")


def test_a_template_of_too_few_texts_shows_how_many(open_model: Opener) -> None:
    with pytest.raises(rkllm_rs.InvalidArgumentError) as caught:
        open_model(["a"], template=("a", "b"))
    assert "3" in str(caught.value)
    assert "2" in str(caught.value)


@pytest.mark.parametrize("generation", ["v1_2_1"])
def test_settings_of_a_call_are_named_as_they_were_written(open_model: Opener, generation: str) -> None:
    assert generation
    model = open_model(["a"])
    given: dict[str, Any] = {"temperature": 0.25, "min_p": 0.5, "logprobs": 1}
    for name, value in given.items():
        with pytest.raises(UnsupportedFeatureError) as caught:
            model.generate("x", **{name: value})
        assert str(caught.value).startswith(f"{name} "), str(caught.value)
