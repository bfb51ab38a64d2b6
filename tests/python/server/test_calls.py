"""Calls that are asked for, where a model has a ``tokenizer.json``: its answer is kept to them in one run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from serving import on_fake, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from serving import Serving


def tool(name: str, **parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", **parameters}}}


CITY = {"properties": {"city": {"enum": ["Rome"]}}, "required": ["city"], "additionalProperties": False}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Serving]:
    vocabulary = {chr(code): code for code in range(33, 127)} | {"Ġ": 32, "Ċ": 10}
    file = tmp_path / "models" / "0" / "tokenizer.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"model": {"vocab": vocabulary}, "decoder": {"type": "ByteLevel"}}))
    script = {"runs": [run("I would ", "rather talk.")]}
    serving = on_fake(
        tmp_path, {"talks": script}, chat_template="{{ messages | length }} said", family="qwen3"
    )
    yield serving.ready()
    serving.stop()


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a07_an_answer_is_kept_to_a_call(server: Serving, choice: Any) -> None:
    body = {
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": [tool("get_weather", **CITY)],
        "tool_choice": choice,
        "parallel_tool_calls": False,
    }
    answer = server.post("/v1/chat/completions", body)
    assert answer.status_code == 200, answer.text
    answer = answer.json()["choices"][0]
    (call,) = answer["message"]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == (
        "get_weather",
        {"city": "Rome"},
    )
    assert answer["finish_reason"] == "tool_calls"
    # The conversation was sent once and as it is; the other inputs are the tokens of the call.
    inputs = [one["input"] for one in server.runs()]
    assert [one["prompt_input"] for one in inputs if one["input_type"] == 0] == ["1 said"]


def test_a07_a_tool_that_cannot_be_enforced_is_named(server: Serving) -> None:
    body = {
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": [tool("f", properties={"a": {"type": "string", "pattern": "("}})],
        "tool_choice": "required",
    }
    answer = server.post("/v1/chat/completions", body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, "tools", "invalid_schema")
