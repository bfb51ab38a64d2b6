"""Requests of real clients, and what becomes of them when bytes and values change."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

_TOOL: Final = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}

#: A route, and a body as a client sends it.
REQUESTS: Final[list[tuple[str, dict[str, Any]]]] = [
    (
        "/v1/chat/completions",
        {
            "model": "one",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": 'Hi 😀 \\ " é'}]},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "call_1",
                            "type": "function",
                            "function": {"name": "weather", "arguments": "{}"},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
            ],
            "tools": [_TOOL],
            "tool_choice": "auto",
            "temperature": 0.7,
            "top_p": 0.9,
            "max_tokens": 3,
            "n": 1,
            "seed": 7,
            "stop": ["\n\n"],
            "presence_penalty": 0.1,
            "frequency_penalty": 0.1,
            "logit_bias": {"5": 1.5},
            "logprobs": False,
            "stream": False,
            "user": "u",
            "chat_template_kwargs": {"enable_thinking": False},
        },
    ),
    (
        "/v1/chat/completions",
        {
            "model": "one",
            "messages": [{"role": "user", "content": "Hi"}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_completion_tokens": 3,
            "reasoning_effort": "none",
        },
    ),
    ("/v1/completions", {"model": "one", "prompt": "Once", "max_tokens": 3, "echo": False, "suffix": None}),
    ("/v1/completions", {"model": "one", "prompt": [[1, 2, 3]], "max_tokens": 2, "stream": True}),
    (
        "/v1/embeddings",
        {"model": "one", "input": ["a", "b"], "encoding_format": "base64", "dimensions": None},
    ),
    ("/v1/responses", {"model": "one", "input": "Hi", "instructions": "Be brief.", "max_output_tokens": 3}),
    (
        "/v1/responses",
        {
            "model": "one",
            "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
            "tools": [{"type": "function", **_TOOL["function"]}],  # type: ignore[dict-item]
            "stream": True,
            "store": False,
            "max_output_tokens": 16,
        },
    ),
    (
        "/v1/messages",
        {
            "model": "one",
            "max_tokens": 3,
            "system": [{"type": "text", "text": "Be brief."}],
            "messages": [{"role": "user", "content": "Hi"}],
            "tools": [{"name": "weather", "input_schema": _TOOL["function"]["parameters"]}],  # type: ignore[index]
            "stop_sequences": ["x"],
            "stream": True,
        },
    ),
    ("/v1/messages/count_tokens", {"model": "one", "messages": [{"role": "user", "content": "Hi"}]}),
    (
        "/api/chat",
        {
            "model": "one",
            "messages": [{"role": "user", "content": "Hi"}],
            "options": {"num_predict": 3, "temperature": 0, "num_ctx": 2048, "stop": ["x"]},
            "keep_alive": "5m",
            "stream": True,
        },
    ),
    (
        "/api/generate",
        {"model": "one", "prompt": "Once", "raw": True, "stream": False},
    ),
    ("/api/embed", {"model": "one", "input": "a", "truncate": True}),
    ("/api/show", {"model": "one", "verbose": False}),
    ("/v1/rerank", {"model": "one", "query": "a", "documents": ["b", "c"], "top_n": 1}),
    ("/tokenize", {"content": "abc", "add_special": True}),
    ("/detokenize", {"tokens": [1, 2, 3]}),
    ("/apply-template", {"messages": [{"role": "user", "content": "Hi"}]}),
]

#: Values of the wrong kind, and numbers at the edges.
VALUES: Final[list[Any]] = [
    *(None, True, "", "x", "1", "\ud800", "\x00", "x" * 1000),
    *(-1, 0, 1, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308),
    *([], {}, [None], [[]] * 20, {"a": {"b": []}}),
]
_PARTS: Final = [
    b'"',
    b"\\",
    b"\\u",
    b"{",
    b"]",
    b"NaN",
    b"1e999",
    b"-",
    b"\xef\xbb\xbf",
    b"\xff",
    b"null",
    b":",
]


def mutated_bytes(body: bytes, dice: random.Random) -> bytes:
    """A body with some of its bytes changed, left out, doubled or put in."""
    data = bytearray(body)
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(data) + 1)
        kind = dice.randrange(4)
        if kind == 0:
            data[at : at + 1] = bytes([dice.randrange(256)])
        elif kind == 1:
            del data[at : at + dice.randint(1, 8)]
        elif kind == 2:
            data[at:at] = data[at : at + dice.randint(1, 16)]
        else:
            data[at:at] = dice.choice(_PARTS)
    return bytes(data)


def mutated_values(body: dict[str, Any], dice: random.Random) -> bytes:
    """A body that is JSON still, with some values replaced, left out or under another name."""
    data = copy.deepcopy(body)
    for _ in range(dice.randint(1, 2)):
        places = [
            (place, key)
            for place in _places(data)
            for key in (place if isinstance(place, dict) else range(len(place)))
        ]
        if not places:
            break
        place, key = dice.choice(places)
        kind = dice.randrange(4)
        if kind == 0 and isinstance(place, dict):
            place["other"] = place.pop(key)
        elif kind == 1:
            del place[key]
        else:
            place[key] = copy.deepcopy(dice.choice(VALUES))
    return json.dumps(data).encode()


def _places(data: Any) -> Iterator[Any]:
    """Every object and array in it."""
    if isinstance(data, (dict, list)):
        yield data
        for value in data.values() if isinstance(data, dict) else data:
            yield from _places(value)


def _keys(place: Any) -> list[Any]:
    return list(place) if isinstance(place, dict) else list(range(len(place)))


def mutated(dice: random.Random) -> tuple[str, bytes]:
    """A route, and a body that some client could have sent on a bad day."""
    path, body = dice.choice(REQUESTS)
    if dice.random() < 0.4:
        return path, mutated_bytes(json.dumps(body).encode(), dice)
    return path, mutated_values(body, dice)
