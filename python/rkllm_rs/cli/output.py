"""What commands print: text for people, or JSON."""

from __future__ import annotations

import json
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def say(text: str) -> None:
    """Prints a line."""
    sys.stdout.write(text + "\n")


def report(arguments: argparse.Namespace, data: object, *lines: str) -> None:
    """Prints ``data`` with ``--json``, and else the lines."""
    for line in [json.dumps(data, indent=1)] if arguments.json else lines:
        say(line)
