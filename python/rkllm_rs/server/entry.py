"""A model that a server has, and whether its worker is alive."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from rkllm_rs.llm import RKLLM

    from .errors import ApiError


class Entry:
    """A model that the server has, loaded or not.

    Attributes:
        name: Its name.
        path: Its file, or what ``RKLLM()`` takes for one.
        created: When the file was written, in seconds since 1970; 0 if that is not known.
        state: What it is doing.
        users: Requests that have it now.
        keep_alive: Seconds that it stays loaded without any; ``None`` for ever.
        expires: When it will be unloaded, in seconds since 1970; ``None`` if that is not settled.
        restarts: How often its worker has died.
        error: Why it could not be loaded.
    """

    def __init__(self, name: str, path: str, keep_alive: float | None) -> None:
        self.name = name
        self.path = path
        self.created = 0
        with contextlib.suppress(OSError):
            self.created = int(os.stat(path).st_mtime)
        self.state: Literal["unloaded", "loading", "ready", "unloading", "restarting", "failed"] = "unloaded"
        self.users = 0
        #: Set when the last request has left it.
        self.left = asyncio.Event()
        self.keep_alive = keep_alive
        self.expires: float | None = None
        self.restarts = 0
        self.error: ApiError | None = None
        self.used = time.monotonic()
        self.crashed = 0.0
        self.llm: RKLLM | None = None
        self.loading: asyncio.Task[RKLLM] | None = None
        self.closing: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.stop_watching: Callable[[], object] | None = None
        self.deaths = 0
        self.thinks: bool | None = None

    @property
    def worker_pid(self) -> int | None:
        """The process that runs it."""
        return None if self.llm is None else self.llm.worker_pid

    @property
    def is_alive(self) -> bool:
        """Whether its worker runs, as far as the kernel tells without asking the library."""
        pid = self.worker_pid
        return pid is not None and runs(pid)


def runs(pid: int) -> bool:
    """Whether a process is there, and neither dead nor stopped."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state = file.read().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in (b"Z", b"X", b"T", b"t")
