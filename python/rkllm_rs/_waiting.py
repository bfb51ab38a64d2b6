"""What event loops wait for: items of streams, answers, and models that are being opened.

Long because all of it shares one way to wait for a descriptor.
"""

from __future__ import annotations

import asyncio
import weakref

from . import _native
from ._tasks import running_task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from concurrent.futures import Future
    from typing import Any, Protocol, TypeVar

    from typing_extensions import Never, Self, TypeVarTuple, Unpack

    from .llm import RKLLM

    _Choice = tuple[str, _native.Runtime, list[str], str | None]

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

    class _Opens(Protocol):
        """A model that may not be open yet."""

        async def _opened(self) -> RKLLM: ...
        def _opened_now(self) -> RKLLM: ...

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
            item = stream._poll()
            if item is not None:
                return item
            descriptor = stream._arm()
            await _readable(descriptor, stream._asks)
    except (asyncio.CancelledError, GeneratorExit):
        # Unless others wait for the same stream, or this one comes back soon, its run ends.
        if descriptor is None or not _is_awaited(descriptor):
            stream._leave()
        raise


async def next_in_turn(stream: _Stream[_Item_co]) -> _Item_co:
    """``next_item``, after other tasks have had their turn.

    Args:
        stream: As for ``next_item``.

    Returns:
        As ``next_item``.

    Raises:
        StopAsyncIteration: The run has ended.
    """
    try:
        await asyncio.sleep(0)
    except (asyncio.CancelledError, GeneratorExit):
        stream._leave()
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
    if stream._reader is mine:
        return
    stream._set_reader(mine)
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
        if stream._reader is mine:
            descriptor = stream._arm()
            if descriptor is None or not _is_awaited(descriptor):
                stream._leave()


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
            if run._is_long():
                return await elsewhere(run.result)
            found = run._finished()
            if found is not None:
                return found[0]
            await _readable(run._arm(), run._asks)
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
    """The results of several prompts of one run.

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
            found = pending._poll()
            if found is not None:
                return found[0]
            await _readable(pending._arm(), pending._asks)
    except BaseException:
        # Whoever keeps the exception keeps what is waited for, such as a model that is being opened.
        pending._leave()
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


class _Once:
    """Work that takes a moment, done once for the tasks of any loop, and the threads, that wait for it."""

    __slots__ = ("_future", "_lock", "_work")

    def __init__(self, work: Callable[[], Any]) -> None:
        from concurrent.futures import Future
        from threading import Lock

        # An own future of this process, since those of a loop are for that loop alone.
        self._future: Future[Any] = Future()
        self._future.set_running_or_notify_cancel()
        self._lock = Lock()
        self._work: Callable[[], Any] | None = work

    def _run(self) -> None:
        with self._lock:
            work, self._work = self._work, None
        if work is None:
            return
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - raised to all that wait
            self._future.set_exception(error)
        else:
            self._future.set_result(result)

    async def wait(self) -> Any:
        if self._work is not None:
            asyncio.get_running_loop().run_in_executor(None, self._run)
        return await asyncio.shield(asyncio.wrap_future(self._future))

    def wait_now(self) -> Any:
        self._run()
        return self._future.result()


class Opening:
    """A model that is being opened, for which tasks of any loop, and threads, wait together."""

    __slots__ = (
        "_begun",
        "_choice",
        "_error",
        "_first",
        "_lock",
        "_model",
        "_native",
        "_noticed",
        "_waiting",
    )

    def __init__(
        self,
        choose: Callable[[Callable[[], bool]], _Choice],
        begin: Callable[[str, _native.Runtime], _native.Opening],
    ) -> None:
        """Prepares it; the one who calls waits for it.

        Args:
            choose: Chooses model and library; takes a moment, since files are read whole. Is given a
                function that tells whether that is still wanted.
            begin: Begins to open the model with the library; takes a moment as well.
        """
        from threading import RLock

        self._choice = _Once(lambda: choose(lambda: self._error is None))
        self._begun = _Once(lambda: self._opens(begin(*self._choice.wait_now()[:2])))
        self._lock = RLock()
        self._native: _native.Opening | None = None
        self._model: _native.Model | None = None
        self._error: BaseException | None = None
        self._noticed = False
        self._first = True
        self._waiting = 1

    def join(self) -> bool:
        """Counts one more that waits, unless the opening has failed."""
        with self._lock:
            if self._error is not None:
                return False
            self._waiting += 1
            return True

    def leave(self, error: BaseException) -> bool:
        """One that waited got an error: an error of the opening, or it was cancelled.

        Returns:
            Whether this opening is of no use any more.
        """
        with self._lock:
            self._waiting -= 1
            if self._waiting > 0 and not isinstance(error, Exception):
                return False
            self.fail(error)
            return True

    def fail(self, error: BaseException) -> None:
        """Gives up; all that wait get ``error``."""
        with self._lock:
            if self._error is None:
                self._error = error
            if self._native is not None:
                # Whoever keeps the exception keeps what is waited for.
                self._native._leave()

    def first(self) -> bool:
        """Whether the caller is the first one that has the model."""
        with self._lock:
            first, self._first = self._first, False
            return first

    def _notes(self, choice: _Choice) -> tuple[list[str], str | None] | None:
        """What was noticed when model and library were chosen, for the first one that asks."""
        with self._lock:
            noticed, self._noticed = self._noticed, True
        _, _, notes, fallback = choice
        return None if noticed or not (notes or fallback) else (notes, fallback)

    def _opens(self, native: _native.Opening) -> None:
        with self._lock:
            self._native = native
            if self._error is not None:
                native._leave()

    async def begun(self, warn: Callable[[list[str], str | None], None]) -> None:
        """Waits until the opening has begun.

        Args:
            warn: Told before that what was noticed: the notes may say why the model cannot be opened.
        """
        notes = self._notes(await self._choice.wait())
        if notes is not None:
            warn(*notes)
        await self._begun.wait()

    def begun_now(self, warn: Callable[[list[str], str | None], None]) -> None:
        """``begun()``, on the calling thread."""
        notes = self._notes(self._choice.wait_now())
        if notes is not None:
            warn(*notes)
        self._begun.wait_now()

    async def model(self) -> _native.Model:
        """Waits until the model is open."""
        while True:
            native, model = self._poll()
            if model is not None:
                return model
            await _readable(native._arm(), native._asks)

    def model_now(self) -> _native.Model:
        """``model()``, on the calling thread."""
        import select

        while True:
            native, model = self._poll()
            if model is not None:
                return model
            descriptor = native._arm()
            if descriptor is not None:
                select.select([descriptor], [], [], _LOOK)

    def _poll(self) -> tuple[_native.Opening, _native.Model | None]:
        # The answer is taken away by the one who finds it.
        with self._lock:
            if self._error is not None:
                raise self._error
            assert self._native is not None  # noqa: S101 - begun
            if self._model is None:
                found = self._native._poll()
                self._model = found[0] if found is not None else None
            return self._native, self._model


def _named(name: str) -> Callable[[type[_Result]], type[_Result]]:
    """Decorates a class that stands for a native one: messages of Python's own call it by that name."""

    def decorate(kind: type[_Result]) -> type[_Result]:
        kind.__name__ = kind.__qualname__ = name
        return kind

    return decorate


