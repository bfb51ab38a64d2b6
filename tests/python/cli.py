"""Starting the command ``rkllm-rs`` in tests."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from rkllm_rs.cli import main
from support import SLOW

if TYPE_CHECKING:
    from pathlib import Path


def cli(*words: object, **keywords: Any) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end; ``environment`` adds to the variables of this process."""
    environment = {
        **os.environ,
        **{name: str(value) for name, value in keywords.pop("environment", {}).items()},
    }
    keywords = {"stdin": subprocess.DEVNULL, **keywords}
    if "input" in keywords:
        del keywords["stdin"]
    return subprocess.run(
        [sys.executable, "-m", "rkllm_rs", *(str(word) for word in words)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120 * SLOW,
        **keywords,
    )


def succeeds(*words: object, **keywords: Any) -> str:
    """What the command prints, which must end with 0."""
    done = cli(*words, **keywords)
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def written(path: Path, text: str) -> Path:
    """A file with this text."""
    path.write_text(text)
    return path


def status_of(*words: object) -> int:
    """The exit status of the command in this process, which is quicker; ``capsys`` has what it prints."""
    try:
        return main([str(word) for word in words])
    except SystemExit as ended:
        return int(ended.code or 0)
