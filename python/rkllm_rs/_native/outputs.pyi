"""What a run gives."""

from typing import Any, Literal, final

from rkllm_rs.logprobs import TokenLogprob

from .settings import FinishReason

@final
class Chunk:
    """A chunk of an answer, as a stream yields it. ``str(chunk)`` is its text.

    Immutable; any number of threads and tasks may use it at the same time.
    """

    @property
    def text(self) -> str:
        """The chunk's text (``RKLLMResult.text``): never empty, always whole characters."""
    @property
    def token_id(self) -> int:
        """The token that completed the text (``RKLLMResult.token_id``).

        Earlier tokens whose bytes only now form a character are in ``Generation.token_ids``.
        """
    @property
    def logprobs(self) -> list[TokenLogprob] | None:
        """How likely the tokens were that came since the last chunk; ``None`` without ``logprobs``."""

@final
class PerfStats:
    """Performance statistics of a run, from the library (``RKLLMPerfStat``, since RKLLM 1.2.1) or measured.

    Times are in milliseconds. The statistics of a cancelled run are always measured.

    Immutable; any number of threads and tasks may use it at the same time.
    """

    @property
    def source(self) -> Literal["library", "measured"]:
        """Where the statistics come from: ``"library"`` (``RKLLMPerfStat``) or ``"measured"``."""
    @property
    def prefill_time_ms(self) -> float | None:
        """Prefill time in milliseconds. ``None`` if no token was generated.

        If measured, it is the time to the first token.
        """
    @property
    def prompt_tokens(self) -> int | None:
        """Number of prompt tokens, including the conversation that it continues. ``None`` if unknown.

        The CPU runtime counts every prompt. The vendor's library does not report this: there it is known for
        ``Tokens`` and ``Embeddings`` without ``keep_history``, for a chat if there is a tokenizer to count
        with, and for a chat on 1.3.x of which the library holds the beginning.
        """
    @property
    def cached_tokens(self) -> int | None:
        """Number of prompt tokens that were reused from the KV cache. ``None`` if unknown."""
    @property
    def prefill_tokens(self) -> int | None:
        """Number of prompt tokens that were computed. ``None`` if unknown."""
    @property
    def generate_time_ms(self) -> float | None:
        """Decode time in milliseconds. ``None`` if no token was generated.

        If measured, it starts at the first token.
        """
    @property
    def generate_tokens(self) -> int:
        """Number of generated tokens."""
    @property
    def memory_usage_mb(self) -> float | None:
        """Peak resident memory of the process in MB, as the library reports it. ``None`` if measured."""
    @property
    def generate_tokens_per_second(self) -> float | None:
        """Generated tokens per second. ``None`` if no token was generated or the time is unknown.

        If measured, the time starts at the first token, and that token is not counted.
        """
    @property
    def prefill_tokens_per_second(self) -> float | None:
        """Computed prompt tokens per second. ``None`` if unknown."""
    @property
    def time_to_first_token_ms(self) -> float | None:
        """Measured time from the start of the run to its first token, in milliseconds, or ``None``."""
    @property
    def total_time_ms(self) -> float:
        """Measured time from the start of the run to its end, in milliseconds."""
    @property
    def queued_time_ms(self) -> float:
        """Measured time in the queue, in milliseconds: the wait for earlier runs and for the NPU lock."""

@final
class Generation:
    """A whole answer. ``str(generation)`` is its text.

    Read-only; any number of threads and tasks may use it at the same time.
    """

    @property
    def text(self) -> str:
        """The answer's text."""
    @property
    def token_ids(self) -> list[int]:
        """One id per generated token, including tokens without text."""
    @property
    def finish_reason(self) -> FinishReason:
        """Why the answer ended: ``"stop"``, ``"length"``, ``"cancelled"`` or ``"tool_calls"``.

        ``"stop"``: the model ended its answer. ``"length"``: ``max_new_tokens`` was reached. ``"cancelled"``:
        the stream was cancelled. ``"tool_calls"``: the answer calls tools.
        """
    @property
    def perf(self) -> PerfStats:
        """Performance statistics of the run."""
    @property
    def logprobs(self) -> list[TokenLogprob] | None:
        """How likely each token was, best alternatives first; ``None`` without ``logprobs``."""
    @property
    def parsed(self) -> Any:
        """The value of an answer in JSON, or an instance of the given type.

        ``None`` without ``json_schema``, and if the answer was cut off.

        Raises:
            Exception: What the given type raises for values that fit the schema but not the type.
        """
    @property
    def constraint(self) -> Constraint | None:
        """How the answer was kept to its form; ``None`` if it has none."""

@final
class Constraint:
    """How an answer was kept to its ``json_schema``, ``regex``, ``choices`` or ``grammar``.

    Immutable; any number of threads and tasks may use it at the same time.
    """

    @property
    def way(self) -> Literal["mask", "guided", "retry"]:
        """How it was done: ``"mask"``, ``"guided"`` or ``"retry"``.

        ``"mask"``: tokens that did not fit could not be chosen. ``"guided"``: the library was paused at such
        tokens, and given others. ``"retry"``: the answer was checked, and asked for again if it did not fit.
        """
    @property
    def replaced(self) -> int:
        """Number of the model's tokens that were replaced."""
    @property
    def forced(self) -> int:
        """Number of texts that had to come next, for which the library was paused."""
    @property
    def calls(self) -> int:
        """Number of calls of the library.

        At most one more than ``replaced``, ``forced`` and ``retries`` together.
        """
    @property
    def retries(self) -> int:
        """Number of times that the model was asked again."""
    @property
    def complete(self) -> bool:
        """Whether the answer is complete: ``False`` if it was cut off, by ``max_new_tokens`` for example."""
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
