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
    """A stream of the chunks of an answer; ``RKLLM.stream`` returns it.

    Iterate with ``for`` or ``async for``. Both yield ``Chunk`` objects until the run ends, and raise the
    errors of ``result()``. A stream keeps its model open. Its run ends early if the stream is closed, by
    ``close()`` or at the end of a ``with`` block, or if nothing refers to it any more.

    Read it from one thread or task at a time. ``cancel()`` and ``close()`` may be called from any thread.
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
        """Returns the same stream, yielding plain ``str``."""
    def cancel(self) -> None:
        """Cancels the run (``rkllm_abort``), from any thread. Does nothing after the end.

        Iteration then ends without an error.
        """
    def close(self) -> None:
        """Ends the run (``rkllm_abort``), like ``cancel()``. Leaving a ``with`` block calls it."""
    def aclose(self) -> Coroutine[Any, Any, None]:
        """Ends the run, like ``close()``, for event loops. Leaving an ``async with`` block calls it."""
    def result(self) -> Generation:
        """Waits for the end of the run and returns the whole answer, including chunks already read.

        Chunks that were not read are consumed: iteration ends after this.

        Raises:
            GenerationError: The run failed; ``log`` has the lines of the library.
            GenerationTimeout: The time limit has passed; ``partial`` has the answer so far.
            ContextLengthError: The prompt does not fit into the context window.
            ClosedError: The model was closed before the run ended.
            ForkedProcessError: The run was started before ``fork()``.
        """
    def _poll(self) -> Chunk | None:
        """The next chunk, ``None`` if it has to be waited for; for the event loop."""
    @property
    def _reader(self) -> object:
        """The task that reads, as a weak reference; for the event loop."""
    def _set_reader(self, reader: object) -> None: ...
    def _leave(self) -> None:
        """Says that the reader was cancelled while it waited; for the event loop."""
    @property
    def _asks(self) -> bool:
        """Whether questions may come that the loop must look for."""
    def _arm(self) -> int | None:
        """A descriptor that becomes readable when something comes; ``None`` if it is there already."""
    def _is_long(self) -> bool:
        """Whether ``result`` takes longer than an event loop should wait: never."""
    def _finished(self) -> tuple[Generation] | None:
        """The whole answer in a tuple if the run has ended; for the event loop."""

@final
class TextStream:
    """A ``TokenStream`` that yields plain ``str``; ``TokenStream.texts`` returns it.

    Both share one run: a chunk read from one is not yielded by the other.

    Read it from one thread or task at a time. ``cancel()`` and ``close()`` may be called from any thread.
    """

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
        """Cancels the run (``rkllm_abort``), from any thread. Does nothing after the end.

        Iteration then ends without an error.
        """
    def close(self) -> None:
        """Ends the run (``rkllm_abort``), like ``cancel()``. Leaving a ``with`` block calls it."""
    def aclose(self) -> Coroutine[Any, Any, None]:
        """Ends the run, like ``close()``, for event loops. Leaving an ``async with`` block calls it."""
    def result(self) -> Generation:
        """Waits for the end of the run and returns the whole answer, including chunks already read.

        Chunks that were not read are consumed: iteration ends after this.

        Raises:
            GenerationError: The run failed; ``log`` has the lines of the library.
            GenerationTimeout: The time limit has passed; ``partial`` has the answer so far.
            ContextLengthError: The prompt does not fit into the context window.
            ClosedError: The model was closed before the run ended.
            ForkedProcessError: The run was started before ``fork()``.
        """
    def _poll(self) -> str | None:
        """The next text, ``None`` if it has to be waited for; for the event loop."""
    @property
    def _reader(self) -> object:
        """The task that reads, as a weak reference; for the event loop."""
    def _set_reader(self, reader: object) -> None: ...
    def _leave(self) -> None:
        """Says that the reader was cancelled while it waited; for the event loop."""
    @property
    def _asks(self) -> bool:
        """Whether questions may come that the loop must look for."""
    def _arm(self) -> int | None:
        """A descriptor that becomes readable when something comes; ``None`` if it is there already."""

@final
class ArrayStream:
    """A stream of logits or hidden states: one ``FloatArray`` per callback of the library.

    ``RKLLM.stream_logits`` and ``RKLLM.stream_hidden_states`` return it. Iterate with ``for`` or ``async
    for``. Its run ends early if the stream is closed, by ``close()`` or at the end of a ``with`` block, or if
    nothing refers to it any more.

    Read it from one thread or task at a time. ``cancel()`` and ``close()`` may be called from any thread.
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
        """Cancels the run (``rkllm_abort``), from any thread. Does nothing after the end.

        Iteration then ends without an error.
        """
    def close(self) -> None:
        """Ends the run (``rkllm_abort``), like ``cancel()``. Leaving a ``with`` block calls it."""
    def aclose(self) -> Coroutine[Any, Any, None]:
        """Ends the run, like ``close()``, for event loops. Leaving an ``async with`` block calls it."""
    def result(self) -> FloatArray:
        """Waits for the end of the run and returns all rows that were not read, in one array.

        Raises:
            GenerationError: The run failed, was cancelled before the first row, or the library returned no
                rows.
            GenerationTimeout: The time limit has passed.
            ContextLengthError: The prompt does not fit into the context window.
            ClosedError: The model was closed before the run ended.
        """
    def _poll(self) -> FloatArray | None:
        """The next array, ``None`` if it has to be waited for; for the event loop."""
    @property
    def _reader(self) -> object:
        """The task that reads, as a weak reference; for the event loop."""
    def _set_reader(self, reader: object) -> None: ...
    def _leave(self) -> None:
        """Says that the reader was cancelled while it waited; for the event loop."""
    @property
    def _asks(self) -> bool:
        """Whether questions may come that the loop must look for."""
    def _arm(self) -> int | None:
        """A descriptor that becomes readable when something comes; ``None`` if it is there already."""
    def _is_long(self) -> bool:
        """Whether the run has ended, and ``result`` now copies more than an event loop should wait for."""
    def _finished(self) -> tuple[FloatArray] | None:
        """The same in a tuple if the run has ended; for the event loop."""

