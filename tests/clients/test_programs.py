"""Programs that do not run here: what they send, in their order, and what their parsers ask for."""

from __future__ import annotations

import datetime as dt
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tests" / "python"), str(ROOT / "tests/python/server")]

from scripted import start  # noqa: E402 - the folders are named above
from serving import on_fake, run  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Serving

HI = [{"role": "user", "content": "Hi"}]
DETAILS = {"parent_model", "format", "family", "parameter_size", "quantization_level"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    serving = start(tmp_path_factory.mktemp("programs"))
    yield serving
    serving.stop()


def lines(server: Serving, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of a stream; each must be JSON by itself."""
    with server.http.stream("POST", path, json=body) as answer:
        assert answer.status_code == 200
        text = "".join(answer.iter_text())
    assert text.endswith("\n")
    return [json.loads(line) for line in text[:-1].split("\n")]


def a_time(text: str) -> dt.datetime:
    """Reads a time as Python 3.10 does, which knows no ``Z`` and no more than six digits."""
    assert len(text.partition(".")[2].rstrip("Z+:-0123456789")) == 0
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00"))


def test_c11_what_open_webui_asks_in_its_order(server: Serving) -> None:
    version = server.http.get("/api/version").json()["version"]
    assert [int(part) for part in version.lstrip("v").partition("-")[0].split(".")]
    models = server.http.get("/api/tags").json()["models"]
    assert "words" in [one["model"].partition(":")[0] for one in models]
    parts = lines(server, "/api/chat", {"model": "words", "messages": HI, "stream": True})
    assert "".join(one["message"]["content"] for one in parts) == "Hello world!"
    for one in server.http.get("/api/ps").json()["models"]:
        assert a_time(one["expires_at"]).tzinfo is not None
    assert "words" in [one["id"] for one in server.http.get("/v1/models").json()["data"]]


def test_c12_zed(server: Serving) -> None:
    for one in server.http.get("/api/tags").json()["models"]:
        assert {"name", "modified_at", "size", "digest", "details"} <= set(one)
        assert set(one["details"]) >= DETAILS
        assert all(isinstance(one["details"][name], str) for name in DETAILS)
    about = server.post("/api/show", {"model": "agent"}).json()
    assert {"completion", "tools"} <= set(about["capabilities"])
    parts = lines(server, "/api/chat", {"model": "words", "messages": HI, "keep_alive": -1, "stream": True})
    for one in parts:
        assert {"model", "created_at", "message", "done"} <= set(one)
        assert isinstance(one["message"]["content"], str)
        assert one["message"]["role"] == "assistant"
    body = {
        "model": "words",
        "messages": HI,
        "stream": True,
        "max_completion_tokens": 9,
        "parallel_tool_calls": False,
        "prompt_cache_key": "a",
        "stop": ["x"],
    }
    assert server.post("/v1/chat/completions", body).status_code == 200


def test_c12_continue(server: Serving) -> None:
    about = server.post("/api/show", {"name": "words"}).json()
    assert isinstance(about["template"], str)
    assert all(len(line.split()) >= 2 for line in about["parameters"].splitlines() if line.strip())
    assert any(key.endswith("context_length") for key in about["model_info"])
    body = {"model": "words", "prompt": "Hi", "raw": True, "keep_alive": 1800, "options": {"num_predict": 2}}
    parts = lines(server, "/api/generate", body)
    assert "".join(one["response"] for one in parts) == "Hello "
    assert len(server.post("/api/embed", {"model": "embeds", "input": ["a"]}).json()["embeddings"]) == 1
    ranked = server.post("/v1/rerank", {"model": "ranks", "query": "a", "documents": ["b", "a"]}).json()
    assert [one["index"] for one in ranked["results"]] == [1, 0]


def test_c12_n8n(server: Serving) -> None:
    assert server.http.get("/").status_code == 200
    assert all(one["name"] for one in server.http.get("/api/tags").json()["models"])
    answer = server.post("/v1/responses", {"model": "words", "input": HI}).json()
    assert answer["output"][0]["content"][0]["text"] == "Hello world!"


def test_c12_cline(server: Serving) -> None:
    with server.http.stream(
        "POST",
        "/v1/chat/completions",
        json={"model": "words", "messages": HI, "stream": True, "stream_options": {"include_usage": True}},
    ) as answer:
        chunks = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: {")]
    for chunk in chunks:
        assert isinstance(chunk["choices"], list)
        for choice in chunk["choices"]:
            assert choice["delta"].get("role", "assistant") in ("assistant", "")
            assert isinstance(choice["delta"].get("content"), (str, type(None)))
    assert chunks[-1]["usage"]["total_tokens"] > 0
    assert lines(server, "/api/chat", {"model": "words", "messages": HI})[-1]["done"]


def test_c13_headers_come_before_the_model(tmp_path: Path) -> None:
    """The library is not loaded before the file is there, and the headers have come by then."""
    held = tmp_path / "go"
    server = on_fake(
        tmp_path / "server", {"words": {"runs": [run("Hello")]}}, library_waits_for=str(held), queue=1
    )
    try:
        body = {"model": "words", "messages": HI, "stream": True}
        with server.http.stream("POST", "/v1/chat/completions", json=body) as answer:
            assert answer.status_code == 200
            wrong = server.post("/v1/chat/completions", {**body, "messages": []})
            assert wrong.status_code == 400
            with server.http.stream("POST", "/api/chat", json=body) as second:
                assert second.status_code == 200
                full = server.post("/v1/chat/completions", body)
                assert (full.status_code, "retry-after" in full.headers) == (429, True)
                held.touch()
                assert "Hello" in second.read().decode()
            assert "Hello" in answer.read().decode()
    finally:
        held.touch()
        server.stop()
