"""A terminal that a program runs in: pexpect starts the program, pyte is the screen."""

from __future__ import annotations

import os
import signal
import time
import warnings
from typing import TYPE_CHECKING, Any

import pexpect
import pyte

from support import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

#: The prompt of ``rkllm-rs chat``.
PROMPT = ">>>"


class Terminal:
    """A program in a terminal."""

    def __init__(
        self, words: list[str], *, columns: int = 80, rows: int = 24, **environment: str | None
    ) -> None:
        given = {"TERM": "xterm-256color", "COLUMNS": "132", "LINES": "50", "NO_COLOR": None, **environment}
        variables = {**os.environ, **given}
        self.screen = pyte.HistoryScreen(columns, rows, history=5000, ratio=1e-9)
        self._stream = pyte.Stream(self.screen)
        self.raw = ""
        with warnings.catch_warnings():
            # Python warns of fork() beside threads; the child only starts another program.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._child = pexpect.spawn(
                words[0],
                words[1:],
                dimensions=(rows, columns),
                encoding="utf-8",
                env={name: value for name, value in variables.items() if value is not None},
            )
        self._child.delaybeforesend = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        # Of its own, pexpect waits a tenth of a second for the end, which a busy machine may take.
        self._child.kill(signal.SIGKILL)
        self._child.wait()
        self._child.close()

    def _read(self, timeout: float) -> bool:
        """Takes what the program has written; whether it may write more."""
        try:
            text = self._child.read_nonblocking(65536, timeout=timeout)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += text
        self._stream.feed(text)
        return True

    @property
    def text(self) -> str:
        """What can be seen, and what has scrolled away above it."""
        columns = self.screen.columns
        above = ["".join(line[at].data for at in range(columns)) for line in self.screen.history.top]
        return "\n".join(line.rstrip() for line in [*above, *self.screen.display]).rstrip()

    def styled(self, word: str, style: str) -> bool:
        """Whether each place of a word on the screen has a style, such as ``bold``."""
        for row, line in enumerate(self.screen.display):
            if (at := line.find(word)) >= 0:
                return all(getattr(self.screen.buffer[row][at + one], style) for one in range(len(word)))
        message = f"{word} is not on the screen:\n{self.text}"
        raise AssertionError(message)

    def until(self, condition: Callable[[str], Any], what: str = "what was waited for") -> str:
        """Waits for the screen to be as it should; gives its text."""
        end = time.monotonic() + PATIENCE
        while not condition(self.text):
            more = self._read(0.2)
            if condition(self.text):
                break
            assert more, f"the program ended before {what} came:\n{self.text}"
            assert time.monotonic() < end, f"{what} did not come:\n{self.text}"
        return self.text

    def see(self, word: str, count: int = 1) -> str:
        """Waits for a word, so many times."""
        return self.until(lambda text: text.count(word) >= count, repr(word))

    def ready(self, count: int) -> str:
        """Waits for the prompt of that number, with nothing behind it."""
        return self.until(
            lambda text: text.count(PROMPT) >= count and text.endswith(PROMPT), f"prompt {count}"
        )

    def send(self, text: str) -> None:
        """Types."""
        self._child.send(text)

    def resize(self, columns: int, rows: int) -> None:
        """Changes the size of the window."""
        self.screen.resize(rows, columns)
        self._child.setwinsize(rows, columns)

    def end(self) -> int:
        """Waits for the program's end; gives its exit status."""
        end = time.monotonic() + PATIENCE
        while self._read(0.2):
            assert time.monotonic() < end, f"the program goes on:\n{self.text}"
        self._child.wait()
        assert self._child.signalstatus is None
        return int(self._child.exitstatus)
