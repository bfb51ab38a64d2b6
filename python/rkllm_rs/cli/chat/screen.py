"""Where a chat is shown: what every kind of screen does, and the plain one, for pipes and dumb terminals."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Protocol

from rkllm_rs.errors import RkllmError

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import IO


#: Columns that a text needs so as to stand beside its name.
_ROOM = 30


class Answer(Protocol):
    """An answer as it comes."""

    def thought(self, text: str) -> None:
        """More of the model's thinking."""

    def said(self, text: str) -> None:
        """More of the answer."""

    def calls(self, text: str) -> None:
        """The model calls tools, which run now and may print something."""

    def returned(self, text: str) -> None:
        """The tools have returned; more of the answer comes."""

    def end(self) -> None:
        """The answer has ended, in whatever way."""


class Screen(Protocol):
    """What a chat writes to."""

    @property
    def width(self) -> int:
        """How many columns there are."""
        ...

    def show(self, text: str) -> None:
        """Shows what was asked for."""

    def note(self, text: str) -> None:
        """Says what happened, beside the conversation."""

    def problem(self, error: Exception | str) -> None:
        """Says what went wrong."""

    def busy(self, text: str) -> contextlib.AbstractContextManager[None]:
        """Says what is being done, while it is."""
        ...

    def answer(self, *, markdown: bool) -> Answer:
        """Begins an answer; without ``markdown`` its text is shown as it is."""
        ...


def what(error: Exception | str) -> str:
    """What an error says, with its hint."""
    if isinstance(error, (RkllmError, str)):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror or error}"
    return f"{type(error).__name__}: {error}"


def table(rows: list[tuple[str, str]], width: int) -> str:
    """Names and what is said of them, side by side where there is room, or one below the other."""
    import textwrap

    beside = max(len(name) for name, _ in rows) + 2
    lines: list[str] = []
    for name, text in rows:
        if width - beside >= _ROOM:
            wrapped = textwrap.wrap(text, width - beside) or [""]
            lines.append(f"{name:<{beside}}{wrapped[0]}".rstrip())
            lines += [" " * beside + line for line in wrapped[1:]]
        else:
            lines += [name, *textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="  ")]
    return "\n".join(lines)


class Plain:
    """Text without colours: answers to stdout, and all else that nobody asked for to stderr.

    On a terminal that is not able to do more, everything is shown there, thinking too.
    """

    def __init__(self, *, thinks: bool = False) -> None:
        """Describes a screen.

        Args:
            thinks: Show thinking although stderr is not a terminal.
        """
        self._thinks = thinks or sys.stderr.isatty()

    @property
    def width(self) -> int:
        """As of ``Screen``."""
        import shutil

        return shutil.get_terminal_size().columns

    def show(self, text: str) -> None:
        """As of ``Screen``."""
        _write(sys.stdout, text + "\n")

    def note(self, text: str) -> None:
        """As of ``Screen``."""
        _write(sys.stderr, text + "\n")

    def problem(self, error: Exception | str) -> None:
        """As of ``Screen``."""
        _write(sys.stderr, f"rkllm-rs: {what(error)}\n")

    @contextlib.contextmanager
    def busy(self, text: str) -> Generator[None]:
        """As of ``Screen``."""
        self.note(text)
        yield

    def answer(self, *, markdown: bool) -> PlainAnswer:
        """As of ``Screen``."""
        del markdown
        return PlainAnswer(thinks=self._thinks)


class PlainAnswer:
    """An answer as plain text, which ends with a line break."""

    def __init__(self, *, thinks: bool) -> None:
        """Begins an answer, whose thinking is shown or not."""
        self._thinks = thinks
        self._thinking = False
        self._last = "\n"

    def thought(self, text: str) -> None:
        """As of ``Answer``."""
        if self._thinks:
            _write(sys.stderr, text if self._thinking else f"Thinking: {text}")
            self._thinking = True

    def said(self, text: str) -> None:
        """As of ``Answer``."""
        self._awake()
        self._last = text
        _write(sys.stdout, text)

    def calls(self, text: str) -> None:
        """As of ``Answer``."""
        self.end()
        _write(sys.stderr, text + "\n")

    def returned(self, text: str) -> None:
        """As of ``Answer``."""
        _write(sys.stderr, text + "\n")

    def end(self) -> None:
        """As of ``Answer``."""
        self._awake()
        if not self._last.endswith("\n"):
            _write(sys.stdout, "\n")
        self._last = "\n"

    def _awake(self) -> None:
        if self._thinking:
            self._thinking = False
            _write(sys.stderr, "\n\n")


def _write(stream: IO[str], text: str) -> None:
    stream.write(text)
    stream.flush()
