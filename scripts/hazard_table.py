#!/usr/bin/env python3
"""Writes which tests inject which hazard of docs/developing/hazards.md into docs/developing/verification.md.

Tests say it themselves: ``@pytest.mark.hazard("A2")`` in Python, ``// hazard: A2`` above a Rust test.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "developing" / "verification.md"
BEGIN, END = "<!-- made by scripts/hazard_table.py -->\n", "<!-- end of what is made -->\n"
RUST = re.compile(r"// hazard: ([A-Z0-9, ]+)\n(?:\s*#\[[^\n]*\n)*\s*fn (\w+)")


def marked(path: Path) -> list[tuple[str, str]]:
    """The hazards that a Python file's tests name, each with its test."""
    return [
        (str(word.value), node.name)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for mark in node.decorator_list
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.hazard"
        for word in mark.args
        if isinstance(word, ast.Constant)
    ]


def table() -> dict[str, list[str]]:
    """Every hazard that a test names, with those tests."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests" / "python").rglob("test_*.py")):
        for name, test in marked(path):
            found.setdefault(name, []).append(f"`{path.relative_to(ROOT)}::{test}`")
    for path in sorted((ROOT / "src").rglob("*.rs")):
        for names, test in RUST.findall(path.read_text(encoding="utf-8")):
            for name in names.split(", "):
                found.setdefault(name, []).append(f"`{path.relative_to(ROOT)}::{test}`")
    return found


def page() -> str:
    """The page with its table made anew."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    order = "VNAMGL"
    found = sorted(table().items(), key=lambda row: (order.find(row[0][0]), int(row[0][1:])))
    rows = "".join(f"| {name} | {', '.join(tests)} |\n" for name, tests in found)
    return before + BEGIN + "\n| hazard | tests |\n|---|---|\n" + rows + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
