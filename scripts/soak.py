#!/usr/bin/env python3
"""Runs the four parts of the soak, two at a time, and prints what each did and has grown by beside its goal.

    RKLLM_RS_FAKES=target/release python scripts/soak.py [PART ...] [--shorter 100] [--minutes 30]

Parts are tokens, opens, kills and requests. Each runs in a process of its own with a folder of its own for
temporary files. With --shorter 100 each does a hundredth. After 30 minutes all end, whatever is left to do.
Ends with 1 if a part finds a fault, or has not done all.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from soaking import OUTCOME

#: What runs each, and how many there are to be. The longest comes first: the others run beside it.
PARTS = {
    "requests": ("soak_server.py", 100_000),
    "kills": ("soak_kills.py", 1_000),
    "opens": ("soak_opens.py", 10_000),
    "tokens": ("soak_tokens.py", 10_000_000),
}
#: No longer, for all of them, whatever else the machine does: then the rest is told to end, and fails.
MINUTES = 30.0
#: Seconds before the end at which parts are told, and how long they have to say what was done.
TOLD, ANSWER = 30.0, 20.0


def run(name: str, shorter: int, until: float) -> dict[str, Any]:
    """Runs a part, no longer than until the clock says this; what it told at its end."""
    script, goal = PARTS[name]
    goal = max(1, goal // shorter)
    outcome: dict[str, Any] = {"part": name, "goal": goal, "done": 0, "seconds": 0, "faults": []}
    left = until - time.monotonic()
    if left <= 0:
        return {**outcome, "faults": ["not begun: out of time"]}
    with tempfile.TemporaryDirectory(prefix="rkllm-rs-soak-") as folder:
        command = [sys.executable, str(Path(__file__).parent / script), str(goal)]
        with subprocess.Popen(  # noqa: S603 - our own
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "TMPDIR": folder, "RKLLM_RS_NPU_LOCK": str(Path(folder) / "npu.lock")},
            start_new_session=True,
        ) as process:
            ends = [
                threading.Timer(left, process.terminate),
                threading.Timer(left + ANSWER, _end_all, [process.pid]),
            ]
            for one in ends:
                one.start()
            try:
                told = _told(name, process, outcome)
                process.wait()
            finally:
                for one in ends:
                    one.cancel()
                _end_all(process.pid)
    if not told:
        return {**outcome, "faults": [f"ended with {process.returncode}"]}
    if process.returncode and not told["faults"]:
        told["faults"] = [f"ended with {process.returncode}"]
    return told


def _told(name: str, process: subprocess.Popen[str], outcome: dict[str, Any]) -> dict[str, Any]:
    """Passes on what a part prints, and notes how far it is; what it tells at its end, if it does."""
    told: dict[str, Any] = {}
    began = time.monotonic()
    for line in process.stdout or ():
        if line.startswith(OUTCOME):
            told = json.loads(line.removeprefix(OUTCOME))
            continue
        print(f"{name}: {line}", end="", flush=True)
        count = line.split(maxsplit=1)[:1]
        if f" {name}: " in line and count and count[0].isdigit():
            outcome.update(done=int(count[0]), seconds=time.monotonic() - began)
    return told


def _end_all(leader: int) -> None:
    """Ends a part with all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def table(outcomes: list[dict[str, Any]]) -> None:
    """Prints a line for each, and what each has grown by since its first tenth."""
    head = (
        "part",
        "goal",
        "done",
        "seconds",
        "MB",
        "descriptors",
        "threads",
        "processes",
        "shared",
        "files",
        "",
    )
    rows = [head]
    for one in outcomes:
        grown = [""] * 6
        if "after" in one:
            grown = [
                f"{now - was:+g}"
                for was, now in zip(one["before"].values(), one["after"].values(), strict=True)
            ]
            grown[0] = f"{float(grown[0]):+.1f}"
        end = "; ".join(one["faults"]) or "holds"
        rows.append((one["part"], str(one["goal"]), str(one["done"]), f"{one['seconds']:.0f}", *grown, end))
    widths = [max(len(row[at]) for row in rows) for at in range(len(head) - 1)]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]))


def main() -> int:
    """Runs them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all by default")
    parser.add_argument("--shorter", type=int, default=1, help="so many times less of each")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="no longer, for all of them")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown part: {', '.join(sorted(unknown))}")
    began = time.monotonic()
    until = began + max(60 * arguments.minutes - TOLD, 1)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        names = [name for name in PARTS if not arguments.parts or name in arguments.parts]
        outcomes = list(pool.map(lambda name: run(name, arguments.shorter, until), names))
    minutes = (time.monotonic() - began) / 60
    print("\ngrowth since the first tenth:")
    table(outcomes)
    busy = os.getloadavg()[2]
    print(f"{minutes:.1f} minutes of {arguments.minutes:g}; {os.cpu_count()} processors, load {busy:.1f}")
    return int(any(one["faults"] for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
