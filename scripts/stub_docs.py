#!/usr/bin/env python3
"""Copies the docstrings of the compiled module into its stubs.

    scripts/stub_docs.py          rewrites python/rkllm_rs/_native/*.pyi
    scripts/stub_docs.py --check  only names the stubs that would change, with exit status 1

The ``///`` texts of the classes and functions in src/py are the only source. PyO3 makes docstrings of
them, so the package must be built and installed first. Signatures and comments of the stubs stay as they are.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
import textwrap
import types
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

STUBS = Path(__file__).resolve().parents[1] / "python" / "rkllm_rs" / "_native"
WIDTH = 110
QUOTES = '"""'
Node = ast.ClassDef | ast.FunctionDef


class Edit(NamedTuple):
    """Lines of a stub, counted from 0, and what stands in their place."""

    start: int
    end: int
    lines: list[str]


def entries(text: str) -> Iterator[list[str]]:
    """Blocks of a docstring that are filled together: paragraphs, arguments, lines of examples."""
    block: list[str] = []
    example = False
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        heading = indent == 0 and re.fullmatch(r"\w+:", line) is not None
        if indent == 0 and line:
            example = line == "Example:"
        first = len(block[0]) - len(block[0].lstrip()) if block else 0
        goes_on = block and line and not heading and not example and (indent > first or indent == first == 0)
        if not goes_on and block:
            yield block
            block = []
        if heading or not line or (example and indent):
            yield [line]
        else:
            block.append(line)
    if block:
        yield block


def filled(text: str, width: int) -> list[str]:
    """A docstring in the form of the stubs: two backticks for code, lines of the right width."""
    lines: list[str] = []
    for block in entries(re.sub(r"(?<!`)`([^`\n]+)`(?!`)", r"``\1``", text)):
        indent = block[0][: len(block[0]) - len(block[0].lstrip())]
        if len(block) == 1 and len(block[0]) <= width:
            lines += block
            continue
        hanging = indent + "    " if indent else ""
        words = " ".join(line.strip() for line in block)
        lines += textwrap.wrap(words, width, initial_indent=indent, subsequent_indent=hanging,
                               break_long_words=False, break_on_hyphens=False)  # fmt: skip
    return lines


def docstring(text: str, column: int) -> list[str]:
    """The lines of a docstring at a column."""
    indent = " " * column
    first, *rest = filled(text, WIDTH - column)
    if not rest:
        return [f"{indent}{QUOTES}{first}{QUOTES}"]
    return [
        f"{indent}{QUOTES}{first}",
        *(indent + line if line else "" for line in rest),
        f"{indent}{QUOTES}",
    ]


def own_text(value: object) -> str | None:
    """What was written for a class or function; not what Python says of every slot."""
    slot = isinstance(value, types.WrapperDescriptorType)
    made = getattr(value, "__name__", "") == "__new__"
    text = None if slot or made else getattr(value, "__doc__", None)
    return inspect.cleandoc(text) if text else None


def members(body: list[ast.stmt], owner: object) -> Iterator[tuple[Node, object]]:
    """Classes and functions of a stub, with what they are at run time."""
    for node in body:
        if isinstance(node, Node) and hasattr(owner, node.name):
            value = inspect.getattr_static(owner, node.name)
            value = getattr(value, "__func__", value)
            yield node, value
            if isinstance(node, ast.ClassDef):
                yield from members(node.body, value)


def edits(source: str, module: object) -> Iterator[Edit]:
    """What has to change in a stub."""
    for node, value in members(ast.parse(source).body, module):
        text, first = own_text(value), node.body[0]
        old = ast.get_docstring(node)
        if not text and not old:
            continue
        column = node.col_offset + 4
        lines = docstring(text, column) if text else [" " * column + "..."]
        if old is not None:
            start, end = first.lineno - 1, first.end_lineno or first.lineno
            yield Edit(start, end, lines if text or len(node.body) == 1 else [])
        elif isinstance(first, ast.Expr):  # ... on the line of the signature
            head = source.splitlines()[first.lineno - 1][: first.col_offset].rstrip()
            yield Edit(first.lineno - 1, first.lineno, [head, *lines] if head else lines)
        else:
            yield Edit(first.lineno - 1, first.lineno - 1, [*lines, ""])


def rewritten(source: str, module: object) -> str:
    """A stub with the docstrings of a module."""
    lines = source.splitlines()
    for edit in sorted(edits(source, module), reverse=True):
        lines[edit.start : edit.end] = edit.lines
    return "\n".join(lines).replace(":\n        ...\n", ": ...\n") + "\n"


def main() -> int:
    """Rewrites the stubs, or names those that are not current."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    check = parser.parse_args().check
    from rkllm_rs import _native

    stale = False
    for path in sorted(STUBS.glob("*.pyi")):
        before = path.read_text(encoding="utf-8")
        after = rewritten(before, _native)
        if after != before:
            stale = True
            print(
                f"{path.name} is not current: run scripts/stub_docs.py" if check else f"rewrote {path.name}"
            )
            if not check:
                path.write_text(after, encoding="utf-8")
    return int(check and stale)


if __name__ == "__main__":
    sys.exit(main())
