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
    """The tokens of a run as they come; ``RKLLM.stream`` returns it.

    Iterate with ``for`` or ``async for``. Both yield ``Chunk`` objects until the run ends, and raise what
    ``result`` raises. A stream keeps its model open. Leaving the stream ends its run: by ``close()``, by
    leaving a ``with`` block, or when the last reference is gone.

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
        """Is ``close()`` for an event loop. Leaving an ``async with`` block calls it."""
    def result(self) -> Generation:
        """Waits for the end of the run and returns the whole answer, including chunks already read.

        Chunks that were not read are consumed: iteration ends after this.

        Raises:
            GenerationError: The run failed; ``log`` has the lines of the library.
            GenerationTimeout: The deadline passed; ``partial`` has what was generated before.
            ContextLengthError: There are more tokens than the context window holds.
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
        """Is ``close()`` for an event loop. Leaving an ``async with`` block calls it."""
    def result(self) -> Generation:
        """Waits for the end of the run and returns the whole answer, including chunks already read.

        Chunks that were not read are consumed: iteration ends after this.

        Raises:
            GenerationError: The run failed; ``log`` has the lines of the library.
            GenerationTimeout: The deadline passed; ``partial`` has what was generated before.
            ContextLengthError: There are more tokens than the context window holds.
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
    """Logits or hidden states as they come: one ``FloatArray`` per callback of the library.

    ``RKLLM.stream_logits`` and ``RKLLM.stream_hidden_states`` return it. Iterate with ``for`` or ``async
    for``. Leaving the stream ends its run: by ``close()``, by leaving a ``with`` block, or when the last
    reference is gone.

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
        """Is ``close()`` for an event loop. Leaving an ``async with`` block calls it."""
    def result(self) -> FloatArray:
        """Waits for the end of the run and returns all rows that were not read, in one array.

        Raises:
            GenerationError: The run failed, was cancelled before any rows came, or the library gave none.
            GenerationTimeout: The deadline passed.
            ContextLengthError: There are more tokens than the context window holds.
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
    changed. Other runs on the model wait until the steps end: with the answer, by ``close()``, by leaving a
    ``with`` block, or when the last reference is gone.

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
            input: The replacement. To keep the token and add to it, send it too: ``Tokens([step.token_id,
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
        """Is ``send()`` for an event loop.

        Args:
            input: The replacement; ``None`` continues with the token itself.

        Returns:
            The next token, to be awaited.

        Raises:
            StopAsyncIteration: The answer has ended.
            InvalidArgumentError: No token was yielded yet, or the input is not valid.
            InvalidTypeError: The input has the wrong type.
            GenerationError: The run failed.
        """
    def close(self) -> None:
        """Ends the run (``rkllm_abort``), like ``cancel()``. Leaving a ``with`` block calls it."""
    def aclose(self) -> Coroutine[Any, Any, None]:
        """Is ``close()`` for an event loop. Leaving an ``async with`` block calls it."""
    def cancel(self) -> None:
        """Cancels the run (``rkllm_abort``), from any thread. Does nothing after the end.

        Iteration then ends without an error.
        """
    def result(self) -> Generation:
        """Returns everything that was generated, after the end.

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
