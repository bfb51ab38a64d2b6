"""`RKLLM_LOG_LEVEL`: what is said at each level, always with a letter for its kind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_model import make_model

pytestmark = pytest.mark.timeout(120)

ONE_RUN = """
import sys
sys.path.insert(0, sys.argv[1])
from capi import Library, Model
with Model(Library(sys.argv[2]), sys.argv[3]) as llm:
    llm.go([300, 301, 302], most=3)
    llm.run([1 << 30])
"""


def lines(library: Path, folder: Path, level: str | None) -> list[str]:
    """What the library writes to stderr, in a process of its own; nothing may go to stdout."""
    environment = {name: value for name, value in os.environ.items() if name != "RKLLM_LOG_LEVEL"}
    if level is not None:
        environment["RKLLM_LOG_LEVEL"] = level
    model = make_model(folder / "model.gguf", "Q8_0")
    command = [sys.executable, "-c", ONE_RUN, str(Path(__file__).parent), str(library), str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == ""
    return done.stderr.splitlines()


@pytest.mark.parametrize(
    ("level", "timings", "tokens"),
    [
        (None, False, False),
        ("0", False, False),
        ("1", True, False),
        ("2", True, True),
        ("5", True, True),
        ("much", False, False),
    ],
)
def test_each_level(library: Path, tmp_path: Path, level: str | None, *, timings: bool, tokens: bool) -> None:
    log = lines(library, tmp_path, level)
    assert all(re.match("[IWE] rkllm: ", line) for line in log), log
    text = "\n".join(log)
    assert "I rkllm: rkllm-runtime version: 1.3.0" in text
    assert "E rkllm: token 1073741824 is not in the vocabulary of 512" in text
    assert ("I rkllm: Prefill: " in text, "I rkllm: Generate: " in text) == (timings, timings)
    assert ("input tokens: [300, 301, 302]" in text, "KV cache: [5] positions" in text) == (tokens, tokens)
