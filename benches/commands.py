"""What the command ``rkllm-rs`` costs beside an interpreter, and beside a program with the same answer."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from harness import TOKEN, NullModel, Row, Size

if TYPE_CHECKING:
    from collections.abc import Callable

#: The same answer by a program, which prints nothing.
PROGRAM = """
import sys, warnings
from rkllm_rs import RKLLM
warnings.simplefilter("ignore")
with RKLLM(sys.argv[1], backend="npu", library=sys.argv[2], template="raw") as llm:
    for chunk in llm.stream(sys.argv[3]):
        pass
"""


def wall(words: list[str]) -> float:
    """Milliseconds of a process whose output goes through a pipe."""
    start = time.perf_counter_ns()
    subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return (time.perf_counter_ns() - start) / 1e6


def command(size: Size) -> list[Row]:
    """The command from its start to its end. Both sides begin with an interpreter of their own."""
    null = NullModel()
    library = null.llm.runtime.path
    model = os.path.join(os.path.dirname(library), "null.rkllm")
    null.close()
    ours = [sys.executable, "-m", "rkllm_rs"]

    def answers(prompt: str) -> tuple[list[str], list[str]]:
        run = [*ours, "run", model, "--backend", "npu", "--library", library, "--raw", prompt]
        return run, [sys.executable, "-c", PROGRAM, model, library, prompt]

    pairs = {
        "rkllm-rs version": ([*ours, "version"], [sys.executable, "-c", "pass"]),
        "rkllm-rs run, one token": answers(f"1 0 {TOKEN}"),
        "rkllm-rs run, 10,000 tokens, 0.1 ms a token": answers(f"10000 100 {TOKEN}"),
    }
    rows: list[Row] = []
    for name, (words, floor) in pairs.items():
        row = Row(name, "ms")
        for _ in range(size.imports if "0.1 ms" not in name else size.rounds):
            row.ours.append(wall(words))
            row.floor.append(wall(floor))
        rows.append(row)
    return rows


COMMANDS: dict[str, Callable[[Size], list[Row]]] = {"command": command}