@_named("TokenStream")
class Unopened:
    """A stream of a model that is not open yet: opens it on first use, and then is the native stream."""

    __slots__ = ("__weakref__", "_begin", "_llm", "_over", "_rows", "_stream")

    def __init__(self, llm: _Opens, begin: Callable[[Any], Any], rows: str = "") -> None:
        """Keeps what is needed to begin.

        Args:
            llm: The model.
            begin: Makes the native stream of the open model.
            rows: What the stream gives, where that is not text.
        """
        self._llm = llm
        self._rows = rows
        self._begin: list[Callable[[Any], Any]] = [begin]
        self._stream: Any = None
        self._over = False

    async def _begun(self) -> Any:
        return self._have(await self._llm._opened())

    def _begun_now(self) -> Any:
        return self._stream if self._stream is not None else self._have(self._llm._opened_now())

    def _have(self, llm: object) -> Any:
        if self._stream is None:
            self._stream = self._begin[0](llm)
            self._begin.clear()
            if self._over:
                self._stream.cancel()
        return self._stream

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Coroutine[Any, Any, Any]:
        if self._stream is not None:
            following: Coroutine[Any, Any, Any] = self._stream.__anext__()
            return following
        return self._first()

    async def _first(self) -> Any:
        if self._over:
            raise StopAsyncIteration
        return await (await self._begun()).__anext__()

    def __await__(self) -> Never:
        """Streams are not awaited."""
        from ._keywords import awaited

        raise awaited(type(self).__name__)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self._stream is None and self._over:
            raise StopIteration
        return next(self._begun_now())

    def texts(self) -> Any:
        """The same stream, giving plain ``str``."""
        if self._stream is not None:
            return self._stream.texts()
        texts = Unopened(self._llm, lambda llm: self._have(llm).texts())
        texts._over = self._over
        return texts

    def cancel(self) -> None:
        """Ends the run, or the one that would have begun."""
        self._over = True
        if self._stream is not None:
            self._stream.cancel()

    def close(self) -> None:
        """Ends the run, as ``cancel()`` does."""
        self.cancel()

    async def aclose(self) -> None:
        """Ends the run, as ``cancel()`` does."""
        self.cancel()

    def result(self) -> Any:
        """Waits for the end and returns the whole result; blocks."""
        if self._stream is None and self._over:
            return self._nothing()
        return self._begun_now().result()

    def _nothing(self) -> object:
        """The result of a run that was cancelled before it could begin: no reason to open the model."""
        if self._rows:
            from .errors import GenerationError

            message = f"the run ended before any {self._rows} arrived"
            raise GenerationError(message, hint="Read the stream before it is cancelled.")
        native: Any = _native
        return native._generation("", [], "cancelled", native._perf_stats(None, None, None, 0.0, 0.0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self._stream) if self._stream is not None else "<rkllm_rs stream, model not open yet>"


async def ready_to_chat(opens: _Opens) -> RKLLM:
    """The open model, which has read what it counts tokens with.

    Args:
        opens: The model; it is opened first.
    """
    llm = await opens._opened()
    if llm._reads_tokenizer():
        await elsewhere(llm._counter)
    return llm


@_named("ChatStream")
class UnopenedChat(Unopened):
    """The stream of a chat whose model is not open yet, or has not read its tokenizer."""

    __slots__ = ()

    async def _begun(self) -> Any:
        return self._have(await ready_to_chat(self._llm))

    def _nothing(self) -> object:
        return _native.no_answer()


@_named("Steps")
class UnopenedSteps(Unopened):
    """The steps of a model that is not open yet."""

    __slots__ = ()

    def send(self, input: object) -> Any:  # noqa: A002 - the field's word
        """Replaces the token that was generated last, as ``Steps.send`` does; blocks."""
        if self._stream is None and self._over:
            raise StopIteration
        return self._begun_now().send(input)

    async def asend(self, input: object) -> Any:  # noqa: A002 - the field's word
        """Replaces the token that was generated last, as ``Steps.asend`` does."""
        if self._stream is None and self._over:
            raise StopAsyncIteration
        return await (await self._begun()).asend(input)
