"""Waiting with a limit, without the fault of ``asyncio.wait_for``.

Before Python 3.12 that function forgets that its caller was cancelled, if what it waits for comes at the same
moment. Here a hang-up would be forgotten, and the model would go on for nobody.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable

_Result = TypeVar("_Result")


async def within(seconds: float | None, work: Awaitable[_Result]) -> _Result:
    """Waits for something, so long at most.

    Args:
        seconds: The limit; ``None`` has none.
        work: What to wait for; it is cancelled when the time is over, or when the caller is.

    Returns:
        What came of it.

    Raises:
        asyncio.TimeoutError: The time is over.
    """
    task = asyncio.ensure_future(work)
    try:
        done, _rest = await asyncio.wait({task}, timeout=seconds)
    except BaseException:
        task.cancel()
        raise
    if not done:
        task.cancel()
        await asyncio.wait({task})
        raise asyncio.TimeoutError
    return task.result()