@final
class Steps:
    """A run that pauses after each token; ``RKLLM.steps`` returns it.

    It works like a generator: ``next()``, a ``for`` or an ``async for`` loop continues with the token that
    was just yielded, and ``send()`` replaces that token. Between two tokens the KV cache can be read and
    changed. Other runs of the model wait until the steps end: at the end of the answer, by ``close()``, at
    the end of a ``with`` block, or if nothing refers to them any more.

    Read it from one thread or task at a time. ``cancel()`` and ``close()`` may be called from any thread.
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
        """Replaces the token that was just yielded by other input, and returns the next token.

        Args:
            input: The replacement. To keep the token and add more, send it as well: ``Tokens([step.token_id,
                ...])``. ``None`` continues with the token itself.

        Returns:
            The next token.

        Raises:
            StopIteration: The answer has ended.
            InvalidArgumentError: No token was yielded yet, or the input is not valid.
            InvalidTypeError: The input has the wrong type.
            GenerationError: The run failed.
        """
    def asend(self, input: Input | None) -> Coroutine[Any, Any, Chunk]:  # noqa: A002 - the field's word
        """Replaces the token that was just yielded, like ``send()``, without blocking the event loop.

        Args:
            input: The replacement; ``None`` continues with the token itself.

        Returns:
            An awaitable that gives the next token.

        Raises:
            StopAsyncIteration: The answer has ended.
            InvalidArgumentError: No token was yielded yet, or the input is not valid.
            InvalidTypeError: The input has the wrong type.
            GenerationError: The run failed.
        """
    def close(self) -> None:
        """Ends the run (``rkllm_abort``), like ``cancel()``. Leaving a ``with`` block calls it."""
    def aclose(self) -> Coroutine[Any, Any, None]:
        """Ends the run, like ``close()``, for event loops. Leaving an ``async with`` block calls it."""
    def cancel(self) -> None:
        """Cancels the run (``rkllm_abort``), from any thread. Does nothing after the end.

        Iteration then ends without an error.
        """
    def result(self) -> Generation:
        """Returns the whole answer. Call it after the steps have ended.

        Raises:
            InvalidArgumentError: The steps have not ended.
            GenerationError: The run failed.
        """
    def _poll(self) -> Chunk | None:
        """The next token, ``None`` if it has to be waited for; for the event loop."""
    @property
    def _reader(self) -> object:
        """The task that reads, as a weak reference; for the event loop."""
    def _set_reader(self, reader: object) -> None: ...
    def _leave(self) -> None:
        """Says that the reader was cancelled while it waited; for the event loop."""
    @property
    def _asks(self) -> bool:
        """Whether questions may come that the loop must look for."""
    def _arm(self) -> int | None:
        """A descriptor that becomes readable when something comes; ``None`` if it is there already."""
