"""The tests themselves, on machines that start them in other ways."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def ignore_sigint() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def test_ctrl_c_is_tested_where_sigint_is_ignored() -> None:
    # As under `nohup make test &`: what is ignored is passed on to every program, unless it is reset.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_interrupt.py::test_uncaught"],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=ignore_sigint,
    )
    assert done.returncode == 0, done.stdout
