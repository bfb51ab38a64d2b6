"""Prints what this package adds to a library's own time, each figure beside its floor.

    python benches/run.py [--quick] [--json | --markdown] [names...]
    python benches/run.py --against PYTHON [--turns N] [names...]

A floor is the least that the same thing can cost, measured in the same run and in turns. Nothing is
asserted: times are for people to judge. With ``--against``, this build and that of another interpreter
are measured in turns, and each row is printed beside the other's. Needs a C and a C++ compiler, the
headers of the running Python, NumPy and Jinja2, and ``rkllm_rs`` installed as a release build.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

from chats import CHATS
from commands import COMMANDS
from harness import FULL, QUICK, TURN, Row, Size, compared, markdown, table
from measures import MEASURES
from serving import SERVING

ALL = MEASURES | CHATS | COMMANDS | SERVING

#: Packages that some measures need besides.
NEEDED = {"rows": "numpy", "worker": "numpy", "templates": "jinja2"}


def machine() -> dict[str, Any]:
    """Where the figures are from."""
    import rkllm_rs

    return {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "rkllm_rs": rkllm_rs.__version__,
    }


def measured(names: list[str], size: Size) -> list[Row]:
    """The rows of these measures."""
    rows: list[Row] = []
    for name in names:
        if size is not TURN:
            sys.stderr.write(f"{name} ...\n")
        rows += ALL[name](size)
    return rows


def turned(names: list[str], other: str, turns: int) -> list[Row]:
    """This build's figures as ``ours``, the other's as ``floor``, in processes that take turns."""
    rows: dict[str, Row] = {}
    for name in names:
        sys.stderr.write(f"{name} ...\n")
        for _ in range(turns):
            for python, side in ((sys.executable, "ours"), (other, "floor")):
                command = [python, os.path.abspath(__file__), "--turn", "--json", name]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
                for found in json.loads(done.stdout)["rows"]:
                    row = rows.setdefault(found["name"], Row(found["name"], found["unit"]))
                    getattr(row, side).extend(found["ours"])
    return list(rows.values())


def main() -> None:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(ALL)}")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--json", action="store_true", help="every round, as JSON")
    parser.add_argument("--markdown", action="store_true", help="as docs/developing/performance.md has it")
    parser.add_argument("--against", metavar="PYTHON", help="the interpreter that has another build")
    parser.add_argument("--turns", type=int, default=5, help="turns of the two builds")
    parser.add_argument("--turn", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in ALL]
    if unknown:
        parser.error(f"no measure {', '.join(unknown)}; there are {', '.join(ALL)}")
    where, names = machine(), arguments.names or list(ALL)
    needed = sorted({NEEDED[name] for name in names if name in NEEDED})
    if missing := [package for package in needed if find_spec(package) is None]:
        parser.error(f"{', '.join(missing)} must be installed, as `make bench` does, or name other measures")
    if arguments.against:
        rows = turned(names, arguments.against, arguments.turns)
    else:
        rows = measured(names, TURN if arguments.turn else QUICK if arguments.quick else FULL)
    if arguments.json:
        print(json.dumps({"where": where, "rows": [row.as_json() for row in rows]}, indent=1))
    elif arguments.markdown:
        print(f"load average {where['load']:.1f} at the start, {os.getloadavg()[0]:.1f} at the end\n")
        print(markdown(rows))
    else:
        print(", ".join(f"{key} {value}" for key, value in where.items()))
        print(compared(rows) if arguments.against else table(rows))


if __name__ == "__main__":
    main()
