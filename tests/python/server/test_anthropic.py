"""Anthropic's own client against a server on a scripted library."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from serving import on_fake, run
from wire import Client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from serving import Serving

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>'
SCRIPTS: dict[str, Any] = {
    "words": {"runs": [run("Hello", " ", "world", "!", obey_max_new_tokens=True)]},
    "thinks": {"runs": [run("<think>", "\nHm", "m", "\n</think>\n\n", "So", ".")]},
    "calls": {"runs": [run("Let me see.\n<tool", "_call>" + CALL[11:], "\n" + CALL)]},
    "json": {"runs": [run('{"a"', ": 1}")]},
    "slow": {"runs": [{"prefill_ms": 1200, "steps": ["Well", "."]}]},
    "dies": {"runs": [{"crash": True}]},
}
WEATHER: Any = {
    "name": "get_weather",
    "description": "Tells the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
HI: Any = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    serving = on_fake(
        tmp_path_factory.mktemp("anthropic"),
        SCRIPTS,
        family="qwen3",
        keep_alive=-1,
        limits={"beat_seconds": 0.2, "header_seconds": 0.2, "body_bytes": 1 << 20},
    )
    yield serving.ready()
    serving.stop()


@pytest.fixture
def client(server: Serving) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="x", max_retries=0) as made:
        yield made


def ask(client: anthropic.Anthropic, model: str, **more: Any) -> Any:
    return client.messages.create(**{"model": model, "max_tokens": 64, "messages": HI, **more})


def streamed(client: anthropic.Anthropic, model: str, **more: Any) -> tuple[list[Any], Any]:
    asked: Any = {"model": model, "max_tokens": 64, "messages": HI, **more}
    with client.messages.stream(**asked) as stream:
        events = list(stream)
        return events, stream.get_final_message()


def test_b11_a_stream_says_what_the_message_says(client: anthropic.Anthropic) -> None:
    for model, more in (
        ("words", {}),
        ("thinks", {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2048}),
        ("calls", {"tools": [WEATHER]}),
    ):
        whole = ask(client, model, **more)
        _events, final = streamed(client, model, **more)
        plain = [block.model_dump(exclude={"id"}, exclude_none=True) for block in whole.content]
        same = [block.model_dump(exclude={"id"}, exclude_none=True) for block in final.content]
        for block in (*plain, *same):
            for name in ("text", "thinking"):
                if name in block:
                    block[name] = block[name].strip()
            block.pop("parsed_output", None)
        assert same == plain
        assert (final.stop_reason, final.usage.output_tokens) == (
            whole.stop_reason,
            whole.usage.output_tokens,
        )


def test_b11_thinking_tools_and_stops(client: anthropic.Anthropic) -> None:
    thought = ask(client, "thinks", thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2048)
    assert [block.type for block in thought.content] == ["thinking", "text"]
    called = ask(client, "calls", tools=[WEATHER])
    assert called.stop_reason == "tool_use"
    uses = [block for block in called.content if block.type == "tool_use"]
    assert [(use.name, use.input) for use in uses] == [("get_weather", {"city": "Rome"})] * 2
    assert len({use.id for use in uses}) == 2
    stopped = ask(client, "words", stop_sequences=["wor"])
    assert (stopped.stop_reason, stopped.stop_sequence, stopped.content[0].text) == (
        "stop_sequence",
        "wor",
        "Hello ",
    )
    cut = ask(client, "words", max_tokens=2)
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 2)
    kept = ask(
        client,
        "json",
        output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}},
    )
    assert json.loads(kept.content[0].text) == {"a": 1}


def test_b11_results_reach_the_model_in_their_order(client: anthropic.Anthropic, server: Serving) -> None:
    uses = [
        {"type": "tool_use", "id": f"toolu_{city}", "name": "get_weather", "input": {"city": city}}
        for city in ("Rome", "Oslo")
    ]
    results = [
        {"type": "tool_result", "tool_use_id": "toolu_Oslo", "content": [{"type": "text", "text": "snow"}]},
        {"type": "tool_result", "tool_use_id": "toolu_Rome", "content": "sunny"},
        {"type": "text", "text": "So?"},
    ]
    messages: Any = [*HI, {"role": "assistant", "content": uses}, {"role": "user", "content": results}]
    ask(client, "words", messages=messages, tools=[WEATHER], system=[{"type": "text", "text": "Be kind."}])
    prompt = server.prompts()[-1]
    places = [prompt.index(word) for word in ("Be kind.", "Oslo", "sunny", "snow", "So?")]
    assert places == sorted(places)
    image: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    with pytest.raises(anthropic.BadRequestError) as raised:
        ask(client, "words", messages=[{"role": "user", "content": [image]}])
    assert "images" in str(raised.value)


def test_b11_models_are_listed(client: anthropic.Anthropic) -> None:
    assert [one.id for one in client.models.list()] == list(SCRIPTS)
    assert client.models.retrieve("words").display_name == "words"


def test_b11_the_order_of_events(client: anthropic.Anthropic) -> None:
    more: Any = {"tools": [WEATHER]}
    with client.messages.create(model="calls", max_tokens=64, messages=HI, stream=True, **more) as stream:
        events = [event for event in stream if event.type != "ping"]
    kinds = [event.type for event in events]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    started = [event.index for event in events if event.type == "content_block_start"]
    ended = [event.index for event in events if event.type == "content_block_stop"]
    assert started == ended == list(range(len(started)))
    for event in events:
        if event.type == "content_block_delta":
            assert event.index in started


def test_b12_errors_are_of_their_class(client: anthropic.Anthropic, server: Serving) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        ask(client, "nobody")
    assert missing.value.request_id
    assert missing.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]
    with pytest.raises(anthropic.BadRequestError):
        ask(client, "words", messages=[])
    with pytest.raises(anthropic.APIStatusError) as large:
        ask(client, "words", messages=[{"role": "user", "content": "x" * (2 << 20)}])
    assert large.value.status_code == 413
    with pytest.raises(anthropic.APIStatusError) as cut:
        streamed(client, "dies")
    assert "died" in str(cut.value)
    server.ready()


def test_b12_without_a_key(tmp_path: Path) -> None:
    serving = on_fake(tmp_path, {"words": SCRIPTS["words"]}, api_key="secret").ready()
    with anthropic.Anthropic(base_url=serving.url, api_key="wrong", max_retries=0) as client:
        with pytest.raises(anthropic.AuthenticationError):
            ask(client, "words")
        with client.with_options(api_key="secret") as other:
            assert ask(other, "words").content[0].text == "Hello world!"
    serving.stop()


def test_b13_what_claude_code_sends(server: Serving) -> None:
    tools = [{**WEATHER, "name": f"tool_{number}"} for number in range(25)]
    tools.append({"type": "web_search_20250305", "name": "web_search"})
    for turn in range(2):
        body = {
            "model": "words",
            "max_tokens": 128_000,
            "stream": True,
            "system": [
                {"type": "text", "text": f"x-anthropic-billing-header: cch={turn}"},
                {"type": "text", "text": "You help.", "cache_control": {"type": "ephemeral"}},
            ],
            "messages": [*HI, {"role": "system", "content": "Be brief."}],
            "tools": tools,
            "thinking": {"type": "adaptive"},
            "metadata": {"user_id": "x"},
            "context_management": {"edits": []},
        }
        got = server.post("/v1/messages?beta=true", body, headers={"anthropic-beta": "x"})
        assert got.status_code == 200
        assert "message_stop" in got.text
    first, second = server.prompts()[-2:]
    assert first == second
    assert "billing" not in first
    assert "tool_24" in first


def test_silence_is_filled_with_pings(server: Serving) -> None:
    with Client(server.port) as client:
        client.ask("POST", "/v1/messages", {"model": "slow", "max_tokens": 8, "messages": HI, "stream": True})
        client.head()
        data = b"".join(iter(client.chunk, b"")).decode()
    kinds = [line[7:] for line in data.splitlines() if line.startswith("event: ")]
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert kinds.count("message_start") == 1
    assert "ping" in kinds


def test_b15_equal_text_and_counts_in_all_dialects(server: Serving) -> None:
    chat = server.post("/v1/chat/completions", {"model": "words", "messages": HI}).json()
    message = server.post("/v1/messages", {"model": "words", "max_tokens": 64, "messages": HI}).json()
    line = server.post("/api/chat", {"model": "words", "messages": HI, "stream": False}).json()
    assert (
        chat["choices"][0]["message"]["content"]
        == message["content"][0]["text"]
        == line["message"]["content"]
    )
    usage = message["usage"]
    prompt = usage["input_tokens"] + usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"]
    assert chat["usage"]["prompt_tokens"] == prompt == line["prompt_eval_count"]
    assert chat["usage"]["completion_tokens"] == usage["output_tokens"] == line["eval_count"]
