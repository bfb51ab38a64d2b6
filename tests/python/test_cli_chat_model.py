"""``rkllm-rs chat`` in a terminal, with the real small model."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import pytest

from terminals import PROMPT, Terminal

if TYPE_CHECKING:
    from pathlib import Path

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

STORY = "Tell a long story about a river."


def chat(*arguments: object) -> list[str]:
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    return [sys.executable, "-m", "rkllm_rs", "chat", MODEL, "--top-k", "1", *map(str, arguments)]


def test_a_conversation(tmp_path: Path) -> None:
    saved, schema = tmp_path / "talk.json", tmp_path / "schema.json"
    cities = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
    schema.write_text(json.dumps({**cities, "additionalProperties": False}))
    with Terminal(chat("--max-new-tokens", 32, "--system", "Be brief.")) as terminal:
        terminal.ready(1)
        terminal.send("What is teh\x7f\x7fhe capital of France?\r")
        terminal.ready(2)
        assert "What is the capital of France?" in terminal.text
        assert "Paris" in terminal.text
        terminal.send("/stats\r")
        terminal.ready(3)
        terminal.send("/think off\r")
        terminal.ready(4)
        terminal.send(f"/schema {schema}\r")
        terminal.ready(5)
        terminal.send("\x1b[A\x1b[A\x1b[A\x1b[A\r")
        terminal.see('"city"')
        terminal.ready(6)
        terminal.send(f"/save {saved}\r")
        terminal.ready(7)
        terminal.send("\x04")
        assert terminal.end() == 0
    system, *turns = json.loads(saved.read_text())
    assert system == {"role": "system", "content": "Be brief."}
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 2
    assert turns[0]["content"] == turns[2]["content"] == "What is the capital of France?"
    assert json.loads(turns[3]["content"])["city"] in {"Paris", "Rome"}


def test_ctrl_c_once_and_twice_on_a_narrow_screen(tmp_path: Path) -> None:
    saved = tmp_path / "talk.json"
    with Terminal(chat(), columns=22, rows=12) as terminal:
        terminal.ready(1)
        terminal.send(STORY + "\r")
        before = len(terminal.text)
        terminal.until(lambda text: len(text) > before + 150)  # the answer comes in parts
        terminal.resize(20, 10)
        terminal.send("\x03")
        terminal.until(lambda text: text.endswith(PROMPT))
        terminal.send(f"/save {saved}\r")
        terminal.until(lambda text: saved.exists() and text.endswith(PROMPT))
        terminal.send("\x03")
        terminal.until(lambda text: text.endswith(PROMPT) and "again" in text)
        terminal.send("\x03")
        assert terminal.end() == 130
    question, answer = json.loads(saved.read_text())
    assert question["content"] == STORY
    assert len(answer["content"]) > 50


def test_a_full_context_window_is_told() -> None:
    with Terminal(chat("--max-context-len", 96)) as terminal:
        terminal.ready(1)
        terminal.send("And then? " * 30 + "\r")
        terminal.ready(2)
        assert "/clear" in terminal.text
        terminal.send("/clear\r")
        terminal.ready(3)
        terminal.send("Say hello.\r")
        terminal.ready(4)
        assert terminal.text.count("--max-context-len") == 1
