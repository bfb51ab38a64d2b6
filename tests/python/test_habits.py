"""What programs write out of habit for other packages is answered with what to write here."""

from __future__ import annotations

import abc
import asyncio
import collections.abc
import copy
import pydoc
import re
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


#: A habit, and what this package has for it: in a generation, and in an answer of a chat.
RESULTS = {
    "choices": ("text", "content"),
    "outputs": ("text", "content"),
    "generated_text": ("text", "content"),
    "delta": ("text", "content"),
    "message": ("text", ""),
    "content": ("text", ""),
    "strip": ("text.strip()", "content.strip()"),
    "tokens": ("token_ids", "token_ids"),
    "usage": ("perf", "perf"),
    "stop_reason": ("finish_reason", "finish_reason"),
    "thinking": (None, "reasoning"),
    "function_call": (None, "tool_calls"),
    "no_such_thing": (None, None),
}


@pytest.fixture
def results(open_model: Opener, tmp_path: Path) -> list[Any]:
    """A generation, a chunk, an answer of a chat, and a delta of one."""
    template = tmp_path / "models" / "chat_template.jinja"
    template.parent.mkdir(exist_ok=True)
    template.write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:")
    model = open_model(["a", "b"])
    messages = [{"role": "user", "content": "x"}]
    return [
        model.generate("x"),
        next(model.stream("x")),
        model.chat(messages),
        next(model.chat_stream(messages)),
    ]


def test_attributes_of_other_packages_results(results: list[Any]) -> None:
    generation, chunk, answer, delta = results
    wrong = [(generation, name, right[0]) for name, right in RESULTS.items()]
    wrong += [(answer, name, right[1]) for name, right in RESULTS.items()]
    wrong += [(chunk, "choices", "text"), (delta, "choices", "content")]
    wrong += [(generation.perf, "completion_tokens", "generate_tokens")]
    wrong += [(generation.perf, "ttft", "time_to_first_token_ms")]
    for result, name, right in wrong:
        if right == "":
            assert hasattr(result, name)
            continue
        with pytest.raises(AttributeError) as caught:
            getattr(result, name)
        kind = type(result).__name__
        assert str(caught.value).startswith(f"{kind!r} object has no attribute {name!r}")
        assert str(caught.value).endswith(f"; use {right}") == (right is not None), (kind, name)
        assert not hasattr(result, name)
    assert (copy.copy(generation).text, copy.copy(chunk).text) == ("ab", "a")


def test_lists_where_one_prompt_is_expected(open_model: Opener) -> None:
    model: Any = open_model(["a"])
    messages = [{"role": "user", "content": "x"}]
    for given, word in (
        (messages, "chat()"),
        ([1, 2], "Tokens"),
        (["a", "b"], "generate_batch"),
        ([], "text"),
    ):
        for call in (model.generate, model.stream):
            answered(lambda call=call, given=given: call(given), word)
    answered(lambda: model.generate("x", choices="yes"), '["yes", "no"]')
    for key in ("a", 1.5, None):
        with pytest.raises(InvalidTypeError) as caught:
            model.generate("x", logit_bias={key: 1.0})
        assert str(caught.value).startswith(f"logit_bias key {key!r} must be an int")


def test_streams_are_no_answers(open_model: Opener) -> None:
    stream: Any = open_model(["a"]).stream("x")
    for name, right in {"text": "texts()", "usage": "result().perf", "choices": "texts()"}.items():
        with pytest.raises(AttributeError, match=re.escape(f"use {right}")):
            getattr(stream, name)
    assert stream.result().text == "a"


def test_results_are_no_dicts(results: list[Any]) -> None:
    for result, right in zip(results, ("text", "text", "content", "content"), strict=True):
        for key in ("text", "choices", 0, "message", None):
            kept = key if isinstance(key, str) and hasattr(type(result), key) else right
            answered(lambda result=result, key=key: result[key], f".{kept}")
        assert not isinstance(result, (collections.abc.Mapping, collections.abc.Sequence))
        with pytest.raises(TypeError):
            iter(result)


def test_what_a_program_gets_wrong_is_no_result_of_a_tool() -> None:
    def weather(city: str) -> str:
        """Tells the weather.

        Args:
            city: The city.
        """
        return f"sunny in {city}"

    own: Any = tools.Tools([weather])
    good = '{"city": "Paris"}'
    assert own.run("weather", good).content == "sunny in Paris"
    assert own.run("storm", good).error
    wrong: dict[str, list[Callable[[], object]]] = {
        "name": [
            *(lambda call=call: call(5, good) for call in (own.run, own.check)),
            lambda: own.run([], good),
            lambda: own.find([]),
            lambda: asyncio.run(own.arun(5, good)),
        ],
        "arguments": [lambda: own.run("weather", 5), lambda: asyncio.run(own.arun("weather", None))],
        "id": [lambda: own.run("weather", good, id=5)],
        "loop": [lambda: own.run("weather", good, loop=5)],
        "max_characters": [lambda: own.run("weather", good, max_characters="9")],
        "checked": [lambda: own.find("weather").call(5)],
    }
    for name, calls in wrong.items():
        for call in calls:
            with pytest.raises(InvalidTypeError) as caught:
                call()
            assert str(caught.value).startswith(f"{name} must be "), str(caught.value)
            assert caught.value.hint
    with pytest.raises(rkllm_rs.InvalidArgumentError):
        own.run("weather", good, max_characters=-1)
    checked: Any = tools.CheckedArguments
    answered(checked, "CheckedArguments")
    answered(lambda: checked(bogus=1), "CheckedArguments")
    assert checked({}, {}, []).instance is None


def test_help_shows_none_of_it() -> None:
    for kind in ("Conversation", "AsyncConversation", "ConversationStream", "AsyncConversationStream"):
        assert "__annotations__" not in pydoc.plain(pydoc.render_doc(getattr(rkllm_rs, kind)))
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


@pytest.mark.parametrize("abi_version", ["v1_2_1"])
def test_settings_of_a_call_are_named_as_they_were_written(open_model: Opener, abi_version: str) -> None:
    assert abi_version
    model = open_model(["a"])
    given: dict[str, Any] = {"temperature": 0.25, "min_p": 0.5, "logprobs": 1}
    for name, value in given.items():
        with pytest.raises(UnsupportedFeatureError) as caught:
            model.generate("x", **{name: value})
        assert str(caught.value).startswith(f"{name} "), str(caught.value)
