"""Every public function, method and class refuses arguments that do not fit it with a typed error."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import pytest

import rkllm_rs
from rkllm_rs import RKLLM, AsyncRKLLM, InvalidTypeError, runtimes
from rkllm_rs.chat import tools
from surface import aio, stepwise, stream_logits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Opener

#: Tuples of values that calls return. Programs make them only in their own tests.
RECORDS = {"CheckedArguments", "InstalledRuntime", "OfficialFile", "ToolResult", "VerifiedFile"}
#: What is made by calling something else, however it is called.
NOT_MADE = {"Conversation", "ConversationStream", "AsyncConversation", "AsyncConversationStream"}
MODULES = {"": rkllm_rs, "runtimes.": runtimes, "chat.tools.": tools}


def methods(kind: type) -> Iterator[str]:
    for base in kind.__mro__:
        if base.__module__.startswith("rkllm_rs"):
            for name, value in vars(base).items():
                if not name.startswith("_") and inspect.isroutine(getattr(value, "__func__", value)):
                    yield name


def public() -> Iterator[tuple[str, Any]]:
    for place, module in MODULES.items():
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isroutine(value):
                yield place + name, value
            elif isinstance(value, type) and not issubclass(value, BaseException):
                yield place + name, value
                for method in methods(value):
                    yield f"{place}{name}.{method}", inspect.getattr_static(value, method)


PUBLIC = dict(public())


def of_python(name: str) -> bool:
    """Whether a call is written in Python: see below for methods that are not, and test_arguments.py."""
    value = PUBLIC[name]
    if isinstance(value, type):
        short = name.rpartition(".")[2]
        return short not in RECORDS and inspect.isfunction(value.__init__)
    return inspect.isfunction(getattr(value, "__func__", value))


CALLS = [name for name in PUBLIC if of_python(name)]


def test_all_are_found() -> None:
    assert {
        "RKLLM.chat",
        "AsyncRKLLM.chat_stream",
        "Conversation.undo",
        "AsyncConversation.load",
        "ConversationStream.result",
        "BatchStream.results",
        "backends",
        "runtimes.install",
        "chat.tools.Tool.check",
        "chat.tools.strict_schema",
    } <= set(CALLS)


@pytest.fixture
def refused(open_model: Opener) -> Callable[..., InvalidTypeError]:
    """Calls one of ``CALLS`` by its name, and gives the error with which it refuses its arguments."""

    def bound(name: str) -> Any:
        place, _, method = name.rpartition(".")
        if place == "RKLLM":
            return getattr(open_model(["a"]), method)
        if place == "AsyncRKLLM":
            return getattr(aio(open_model(["a"])), method)
        value = PUBLIC[name]
        kind = PUBLIC.get(place)
        if not isinstance(kind, type):
            return value
        # Arguments are refused before the object is looked at.
        return getattr(kind.__new__(kind), method)

    def refused(name: str, /, *given: Any, **keywords: Any) -> InvalidTypeError:
        made = bound(name)

        def use() -> None:
            result = made(*given, **keywords)
            if inspect.iscoroutine(result):
                asyncio.run(result)

        with pytest.raises(InvalidTypeError) as caught:
            use()
        assert caught.value.hint
        return caught.value

    return refused


def shown(name: str) -> str:
    """How a message names a call."""
    _, _, method = name.rpartition(".")
    return f"{name.removeprefix('chat.tools.')}()" if method == "load" else f"{method}()"


def help_of(name: str) -> str:
    return f"help(rkllm_rs.{name})"


def parameters(name: str) -> list[inspect.Parameter]:
    value = PUBLIC[name]
    found = inspect.signature(getattr(value, "__func__", value)).parameters.values()
    return [one for one in found if one.name not in {"self", "cls"}]


@pytest.mark.parametrize("name", CALLS)
def test_too_many(refused: Callable[..., InvalidTypeError], name: str) -> None:
    error = refused(name, *["x"] * 9)
    if name.rpartition(".")[2] in NOT_MADE:
        return
    assert str(error).startswith(f"{shown(name)} takes ")
    assert help_of(name) in str(error.hint)


@pytest.mark.parametrize("name", CALLS)
def test_a_name_that_there_is_not(refused: Callable[..., InvalidTypeError], name: str) -> None:
    error = refused(name, zzz=1)
    if name.rpartition(".")[2] in NOT_MADE:
        return
    assert str(error).startswith(f"{shown(name)} got an unexpected keyword argument 'zzz'")
    assert help_of(name) in str(error.hint)


@pytest.mark.parametrize(
    "name",
    [name for name in CALLS if any(one.default is one.empty and one.kind < 4 for one in parameters(name))],
)
def test_one_that_is_missing(refused: Callable[..., InvalidTypeError], name: str) -> None:
    needed = [one for one in parameters(name) if one.default is one.empty and one.kind in {1, 3}]
    if not needed:  # those that cannot be called at all
        assert name.rpartition(".")[2] in NOT_MADE
        return
    for at, one in enumerate(needed):
        before = {earlier.name: "x" for earlier in needed[:at]}
        assert str(refused(name, **before)).startswith(f"{shown(name)} needs the argument {one.name!r}")


@pytest.mark.parametrize("name", [name for name in CALLS if any(one.kind == 1 for one in parameters(name))])
def test_one_that_is_given_twice(refused: Callable[..., InvalidTypeError], name: str) -> None:
    first = next(one.name for one in parameters(name) if one.kind == 1)
    assert repr(first) in str(refused(name, "x", **{first: "y"}))


# ---- methods of what is written in Rust

NATIVE = [name for name, value in PUBLIC.items() if inspect.ismethoddescriptor(value) and not of_python(name)]
NATIVE = [name for name in NATIVE if name != "Runtime.load"]


def made(open_model: Opener, kind: str) -> Any:
    """An object of a class that is written in Rust."""
    model = open_model(["a"], chat_template="{{ messages[0].content }}")
    hello = [{"role": "user", "content": "Hello"}]
    makers: dict[str, Callable[[], object]] = {
        "ArrayStream": lambda: stream_logits(model, "x"),
        "ChatStream": lambda: model.chat_stream(hello),
        "ChatTexts": lambda: model.chat_stream(hello).texts(),
        "FloatArray": lambda: open_model({"runs": [{"logits": {"width": 2}}]}).logits("x"),
        "Steps": lambda: stepwise(model, "x"),
        "TextStream": lambda: model.stream("x").texts(),
        "TokenStream": lambda: model.stream("x"),
        "Tokens": lambda: rkllm_rs.Tokens([1]),
    }
    return makers[kind]()


@pytest.mark.parametrize("name", NATIVE)
def test_methods_of_streams_and_results(open_model: Opener, name: str) -> None:
    kind, _, method = name.partition(".")
    call = getattr(made(open_model, kind), method)
    for given, keywords, told in (
        (["x", "y"], {}, "takes "),
        ([], {"zzz": 1}, "got an unexpected"),
        ([], {"timeout": 5}, "got"),
    ):
        with pytest.raises(InvalidTypeError) as caught:
            call(*given, **keywords)
        assert str(caught.value).startswith(f"{method}() {told}")
        assert caught.value.hint


def test_the_input_may_have_its_name(open_model: Opener) -> None:
    assert open_model(["a", "b"]).generate(input="x").text == "ab"
    assert "".join(open_model(["a", "b"]).stream(input="x").texts()) == "ab"
    assert asyncio.run(aio(open_model(["a"])).generate(input="x")).text == "a"


# ---- what conversations are given, before their first turn

KEYWORDS: dict[str, Any] = {
    "temperature": "x",
    "top_k": -1,
    "stop": {"a": 1},
    "seed": -1,
    "timeout": 0,
    "on_token": 5,
    "thinking": "yes",
    "tool_choice": 5,
    "overflow": "x",
    "template_kwargs": 5,
    "chat_template": 5,
    "max_reasoning_tokens": -1,
    "lora": 5,
}


@pytest.mark.parametrize("name", KEYWORDS)
def test_wrong_keywords_of_a_conversation(open_model: Opener, name: str) -> None:
    given: dict[str, Any] = {name: KEYWORDS[name]}
    model = open_model(["a"])
    talk = model.conversation()
    for use in (
        lambda: model.conversation(**given),
        lambda: aio(model).conversation(**given),
        lambda: AsyncRKLLM("none.rkllm").conversation(**given),
        lambda: talk.send_stream("x", **given),
        lambda: asyncio.run(AsyncRKLLM("none.rkllm").conversation().send("x", **given)),
    ):
        with pytest.raises(rkllm_rs.RkllmError, match=f"^{name} ") as caught:
            use()
        assert caught.value.hint
    assert talk.messages == []


@pytest.mark.parametrize("kind", [RKLLM, AsyncRKLLM])
@pytest.mark.parametrize(("name", "value"), [("chat_template", 5), ("family", 5), ("family", "zz")])
def test_what_a_model_is_told_of_conversations(kind: Any, name: str, value: Any) -> None:
    with pytest.raises(rkllm_rs.RkllmError, match=f"^{name} "):
        kind("none.rkllm", **{name: value})
