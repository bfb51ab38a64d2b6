"""Conversations, and what comes of them."""

from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, final

from typing_extensions import Self

from rkllm_rs.logprobs import TokenLogprob

from .model import Model
from .outputs import Constraint, PerfStats
from .settings import Path

@final
class ChatStream:
    """A stream of the answer of a chat; ``RKLLM.chat_stream`` returns it.

    Iterate with ``for`` or ``async for``. Both yield ``ChatDelta`` objects until the answer ends, and raise
    the errors of ``result()``. A stream keeps its model open. Its run ends early if the stream is closed, by
    ``close()`` or at the end of a ``with`` block, or if nothing refers to it any more.

    Read it from one thread or task at a time. ``cancel()`` and ``close()`` may be called from any thread.
    """

    def __iter__(self) -> Self: ...
    def __next__(self) -> ChatDelta: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, ChatDelta]: ...
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
    def texts(self) -> ChatTexts:
        """Returns the same stream, yielding only the content, as plain ``str``."""
    def cancel(self) -> None:
        """Cancels the run (``rkllm_abort``), from any thread. Does nothing after the end.

        Iteration then ends without an error.
        """
    def close(self) -> None:
        """Ends the run (``rkllm_abort``), like ``cancel()``. Leaving a ``with`` block calls it."""
    def aclose(self) -> Coroutine[Any, Any, None]:
        """Ends the run, like ``close()``, for event loops. Leaving an ``async with`` block calls it."""
    def result(self) -> ChatAnswer:
        """Waits for the end of the answer and returns all of it, including deltas already read.

        Deltas that were not read are consumed: iteration ends after this.

        Raises:
            GenerationError: The run failed; ``log`` has the lines of the library.
            GenerationTimeout: The time limit has passed; ``partial`` has the answer so far.
            ContextLengthError: The conversation does not fit into the context window.
            ClosedError: The model was closed before the run ended.
            ForkedProcessError: The run was started before ``fork()``.
        """
    def _poll(self) -> ChatDelta | None:
        """The next delta, ``None`` if it has to be waited for; for the event loop."""
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
    def _finished(self) -> tuple[ChatAnswer] | None:
        """The whole answer in a tuple if it has ended; for the event loop."""

@final
class ChatTexts:
    """A ``ChatStream`` that yields only the content, as plain ``str``; ``ChatStream.texts`` returns it.

    Both share one answer: a delta read from one is not yielded by the other.

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
    def result(self) -> ChatAnswer:
        """Waits for the end of the answer and returns all of it, including deltas already read.

        Deltas that were not read are consumed: iteration ends after this.

        Raises:
            GenerationError: The run failed; ``log`` has the lines of the library.
            GenerationTimeout: The time limit has passed; ``partial`` has the answer so far.
            ContextLengthError: The conversation does not fit into the context window.
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
class ChatDelta:
    """A new part of an answer, as ``ChatStream`` yields it.

    Immutable; any number of threads and tasks may use it at the same time.
    """

    @property
    def content(self) -> str:
        """The next part of the content; empty if there is none."""
    @property
    def reasoning(self) -> str:
        """The next part of the model's thinking; empty if there is none."""
    @property
    def tool_calls(self) -> list[ToolCallDelta]:
        """New parts of tool calls; empty if there are none."""
    @property
    def logprobs(self) -> list[TokenLogprob] | None:
        """How likely the tokens were that came since the last delta; ``None`` without ``logprobs``."""

@final
class ToolCallDelta:
    """A new part of a tool call, as a stream yields it.

    Immutable; any number of threads and tasks may use it at the same time.
    """

    @property
    def index(self) -> int:
        """The position of the call among the calls of the answer, from 0."""
    @property
    def id(self) -> str | None:
        """The call's id in its first part; ``None`` in later parts."""
    @property
    def name(self) -> str | None:
        """The tool's name in the call's first part; ``None`` in later parts."""
    @property
    def arguments(self) -> str:
        """The next part of the arguments' JSON text."""

