"""``Score``: what ``RKLLM.score`` returns."""

from __future__ import annotations

import math


class Score:
    """How likely a model holds a continuation.

    Attributes:
        token_ids: The continuation's tokens.
        logprobs: For each the natural logarithm of its probability, given all before it.
    """

    __slots__ = ("logprobs", "token_ids")

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
        return math.fsum(self.logprobs)

    @property
    def perplexity(self) -> float:
        """E to the negative mean of the logarithms: 1 is certainty, the vocabulary's size is chance."""
        return math.exp(-self.logprob / len(self.logprobs))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Score):
            return NotImplemented
        return (self.token_ids, self.logprobs) == (other.token_ids, other.logprobs)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        figures = f"logprob={self.logprob:.4f}, perplexity={self.perplexity:.4f}"
        return f"Score({len(self.token_ids)} tokens, {figures})"
