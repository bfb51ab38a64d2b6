"""The report as Markdown, fit for an issue."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

from .facts import Facts
from .private import Private
from .report import count
from .root import Root

if TYPE_CHECKING:
    from .report import Check, Report

_ORDER = ("failure", "warning", "unknown", "ok", "not_applicable")
#: Their details are the user's own affair: what is set, and where.
_SHORT = ("environment", "disk", "cpu-runtime")


def markdown(report: Report, root: str) -> str:
    """The report as Markdown, without names, addresses, serial numbers and home folders.

    Args:
        report: What was found.
        root: The folder that it was found in, which tells what is private.
    """
    from .system import package

    private = Private(Facts(Root(root)))
    failures, warnings = count(report.checks, "failure"), count(report.checks, "warning")
    lines = [
        "# rkllm-rs doctor",
        "",
        f"rkllm_rs {package() or 'of an unknown version'}: {failures} failures, {warnings} warnings",
        "",
        "| status | check | found |",
        "|---|---|---|",
    ]
    checks = sorted(report.checks, key=lambda check: _ORDER.index(check.status))
    lines += [f"| {one.status} | {one.id} | {_cell(private.hidden(one.summary))} |" for one in checks]
    for check in checks:
        if check.status != "not_applicable":
            lines += _details(check, private)
    return "\n".join(lines) + "\n"


def _details(check: Check, private: Private) -> list[str]:
    detail = "" if check.id in _SHORT else private.hidden(check.detail)
    if not detail:
        return []
    longest = max((len(run) for run in re.findall("`+", detail)), default=0)
    fence = "`" * max(3, longest + 1)
    return ["", f"## {check.id}: {check.status}", "", f"{fence}text", detail, fence]


def _cell(text: str) -> str:
    """A text as it is, in a cell of a table."""
    return re.sub(r"([\\`*_\[\]<>|#~@])", r"\\\1", text.replace("\n", " "))


def writable(file: str) -> bool:
    """Whether a report can be written to a file, which stays as it is; if not, prints why."""
    new = not os.path.lexists(file)
    written = _written(file, "a", "")
    if written and new:
        os.unlink(file)
    return written


def write(text: str, file: str) -> bool:
    """Writes a report to a file for the commands; where that fails, prints why."""
    return _written(file, "w", text)


def _written(file: str, mode: str, text: str) -> bool:
    try:
        with open(file, mode, encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        sys.stderr.write(f"rkllm-rs: {file} cannot be written: {error.strerror or error}\n")
        sys.stderr.write("hint: Name a file in a folder that you can write to.\n")
        return False
    return True