@final
class ToolCall:
    """A tool call of a model.

    Immutable; any number of threads and tasks may use it at the same time.
    """

    @property
    def id(self) -> str:
        """The call's id. The message with the result names it."""
    @property
    def name(self) -> str:
        """The tool's name."""
    @property
    def arguments_json(self) -> str:
        """The arguments' JSON text, as the model wrote it."""
    @property
    def arguments(self) -> dict[str, Any] | None:
        """The arguments as a dict, or ``None`` if they cannot be read.

        If ``error`` is not ``None``, the JSON was wrong, and these may be the result of a second, lenient
        reading.
        """
    @property
    def error(self) -> str | None:
        """Why the call must not be made, in words for the model; ``None`` if it can be made."""
    @property
    def _is_misfit(self) -> bool:
        """Whether the call is written as it should be, and only values do not fit, which may be converted."""

@final
class ChatAnswer:
    """The answer of ``chat()``. ``str(answer)`` is its content.

    Read-only; any number of threads and tasks may use it at the same time.
    """

    @property
    def content(self) -> str:
        """The answer's text, without thinking and tool calls."""
    @property
    def parsed(self) -> Any:
        """The value of an answer in JSON, or an instance of the given type.

        ``None`` without ``json_schema`` or ``response_format``, and if the answer was cut off.

        Raises:
            Exception: What the given type raises for values that fit the schema but not the type.
        """
    @property
    def constraint(self) -> Constraint | None:
        """How the answer was kept to its form; ``None`` if it has none."""
    @property
    def reasoning(self) -> str | None:
        """The model's thinking, or ``None``."""
    @property
    def tool_calls(self) -> list[ToolCall]:
        """The tool calls, in the order in which the model wrote them."""
    @property
    def finish_reason(self) -> Literal["stop", "length", "cancelled", "tool_calls"]:
        """Why the answer ended: ``"stop"``, ``"length"``, ``"cancelled"`` or ``"tool_calls"``.

        ``"tool_calls"``: at least one tool call can be made. ``"length"``: ``max_new_tokens`` was reached.
        ``"cancelled"``: the stream was cancelled.
        """
    @property
    def message(self) -> dict[str, Any]:
        """The message to append to the conversation, a dict in the OpenAI format."""
    @property
    def perf(self) -> PerfStats:
        """Performance statistics of all runs of the answer together."""
    @property
    def logprobs(self) -> list[TokenLogprob] | None:
        """How likely each token was, best alternatives first; ``None`` without ``logprobs``."""
    @property
    def notes(self) -> list[str]:
        """Notes for people: how the conversation was adapted, and what was unusual about the answer."""
    @property
    def text(self) -> str:
        """The answer as the model wrote it, with its markers."""
    @property
    def token_ids(self) -> list[int]:
        """One id per generated token."""

def no_answer() -> ChatAnswer:
    """The answer of a chat that was cancelled before it could begin."""

@final
class Chat:
    """How a model is talked to; programs use ``RKLLM.chat``.

    Immutable; any number of threads may use it at the same time.
    """

    def __new__(
        cls, model: Path, *, chat_template: Path | None = None, family: str | None = None
    ) -> Self: ...
    @staticmethod
    def end_marks(model: Path, *, chat_template: Path | None = None, family: str | None = None) -> list[str]:
        """The end marks of this model's answers, if markers of its family are special tokens."""
    @property
    def family(self) -> str:
        """The name of the model's family."""
    def stream(
        self,
        model: Model,
        messages: object,
        called: str,
        keywords: Mapping[str, Any],
        counts: Callable[[str], Iterable[int]] | None = None,
    ) -> ChatStream:
        """Starts an answer and returns its stream; never blocks.

        ``counts`` gives the ids of a text, for a library that cannot.
        """
    def render(
        self, messages: object, called: str, add_generation_prompt: bool, keywords: Mapping[str, Any]
    ) -> str:
        """Returns the text that the template gives."""
    def prompt(self, messages: object, called: str, keywords: Mapping[str, Any]) -> str:
        """Returns the text that a chat with these messages gives to the model."""

def check_chat(called: str, keywords: Mapping[str, object]) -> None:
    """Checks the keywords of a chat, as far as no model and no message is needed for that."""
