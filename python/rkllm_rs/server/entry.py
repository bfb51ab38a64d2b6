"""A model that a server has, and whether its worker is alive."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time

from .pulse import Pulse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, Literal

    from rkllm_rs import SamplingParams
    from rkllm_rs.llm import RKLLM

    from .errors import ApiError

    State = Literal["unloaded", "loading", "ready", "unloading", "restarting", "failed"]


#: Seconds between looks at a process where the kernel does not tell when it ends.
_LOOK: Final = 0.25


class Entry:
    """A model that the server has, loaded or not.

    Attributes:
        name: Its name.
        path: Its file, or what ``RKLLM()`` takes for one.
        created: When the file was written, in seconds since 1970; 0 if that is not known.
        users: Requests that have it now.
        expected: Requests that have it, or wait for their turn to have it.
        is_removed: The server has it no more, but for requests that came before.
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
        self._state: State = "unloaded"
        #: Called when the state has changed.
        self.on_change: Callable[[], object] | None = None
        self.users = self.expected = 0
        self.is_removed = False
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
        self.pulse = Pulse(name)
        #: Its last run was left, and the library may go on with it.
        self.was_left = False
        #: What is in ``error`` does not go away by itself.
        self.is_broken = False
        self.thinks: bool | None = None
        #: Its own sampling, known since it was loaded for the first time.
        self.sampling: SamplingParams | None = None

    def told(self) -> dict[str, Any]:
        """What ``rkllm-rs ps`` shows of it."""
        return {"name": self.name, "path": self.path, "state": self.state, "worker_pid": self.worker_pid}

    @property
    def state(self) -> State:
        """What it is doing."""
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        self._state = state
        if self.on_change is not None:
            self.on_change()

    @property
    def worker_pid(self) -> int | None:
        """The process that runs it."""
        return None if self.llm is None else self.llm.worker_pid

    @property
    def is_alive(self) -> bool:
        """Whether its worker runs, as far as the kernel tells without asking the library."""
        pid = self.worker_pid
        return pid is not None and runs(pid)

    @property
    def is_well(self) -> bool:
        """Whether its worker runs, and has answered as far as it was asked."""
        return self.is_alive and not self.pulse.is_late(was_left=self.was_left)


def runs(pid: int) -> bool:
    """Whether a process is there, and neither dead nor stopped."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state = file.read().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in (b"Z", b"X", b"T", b"t")


def watch(pid: int, ended: Callable[[], object]) -> Callable[[], object]:
    """Has a function called in the running event loop when a process has ended.

    Args:
        pid: The process.
        ended: Called once.

    Returns:
        Stops watching.
    """
    loop = asyncio.get_running_loop()
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):  # an old kernel, or a process that has gone already
        return loop.create_task(_look(pid, ended)).cancel

    def stop() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)

    loop.add_reader(descriptor, ended)
    return stop


async def _look(pid: int, ended: Callable[[], object]) -> None:
    while runs(pid):  # noqa: ASYNC110 - the kernel has no event for it
        await asyncio.sleep(_LOOK)
    ended()
