"""The waiting side of ``async for``."""

from __future__ import annotations

import asyncio
import weakref

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
#: Who waits for which descriptor, in which loop.
_waiters: dict[tuple[asyncio.AbstractEventLoop, int], list[asyncio.Future[None]]] = {}
#: The task that has last begun to wait for a stream, which is left when that task fails.
_readers: weakref.WeakKeyDictionary[_Stream[object], weakref.ref[asyncio.Task[object]]] = (
    weakref.WeakKeyDictionary()
)


async def next_item(stream: _Stream[_Item_co]) -> _Item_co:
    """Returns the next item of ``stream``, waiting in the running event loop.

    Args:
        stream: A ``TokenStream``, ``TextStream``, ``ArrayStream`` or ``Steps``.

    Returns:
        Its next item.

    Raises:
        StopAsyncIteration: The run has ended.
    """
    item = stream._poll()  # noqa: SLF001 - the native side's half of this function
    if item is not None:
        return item
    while True:
        descriptor = stream._arm()  # noqa: SLF001
        if descriptor is not None:
            _note_reader(stream, descriptor)
        try:
            await _readable(descriptor, stream._asks)  # noqa: SLF001
        except BaseException:
            # Unless others wait for the same stream, or this one comes back soon, its run ends.
            if descriptor is not None and not _is_awaited(descriptor):
                stream._leave()  # noqa: SLF001
            raise
        item = stream._poll()  # noqa: SLF001
        if item is not None:
            return item


def _note_reader(stream: _Stream[object], descriptor: int) -> None:
    """Notes that the running task reads ``stream``, so that the stream is left when the task fails.

    A task can be cancelled while it does something else than waiting for the stream, and the stream be
    kept by the traceback: then nobody else would tell that it has no reader any more.
    """
    task = asyncio.current_task()
    if task is None:
        return
    known = _readers.get(stream)
    if known is not None and known() is task:
        return
    _readers[stream] = weakref.ref(task)
    mine = weakref.ref(stream)

    def done(task: asyncio.Task[object]) -> None:
        stream = mine()
        reader = None if stream is None else _readers.get(stream)
        if stream is None or reader is None or reader() is not task:
            return
        if _has_failed(task) and not _is_awaited(descriptor):
            stream._leave()  # noqa: SLF001 - the native side's half of this function

    task.add_done_callback(done)


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


def _is_awaited(descriptor: int) -> bool:
    """Whether anybody waits for ``descriptor`` in the running event loop."""
    return bool(_waiters.get((asyncio.get_running_loop(), descriptor)))


def _set_all(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        _set(future)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
