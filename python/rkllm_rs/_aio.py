"""The waiting side of ``async for``."""

from __future__ import annotations

import asyncio
import weakref

from ._tasks import running_task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol, TypeVar

    from typing_extensions import TypeVarTuple, Unpack

    _Item_co = TypeVar("_Item_co", covariant=True)
    _Result = TypeVar("_Result")
    _Arguments = TypeVarTuple("_Arguments")

    class _Source(Protocol[_Item_co]):
        """Something to wait for, as the event loop sees it."""

        def _poll(self) -> _Item_co | None: ...
        def _arm(self) -> int | None: ...
        @property
        def _asks(self) -> bool: ...

    class _Left(_Source[_Item_co], Protocol[_Item_co]):
        """Something that wants to know when nobody waits for it any more."""

        def _leave(self) -> None: ...

    class _Stream(_Left[_Item_co], Protocol[_Item_co]):
        """A stream, as the event loop sees it."""

        def close(self) -> None: ...
        @property
        def _reader(self) -> object: ...
        def _set_reader(self, reader: object) -> None: ...

    class _Run(Protocol[_Item_co]):
        """A run, as one sees it who wants its whole result."""

        def _finished(self) -> tuple[_Item_co] | None: ...
        def _is_long(self) -> bool: ...
        def result(self) -> _Item_co: ...
        def _arm(self) -> int | None: ...
        @property
        def _asks(self) -> bool: ...
        def cancel(self) -> None: ...


#: Seconds after which one who can answer looks for questions that came for others.
_LOOK = 0.02


class _Waiters(list["asyncio.Future[None]"]):
    """Who waits for one descriptor in one loop; kept by that loop alone, so that it goes with it."""

    __slots__ = ("__weakref__",)


_waiters: weakref.WeakValueDictionary[tuple[int, int], _Waiters] = weakref.WeakValueDictionary()
#: The streams that a task reads, for the end of the task.
_streams: weakref.WeakKeyDictionary[asyncio.Task[object], weakref.WeakSet[_Stream[object]]] = (
    weakref.WeakKeyDictionary()
)


async def next_item(stream: _Stream[_Item_co]) -> _Item_co:
    """Returns the next item of ``stream``, waiting in the running event loop.

    Args:
        stream: A ``TokenStream``, ``TextStream``, ``ArrayStream`` or ``Steps`` whose reader is noted.

    Returns:
        Its next item.

    Raises:
        StopAsyncIteration: The run has ended.
    """
    descriptor = None
    try:
        while True:
            item = stream._poll()  # noqa: SLF001 - the native side's half of this function
            if item is not None:
                return item
            descriptor = stream._arm()  # noqa: SLF001
            await _readable(descriptor, stream._asks)  # noqa: SLF001
    except (asyncio.CancelledError, GeneratorExit):
        # Unless others wait for the same stream, or this one comes back soon, its run ends.
        if descriptor is None or not _is_awaited(descriptor):
            stream._leave()  # noqa: SLF001
        raise


async def next_in_turn(stream: _Stream[_Item_co]) -> _Item_co:
    """:func:`next_item`, after other tasks have had their turn.

    Args:
        stream: As for :func:`next_item`.

    Returns:
        As :func:`next_item`.

    Raises:
        StopAsyncIteration: The run has ended.
    """
    try:
        await asyncio.sleep(0)
    except (asyncio.CancelledError, GeneratorExit):
        stream._leave()  # noqa: SLF001
        raise
    return await next_item(stream)


def note_reader(stream: _Stream[object]) -> None:
    """Notes that the running task reads ``stream``, so that the stream is left when the task fails.

    A task can be cancelled while it does something else than waiting for the stream, and the stream be
    kept by the traceback: then nobody else would tell that it has no reader any more.

    Args:
        stream: A stream that the task has made, or asks for an item.
    """
    task = running_task()
    if task is None:
        return
    mine = weakref.ref(task)
    if stream._reader is mine:  # noqa: SLF001 - a task has one weak reference, made once
        return
    stream._set_reader(mine)  # noqa: SLF001
    streams = _streams.get(task)
    if streams is None:
        streams = _streams[task] = weakref.WeakSet()
        task.add_done_callback(_done)
    streams.add(stream)


