#!/usr/bin/env python3
"""Draws docs/guides/bench.svg: a benchmark of the small real model on the CPU runtime of this machine.

Usage: python scripts/bench_picture.py [OUT.svg]

It is the picture of the command that the guide shows; the figures are those of the machine that drew it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: As docs/guides/command-line.md has it, behind the model.
WORDS = ["-p", "32,128,512", "-n", "64", "--set", "enabled_cpus_num=1,2"]


def main() -> int:
    """Draws the picture, and prints the table."""
    out = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "docs" / "guides" / "bench.svg")
    fetch = [sys.executable, str(ROOT / "scripts" / "fetch_model.py")]
    fetched = subprocess.run(fetch, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    command = [sys.executable, "-m", "rkllm_rs", "bench", fetched.stdout.strip(), *WORDS, "--plot", out]
    return subprocess.run(command, check=False).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
