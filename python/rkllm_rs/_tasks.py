"""Tells tasks of an event loop apart."""

from __future__ import annotations

import itertools
import sys
import weakref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import Task

#: Numbers of tasks, none of which is given twice; addresses are.
_numbers: weakref.WeakKeyDictionary[object, int] = weakref.WeakKeyDictionary()
_next = itertools.count(1)


def running_task() -> Task[object] | None:
    """The running task, ``None`` outside of an event loop; imports nothing."""
    asyncio = sys.modules.get("asyncio")
    # Asked first, since an exception takes long, and most programs have no loop.
    if asyncio is None or asyncio._get_running_loop() is None:  # noqa: SLF001
        return None
    task: Task[object] | None = asyncio.current_task()
    return task


def task_number() -> int | None:
    """A number of the running task, ``None`` outside of an event loop."""
    task = running_task()
    if task is None:
        return None
    number = _numbers.get(task)
    if number is None:
        number = _numbers[task] = next(_next)
    return number
