#!/usr/bin/env python3
"""Runs the four parts of the soak, two at a time, and prints what each did and has grown by beside its goal.

    RKLLM_RS_FAKES=target/release python scripts/soak.py [PART ...] [--shorter 100]

Parts are tokens, opens, kills and requests. Each runs in a process of its own with a folder of its own for
temporary files. With --shorter 100 each does a hundredth. Ends with 1 if a part finds a fault.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile
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
#: For all of them, on two cores that have nothing else to do.
MINUTES = 30.0
#: No part may take longer, whatever else the machine does.
PATIENCE = 3 * 3600.0


def run(name: str, shorter: int) -> dict[str, Any]:
    """Runs a part; what it told at its end."""
    script, goal = PARTS[name]
    with tempfile.TemporaryDirectory(prefix="rkllm-rs-soak-") as folder:
        command = [sys.executable, str(Path(__file__).with_name(script)), str(max(1, goal // shorter))]
        lines: list[str] = []
        began = time.monotonic()
        with subprocess.Popen(  # noqa: S603 - our own
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "TMPDIR": folder, "RKLLM_RS_NPU_LOCK": str(Path(folder) / "npu.lock")},
        ) as process:
            for line in process.stdout or ():
                lines.append(line)
                if not line.startswith(OUTCOME):
                    print(f"{name}: {line}", end="", flush=True)
                if time.monotonic() - began > PATIENCE:
                    process.kill()
    told = [json.loads(line.removeprefix(OUTCOME)) for line in lines if line.startswith(OUTCOME)]
    if not told:
        return {
            "part": name,
            "goal": goal,
            "done": 0,
            "seconds": 0,
            "faults": [f"ended with {process.returncode}"],
        }
    outcome: dict[str, Any] = told[-1]
    if process.returncode and not outcome["faults"]:
        outcome["faults"] = [f"ended with {process.returncode}"]
    return outcome


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
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown part: {', '.join(sorted(unknown))}")
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        names = [name for name in PARTS if not arguments.parts or name in arguments.parts]
        outcomes = list(pool.map(lambda name: run(name, arguments.shorter), names))
    minutes = (time.monotonic() - began) / 60
    print("\ngrowth since the first tenth:")
    table(outcomes)
    busy = os.getloadavg()[2]
    print(f"{minutes:.1f} minutes of {MINUTES:g}; {os.cpu_count()} processors, load {busy:.1f}")
    return int(any(one["faults"] for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
