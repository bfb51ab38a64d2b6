"""The types of Open Responses, made of its specification: every object and event of ``/v1/responses``."""

from __future__ import annotations

import http.client
import inspect
import json
import typing
import urllib.parse
from typing import Any

import openresponses_types
from checks import V1, equal, holds, main
from pydantic import BaseModel

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
OK = 200
CITY = {"type": "json_schema", "name": "city", "schema": {"type": "string", "enum": ["Hello world!"]}}
CALL = {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": '{"city": "Paris"}'}
RESULT = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
ASKED: dict[str, dict[str, Any]] = {
    "a text": {"model": "words", "input": "Hi"},
    "items": {
        "model": "words",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
    },
    "instructions": {"model": "words", "input": "Hi", "instructions": "Be brief.", "temperature": 0.5},
    "a limit": {"model": "words", "input": "Hi", "max_output_tokens": 1},
    "reasoning": {"model": "thinks", "input": "Hi", "reasoning": {"effort": "low"}},
    "a call": {"model": "agent", "input": "Hi", "tools": [WEATHER], "parallel_tool_calls": False},
    "a named tool": {
        "model": "agent",
        "input": "Hi",
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "name": "get_weather"},
    },
    "a result": {"model": "agent", "input": [CALL, RESULT], "tools": [WEATHER]},
    "more": {"model": "words", "input": "Hi", "metadata": {"a": "b"}, "text": {"format": {"type": "text"}}},
}
#: The scripted answer does not fit the schema, so the response fails.
FAILS = {"model": "words", "input": "Hi", "text": {"format": CITY}}


def _ask(body: dict[str, Any]) -> bytes:
    address = urllib.parse.urlsplit(V1)
    connection = http.client.HTTPConnection(address.netloc, timeout=60)
    connection.request("POST", "/v1/responses", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    told = answer.read()
    connection.close()
    holds(answer.status == OK, told)
    return told


def _events() -> dict[str, type[BaseModel]]:
    """The types of events, by the word that each has."""
    found: dict[str, type[BaseModel]] = {}
    for name, kind in inspect.getmembers(openresponses_types, inspect.isclass):
        if name.endswith("StreamingEvent") and issubclass(kind, BaseModel):
            words: Any = typing.get_type_hints(kind)["type"]
            found.update((word.value, kind) for word in words)
    return found


def b08_objects() -> None:
    for what, asked in ASKED.items():
        answer = json.loads(_ask(asked))
        read = openresponses_types.ResponseResource.model_validate(answer)
        holds(read.output, what)
    equal(read.status, "completed")


def b08_events() -> None:
    known = _events()
    holds(len(known) > 20, sorted(known))
    for what, asked in {**ASKED, "a failure": FAILS}.items():
        lines = _ask({**asked, "stream": True}).decode().splitlines()
        events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        end = {"a failure": "failed", "a limit": "incomplete"}.get(what, "completed")
        equal((what, events[-1]["type"]), (what, f"response.{end}"))
        for event in events:
            holds(event["type"] in known, (what, event["type"]))
            if what == "a failure" and "response" in event:
                # The specification says that a schema is null, whatever it is.
                equal(event["response"]["text"]["format"].pop("schema"), CITY["schema"])
                event["response"]["text"]["format"]["schema"] = None
            known[event["type"]].model_validate(event)


if __name__ == "__main__":
    main("openresponses-types", "pydantic")
