"""Prints what this package adds to a library's own time, each figure beside its floor.

    python benches/run.py [--quick] [--json] [names...]

A floor is the least that the same thing can cost, measured in the same run and in turns. Nothing is
asserted: times are for people to judge. Needs a C and a C++ compiler, the headers of the running
Python, and ``rkllm_rs`` installed as a release build.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from typing import Any

from harness import FULL, QUICK, Row, table
from measures import MEASURES


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


def main() -> None:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(MEASURES)}")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--json", action="store_true", help="every round, as JSON")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in MEASURES]
    if unknown:
        parser.error(f"no measure {', '.join(unknown)}; there are {', '.join(MEASURES)}")
    where = machine()
    rows: list[Row] = []
    for name in arguments.names or MEASURES:
        sys.stderr.write(f"{name} ...\n")
        rows += MEASURES[name](QUICK if arguments.quick else FULL)
    if arguments.json:
        print(json.dumps({"where": where, "rows": [row.as_json() for row in rows]}, indent=1))
    else:
        print(", ".join(f"{key} {value}" for key, value in where.items()))
        print(table(rows))


if __name__ == "__main__":
    main()
