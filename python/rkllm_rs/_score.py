"""``Score``: what ``RKLLM.score`` returns."""

from __future__ import annotations


class Score:
    """How likely a model holds a continuation.

    Attributes:
        token_ids: The continuation's tokens.
        logprobs: For each the natural logarithm of its probability, given all before it.
    """

    __slots__ = {  # noqa: RUF023 - in the order of the arguments; help() shows the texts
        "token_ids": "The continuation's tokens.",
        "logprobs": "For each the natural logarithm of its probability, given all before it.",
    }

    token_ids: list[int]
    logprobs: list[float]

    def __init__(self, token_ids: list[int], logprobs: list[float]) -> None:
        """Joins tokens and logarithms; ``RKLLM.score`` does it.

        Args:
            token_ids: The tokens.
            logprobs: As many logarithms.
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
        """E to the negative mean of the logarithms: 1 is certainty, the vocabulary's size is chance."""
        import math

        return math.exp(-self.logprob / len(self.logprobs))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Score):
            return NotImplemented
        return (self.token_ids, self.logprobs) == (other.token_ids, other.logprobs)

    __hash__ = None  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        figures = f"logprob={self.logprob:.4f}, perplexity={self.perplexity:.4f}"
        return f"Score({len(self.token_ids)} tokens, {figures})"
