"""What a run gives."""

from typing import Literal, final

from .settings import FinishReason

@final
class Chunk:
    """A piece of an answer, as a stream gives it. ``str(chunk)`` is its text."""

    @property
    def text(self) -> str:
        """The piece's text (``RKLLMResult.text``): never empty, always whole characters."""
    @property
    def token_id(self) -> int:
        """The token that completed the text (``RKLLMResult.token_id``).

        Tokens before it whose bytes only now became a character are in ``Generation.token_ids``.
        """

@final
class PerfStats:
    """Figures of a run: the library's own (``RKLLMPerfStat``) from 1.2.1 on, else measured around it.

    Times are milliseconds. A cancelled run has measured figures only.
    """

    @property
    def source(self) -> Literal["library", "measured"]:
        """Whose figures: ``"library"`` for ``RKLLMPerfStat``, ``"measured"`` for our clock."""
    @property
    def prefill_time_ms(self) -> float | None:
        """Time for the prompt; measured, the time to the first token. ``None`` if no token came."""
    @property
    def prefill_tokens(self) -> int | None:
        """Tokens of the prompt that were computed; ``None`` where measured."""
    @property
    def generate_time_ms(self) -> float | None:
        """Time for the answer; measured, from the first token on. ``None`` if no token came."""
    @property
    def generate_tokens(self) -> int:
        """Tokens of the answer."""
    @property
    def memory_usage_mb(self) -> float | None:
        """The process's peak resident size in MB as the library says; ``None`` where measured."""
    @property
    def generate_tokens_per_second(self) -> float | None:
        """Tokens of the answer per second; ``None`` without a token or a time.

        Measured, the time starts with the first token, so that one is not counted.
        """
    @property
    def prefill_tokens_per_second(self) -> float | None:
        """Tokens of the prompt per second; ``None`` where measured."""
    @property
    def time_to_first_token_ms(self) -> float | None:
        """From the start of the run to its first token, measured; ``None`` if no token came."""
    @property
    def total_time_ms(self) -> float:
        """From the start of the run to its end, measured."""
    @property
    def queued_time_ms(self) -> float:
        """Time spent waiting for earlier runs on the same model, measured."""

@final
class Generation:
    """A whole answer. ``str(generation)`` is its text."""

    @property
    def text(self) -> str:
        """The answer's text."""
    @property
    def token_ids(self) -> list[int]:
        """One id for each token, those without text of their own included."""
    @property
    def finish_reason(self) -> FinishReason:
        """Why it ended.

        ``"stop"``: the model ended its answer; ``"length"``: ``max_new_tokens`` was reached;
        ``"cancelled"``: the stream was cancelled or the model closed; ``"tool_calls"``: the answer
        calls tools.
        """
    @property
    def perf(self) -> PerfStats:
        """Figures of the run."""
