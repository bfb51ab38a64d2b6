"""The command ``rkllm-rs pull``: downloads a model."""

from __future__ import annotations

import json
import os
import sys
import time

from rkllm_rs.errors import InvalidArgumentError

from .output import add_json, note, plain_warnings, say, size
from .parsing import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from rkllm_rs.models import Candidate

HELP = "Download a model from the Hugging Face hub, for this board's chip or for the CPU runtime."
EXAMPLES = """\
examples:
  rkllm-rs pull hub:OWNER/NAME                   the one model that fits this machine
  rkllm-rs pull hub:OWNER/NAME/model.rkllm       this file
  rkllm-rs pull hub:OWNER/NAME --chip rk3588     for a board, on another machine

Run it again after it was stopped: it goes on where it ended. The path of the model goes to stdout.
HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are honoured.
"""
#: Seconds between two pictures of the bar.
_EVERY = 0.1
_WIDTH = 24
#: Bytes below which a file has one line only.
_SMALL = 1_000_000
#: Columns below which the bar is left out.
_NARROW = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("model", metavar="MODEL", help="hub:OWNER/NAME, hub:OWNER/NAME/FILE or …/NAME@BRANCH")
    parser.add_argument("--chip", metavar="C", help="chip that the model is for (default: this board's)")
    add_json(parser)


class _Progress:
    """A bar on a terminal; elsewhere a line when a file begins, and one when it is there."""

    def __init__(self) -> None:
        self._bar = sys.stderr.isatty()
        self._file: str | None = None
        self._begin = (0.0, 0)
        self._next = 0.0
        self._shown = 0

    def note(self, text: str) -> None:
        """Prints a line, beside the bar."""
        self._clear()
        note(text)

    def __call__(self, file: str, done: int, total: int | None) -> None:
        """Shows how far a file is."""
        now = time.monotonic()
        if file != self._file:
            self._file, self._begin = file, (now, done)
            self._next = 0.0
            if not self._bar and (total is None or total >= _SMALL):
                note(f"downloading {file}" + (f", {size(total)}" if total is not None else ""))
        if done == total:
            self._clear()
            seconds = now - self._begin[0]
            note(f"{file}: {size(done)} in {seconds:.0f} s")
        elif self._bar and now >= self._next:
            self._next = now + _EVERY
            self._draw(file, done, total, now)

    def _draw(self, file: str, done: int, total: int | None, now: float) -> None:
        seconds = now - self._begin[0]
        rate = (done - self._begin[1]) / seconds if seconds > 0 else 0.0
        text = f"{size(done)}, {size(int(rate))}/s"
        if total:
            full = done * _WIDTH // total
            left = f", {(total - done) / rate:.0f} s left" if rate > 0 else ""
            text = f"[{'#' * full}{' ' * (_WIDTH - full)}] {done * 100 // total:3} % of {size(total)}{left}"
        try:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns
        except (OSError, ValueError):
            columns = 80
        if columns < _NARROW and total:
            text = f"{done * 100 // total:3} %"
        room = max(columns - len(text) - 2, 0)
        name = file.rpartition("/")[2]
        line = f"{name if len(name) <= room else name[: max(room - 1, 0)] + '…'} {text}"[
            : max(columns - 1, 1)
        ]
        sys.stderr.write("\r" + line + " " * max(self._shown - len(line), 0))
        sys.stderr.flush()
        self._shown = len(line)

    def _clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r" + " " * self._shown + "\r")
            self._shown = 0


def _ask(found: list[Candidate]) -> Candidate:
    """Asks on a terminal which of several models is meant."""
    from rkllm_rs.errors import ModelNotFoundError

    sys.stderr.write("Several models fit:\n")
    for at, one in enumerate(found, 1):
        told = size(one.size_bytes) if one.size_bytes is not None else ""
        sys.stderr.write(f"  {at:>3}  {one.path}  {told}\n")
    for _ in range(3):
        sys.stderr.write(f"Which one? [1-{len(found)}] ")
        sys.stderr.flush()
        answer = sys.stdin.readline().strip()
        if answer.isdecimal() and 1 <= int(answer) <= len(found):
            return found[int(answer) - 1]
        if not answer:
            break
    message = "no model was chosen"
    raise ModelNotFoundError(message, hint="Run the command again with the whole name of one of them.")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from rkllm_rs.models import pull
    from rkllm_rs.models.choosing import chip_named
    from rkllm_rs.models.describing import name_of

    plain_warnings()
    if arguments.chip is not None:
        try:
            chip_named(arguments.chip)
        except InvalidArgumentError as error:
            message = f"--{error.args[0]}"
            raise UsageError(message, hint=error.hint) from error
    shown = _Progress()
    asks = sys.stdin.isatty() and sys.stderr.isatty()
    try:
        path = pull(
            arguments.model,
            chip=arguments.chip,
            choose=_ask if asks else None,
            progress=shown,
            say=shown.note,
        )
    except KeyboardInterrupt:
        shown.note("what has come stays: run the command again to go on")
        raise
    name = name_of(path)
    if arguments.json:
        say(json.dumps({"name": name, "path": path, "size_bytes": os.path.getsize(path)}, indent=1))
    else:
        say(path)
        note(f'to use it, run `rkllm-rs run {name} "…"`')
    return 0
