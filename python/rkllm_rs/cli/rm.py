"""The command ``rkllm-rs rm``: removes a model."""

from __future__ import annotations

import sys

from .output import add_json, note, plain_warnings, report, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

HELP = "Remove models from this machine, after a question. Only what `rkllm-rs list` shows can be removed."
EXAMPLES = """\
examples:
  rkllm-rs rm qwen3-0.6b
  rkllm-rs rm --yes hub:OWNER/NAME      without a question

Without an answer nothing is removed, and the exit status is 1.
"""
#: Seconds in which a program that is not a terminal has to answer.
_PATIENCE = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("models", nargs="+", metavar="MODEL", help="a name that `rkllm-rs list` prints")
    parser.add_argument("--yes", "-y", action="store_true", help="remove without asking")
    add_json(parser)


def agreed(question: str) -> bool:
    """Asks for a yes; no answer means no.

    Args:
        question: What is printed to stderr.
    """
    import select

    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    try:
        ready = sys.stdin.isatty() or select.select([sys.stdin], [], [], _PATIENCE)[0]
        answer = sys.stdin.readline() if ready else ""
    except (OSError, ValueError):  # closed
        answer = ""
    if not answer.endswith("\n"):
        sys.stderr.write("\n")
    return answer.strip().lower() in ("y", "yes")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from rkllm_rs.models.removing import Removal, removal

    plain_warnings()
    planned = [removal(name) for name in arguments.models]
    removed: list[Removal] = []
    for one in planned:
        what = f"Remove {one.name} ({one.path}), and free {size(one.freed_bytes)}?"
        if one.kept is not None:
            what = f"Remove the link {one.path}? {one.kept} stays."
        if not arguments.yes and not agreed(what):
            note(f"{one.name} was not removed")
            continue
        one.carry_out()
        removed.append(one)
    lines = [f"removed {one.name}, freed {size(one.freed_bytes)}" for one in removed]
    report(arguments, [one.to_dict() for one in removed], *lines)
    return 0 if len(removed) == len(planned) else 1
