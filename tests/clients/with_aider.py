"""aider, which changes files as a model says: its program, as a user starts it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from checks import KEY, URL, V1, equal, holds, main

OLD, NEW = 'print("Hi")\n', 'print("Hello world!")\n'
#: What it would ask of the internet, or of a terminal.
QUIET = ("--yes-always", "--no-git", "--no-check-update", "--no-show-model-warnings", "--analytics-disable")


def _change(*words: str, **variables: str) -> None:
    """Has a file changed by the scripted answer."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "greeting.py"
        file.write_text(OLD, encoding="utf-8")
        command = [str(Path(sys.executable).with_name("aider")), *words, *QUIET, "--edit-format", "diff"]
        done = subprocess.run(
            [*command, "--message", "Greet the world.", file.name],
            cwd=folder,
            env={**os.environ, "AIDER_ANALYTICS": "false", **variables},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=300,
            check=False,
        )
        told = done.stdout + done.stderr
        holds(done.returncode == 0, told)
        equal((file.read_text(encoding="utf-8"), "Applied edit" in told), (NEW, True))


def a28_a_file_is_changed() -> None:
    _change("--model", "openai/edits", "--openai-api-base", V1, "--openai-api-key", KEY)


def a28_a_file_is_changed_without_a_stream() -> None:
    _change("--model", "openai/edits", "--openai-api-base", V1, "--openai-api-key", KEY, "--no-stream")


def a28_a_file_is_changed_through_ollama() -> None:
    _change("--model", "ollama_chat/edits", OLLAMA_API_BASE=URL)


if __name__ == "__main__":
    main("aider-chat", "litellm")
