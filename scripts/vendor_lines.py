#!/usr/bin/env python3
"""Writes the library's lines into docs/troubleshooting.md, from data/vendor-lines.json.

scripts/vendor_lines.py          rewrites what stands between the marks in the page
scripts/vendor_lines.py --check  changes nothing, and exits with status 1 if it would
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data" / "vendor-lines.json"
PAGE = ROOT / "docs" / "troubleshooting.md"
Row = dict[str, Any]


def _plain(text: str) -> str:
    """Text for a cell of a table."""
    text = text.replace("{needed}", "that").replace("{limit}", "the limit")
    return text.replace("|", "\\|").replace("<image>", "`<image>`")


def _line(row: Row) -> str:
    return ", ".join(f"`{line}`" for line in row["lines"])


def causes(rows: list[Row]) -> list[str]:
    """The lines that become errors."""
    lines = ["| line | cause | what to do | error |", "|---" * 4 + "|"]
    for row in rows:
        if row["error"] is None or (row.get("rank") == "general" and "fix" not in row):
            continue
        fix = _plain(row["fix"])
        if "see" in row:
            fix += f" [More](#{row['see']})"
        error = f"`{row['error']}`"
        if row.get("rank") == "warning":
            error = f"{error}, if the call fails"
        if row.get("fails") == "run":
            error += ", even if the run seemed to succeed"
        lines.append(f"| {_line(row)} | {_plain(row['cause'])} | {fix} | {error} |")
    return lines


def harmless(rows: list[Row]) -> list[str]:
    """The lines that are no errors."""
    lines = ["| line | meaning |", "|---|---|"]
    lines += [f"| {_line(row)} | {_plain(row['cause'])} |" for row in rows if row["error"] is None]
    return lines


def rewritten(page: str, rows: list[Row]) -> str:
    """The page with these tables, made from the data."""
    for make in (causes, harmless):
        begin, end = f"<!-- {make.__name__}: scripts/vendor_lines.py -->\n", "<!-- end -->"
        before, found, rest = page.partition(begin)
        if not found:
            sys.exit(f"the mark of {make.__name__} is not in the page")
        page = f"{before}{begin}\n" + "\n".join(make(rows)) + f"\n\n{end}{rest.partition(end)[2]}"
    return page


def main() -> int:
    """Rewrites the page, or says that it is not current."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    check = parser.parse_args().check
    before = PAGE.read_text("utf-8")
    after = rewritten(before, json.loads(DATA.read_text("utf-8")))
    if after == before:
        return 0
    if check:
        print(f"{PAGE.name} is not current: run scripts/vendor_lines.py")
        return 1
    PAGE.write_text(after, "utf-8")
    print(f"wrote {PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
