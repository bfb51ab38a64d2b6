"""Tells tasks of an event loop apart."""

from __future__ import annotations

import itertools
import sys
import weakref

#: Numbers of tasks, none of which is given twice; addresses are.
_numbers: weakref.WeakKeyDictionary[object, int] = weakref.WeakKeyDictionary()
_next = itertools.count(1)


def running_task() -> object | None:
    """The running task, ``None`` outside of an event loop; imports nothing."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return None
    try:
        task: object | None = asyncio.current_task()
    except RuntimeError:
        return None
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
