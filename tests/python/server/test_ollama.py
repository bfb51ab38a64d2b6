"""Ollama's own client against a server on a scripted library."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import ollama
import pytest
from serving import Serving, on_fake, run
from wire import Client

from conversations import TEMPLATE

if TYPE_CHECKING:
    from collections.abc import Iterator

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>'
SCRIPTS: dict[str, Any] = {
    "words": {"runs": [run("Hello", " ", "world", "!", obey_max_new_tokens=True)]},
    "thinks:1b": {"runs": [run("<think>", "\nHm", "m", "\n</think>\n\n", "So", ".")]},
    "calls": {"runs": [run("Let me see.\n<tool", "_call>" + CALL[11:], "\n" + CALL)]},
    "json": {"runs": [run('{"a"', ": 1}")]},
    "slow": {"runs": [{"delay_ms": 500, "steps": ["Grüße, ", "世界", "!"]}]},
}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
HI: Any = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("ollama")
    serving = on_fake(
        folder, SCRIPTS, family="qwen3", keep_alive=-1, limits={"beat_seconds": 0.2, "header_seconds": 0.2}
    )
    yield serving.ready()
    serving.stop()


@pytest.fixture
def client(server: Serving) -> Iterator[ollama.Client]:
    with ollama.Client(host=server.url) as made:
        yield made


def test_c01_all_that_a_client_lists(client: ollama.Client, server: Serving) -> None:
    assert [one.model for one in client.list().models] == list(SCRIPTS)
    assert client.chat("words", HI).message.content == "Hello world!"
    assert client.generate("words", "Hi").response == "Hello world!"
    loaded = {one.model: one for one in client.ps().models}["words"]
    assert loaded.context_length
    about = client.show("thinks:1b")
    assert {"completion", "tools", "thinking"} <= set(about.capabilities or ())
    assert about.details is not None
    assert about.details.parameter_size == "1B"
    assert any(name.endswith(".context_length") for name in about.modelinfo or {})
    version = server.http.get("/api/version").json()["version"]
    assert [int(part) for part in version.split(".")]

    async def asynchronous() -> list[str]:
        async with ollama.AsyncClient(host=server.url) as other:
            return [part.message.content or "" async for part in await other.chat("words", HI, stream=True)]

    assert "".join(asyncio.run(asynchronous())) == "Hello world!"


def test_c02_thinking_tools_and_formats(client: ollama.Client, server: Serving) -> None:
    parts = list(client.chat("thinks:1b", HI, stream=True, think=True))
    assert "".join(part.message.thinking or "" for part in parts).strip() == "Hmm"
    assert "".join(part.message.content or "" for part in parts).strip() == "So."
    for stream in (True, False):
        got = client.chat("calls", HI, tools=[WEATHER], stream=stream)
        messages = [part.message for part in got] if stream else [got.message]
        calls = [call for message in messages for call in message.tool_calls or ()]
        assert [(call.function.name, call.function.arguments) for call in calls] == [
            ("get_weather", {"city": "Rome"}),
            ("get_weather", {"city": "Rome"}),
        ]
        assert "".join(message.content or "" for message in messages).strip() == "Let me see."
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    for form in ("json", schema):
        assert json.loads(client.chat("json", HI, format=form).message.content or "") == {"a": 1}
    refused = server.post("/api/chat", {"model": "words", "messages": [{**HI[0], "images": ["aGk="]}]})
    assert (refused.status_code, list(refused.json())) == (400, ["error"])


def test_c03_counts_and_times_are_whole_numbers(server: Serving) -> None:
    end = server.post("/api/chat", {"model": "words", "messages": HI, "stream": False}).json()
    names = ("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration")
    values = [end[name] for name in (*names, "eval_count", "eval_duration")]
    assert all(type(value) is int for value in values)
    assert end["total_duration"] >= sum(values[1::2][1:]) + end["load_duration"]
    assert end["done_reason"] == "stop"
    usage = server.post("/v1/chat/completions", {"model": "words", "messages": HI}).json()["usage"]
    assert (end["prompt_eval_count"], end["eval_count"]) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )
    cut = {"model": "words", "messages": HI, "stream": False, "options": {"num_predict": 2}}
    got = server.post("/api/chat", cut).json()
    assert (got["message"]["content"], got["done_reason"], got["eval_count"]) == ("Hello ", "length", 2)
    assert dt.datetime.fromisoformat(end["created_at"]).tzinfo is not None


def test_c04_models_are_kept_and_unloaded(client: ollama.Client, server: Serving) -> None:
    def loaded() -> dict[str, Any]:
        return {one["name"]: one for one in server.http.get("/api/ps").json()["models"]}

    got = server.post("/api/generate", {"model": "json"}).json()
    assert (got["done"], got["done_reason"]) == (True, "load")
    assert "json" in loaded()
    for given, far in (("5m", True), (30, False), (-1, True), ("-1s", True), ("1h30m", True)):
        client.chat("json", HI, keep_alive=given)
        until = dt.datetime.fromisoformat(loaded()["json"]["expires_at"])
        assert (until - dt.datetime.now(dt.timezone.utc) > dt.timedelta(seconds=60)) == far
    got = server.post("/api/chat", {"model": "json", "messages": [], "keep_alive": 0}).json()
    assert got["done_reason"] == "unload"
    assert "json" not in loaded()
    client.generate("json", "Hi", keep_alive=0)
    server.wait_for(lambda: "json" not in loaded(), "the end of the model")
    refused = server.post("/api/chat", {"model": "json", "messages": HI, "keep_alive": "bad"})
    assert refused.status_code == 400


def test_c05_each_write_has_whole_lines(server: Serving) -> None:
    with Client(server.port) as client:
        client.ask("POST", "/api/chat", {"model": "slow", "messages": HI})
        assert client.head()[1]["content-type"] == "application/x-ndjson"
        writes = list(iter(client.chunk, b""))
    texts: list[str] = []
    for data in writes:
        assert data.endswith(b"\n")
        lines = data.decode().splitlines()
        assert all(lines)
        texts += [json.loads(line)["message"]["content"] for line in lines]
    assert "".join(texts) == "Grüße, 世界!"
    # What is said in silence is a line, too.
    assert texts[0] == ""
    assert json.loads(writes[-1].splitlines()[-1])["done"]


def test_c10_what_home_assistant_sends(server: Serving) -> None:
    assert server.http.get("/api/tags", timeout=5).json()["models"]
    messages = [
        {"role": "system", "content": "You control a home."},
        *HI,
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"function": {"name": "get_weather", "arguments": {"city": "Rome"}}},
                {"function": {"name": "get_weather", "arguments": {"city": "Oslo"}}},
            ],
        },
        {"role": "tool", "content": "sunny"},
        {"role": "tool", "content": "snow"},
    ]
    asked = {
        "model": "words",
        "messages": messages,
        "tools": [WEATHER],
        "stream": True,
        "keep_alive": "-1s",
        "think": False,
        "options": {"num_ctx": 8192},
    }
    got = server.post("/api/chat", asked)
    assert got.status_code == 200
    assert json.loads(got.text.splitlines()[-1])["done"]
    prompt = server.prompts()[-1]
    assert prompt.index("Oslo") < prompt.index("sunny") < prompt.index("snow")


def test_c14_what_a_model_lacks(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError) as raised:
        client.chat("nobody", HI)
    assert raised.value.status_code == 404
    assert "not found" in raised.value.error
    with pytest.raises(ollama.ResponseError) as raised:
        client.generate("words", "a", suffix="b")
    assert raised.value.status_code == 400


def test_c14_thinking_that_a_model_does_not_have(tmp_path: Any) -> None:
    plain = TEMPLATE.replace(
        "{% if enable_thinking is defined and enable_thinking is false %}", "{% if false %}"
    )
    serving = on_fake(tmp_path, {"plain": SCRIPTS["words"]}, chat_template=plain, family="chatml").ready()
    with ollama.Client(host=serving.url) as client:
        assert client.chat("plain", HI, think=False).message.content == "Hello world!"
        with pytest.raises(ollama.ResponseError) as raised:
            client.chat("plain", HI, think=True)
        assert (raised.value.status_code, "does not support thinking" in raised.value.error) == (400, True)
        assert "thinking" not in (client.show("plain").capabilities or ())
    serving.stop()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/pull"),
        ("DELETE", "/api/delete"),
        ("POST", "/api/create"),
        ("POST", "/api/copy"),
        ("POST", "/api/push"),
        ("POST", "/api/blobs/sha256:0"),
    ],
)
def test_c15_models_are_not_managed(server: Serving, method: str, path: str) -> None:
    got = server.http.request(method, path, json={"model": "words"})
    assert (got.status_code, list(got.json())) == (403, ["error"])
    assert "words" in [one["name"] for one in server.http.get("/api/tags").json()["models"]]
