"""OpenAI's own client against a server on a scripted library: the checks that need exact texts.

Long because each check of group A is a test of its own.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest
from serving import on_fake, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Serving

#: Answers with what the last message says, in one token.
ECHO = {"runs": [{"steps": [{"echo": True}]}]}
LAST = "{{ messages[-1].content }}"
EMOJI = "Grüße, 世界! 👩‍👩‍👧 ✓"
SCRIPTS: dict[str, Any] = {
    "org/echo:1b": ECHO,
    "words": {"runs": [run("Hello", " ", "world", "!", obey_max_new_tokens=True)]},
    "thinks": {"runs": [run("<think>", "\nHm", "m", "\n</think>\n\n", "So", ".")]},
    "calls": {
        "runs": [
            run(
                "Let me ",
                "see.\n<tool",
                '_call>\n{"name": "get_weather", "argu',
                'ments": {"city": "Par',
                'is"}}\n</tool_call>\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}',
                "\n</tool_call>",
            )
        ]
    },
    "borders": {"runs": [run("one ST", "ONE two S", "TO", "P three")]},
    # Each character in as many tokens as it has bytes.
    "bytes": {
        "runs": [run(*[{"bytes": [byte]} for byte in EMOJI.encode()], repeat=20, obey_max_new_tokens=True)]
    },
}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
TIME: Any = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object"}}}


def say(text: str) -> Any:
    return [{"role": "user", "content": text}]


def call(name: str, **arguments: Any) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments)}}}\n</tool_call>'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("server")
    serving = on_fake(
        folder, SCRIPTS, chat_template=LAST, family="qwen3", keep_alive=-1, max_context_len=4096
    )
    yield serving.ready()
    serving.stop()


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    forced = [
        run("I would ", "rather talk."),
        run('{"name": "get_weather", ', '"arguments": {"city": "Rome"}}'),
    ]
    scripts = {
        "both": {"runs": [run(call("get_weather", city="Paris") + call("get_time"), " Done.")]},
        "says": {"runs": [run("Hello")]},
        "forced": {"runs": forced * 3},
        "either": {"runs": [run(call("get_time")), run("Well, "), run('{"ok": true}')]},
    }
    serving = on_fake(tmp_path_factory.mktemp("tools"), scripts, keep_alive=-1)
    yield serving.ready()
    serving.stop()


@pytest.fixture
def client(server: Serving) -> Iterator[openai.OpenAI]:
    # Strict: an answer that is not as the package's types say is an error.
    with openai.OpenAI(
        base_url=f"{server.url}/v1", api_key="x", max_retries=0, _strict_response_validation=True
    ) as made:
        yield made


def test_a01_models_have_names(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == list(SCRIPTS)
    model = client.models.retrieve("org/echo:1b")
    assert (model.id, model.object, model.owned_by) == ("org/echo:1b", "model", "rkllm_rs")
    for ask in (
        lambda: client.models.retrieve("../x"),
        lambda: client.chat.completions.create(model="nobody", messages=say("Hi")),
    ):
        with pytest.raises(openai.NotFoundError) as raised:
            ask()
        assert raised.value.code == "model_not_found"
        assert "not found" in raised.value.message
        assert "org/echo:1b" in raised.value.message  # what there is


def test_a02_a_stream_says_what_the_answer_says(client: openai.OpenAI) -> None:
    asked: Any = {"model": "words", "messages": say("Hi"), "seed": 1, "max_tokens": 3}
    whole = client.chat.completions.create(**asked)
    choice = whole.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("Hello world", "length")
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == choice.message.content
    assert [one.choices[0].finish_reason for one in chunks if one.choices][-1] == "length"
    assert chunks[-1].usage == whole.usage
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 3
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + 3


def test_a03_every_endpoint_is_as_the_types_say(client: openai.OpenAI) -> None:
    assert client.completions.create(model="org/echo:1b", prompt="as it is").choices[0].text == "as it is"
    assert client.chat.completions.create(model="org/echo:1b", messages=say("Hi"), tools=[TIME]).id


def test_a04_the_helper_puts_a_stream_together(client: openai.OpenAI) -> None:
    options: Any = {"stream_options": {"include_usage": True}}
    with client.chat.completions.stream(model="words", messages=say("Hi"), **options) as stream:
        text = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(text) == final.choices[0].message.content == "Hello world!"
    assert final.usage is not None
    with client.chat.completions.stream(
        model="calls", messages=say("Hi"), tools=[WEATHER, TIME], **options
    ) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    message = final.choices[0].message
    assert (message.content or "").strip() == "Let me see."
    assert final.choices[0].finish_reason == "tool_calls"
    calls = message.tool_calls
    assert calls is not None
    assert [json.loads(one.function.arguments) for one in calls] == [{"city": "Paris"}, {"city": "Rome"}]
    assert len({one.id for one in calls}) == 2
    assert final.usage is not None


def test_a07_tool_choice_is_kept(tools: Serving) -> None:
    with openai.OpenAI(base_url=f"{tools.url}/v1", api_key="x", max_retries=0) as client:
        ask = client.chat.completions.create
        asked: Any = {"messages": say("Hi"), "tools": [WEATHER, TIME]}

        def names(**more: Any) -> list[str]:
            calls = ask(**{**asked, **more}).choices[0].message.tool_calls or []
            return [one.function.name for one in calls if one.type == "function"]

        assert names(model="both") == ["get_weather", "get_time"]
        assert names(model="both", parallel_tool_calls=False) == ["get_weather"]
        assert names(model="both", tool_choice="none") == []
        assert names(model="says", tool_choice="auto") == []
        # The model's own call is taken.
        assert names(model="both", tool_choice="required") == ["get_weather", "get_time"]
        # What it says in place of one is not; it is asked for the call as JSON.
        named: Any = {"type": "function", "function": {"name": "get_weather"}}
        before = len(tools.runs())
        for choice, stream in (("required", False), (named, False), ("required", True)):
            more: Any = {**asked, "model": "forced", "tool_choice": choice}
            if stream:
                with client.chat.completions.stream(**more) as events:
                    answer: Any = events.get_final_completion().choices[0]
            else:
                answer = ask(**more).choices[0]
            assert (answer.finish_reason, answer.message.content or None) == ("tool_calls", None)
            (made,) = answer.message.tool_calls
            assert (made.function.name, json.loads(made.function.arguments)) == (
                "get_weather",
                {"city": "Rome"},
            )
        assert len(tools.runs()) == before + 6
        # With tools and a format it may do either.
        schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}}
        kept: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        assert names(model="either", response_format=kept) == ["get_time"]
        message = ask(**asked, model="either", response_format=kept).choices[0].message
        assert (message.content, message.tool_calls) == ('{"ok": true}', None)
        for wrong in ({"type": "function", "function": {"name": "x"}}, {"type": "custom"}, "maybe"):
            with pytest.raises(openai.BadRequestError) as raised:
                ask(**asked, model="both", tool_choice=wrong)
            assert (raised.value.param or "").startswith("tool_choice")


def test_a09_stop_strings_end_the_answer_across_chunks(client: openai.OpenAI) -> None:
    def text(**more: Any) -> tuple[str, str]:
        chunks = list(
            client.chat.completions.create(model="borders", messages=say("Hi"), stream=True, **more)
        )
        whole = client.chat.completions.create(model="borders", messages=say("Hi"), **more).choices[0]
        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert (said, chunks[-1].choices[0].finish_reason) == (whole.message.content, whole.finish_reason)
        return said, whole.finish_reason

    assert text(stop="STOP") == ("one STONE two ", "stop")
    assert text(stop=["nothing", "two"]) == ("one STONE ", "stop")
    # What was held back, since it begins like a stop string, is not lost.
    assert text(stop=["three."]) == ("one STONE two STOP three", "stop")
    assert text(stop=None) == ("one STONE two STOP three", "stop")


def test_a10_limits_of_tokens(client: openai.OpenAI) -> None:
    def ask(**more: Any) -> Any:
        return client.chat.completions.create(model="words", messages=say("Hi"), **more).choices[0]

    assert ask(max_tokens=1).message.content == "Hello"
    assert ask(max_completion_tokens=1).message.content == "Hello"
    assert ask(max_completion_tokens=1, max_tokens=3).message.content == "Hello"
    assert ask(max_tokens=10**9).finish_reason == "stop"
    for wrong in (0, -1, 1.5, True, "1"):
        with pytest.raises(openai.BadRequestError) as raised:
            ask(max_tokens=wrong)
        assert raised.value.param == "max_tokens"


def test_a11_several_answers(client: openai.OpenAI) -> None:
    ask = client.chat.completions.create
    whole = ask(model="words", messages=say("Hi"), n=2)
    assert [(one.index, one.message.content) for one in whole.choices] == [
        (0, "Hello world!"),
        (1, "Hello world!"),
    ]
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 8
    texts = ["", ""]
    ends: list[tuple[int, str]] = []
    for chunk in ask(model="words", messages=say("Hi"), n=2, stream=True):
        (choice,) = chunk.choices
        texts[choice.index] += choice.delta.content or ""
        if choice.finish_reason:
            ends.append((choice.index, choice.finish_reason))
    assert texts == ["Hello world!"] * 2
    assert ends == [(0, "stop"), (1, "stop")]
    for wrong in (10**9, -1, 0):
        with pytest.raises(openai.BadRequestError) as raised:
            ask(model="words", messages=say("Hi"), n=wrong)
        assert raised.value.param == "n"


def test_a14_reasoning_has_a_field_of_its_own(client: openai.OpenAI) -> None:
    ask = client.chat.completions.create
    whole = ask(model="thinks", messages=say("Hi"))
    message = whole.choices[0].message
    assert message.model_extra is not None
    assert (message.model_extra["reasoning_content"].strip(), message.content) == ("Hmm", "So.")
    assert "reasoning" not in message.model_extra
    assert whole.usage is not None
    assert whole.usage.completion_tokens_details is not None
    assert whole.usage.completion_tokens_details.reasoning_tokens
    order: list[tuple[str, str]] = []
    for chunk in ask(model="thinks", messages=say("Hi"), stream=True):
        delta = chunk.choices[0].delta
        more = delta.model_extra or {}
        assert not ("reasoning_content" in more and delta.content)
        if more.get("reasoning_content"):
            order.append(("reasoning", more["reasoning_content"]))
        elif delta.content:
            order.append(("content", delta.content))
    kinds = [kind for kind, _ in order]
    assert kinds == sorted(kinds, reverse=True)
    assert "".join(text for kind, text in order if kind == "content") == "So."
    # The template has no switch: thinking is closed in the prompt, and what comes is the answer.
    none = ask(model="org/echo:1b", messages=say("Hi"), reasoning_effort="none")
    assert "reasoning_content" not in (none.choices[0].message.model_extra or {})
    # A model that does not think is not asked to.
    assert ask(model="words", messages=say("Hi"), reasoning_effort="high").choices[0].message.content
    with pytest.raises(openai.BadRequestError) as raised:
        ask(model="words", messages=say("Hi"), reasoning_effort="enormous")  # type: ignore[call-overload]
    assert raised.value.param == "reasoning_effort"


@pytest.mark.parametrize(("limit", "text"), [(10_000, EMOJI * 20), (3, "Gr")])
def test_a15_no_character_is_cut(client: openai.OpenAI, limit: int, text: str) -> None:
    more: Any = {"max_tokens": limit}
    parts = [
        chunk.choices[0].delta.content or ""
        for chunk in client.chat.completions.create(model="bytes", messages=say("Hi"), stream=True, **more)
    ]
    assert "".join(parts) == text
    assert not any("\ufffd" in part for part in parts)


def test_a16_the_chunks_follow_their_grammar(server: Serving) -> None:
    asked = {"model": "calls", "messages": say("Hi"), "tools": [WEATHER], "stream": True, "n": 2}
    body = server.post("/v1/chat/completions", {**asked, "stream_options": {"include_usage": True}})
    assert body.headers["content-type"].startswith("text/event-stream")
    assert body.headers["x-accel-buffering"] == "no"
    *events, last = [event for event in body.text.split("\n\n") if event and not event.startswith(":")]
    assert last == "data: [DONE]"
    assert all(event.startswith("data: {") for event in events)
    chunks = [json.loads(event[6:]) for event in events]
    assert len({(one["id"], one["created"], one["model"], one["object"]) for one in chunks}) == 1
    assert chunks[0]["object"] == "chat.completion.chunk"
    assert isinstance(chunks[0]["created"], int)
    *chunks, usage = chunks
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 12
    for number in (0, 1):
        mine = [one["choices"][0] for one in chunks if one["choices"][0]["index"] == number]
        first, *middle, end = mine
        assert first["delta"] == {"role": "assistant", "content": ""}
        assert (end["delta"], end["finish_reason"]) == ({}, "tool_calls")
        assert all(one["finish_reason"] is None for one in [first, *middle])
        deltas = [part for one in middle for part in one["delta"].get("tool_calls", [])]
        begun: set[int] = set()
        for part in deltas:
            assert isinstance(part["function"]["arguments"], str)
            is_first = part["index"] not in begun
            assert is_first == ("id" in part) == ("name" in part["function"]) == ("type" in part)
            begun.add(part["index"])
        assert begun == {0, 1}


def test_a08_results_of_tools_reach_the_template_by_id(tools: Serving) -> None:
    calls = [
        {"id": f"c{at}", "type": "function", "function": {"name": name, "arguments": "{}"}}
        for at, name in enumerate(["get_weather", "get_time"])
    ]
    parts = [{"type": "text", "text": "no"}, {"type": "text", "text": "on"}]
    messages: Any = [
        *say("Hi"),
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": parts},
        {"role": "tool", "tool_call_id": "c0", "content": "sunny"},
    ]

    def results() -> list[str]:
        shown = tools.prompts()[-1].split("<|im_start|>tool\n")[1:]
        return [one.split("<|im_end|>")[0].strip() for one in shown]

    with openai.OpenAI(base_url=f"{tools.url}/v1", api_key="x") as client:
        answer = client.chat.completions.create(model="says", messages=messages, tools=[WEATHER, TIME])
        assert answer.choices[0].message.content == "Hello"
        assert results() == ["sunny", "noon"]
        # Without ids they are taken in the order of the calls.
        for message, text in zip(messages[2:], ("first", "second"), strict=True):
            del message["tool_call_id"]
            message["content"] = text
        client.chat.completions.create(model="says", messages=messages)
        assert results() == ["first", "second"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("messages", []),
        ("messages[0].role", "robot"),
        ("messages[0].content", 5),
        ("messages[0].content[0].type", "image_url"),
        ("temperature", 3),
        ("top_p", -1),
        ("logit_bias.x", 1),
        ("stop", ["x"] * 17),
        ("stop[0]", "x" * 257),
        ("response_format.type", "xml"),
        ("tools[0].type", "web_search"),
        ("modalities", ["audio"]),
        ("functions", [{"name": "f"}]),
        ("top_logprobs", 3),
        ("seed", "x"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(server: Serving, field: str, value: Any) -> None:
    body: dict[str, Any] = {"model": "words", "messages": [{"role": "user", "content": "Hi"}]}
    if field == "messages[0].role":
        body["messages"][0]["role"] = value
    elif field == "messages[0].content":
        body["messages"][0]["content"] = value
    elif field == "messages[0].content[0].type":
        body["messages"][0]["content"] = [{"type": value, "image_url": {"url": "http://127.0.0.1/x"}}]
    elif field == "logit_bias.x":
        body["logit_bias"] = {"x": value}
    elif field == "stop[0]":
        body["stop"] = [value]
    elif field == "response_format.type":
        body["response_format"] = {"type": value}
    elif field == "tools[0].type":
        body["tools"] = [{"type": value}]
    else:
        body[field] = value
    answer = server.post("/v1/chat/completions", body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == field
    assert error["type"] == "invalid_request_error"


def test_fields_that_nobody_knows_are_ignored(server: Serving) -> None:
    body = {
        "model": "words",
        "messages": [{"role": "developer", "content": "x", "extra": 1}, *say("Hi")],
        "ignore_eos": False,
        "keep_alive": "5m",
        "num_ctx": 8192,
        "user": None,
        "stop": None,
        "tools": None,
        "metadata": {"a": "b"},
        "store": True,
    }
    answer = server.post("/v1/chat/completions", body)
    assert answer.json()["choices"][0]["message"]["content"]
    assert "warning" in answer.headers


CHAT = "/v1/chat/completions"
#: A body for each route, with what has no effect there.
NO_EFFECT: list[tuple[str, dict[str, Any], str]] = [
    (CHAT, {"options": {"num_ctx": 1}, "keep_alive": "5m", "num_ctx": 9}, "options, keep_alive, num_ctx"),
    (CHAT, {"stream": True, "format": "json"}, "format"),
    (CHAT, {"user": "a", "store": True, "ignore_eos": False, "think": False, "x": None}, ""),
    (CHAT, {"a b\r\nc": 1, "num_ctx": 1}, "num_ctx, 1 more"),
    ("/v1/responses", {"input": "Hi", "n": 2, "logit_bias": {"1": 2}, "seed": 3}, "n, logit_bias"),
    ("/v1/completions", {"prompt": "Hi", "keep_alive": 5, "echo": False}, "keep_alive"),
    ("/v1/messages", {"max_tokens": 9, "top_k": 3, "seed": 3, "container": "a"}, "seed, container"),
    ("/api/chat", {"options": {"num_gpu": 1, "num_ctx": 512}, "stream": False}, "options.num_gpu"),
]


@pytest.mark.parametrize(("path", "fields", "named"), NO_EFFECT)
def test_fields_without_effect_are_named(
    server: Serving, path: str, fields: dict[str, Any], named: str
) -> None:
    body = {
        "model": "words",
        **({} if {"input", "prompt"} & set(fields) else {"messages": say("Hi")}),
        **fields,
    }
    answer = server.post(path, body)
    assert answer.status_code == 200, answer.text
    told = answer.headers.get("warning", "")
    assert told.partition(": ")[2].rstrip('"') == named
    if named:
        log = f"ignored={named!r}" if " " in named else f"ignored={named}"
        server.wait_for(lambda: log in server.told(), log)
