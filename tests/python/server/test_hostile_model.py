"""Schemas and patterns of strangers on the real model: check F7 of the server's reference."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from wire import Answer, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.model
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Server]:
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("RKLLM_", "XDG_"))}
    variables.update(HOME=str(home), TMPDIR=str(home), RKLLM_RS_NPU_LOCK="off", RKLLM_RS_BACKEND="cpu")
    words = ["-m", "rkllm_rs", "serve", f"one={MODEL}", "--port", "0", "--max-context-len", "512"]
    one = Server(words, env=variables, cwd=home)
    ask(one, {"type": "object"})
    yield one
    one.close()


def ask(server: Server, schema: object, **more: object) -> Answer:
    answer = server.ask(
        "POST",
        "/v1/chat/completions",
        {
            "messages": [{"role": "user", "content": "Hi"}],
            "max_tokens": 2,
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
            **more,
        },
    )
    assert answer.status in (200, 400), answer
    return answer


def resident(server: Server) -> int:
    """Memory of the server's process and of its worker, in kB."""
    worker = server.ask("GET", "/status").json["models"][0]["worker_pid"]
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in (server.process.pid, worker)]
    return sum(int(text.partition("VmRSS:")[2].split()[0]) for text in texts)


def nested(depth: int) -> Any:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


COSTLY: dict[str, Any] = {
    "a loop": {"$ref": "#"},
    "a loop by name": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
    "for ever": {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    "a file": {"$ref": "file:///etc/passwd"},
    "an address": {"$ref": "http://127.0.0.1:1/x"},
    "deep": nested(25),
    "many values": {"enum": [f"value {number}" for number in range(100_000)]},
    "a pattern that doubles": {"type": "string", "pattern": "^(a+)+$"},
    "a pattern that counts": {"type": "string", "pattern": "((.{1,1000}){1,1000}){1,1000}"},
    "long": {"type": "string", "maxLength": 2**63},
    "many items": {"type": "array", "minItems": 10**9, "items": {}},
    "many ways": {"allOf": [{"anyOf": [{"type": "string"}] * 50}] * 50},
}


@pytest.mark.parametrize("schema", COSTLY.values(), ids=COSTLY)
def test_f7_schemas_that_cost(server: Server, schema: object) -> None:
    """Each is served or refused in bounded time and memory, and others are served meanwhile."""
    before = resident(server)
    with server.connect() as health, server.connect() as client:
        body = {
            "messages": [{"role": "user", "content": "Hi"}],
            "max_tokens": 2,
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
        }
        client.ask("POST", "/v1/chat/completions", body)
        began = time.monotonic()
        health.ask("GET", "/health")
        assert health.answer().status == 200
        assert time.monotonic() - began < 30
        assert client.answer().status in (200, 400)
    assert resident(server) - before < 128 << 10
    assert server.ask("GET", "/health").status == 200


def test_f7_a_schema_of_ten_thousand_floors(server: Server) -> None:
    depth = 10_000
    body = b'{"a":' * depth + b"1" + b"}" * depth
    answer = server.ask("POST", "/v1/chat/completions", body)
    assert (answer.status, answer.json["error"]["code"]) == (400, "invalid_json")


def test_f7_many_schemas_are_not_kept(server: Server, home: Path) -> None:
    """Neither in memory nor on the disk: home, caches and temporary files are in one folder."""

    def files() -> dict[str, int]:
        return {str(path): path.lstat().st_size for path in home.rglob("*")}

    for number in range(3):
        ask(server, {"type": "object", "properties": {f"x{number}": {"type": "integer"}}})
    before, there = resident(server), files()
    for number in range(25):
        ask(server, {"type": "object", "properties": {f"a{number}": {"type": "integer"}}})
    assert resident(server) - before < 16 << 10
    assert files() == there
