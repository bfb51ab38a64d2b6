#!/usr/bin/env python3
"""Writes into docs/developing/server.md which test holds which of the server's checks.

Tests say it by their names: ``test_a05_…``, and two numbers for what shows two: ``test_a17_c5_…``.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "developing" / "server.md"
BEGIN, END = "<!-- checks: scripts/server_checks.py -->", "<!-- end of checks -->"
#: How many checks each part has.
PARTS = {"A": 30, "B": 15, "C": 16, "D": 5, "E": 17, "F": 13, "G": 7}
#: Which files run where.
TIERS = {
    "make test": ("tests/python/server/test_*.py",),
    "make test-clients": (
        "tests/clients/test_*.py",
        "tests/clients/with_*.py",
        "tests/clients/rust/src/main.rs",
        "scripts/several_boards.py",
    ),
}
#: What is held by something that is not a test by name.
ELSEWHERE = {
    "E14": "make bench: `benches/run.py --quick server`",
    "G6": "where haproxy and nginx are installed",
    "F13": "make test-clients: `scripts/fuzz_server.py`, the 100,000",
}
#: What no test holds, or not all of it, and why.
OPEN: dict[str, str] = {}
_PREFIX = re.compile(r"(?:test_)?((?:[a-g]\d+_)+)")
_RUST = re.compile(r"^async fn (\w+)", re.MULTILINE)


def named(name: str) -> list[str]:
    """The checks that a test names, such as ``A5``."""
    found = _PREFIX.match(name)
    return [f"{one[0].upper()}{int(one[1:])}" for one in found[1].split("_")[:-1]] if found else []


def tests() -> dict[str, dict[str, set[str]]]:
    """For each check, the files by tier that have a test of it."""
    found: dict[str, dict[str, set[str]]] = {}
    for tier, patterns in TIERS.items():
        for path in sorted(path for pattern in patterns for path in ROOT.glob(pattern)):
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".rs":
                names = _RUST.findall(text)
            else:
                kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
                names = [node.name for node in ast.parse(text).body if isinstance(node, kinds)]
            for check in (check for name in names for check in named(name)):
                found.setdefault(check, {}).setdefault(tier, set()).add(path.relative_to(ROOT).as_posix())
    return found


def table() -> str:
    """The table."""
    known = tests()
    rows = ["| check | held by |", "|---|---|"]
    for part, count in PARTS.items():
        for check in (f"{part}{number}" for number in range(1, count + 1)):
            held = [
                f"{tier}: {', '.join(f'`{short(file)}`' for file in sorted(files))}"
                for tier, files in known.get(check, {}).items()
            ]
            held += [ELSEWHERE[check]] if check in ELSEWHERE else []
            held += [f"**open**: {OPEN[check]}"] if check in OPEN else []
            rows.append(f"| {check} | {'; '.join(held) or '**nothing**'} |")
    return "\n".join(rows)


def short(file: str) -> str:
    """A file as the table names it."""
    return file.removeprefix("tests/python/server/").removeprefix("tests/")


def page() -> str:
    """The page with the table."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
