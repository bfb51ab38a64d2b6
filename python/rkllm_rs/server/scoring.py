"""How likely a model finds the tokens of a text that it was given."""

from __future__ import annotations

import heapq
import math

from rkllm_rs import _native
from rkllm_rs.logprobs import TokenLogprob, TopLogprob

from .errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Final

    from rkllm_rs import FloatArray
    from rkllm_rs.llm import RKLLM

__all__ = ["check_size", "scored"]

#: Most bytes of logits: a prompt has a row for each token.
_MOST_BYTES: Final = 512 << 20


def check_size(llm: RKLLM, ids: Sequence[int]) -> None:
    """Refuses a prompt whose logits would not fit into a reasonable part of the memory.

    Raises:
        ApiError: 400.
    """
    width = llm.info.vocab_size or 0
    most = _MOST_BYTES // (4 * width) if width else len(ids)
    if len(ids) > most:
        message = f"the prompt must have at most {most} tokens where its own logprobs are asked for"
        raise ApiError(400, message, param="prompt", code="unsupported_parameter")


def scored(llm: RKLLM, ids: Sequence[int], rows: Sequence[FloatArray], top: int) -> list[TokenLogprob]:
    """The tokens of a prompt with their probabilities; takes long, so call it on a thread.

    Args:
        llm: The model.
        ids: The tokens.
        rows: The logits of all positions, in blocks.
        top: How many of the likeliest tokens are told at each position.

    Returns:
        The tokens. The first one has NaN: nothing comes before it.
    """
    named = _names(llm)
    tokens = [_token(ids[0], named(ids[0]), math.nan, [])]
    if len(ids) == 1:
        return tokens
    scorer = _native.Scorer(ids, len(ids) - 1)
    for block in rows:
        scorer.add(block)
    position = 0
    logprobs = scorer.logprobs()
    for block in rows:
        floats = memoryview(block.tobytes()).cast("f")
        width = block.shape[1]
        for first in range(0, len(floats), width):
            position += 1
            if position == len(ids):
                return tokens
            row, logprob = floats[first : first + width], logprobs[position - 1]
            total = row[ids[position]] - logprob
            best = heapq.nlargest(top, range(width), key=row.__getitem__)
            likely = [_top(number, named(number), row[number] - total) for number in best]
            tokens.append(_token(ids[position], named(ids[position]), logprob, likely))
    return tokens


def _names(llm: RKLLM) -> Callable[[int], str]:
    """The text of a token, asked for once."""
    known: dict[int, str] = {}

    def name(number: int) -> str:
        if number not in known:
            known[number] = llm.detokenize([number])
        return known[number]

    return name


def _token(number: int, text: str, logprob: float, top: list[TopLogprob]) -> TokenLogprob:
    return TokenLogprob(number, text, text.encode(), logprob, top)


def _top(number: int, text: str, logprob: float) -> TopLogprob:
    return TopLogprob(number, logprob, text, text.encode())
