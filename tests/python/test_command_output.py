"""Commands whose output nobody takes, or that cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

COMMANDS = [
    ["abi", "--json"],
    ["--help"],
    ["--version"],
    ["run", "--help"],
    ["chat", "--help"],
    ["bench", "--help"],
    ["version"],
    ["backends"],
    ["runtime", "list"],
    ["ps"],
    ["doctor", "--json"],
    ["verify", "/no/such/model.gguf", "--only", "load"],
    ["inspect", "/no/such/file"],
    ["list", "--json"],
    ["pull", "--help"],
    ["plan", "/no/such/file"],
    ["identify", "/no/such/file"],
]


def run(words: list[str], **keywords: object) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "rkllm_rs", *words],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=120,
        **keywords,  # type: ignore[call-overload]
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_full_disk_is_told(words: list[str], *, buffered: bool) -> None:
    # Without a buffer it is the first write that fails, and not the last.
    environment = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    with open("/dev/full", "w") as full:
        status, said = run(words, stdout=full, env=environment)
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    assert status == 1
    assert said.startswith("rkllm-rs: ")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_reader_that_has_gone_is_no_error(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        status, said = run(words, stdout=writing, env={**os.environ, "PYTHONUNBUFFERED": ""})
    finally:
        os.close(writing)
    # As after SIGPIPE; the last one has an error of its own, and nothing to write.
    assert status == (1 if words[0] == "identify" else 141)
    assert "Traceback" not in said
    assert "Exception ignored" not in said


def test_a_closed_output_is_no_traceback() -> None:
    words = [sys.executable, "-m", "rkllm_rs", "abi"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *words], capture_output=True, text=True, check=False, timeout=120
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 0
