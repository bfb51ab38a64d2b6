"""What commands print: text for people, or JSON."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    import threading
    from collections.abc import Iterable
    from typing import Any

    from rkllm_rs.models import Problem


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds ``--json``, which ``report`` looks at."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def say(text: str) -> None:
    """Prints a line."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Prints a line for people beside the output, to stderr."""
    sys.stderr.write(f"rkllm-rs: {text}\n")


#: Characters that would move the cursor of a terminal, or more, with others in their place.
_CONTROLS = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"},
    **dict.fromkeys(range(0x7F, 0xA0), 0xFFFD),
    ord("\r"): None,
}


def printable(text: str) -> str:
    """A text of a model for a terminal, which obeys control characters."""
    return text.translate(_CONTROLS)


def report(arguments: argparse.Namespace, data: object, *lines: str) -> None:
    """Prints ``data`` with ``--json``, and else the lines."""
    if arguments.json:
        import json

        lines = (json.dumps(data, indent=1),)
    for line in lines:
        say(line)


def size(count: int) -> str:
    """A number of bytes as people read it, in the units of download pages."""
    for unit, bytes_ in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= bytes_:
            return f"{count / bytes_:.1f} {unit}"
    return f"{count} B"


def problems(found: Iterable[Problem]) -> list[str]:
    """The lines about what is wrong with a file."""
    lines: list[str] = []
    for problem in found:
        lines.append(f"  problem:     {problem.summary}")
        if problem.fix:
            lines.append(f"  fix:         {problem.fix}")
    return lines


def plain_warnings() -> None:
    """Has warnings printed as a line of ours, and not with a line of this package's code."""
    import warnings

    def show(message: Warning | str, *_others: Any, **_named: Any) -> None:
        from .failing import with_options

        note(f"warning: {with_options(str(message))}")

    warnings.showwarning = show


class Busy:
    """Says on the terminal what is waited for, if that takes long; for a ``with`` block."""

    _AFTER = 1.0

    def __init__(self, text: str) -> None:
        self._text = text
        self._timer: threading.Timer | None = None
        self._shown = False

    def __enter__(self) -> None:
        import os

        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            import threading

            self._timer = threading.Timer(self._AFTER, self._show)
            self._timer.daemon = True
            self._timer.start()

    def __exit__(self, *_error: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
            if self._shown:
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()

    def _show(self) -> None:
        self._shown = True
        sys.stderr.write(self._text)
        sys.stderr.flush()
