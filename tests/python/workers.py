"""What tests of workers need: their process IDs, and their ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from support import wait_until

if TYPE_CHECKING:
    from rkllm_rs import RKLLM

ENDLESS = {"steps": ["x"], "repeat": 1_000_000, "delay_ms": 5}
#: Of any call of the library: it does not come back.
HANGS = {"delay_ms": 600_000}


def alive(pid: int) -> bool:
    """Whether a process lives; one that has died and not been waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # the latter if it ends between opening and reading
        return False
    return state not in "ZX"


def pid_of(model: RKLLM) -> int:
    """The process ID of a model's worker."""
    pid = model.worker_pid
    assert pid is not None
    return pid


def kill(model: RKLLM, number: int = signal.SIGKILL) -> int:
    """Kills a model's worker; returns when that is gone."""
    pid = pid_of(model)
    os.kill(pid, number)
    wait_until(lambda: not alive(pid), "the worker's end")
    return pid


def processes() -> set[str]:
    """The children of this process."""
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                parent = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1]
            except OSError:
                continue
            if int(parent) == os.getpid():
                found.add(name)
    return found