def _done(task: asyncio.Task[object]) -> None:
    """Leaves the streams of a task that has failed, where no other task reads them now."""
    streams = _streams.pop(task, None)
    if streams is None or not _has_failed(task):
        return
    mine = weakref.ref(task)
    for stream in list(streams):
        if stream._reader is mine:  # noqa: SLF001
            descriptor = stream._arm()  # noqa: SLF001
            if descriptor is None or not _is_awaited(descriptor):
                stream._leave()  # noqa: SLF001


def _has_failed(task: asyncio.Task[object]) -> bool:
    """Whether a task that is done was cancelled, or ended with an error.

    A task can hand a stream on and end, so that one which ended well has left nothing. Its exception is
    not asked for with ``exception()``, which would take it for seen by the program.
    """
    if task.cancelled() or getattr(task, "_exception", None) is not None:
        return True
    # From Python 3.11 on, a task tells that it was cancelled also where something has caught that.
    cancelling = getattr(task, "cancelling", None)
    return cancelling is not None and cancelling() > 0


async def entered(stream: _Result) -> _Result:
    """What ``async with`` enters.

    Args:
        stream: A stream.

    Returns:
        The stream itself.
    """
    return stream


async def closed(stream: _Stream[object]) -> None:
    """Closes a stream.

    Args:
        stream: Any stream.
    """
    stream.close()


async def finished(run: _Run[_Item_co]) -> _Item_co:
    """Returns the whole result of ``run``; cancels the run when the task is cancelled.

    Args:
        run: A ``TokenStream`` or ``ArrayStream``.

    Returns:
        What its ``result()`` would.
    """
    try:
        while True:
            if run._is_long():  # noqa: SLF001
                return await elsewhere(run.result)
            found = run._finished()  # noqa: SLF001 - the native side's half of this function
            if found is not None:
                return found[0]
            await _readable(run._arm(), run._asks)  # noqa: SLF001
    except BaseException:
        run.cancel()
        raise


async def elsewhere(
    function: Callable[[Unpack[_Arguments]], _Result], *arguments: Unpack[_Arguments]
) -> _Result:
    """Calls ``function`` on a thread of the loop's own, for what takes longer than a loop should wait.

    Args:
        function: Lets go of the interpreter while it computes.
        *arguments: Its arguments.

    Returns:
        What it returns.
    """
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


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


async def done(pending: _Left[tuple[_Item_co]]) -> _Item_co:
    """Returns what ``pending`` gives.

    Args:
        pending: A ``Pending`` or ``Opening``.

    Returns:
        What its ``result()`` would.
    """
    try:
        while True:
            found = pending._poll()  # noqa: SLF001 - the native side's half of this function
            if found is not None:
                return found[0]
            await _readable(pending._arm(), pending._asks)  # noqa: SLF001
    except BaseException:
        # Whoever keeps the exception keeps what is waited for, such as a model that is being opened.
        pending._leave()  # noqa: SLF001
        raise


async def _readable(descriptor: int | None, asks: bool) -> None:  # noqa: FBT001
    """Waits in the running event loop until ``descriptor`` can be read; ``None`` can at once.

    With ``asks`` it returns before that every now and then: the library may ask something for a run that
    nobody waits for, and whoever waits for the model answers.
    """
    if descriptor is None:
        return
    loop = asyncio.get_running_loop()
    readable = loop.create_future()
    key = (id(loop), descriptor)
    # An event loop knows one reader of a descriptor, and several tasks may share a stream.
    waiters = _waiters.get(key)
    if waiters is None:
        waiters = _waiters[key] = _Waiters()
    if not waiters:
        loop.add_reader(descriptor, _set_all, waiters)
    waiters.append(readable)
    look = loop.call_later(_LOOK, _set, readable) if asks else None
    try:
        await readable
    finally:
        waiters.remove(readable)
        if not waiters and not loop.is_closed():
            loop.remove_reader(descriptor)
        if look is not None:
            look.cancel()


def _is_awaited(descriptor: int) -> bool:
    """Whether anybody waits for ``descriptor``, in whatever loop."""
    return any(number == descriptor and waiters for (_, number), waiters in list(_waiters.items()))


def _set_all(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        _set(future)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
