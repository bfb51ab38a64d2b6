"""Tokens of a prompt whose answer is cut off: the vendor's library does not tell them, a tokenizer does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from serving import on_fake, read_until, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from serving import Serving

ASK: Any = [{"role": "user", "content": "one two three"}]
#: The requests of each dialect, where they have a stop string, and where they tell the tokens of the prompt.
DIALECTS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "/v1/chat/completions": ({"messages": ASK, "stop": "STOP"}, ("usage", "prompt_tokens")),
    "/v1/messages": (
        {"messages": ASK, "max_tokens": 900, "stop_sequences": ["STOP"]},
        ("usage", "input_tokens"),
    ),
    "/api/chat": ({"messages": ASK, "options": {"stop": ["STOP"]}}, ("prompt_eval_count",)),
    "/api/generate": ({"prompt": ASK[0]["content"], "options": {"stop": ["STOP"]}}, ("prompt_eval_count",)),
}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    tokenizers = pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("counts")
    scripts = {
        "stops": {"runs": [run("some", " STOP", *([" more"] * 500), delay_ms=5)]},
        "goes on": {"runs": [run("x", repeat=100_000, delay_ms=5)]},
    }
    serving = on_fake(folder, scripts, keep_alive=-1)
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, "[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    for at in range(len(scripts)):
        tokenizer.save(str(folder / "models" / str(at) / "tokenizer.json"))
    yield serving.ready()
    serving.stop()


def tokens(serving: Serving, model: str) -> int:
    """How many tokens the prompt has."""
    asked = {"model": model, "messages": ASK}
    number: int = serving.post("/v1/messages/count_tokens", asked).json()["input_tokens"]
    assert number > 3
    return number


@pytest.mark.parametrize("path", DIALECTS)
def test_b15_an_answer_that_a_stop_string_ends(serving: Serving, path: str) -> None:
    body, where = DIALECTS[path]
    answer = serving.post(path, {"model": "stops", "stream": False, **body})
    assert "some" in answer.text
    told = answer.json()
    for name in where:
        told = told[name]
    assert told == tokens(serving, "stops")


@pytest.mark.parametrize("path", [*DIALECTS, "/v1/responses"])
def test_b15_a_stream_that_is_left(serving: Serving, path: str) -> None:
    """Its line in the log has the counts."""
    body = DIALECTS[path][0] if path in DIALECTS else {"input": ASK}
    before = len(left(serving))
    sock = serving.connect(path, {"model": "goes on", "stream": True, **body})
    read_until(sock, b'"x"')
    sock.close()
    serving.wait_for(lambda: len(left(serving)) > before, "its line")
    line = left(serving)[-1]
    assert f" route={path} " in line
    assert f" prompt_tokens={tokens(serving, 'goes on')} " in line


def left(serving: Serving) -> list[str]:
    return [line for line in serving.told().splitlines() if "reason=client_gone" in line]


def test_c01_a_model_without_a_tokenizer_tells_no_context(tmp_path: Path) -> None:
    serving = on_fake(tmp_path, {"one": {"runs": [run("Hello")]}}).ready()
    try:
        body = {"model": "one", "prompt": "Hi", "stream": False}
        told = serving.post("/api/generate", body).json()
        assert (told["response"], "context" in told) == ("Hello", False)
        refused = serving.post("/api/generate", {**body, "context": [1, 2]})
        assert refused.status_code == 400
        assert "/api/chat" in refused.json()["error"]
    finally:
        serving.stop()
