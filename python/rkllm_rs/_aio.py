"""The waiting side of ``async for``."""

from __future__ import annotations

import asyncio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol, TypeVar

    _Item_co = TypeVar("_Item_co", covariant=True)

    class _Source(Protocol[_Item_co]):
        """A stream, as the event loop sees it."""

        def _poll(self) -> _Item_co | None: ...
        def _arm(self) -> int | None: ...
        @property
        def _asks(self) -> bool: ...

    class _Run(Protocol[_Item_co]):
        """A run, as one sees it who wants its whole result."""

        def _finished(self) -> tuple[_Item_co] | None: ...
        def _arm(self) -> int | None: ...
        @property
        def _asks(self) -> bool: ...
        def cancel(self) -> None: ...


#: Seconds after which one who can answer looks for questions that came for others.
_LOOK = 0.02
#: Who waits for which descriptor, in which loop.
_waiters: dict[tuple[asyncio.AbstractEventLoop, int], list[asyncio.Future[None]]] = {}


async def next_item(stream: _Source[_Item_co]) -> _Item_co:
    """Returns the next item of ``stream``, waiting in the running event loop.

    Args:
        stream: A ``TokenStream`` or ``TextStream``.

    Returns:
        Its next chunk or text.

    Raises:
        StopAsyncIteration: The run has ended.
    """
    while True:
        item = stream._poll()  # noqa: SLF001 - the native side's half of this function
        if item is not None:
            return item
        await _readable(stream._arm(), stream._asks)  # noqa: SLF001


async def finished(run: _Run[_Item_co]) -> _Item_co:
    """Returns the whole result of ``run``; cancels the run when the task is cancelled.

    Args:
        run: A ``TokenStream`` or ``ArrayStream``.

    Returns:
        What its ``result()`` would.
    """
    try:
        while True:
            found = run._finished()  # noqa: SLF001 - the native side's half of this function
            if found is not None:
                return found[0]
            await _readable(run._arm(), run._asks)  # noqa: SLF001
    except BaseException:
        run.cancel()
        raise


async def all_finished(runs: Sequence[_Run[_Item_co]]) -> list[_Item_co]:
    """The results of several rows of one run.

    Args:
        runs: Its streams.

    Returns:
        What their ``result()`` would.
    """
    try:
        return [await finished(run) for run in runs]
    except BaseException:
        for run in runs:
            run.cancel()
        raise


async def done(pending: _Source[tuple[_Item_co]]) -> _Item_co:
    """Returns what ``pending`` gives.

    Args:
        pending: A ``Pending`` or ``Opening``.

    Returns:
        What its ``result()`` would.
    """
    while True:
        found = pending._poll()  # noqa: SLF001 - the native side's half of this function
        if found is not None:
            return found[0]
        await _readable(pending._arm(), pending._asks)  # noqa: SLF001


async def _readable(descriptor: int | None, asks: bool) -> None:  # noqa: FBT001
    """Waits in the running event loop until ``descriptor`` can be read; ``None`` can at once.

    With ``asks`` it returns before that every now and then: the library may ask something for a run that
    nobody waits for, and whoever waits for the model answers.
    """
    if descriptor is None:
        return
    loop = asyncio.get_running_loop()
    readable = loop.create_future()
    key = (loop, descriptor)
    # An event loop knows one reader of a descriptor, and several tasks may share a stream.
    waiters = _waiters.setdefault(key, [])
    if not waiters:
        loop.add_reader(descriptor, _set_all, waiters)
    waiters.append(readable)
    look = loop.call_later(_LOOK, _set, readable) if asks else None
    try:
        await readable
    finally:
        waiters.remove(readable)
        if not waiters:
            loop.remove_reader(descriptor)
            del _waiters[key]
        if look is not None:
            look.cancel()


def _set_all(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        _set(future)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
