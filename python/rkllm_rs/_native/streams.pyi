"""Runs, read as they come."""

from collections.abc import Coroutine
from types import TracebackType
from typing import Any, final

from typing_extensions import Self

from .arrays import FloatArray
from .outputs import Chunk, Generation
from .settings import Input

@final
class TokenStream:
    """The tokens of a run as they come; ``RKLLM.stream`` makes it.

    Iterate with ``for`` or ``async for``: both give ``Chunk`` objects and end with the run. A stream
    that nothing refers to any more cancels its run. Iteration raises what :meth:`result` raises.
    """

    def __iter__(self) -> Self: ...
    def __next__(self) -> Chunk: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, Chunk]: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None: ...
    def __aenter__(self) -> Coroutine[Any, Any, Self]: ...
    def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> Coroutine[Any, Any, None]: ...
    def texts(self) -> TextStream:
        """Returns the same stream, giving plain ``str``."""
    def cancel(self) -> None:
        """Ends the run (``rkllm_abort``), from any thread; again, or after the end, it does nothing.

        Iteration then ends normally, and the finish reason is ``"cancelled"``.
        """
    def close(self) -> None:
        """Ends the run (``rkllm_abort``), as :meth:`cancel`; leaving a ``with`` block calls it."""
    def aclose(self) -> Coroutine[Any, Any, None]:
        """:meth:`close`, for an event loop; leaving an ``async with`` block calls it."""
    def result(self) -> Generation:
        """Waits for the end and returns the whole answer, pieces that were read before included.

        Pieces not yet read are taken away: iteration ends after this.

        Raises:
            GenerationError: The run failed; ``.log`` has the library's own lines.
            GenerationTimeout: The deadline passed; ``.partial`` has what came.
            ContextLengthError: More tokens than the context window holds.
            ForkedProcessError: The run was started before ``fork()``.
        """
    def _poll(self) -> Chunk | None:
        """Returns the next chunk, or ``None`` if it has to be waited for.

        Raises:
            StopAsyncIteration: The run has ended.
        """
    @property
    def _reader(self) -> object:
        """The task that reads, as a weak reference."""
    def _set_reader(self, reader: object) -> None:
        """Notes the task that reads."""
    def _leave(self) -> None:
        """Says that the reader was cancelled while it waited: the run ends unless it comes back soon."""
    @property
    def _asks(self) -> bool:
        """Whether questions of the library may come that the event loop must look for."""
    def _arm(self) -> int | None:
        """Returns a descriptor that becomes readable when something comes; ``None`` if it has come.

        Raises:
            OSError: The system has no descriptor to give.
        """
    def _is_long(self) -> bool:
        """Returns false: its :meth:`result` never takes longer than an event loop should wait."""
    def _finished(self) -> tuple[Generation] | None:
        """Returns what :meth:`result` would, if the run has ended."""

@final
class TextStream:
    """A ``TokenStream`` that gives plain ``str``; ``TokenStream.texts`` makes it."""

    def __iter__(self) -> Self: ...
    def __next__(self) -> str: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, str]: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None: ...
    def __aenter__(self) -> Coroutine[Any, Any, Self]: ...
    def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> Coroutine[Any, Any, None]: ...
    def cancel(self) -> None:
        """Ends the run, as ``TokenStream.cancel``."""
    def close(self) -> None:
        """Ends the run (``rkllm_abort``), as :meth:`cancel`; leaving a ``with`` block calls it."""
    def aclose(self) -> Coroutine[Any, Any, None]:
        """:meth:`close`, for an event loop; leaving an ``async with`` block calls it."""
    def result(self) -> Generation:
        """Waits for the end and returns the whole answer, as ``TokenStream.result``.

        Raises:
            GenerationError: As for ``TokenStream.result``.
        """
    def _poll(self) -> str | None:
        """Returns the next text, or ``None`` if it has to be waited for.

        Raises:
            StopAsyncIteration: The run has ended.
        """
    @property
    def _reader(self) -> object:
        """The task that reads, as a weak reference."""
    def _set_reader(self, reader: object) -> None:
        """Notes the task that reads."""
    def _leave(self) -> None:
        """Says that the reader was cancelled while it waited: the run ends unless it comes back soon."""
    @property
    def _asks(self) -> bool:
        """Whether questions of the library may come that the event loop must look for."""
    def _arm(self) -> int | None:
        """Returns a descriptor that becomes readable when something comes; ``None`` if it has come.

        Raises:
            OSError: The system has no descriptor to give.
        """

