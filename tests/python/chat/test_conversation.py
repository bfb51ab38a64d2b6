"""Conversations that keep their messages, on the fake.

Long because each promise of a conversation has a case of its own.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import inspect
import json
import threading
import types
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls
from rkllm_rs import (
    AsyncConversation,
    BusyError,
    Conversation,
    FileMissingError,
    GenerationTimeout,
    InvalidArgumentError,
    InvalidTypeError,
    RkllmError,
    ToolError,
)
from rkllm_rs.chat.tools import get_json_schema
from surface import aio

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Opener

TEMPLATE = """\
{%- for message in messages %}[{{ message.role }}]{{ message.content or '' }}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}
{% endfor -%}
{%- if tools %}[tools]{{ tools | tojson }}{% endif -%}
[assistant]"""
#: Tells the time, down to the second.
CLOCK = "{{ strftime_now('%s') }}" + TEMPLATE

SYSTEM = {"role": "system", "content": "Be brief."}
LONG = [{"steps": ["Hel", "lo", {"text": " ", "repeat": 100_000, "delay_ms": 5}]}]
WEATHER = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def runs(*texts: str) -> dict[str, Any]:
    return {"runs": [{"steps": [text]} for text in texts]}


def prompts(record: Path) -> list[str]:
    return [one["input"]["prompt_input"] for one in calls(record, "rkllm_run")]


def get_weather(city: str) -> str:
    """Tells the weather.

    Args:
        city: The city's name.
    """
    return f"It is sunny in {city}."


async def get_weather_later(city: str) -> str:
    """Tells the weather.

    Args:
        city: The city's name.
    """
    await asyncio.sleep(0)
    return f"It is sunny in {city}."


get_weather_later.__name__ = "get_weather"


SCHEMA = get_json_schema(get_weather)


class Both:
    """A conversation of either class, asked in the same way."""

    def __init__(self, llm: Any, **keywords: Any) -> None:
        self.talk = llm.conversation(**keywords)

    def send(self, *given: Any, **keywords: Any) -> Any:
        return now(self.talk.send, *given, **keywords)

    def deltas(self, *given: Any, **keywords: Any) -> tuple[list[Any], Any]:
        """What a stream gives, and its result."""
        if isinstance(self.talk, Conversation):
            stream = self.talk.send_stream(*given, **keywords)
            return list(stream), stream.result()

        async def read() -> tuple[list[Any], Any]:
            stream = self.talk.send_stream(*given, **keywords)
            return [delta async for delta in stream], await stream.result()

        return asyncio.run(read())


def now(call: Callable[..., Any], *given: Any, **keywords: Any) -> Any:
    """What a call returns, whether it is one for event loops or not."""

    async def waited() -> Any:
        result = call(*given, **keywords)
        return await result if asyncio.iscoroutine(result) else result

    if inspect.iscoroutinefunction(call):
        return asyncio.run(waited())
    return call(*given, **keywords)


def loads(talk: Any) -> Callable[..., Any]:
    """What loads conversations of a class."""
    load: Callable[..., Any] = type(talk).load
    return load


@pytest.fixture(params=["sync", "async"])
def model(request: pytest.FixtureRequest, open_model: Opener) -> Callable[..., Any]:
    def opened(script: Any, **keywords: Any) -> Any:
        llm = open_model(script, **{"chat_template": TEMPLATE, **keywords})
        return llm if request.param == "sync" else aio(llm)

    return opened


def test_every_turn_has_the_turns_before_it(model: Callable[..., Any], record: Path) -> None:
    both = Both(model(runs("Hello", "Fine")), system="Be brief.")
    assert both.talk.messages == [SYSTEM]
    assert both.send("Hi").content == "Hello"
    deltas, answer = both.deltas("How?")
    assert "".join(delta.content for delta in deltas) == answer.content == "Fine"
    messages = [SYSTEM, user("Hi"), assistant("Hello"), user("How?"), assistant("Fine")]
    assert both.talk.messages == messages
    begin = "[system]Be brief.[user]Hi[assistant]"
    assert prompts(record) == [begin, begin + "Hello[user]How?[assistant]"]
    # A copy, to the bottom.
    both.talk.messages[0]["content"] = "Be long."
    both.talk.messages.clear()
    assert both.talk.messages == messages


def test_thinking_is_kept(model: Callable[..., Any]) -> None:
    both = Both(model(runs("<think>\nHm\n</think>\n\nHello"), chat_template=TEMPLATE, family="qwen3"))
    answer = both.send("Hi")
    assert answer.reasoning == "Hm"
    assert both.talk.messages[-1] == answer.message
    assert both.talk.messages[-1]["reasoning_content"] == "Hm"


@pytest.mark.parametrize("tool", [get_weather, get_weather_later], ids=["sync", "async"])
@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_functions_are_called_and_every_message_kept(model: Callable[..., Any], tool: Any, way: str) -> None:
    both = Both(model(runs(WEATHER, "Sunny.")), tools=[tool])
    if way == "streamed":
        deltas, answer = both.deltas("Weather?")
        assert [piece.name for delta in deltas for piece in delta.tool_calls if piece.name] == ["get_weather"]
        assert "".join(delta.content for delta in deltas).strip() == "Sunny."
    else:
        answer = both.send("Weather?")
    assert answer.content == "Sunny."
    said, asked, result, last = both.talk.messages
    assert (said, last) == (user("Weather?"), assistant("Sunny."))
    (call,) = asked["tool_calls"]
    assert (result["role"], result["tool_call_id"]) == ("tool", call["id"])
    assert result["content"] == "It is sunny in Paris."


def test_the_last_round_is_kept_with_its_calls(model: Callable[..., Any]) -> None:
    both = Both(model(runs(WEATHER, WEATHER)), tools=[get_weather])
    answer = both.send("Weather?", max_rounds=2)
    assert answer.finish_reason == "tool_calls"
    assert [message["role"] for message in both.talk.messages] == ["user", "assistant", "tool", "assistant"]


def test_calls_of_dicts_are_returned_and_their_results_sent(model: Callable[..., Any], record: Path) -> None:
    both = Both(model(runs(WEATHER, "Sunny.")), tools=[SCHEMA])
    (call,) = both.send("Weather?").tool_calls
    assert len(both.talk.messages) == 2
    result = {"role": "tool", "tool_call_id": call.id, "content": "Sun"}
    assert both.send([result]).content == "Sunny."
    assert both.talk.messages[2:] == [result, assistant("Sunny.")]
    assert "[tool]Sun" in prompts(record)[1]


def test_undo_takes_back_a_turn_with_its_tools(model: Callable[..., Any]) -> None:
    both = Both(model(runs("Hello", WEATHER, "Sunny.")), system="Be brief.", tools=[get_weather])
    both.send("Hi")
    both.send(
        [{"role": "user", "content": [{"type": "text", "text": "Wea"}, {"type": "text", "text": "ther?"}]}]
    )
    assert len(both.talk.messages) == 7
    assert both.talk.undo() == "Weather?"
    assert both.talk.messages == [SYSTEM, user("Hi"), assistant("Hello")]
    assert both.talk.undo() == "Hi"
    assert both.talk.undo() is None
    assert both.talk.messages == [SYSTEM]


def test_a_fork_goes_its_own_way(model: Callable[..., Any]) -> None:
    both = Both(model(runs("Hello", "One", "Two")))
    both.send("Hi")
    fork = both.talk.fork()
    assert type(fork) is type(both.talk)
    now(fork.send, "1")
    both.send("2")
    begin = [user("Hi"), assistant("Hello")]
    assert fork.messages == [*begin, user("1"), assistant("One")]
    assert both.talk.messages == [*begin, user("2"), assistant("Two")]


def test_what_is_saved_is_loaded(model: Callable[..., Any], record: Path, tmp_path: Path) -> None:
    llm = model(runs("Hello", WEATHER, WEATHER, "Sunny."), chat_template=CLOCK)
    told: list[object] = []
    keywords = {"tools": [get_weather], "now": 1e9, "stop": ["###"], "on_token": told.append}
    both = Both(llm, system="Be brief: Ä\U0001f600", **keywords)
    both.send("Hi")
    path = tmp_path / "talk.json"
    path.write_text("old")
    now(both.talk.save, path)
    assert [entry.name for entry in tmp_path.iterdir() if "talk" in entry.name] == ["talk.json"]
    assert json.loads(path.read_text())["options"] == {"stop": ["###"]}
    loaded = now(loads(both.talk), llm, path)
    assert loaded.messages == both.talk.messages
    # A file has no functions.
    assert now(loaded.send, "Weather?").finish_reason == "tool_calls"
    loaded = now(loads(both.talk), llm, str(path), tools=[get_weather])
    assert now(loaded.send, "Weather?").content == "Sunny."
    assert all(prompt.startswith("1000000000[system]") for prompt in prompts(record))


def test_the_time_stands_still(model: Callable[..., Any], record: Path) -> None:
    llm = model(runs("a", "b", "c", "d"), chat_template=CLOCK)
    both = Both(llm, now=1_000_000_000)
    both.send("Hi")
    both.send("Hi")
    now(both.talk.fork().send, "Hi")
    now(llm.chat, [user("Hi")])
    *own, other = [prompt.partition("[")[0] for prompt in prompts(record)]
    assert own == ["1000000000"] * 3
    assert int(other) > 1_700_000_000


def good(**changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "format": "rkllm_rs conversation",
        "version": 1,
        "now": 0,
        "tools": None,
        "options": {},
    }
    return {**content, "messages": [], **changes}


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, FileMissingError),
        ("{", InvalidArgumentError),
        ("\udcff", InvalidArgumentError),
        ("[" * 100_000, InvalidArgumentError),
        ("[]", InvalidArgumentError),
        ({"messages": []}, InvalidArgumentError),
        (good(version=2), InvalidArgumentError),
        (good(version=True), InvalidArgumentError),
        (good(now="now"), InvalidArgumentError),
        (good(now=-1), InvalidArgumentError),
        (good(messages={}), InvalidArgumentError),
        (good(messages=[{"content": "Hi"}]), InvalidArgumentError),
        (good(options={"on_fire": True}), InvalidArgumentError),
        (good(tools=5), InvalidArgumentError),
        (good(tools=[{}]), ToolError),
    ],
    ids=lambda value: str(value)[:40],
)
def test_files_that_are_none(
    model: Callable[..., Any], tmp_path: Path, content: Any, error: type[RkllmError]
) -> None:
    path = tmp_path / "talk.json"
    if content is not None:
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
    llm = model(runs())
    load = loads(llm.conversation())
    with pytest.raises(error) as caught:
        now(load, llm, path)
    assert caught.value.hint
    if isinstance(caught.value, FileMissingError):
        assert caught.value.filename == str(path)


def test_a_folder_that_is_missing_and_what_is_no_json(model: Callable[..., Any], tmp_path: Path) -> None:
    llm = model(runs("a"))
    both = Both(llm)
    with pytest.raises(FileMissingError) as caught:
        now(both.talk.save, tmp_path / "no" / "talk.json")
    assert caught.value.filename == str(tmp_path / "no")
    for wrong in (tmp_path, tmp_path / "talk\0.json"):
        for work in (both.talk.save, functools.partial(loads(both.talk), llm)):
            with pytest.raises(InvalidArgumentError, match="path") as unfit:
                now(work, wrong)
            assert unfit.value.hint
    both.send([{**user("Hi"), "extra": float("nan")}])
    with pytest.raises(InvalidTypeError):
        now(both.talk.save, tmp_path / "talk.json")
    assert not [entry for entry in tmp_path.iterdir() if "talk" in entry.name]


def test_messages_of_any_mapping_are_sent(model: Callable[..., Any]) -> None:
    both = Both(model(runs("a")))
    both.send((types.MappingProxyType(user("Hi")), collections.UserDict(user("there"))))
    assert both.talk.messages[:2] == [user("Hi"), user("there")]
    assert all(type(message) is dict for message in both.talk.messages)


def test_a_failure_leaves_it_as_it_was(model: Callable[..., Any]) -> None:
    both = Both(
        model({"runs": [{"steps": ["Hello"]}, {"steps": ["x"], "return": -1}, *LONG, {"steps": ["Fine"]}]})
    )
    both.send("Hi")
    before = both.talk.messages
    with pytest.raises(RkllmError):
        both.send("fail")
    assert both.talk.messages == before
    with pytest.raises(GenerationTimeout):
        both.send("wait", timeout=0.2)
    assert both.talk.messages == before
    for wrong in ({"thinking": "yes"}, {"max_tokens": 5}, {"max_rounds": 0}):
        with pytest.raises((InvalidTypeError, InvalidArgumentError)):
            both.send("Hi", **wrong)
    for text in (5, [], ["Hi"], None, b"Hi", user("Hi")):
        with pytest.raises((InvalidTypeError, InvalidArgumentError), match="text"):
            both.send(text)
    assert both.talk.messages == before
    assert both.send("How?").content == "Fine"


@pytest.mark.parametrize("how", ["close", "cancel", "with", "forget", "ends"])
def test_a_stream_that_is_left_leaves_it_as_it_was(open_model: Opener, how: str) -> None:
    talk = open_model({"runs": [*LONG, {"steps": ["Fine"]}]}, chat_template=TEMPLATE).conversation()
    stream = talk.send_stream("Hi")
    assert next(stream).content == "Hel"
    with pytest.raises(BusyError):
        talk.send("Hi")
    with pytest.raises(BusyError):
        talk.undo()
    assert talk.messages == talk.fork().messages == []
    if how == "with":
        with stream:
            pass
    elif how == "ends":
        stream.cancel()
        assert stream.result().finish_reason == "cancelled"
        assert not list(stream)
    elif how != "forget":
        getattr(stream, how)()
    del stream
    assert talk.send("How?").content == "Fine"
    assert talk.messages == [user("How?"), assistant("Fine")]


def test_an_asynchronous_stream_that_is_left(open_model: Opener) -> None:
    talk = aio(
        open_model({"runs": [*LONG, *LONG, {"steps": ["Fine"]}]}, chat_template=TEMPLATE)
    ).conversation()

    async def program() -> None:
        async with talk.send_stream("Hi") as stream:
            assert (await stream.__anext__()).content == "Hel"
            with pytest.raises(BusyError):
                await talk.send("Hi")
        begun = asyncio.Event()
        task = asyncio.ensure_future(talk.send("Hi", on_token=lambda _: begun.set()))
        await begun.wait()
        with pytest.raises(BusyError):
            talk.undo()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await talk.send("How?")).content == "Fine"

    asyncio.run(program())
    assert talk.messages == [user("How?"), assistant("Fine")]


def test_another_thread_finds_it_busy(open_model: Opener) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> str:
        """Waits."""
        begun.set()
        go_on.wait(30)
        return "done"

    call = '<tool_call>\n{"name": "wait", "arguments": {}}\n</tool_call>'
    talk = open_model(runs(call, "Fine"), chat_template=TEMPLATE).conversation(tools=[wait])
    thread = threading.Thread(target=talk.send, args=("Hi",))
    thread.start()
    assert begun.wait(30)
    with pytest.raises(BusyError):
        talk.send("Hi")
    assert talk.messages == []
    go_on.set()
    thread.join()
    assert len(talk.messages) == 4


def test_ctrl_c_in_a_tool_leaves_it_as_it_was(open_model: Opener) -> None:
    def stop() -> str:
        """Stops."""
        raise KeyboardInterrupt

    call = '<tool_call>\n{"name": "stop", "arguments": {}}\n</tool_call>'
    talk = open_model(runs(call, "Fine"), chat_template=TEMPLATE).conversation(tools=[stop])
    with pytest.raises(KeyboardInterrupt):
        talk.send("Hi")
    assert talk.messages == []
    assert talk.send("Hi").content == "Fine"


def test_keywords_of_a_turn_win(model: Callable[..., Any], record: Path) -> None:
    both = Both(model(runs("a", "b")), max_new_tokens=5)
    both.send("Hi")
    both.send("Hi", max_new_tokens=7, stop=None)
    assert [one["infer"].get("max_new_tokens") for one in calls(record, "rkllm_run")] in (
        [5, 7],
        [None, None],
    )


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"system": 5}, InvalidTypeError),
        ({"tools": 5}, InvalidTypeError),
        ({"tools": [lambda x: x]}, ToolError),
        ({"now": "now"}, InvalidTypeError),
        ({"now": float("inf")}, InvalidArgumentError),
        ({"max_tokens": 5}, InvalidTypeError),
        ({"keep_history": True}, InvalidTypeError),
    ],
)
def test_wrong_arguments(
    model: Callable[..., Any], keywords: dict[str, Any], error: type[RkllmError]
) -> None:
    llm = model(runs())
    with pytest.raises(error) as caught:
        llm.conversation(**keywords)
    assert caught.value.hint


def test_what_is_no_model_and_no_path(model: Callable[..., Any], tmp_path: Path) -> None:
    llm: Any = model(runs())
    wrong: Any = 5
    for given, name in (((tmp_path, llm), "llm"), ((llm, wrong), "path")):
        with pytest.raises(InvalidTypeError, match=name):
            Conversation.load(*given)
        with pytest.raises(InvalidTypeError, match=name):
            asyncio.run(AsyncConversation.load(*given))
    talk = llm.conversation()
    with pytest.raises(InvalidTypeError, match="path"):
        # Where it is not asynchronous, it raises before it could be run.
        asyncio.run(talk.save(wrong))


def test_only_a_model_makes_them() -> None:
    for kind in (Conversation, AsyncConversation):
        with pytest.raises(InvalidTypeError):
            kind()
