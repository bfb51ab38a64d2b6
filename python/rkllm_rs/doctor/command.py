"""The command ``rkllm-rs doctor``, which also runs without the native module."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from typing import TYPE_CHECKING

from . import examine
from .report import count

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from .report import Report

HELP = "Examine this machine: chip, driver, rights, library, clocks, memory."
EXAMPLES = """\
examples:
  rkllm-rs doctor                      what is there, what is missing, and the command that helps
  rkllm-rs doctor --json               the same for programs
  rkllm-rs doctor --report report.md   the same for an issue, without names, addresses and serial numbers

It reads only, and needs no root. The exit status is 1 if a check fails, and else 0.
"""
_WORDS = {"not_applicable": "-", "unknown": "?"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument(
        "--root", default="/", metavar="DIR", help="read the files of another machine from this folder"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--report",
        metavar="FILE",
        help="write Markdown for an issue to this file, without names, addresses and serial numbers",
    )


def text(report: Report) -> str:
    """The report for people."""
    lines: list[str] = []
    for check in report.checks:
        lines.append(f"{_WORDS.get(check.status, check.status):<8} {check.id:<13} {check.summary}")
        if check.status in ("warning", "failure"):
            lines += textwrap.indent(check.detail, " " * 11).splitlines()
        if check.fix:
            label = "hint" if check.status in ("ok", "not_applicable") else "fix"
            lines.append(f"           {label}: {check.fix}")
    failures, warnings = count(report.checks, "failure"), count(report.checks, "warning")
    end = f"{failures} failure{'s' * (failures != 1)}, {warnings} warning{'s' * (warnings != 1)}"
    end += "; - is not applicable, ? cannot be read"
    return "\n".join([*lines, "", end])


def run(arguments: argparse.Namespace) -> int:
    """Runs the command, and gives its exit status."""
    report = examine(arguments.root)
    if arguments.report is not None:
        from .publish import markdown, write

        if not write(markdown(report, arguments.root), arguments.report):
            return 1
    told = (json.dumps(report.to_dict(), indent=1) if arguments.json else text(report)) + "\n"
    # What a board calls itself may not fit the terminal.
    code = sys.stdout.encoding or "utf-8"
    sys.stdout.write(told.encode(code, "replace").decode(code))
    return int(report.status == "failure")


def main(words: Sequence[str]) -> int:
    """Runs the command where the package itself cannot be imported.

    Args:
        words: The words behind ``rkllm-rs doctor``.
    """
    import argparse

    parser = argparse.ArgumentParser(
        prog="rkllm-rs doctor",
        description=HELP,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args(words)
    if not os.path.isdir(arguments.root):
        parser.error(f"argument --root: not a folder: {arguments.root!r}")
    return run(arguments)