@final
class ArrayStream:
    """Logits or hidden states, one ``FloatArray`` for each callback of the library.

    ``RKLLM.stream_logits`` and ``RKLLM.stream_hidden_states`` make it. Iterate with ``for`` or
    ``async for``. A stream that nothing refers to any more cancels its run.
    """

    def __iter__(self) -> Self: ...
    def __next__(self) -> FloatArray: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, FloatArray]: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None: ...
    def __aenter__(self) -> Coroutine[Any, Any, Self]: ...
    def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> Coroutine[Any, Any, None]: ...
    def cancel(self) -> None:
        """Ends the run (``rkllm_abort``), from any thread; iteration then ends normally."""
    def close(self) -> None:
        """Ends the run (``rkllm_abort``), as :meth:`cancel`; leaving a ``with`` block calls it."""
    def aclose(self) -> Coroutine[Any, Any, None]:
        """:meth:`close`, for an event loop; leaving an ``async with`` block calls it."""
    def result(self) -> FloatArray:
        """Waits for the end and returns all rows that were not read, in one array.

        Raises:
            GenerationError: The run failed, was cancelled before any rows came, or the library gave none.
            GenerationTimeout: The deadline passed.
            ContextLengthError: More tokens than the context window holds.
        """
    def _poll(self) -> FloatArray | None:
        """Returns the next array, or ``None`` if it has to be waited for.

        Raises:
            StopAsyncIteration: The run has ended.
        """
    @property
    def _reader(self) -> object:
        """The task that reads, as a weak reference."""
    def _set_reader(self, reader: object) -> None:
        """Notes the task that reads."""
    def _leave(self) -> None:
        """Says that the reader was cancelled while it waited: the run ends unless it comes back soon."""
    @property
    def _asks(self) -> bool:
        """Whether questions of the library may come that the event loop must look for."""
    def _arm(self) -> int | None:
        """Returns a descriptor that becomes readable when something comes; ``None`` if it has come.

        Raises:
            OSError: The system has no descriptor to give.
        """
    def _is_long(self) -> bool:
        """Whether the run has ended, and :meth:`result` copies more than an event loop should wait for."""
    def _finished(self) -> tuple[FloatArray] | None:
        """Returns what :meth:`result` would, if the run has ended."""

@final
class Steps:
    """A run that pauses after each token; ``RKLLM.steps`` makes it.

    Works as a generator: ``next()``, or a ``for`` or ``async for`` loop, lets the model go on with the
    token it has just given; :meth:`send` puts something else in that token's place. Between two tokens
    the KV cache can be looked at and changed. Other runs on the model wait until the steps end: with the
    answer, by :meth:`close`, by leaving a ``with`` block, or when nothing refers to them any more.
    """

    def __iter__(self) -> Self: ...
    def __next__(self) -> Chunk: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, Chunk]: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None: ...
    def __aenter__(self) -> Coroutine[Any, Any, Self]: ...
    def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> Coroutine[Any, Any, None]: ...
    def send(self, input: Input | None) -> Chunk:  # noqa: A002 - the field's word
        """Lets the model go on with other input than the token it has just given; returns the next.

        Args:
            input: What takes that token's place. To keep the token and add to it, send it along:
                ``Tokens([step.token_id, ...])``. ``None`` goes on with the token itself.

        Returns:
            The next token.

        Raises:
            StopIteration: The answer has ended.
            InvalidArgumentError: Before the first token.
        """
    def asend(self, input: Input | None) -> Coroutine[Any, Any, Chunk]:  # noqa: A002 - the field's word
        """:meth:`send` for an event loop.

        Args:
            input: As for :meth:`send`.

        Returns:
            The next token, to be awaited.

        Raises:
            StopAsyncIteration: The answer has ended.
            InvalidArgumentError: Before the first token.
        """
    def close(self) -> None:
        """Ends the steps, from any thread; again, or after the end, it does nothing."""
    def aclose(self) -> Coroutine[Any, Any, None]:
        """:meth:`close`, for an event loop; leaving an ``async with`` block calls it."""
    def cancel(self) -> None:
        """Ends the steps, as :meth:`close`."""
    def result(self) -> Generation:
        """Returns all that has come, after the end.

        Raises:
            InvalidArgumentError: The steps have not ended.
            GenerationError: The run failed.
        """
    def _poll(self) -> Chunk | None:
        """Returns the next token, or ``None`` if it has to be waited for.

        Raises:
            StopAsyncIteration: The answer has ended.
        """
    @property
    def _reader(self) -> object:
        """The task that reads, as a weak reference."""
    def _set_reader(self, reader: object) -> None:
        """Notes the task that reads."""
    def _leave(self) -> None:
        """Says that the reader was cancelled while it waited: the run ends unless it comes back soon."""
    @property
    def _asks(self) -> bool:
        """Whether questions of the library may come that the event loop must look for."""
    def _arm(self) -> int | None:
        """Returns a descriptor that becomes readable when something comes; ``None`` if it has come.

        Raises:
            OSError: The system has no descriptor to give.
        """
