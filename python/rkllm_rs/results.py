"""Results that need nothing native: ``BatchStream`` and ``Score``."""

from __future__ import annotations

from ._native import Generation, TokenStream  # noqa: TC001
from ._typed import typed
from ._types import Iterator, Sequence  # noqa: TC001

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol, TypeVar

    from typing_extensions import Self

    _Result_co = TypeVar("_Result_co", covariant=True)

    class _Run(Protocol[_Result_co]):
        """A stream of a run."""

        def result(self) -> _Result_co: ...
        def cancel(self) -> None: ...


def all_results(streams: Sequence[_Run[_Result_co]]) -> list[_Result_co]:
    """The results of all streams of a run; an error of one ends the others, too.

    Args:
        streams: The run's streams.

    Returns:
        What their ``result()`` gives.
    """
    try:
        return [stream.result() for stream in streams]
    except BaseException:
        # Whoever keeps the exception keeps the streams, and their run would go on.
        for stream in streams:
            stream.cancel()
        raise


class BatchStream:
    """The streams of a batch, one per prompt, in the order of the prompts.

    A sequence of ``TokenStream``: it has ``len()``, indexing and iteration. The streams can be read in any
    order. A stream that is not read does not hold up the others.

    Thread safety: different threads and tasks may read different streams; only one of them reads a stream at
    a time. ``cancel()`` and ``close()`` may be called from any thread.
    """

    __slots__ = ("_streams",)

    @typed
    def __init__(self, streams: list[TokenStream]) -> None:
        """Creates the sequence; ``RKLLM.stream_batch`` does this.

        Args:
            streams: One per prompt.
        """
        self._streams = streams

    def __len__(self) -> int:
        return len(self._streams)

    def __getitem__(self, index: int) -> TokenStream:
        return self._streams[index]

    def __iter__(self) -> Iterator[TokenStream]:
        return iter(self._streams)

    @typed
    def cancel(self) -> None:
        """Ends all runs of the batch (``rkllm_abort``). Iteration then ends without an error."""
        for stream in self._streams:
            stream.cancel()

    @typed
    def close(self) -> None:
        """Ends all runs of the batch, like ``cancel()``. Leaving a ``with`` block calls it."""
        self.cancel()

    @typed
    async def aclose(self) -> None:
        """Ends all runs, like ``close()``. Leaving an ``async with`` block calls it."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: object
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: object
    ) -> None:
        self.close()

    @typed
    def results(self) -> list[Generation]:
        """Waits until all answers are complete, and returns them.

        Returns:
            One answer per prompt.

        Raises:
            GenerationError: The run failed.
            GenerationTimeout: The time limit has passed.
        """
        return all_results(self._streams)

    def __repr__(self) -> str:
        return f"<rkllm_rs.BatchStream of {len(self)} streams>"


if not TYPE_CHECKING:
    Self = BatchStream  # for typing.get_type_hints()


class Score:
    """How likely the model considers a continuation; ``RKLLM.score`` returns it.

    Thread safety: this package does not change it after it was returned; any thread may read it.

    Attributes:
        token_ids: The continuation's tokens.
        logprobs: Natural logarithm of each token's probability, given all tokens before it.
    """

    __slots__ = {  # noqa: RUF023 - in the order of the arguments; help() shows the texts
        "token_ids": "The continuation's tokens.",
        "logprobs": "Natural logarithm of each token's probability, given all tokens before it.",
    }

    token_ids: list[int]
    logprobs: list[float]

    @typed
    def __init__(self, token_ids: list[int], logprobs: list[float]) -> None:
        """Creates a score; ``RKLLM.score`` does this.

        Args:
            token_ids: The tokens.
            logprobs: One log-probability per token.
        """
        self.token_ids = token_ids
        self.logprobs = logprobs

    @property
    def logprob(self) -> float:
        """Natural logarithm of the probability of the whole continuation."""
        import math

        return math.fsum(self.logprobs)

    @property
    def perplexity(self) -> float:
        """Perplexity: 1 if the model is certain, the vocabulary's size if all tokens are equally likely."""
        import math

        try:
            return math.exp(-self.logprob / len(self.logprobs))
        except OverflowError:
            return math.inf

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Score):
            return NotImplemented
        return (self.token_ids, self.logprobs) == (other.token_ids, other.logprobs)

    __hash__ = None  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        figures = f"logprob={self.logprob:.4f}, perplexity={self.perplexity:.4f}"
        return f"Score({len(self.token_ids)} tokens, {figures})"
