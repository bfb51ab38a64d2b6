"""The log on stderr, written on a thread of its own: one that is not read must hold up no request."""

from __future__ import annotations

import contextlib
import logging
import queue
import sys
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Generator

#: How many lines may wait.
_WAITING: Final = 10_000
#: Seconds in which the last lines are written when the server ends.
_LAST: Final = 2.0


class Stderr(logging.Handler):
    """Writes lines to stderr as fast as they are read there; further ones are dropped, and counted.

    Thread safety: any thread may log.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._lines: queue.Queue[str | None] = queue.Queue(_WAITING)
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="rkllm_rs.server.log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Has a line written."""
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Writes what is left, if that can be done in a short time."""
        super().close()
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(None)
            self._thread.join(_LAST)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            dropped, self._dropped = self._dropped, 0
            if dropped:
                line = f"{dropped} lines were dropped, because the log was not read\n{line}"
            with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or never there
                sys.stderr.write(line + "\n")
                sys.stderr.flush()


@contextlib.contextmanager
def to_stderr() -> Generator[None, None, None]:
    """Prints the server's log, unless the program has said itself what becomes of it."""
    ours, uvicorn = logging.getLogger("rkllm_rs.server"), logging.getLogger("uvicorn.error")
    if ours.handlers:
        yield
        return
    handler = Stderr()
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False
    # Its warnings are about what strangers send; its errors are ours.
    uvicorn.addHandler(handler)
    uvicorn.setLevel(logging.ERROR)
    try:
        yield
    finally:
        ours.removeHandler(handler)
        uvicorn.removeHandler(handler)
        handler.close()
