"""Tells tasks of an event loop apart."""

from __future__ import annotations

import sys


def task_number() -> int | None:
    """A number of the running task, ``None`` outside of an event loop; imports nothing."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return None
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return None
    return None if task is None else id(task)
