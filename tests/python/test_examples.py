"""The example programs, on the CPU runtime with the real small model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")


@pytest.mark.model
@pytest.mark.timeout(300)
def test_demo_streams_real_text_and_says_what_it_ran_on() -> None:
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "demo.py"), MODEL], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "tokens per second:" in done.stdout
    assert "backend:             cpu" in done.stdout
    assert "This was the CPU runtime" in done.stdout
    answer = done.stdout.split("\n> ")[1].split("\n\n")[1]
    assert len(answer.split()) > 10, answer


def test_demo_says_what_is_wrong(tmp_path: Path) -> None:
    missing = tmp_path / "none.gguf"
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "demo.py"), str(missing)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert str(missing) in done.stderr
    assert "Traceback" not in done.stderr
