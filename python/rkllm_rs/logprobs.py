"""How likely generated tokens were: what ``logprobs`` of a call returns."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["TokenLogprob", "TopLogprob"]


class TopLogprob(NamedTuple):
    """A token that the model found likely at a position.

    Immutable; any number of threads may read it.

    Attributes:
        token_id: The token.
        logprob: Natural logarithm of its probability.
        text: Its text. Bytes that are no whole character are shown as U+FFFD.
        bytes: Its text as UTF-8.
    """

    token_id: int
    logprob: float
    text: str
    bytes: bytes


class TokenLogprob(NamedTuple):
    """A generated token, and how likely the model found it.

    The probabilities are those of the model, before ``logit_bias``, penalties and temperature.

    This package does not change it after it was returned; any number of threads may read it.

    Attributes:
        token_id: The token.
        text: Its text. Bytes that are no whole character are shown as U+FFFD.
        bytes: Its text as UTF-8. Joined over several tokens they make whole characters.
        logprob: Natural logarithm of its probability.
        top: The most likely tokens at its position, best first: as many as the call asked for.
    """

    token_id: int
    text: str
    bytes: bytes
    logprob: float
    top: list[TopLogprob]


def made(token: tuple[int, float, bytes], top: list[tuple[int, float, bytes]]) -> TokenLogprob:
    """Makes the object for a token.

    Args:
        token: Its id, its log-probability and its bytes.
        top: The same of the most likely tokens.

    Returns:
        The object.
    """
    number, logprob, text = token
    best = [TopLogprob(one, value, data.decode(errors="replace"), data) for one, value, data in top]
    return TokenLogprob(number, text.decode(errors="replace"), text, logprob, best)
