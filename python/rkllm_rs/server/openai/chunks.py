"""What answers of chat and completions have in common: ends, counts and probabilities."""

from __future__ import annotations

from rkllm_rs.server.http import dumps
from rkllm_rs.server.stream import event

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Final

    from rkllm_rs.logprobs import TokenLogprob
    from rkllm_rs.server.jobs import Usage

DONE: Final = b"data: [DONE]\n\n"
#: After so many comments in a row comes a chunk: some clients count only those.
COMMENTS: Final = 6


class Frame:
    """The part that all chunks of an answer share, written once."""

    def __init__(self, kind: str, number: str, created: int, model: str) -> None:
        self._data = {"id": number, "object": kind, "created": created, "model": model}
        self._head = b"data: " + dumps(self._data)[:-1] + b',"choices":['

    def chunk(self, choice: bytes) -> bytes:
        """The event of a chunk with one choice."""
        return b"%b%b]}\n\n" % (self._head, choice)

    def usage(self, usage: dict[str, Any]) -> bytes:
        """The event of the counts."""
        return event({**self._data, "choices": [], "usage": usage})


def usage_data(usages: Iterable[Usage], answers: int = 1) -> dict[str, Any]:
    """Counts of all answers together; the prompt counts once for its ``answers`` answers."""
    listed = list(usages)
    prompts = listed[:: max(answers, 1)]
    prompt = sum(one.prompt_tokens for one in prompts)
    completion = sum(one.completion_tokens for one in listed)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(one.cached_tokens for one in prompts)},
        "completion_tokens_details": {"reasoning_tokens": sum(one.reasoning_tokens for one in listed)},
    }


def timings_data(usage: Usage) -> dict[str, Any]:
    """Times of an answer, as llama-server names them and Open WebUI shows them."""
    computed = usage.prompt_tokens - usage.cached_tokens
    speed = usage.completion_tokens / usage.generate_s if usage.generate_s > 0 else 0.0
    return {
        "cache_n": usage.cached_tokens,
        "prompt_n": computed,
        "prompt_ms": round(usage.prefill_s * 1000, 3),
        "predicted_n": usage.completion_tokens,
        "predicted_ms": round(usage.generate_s * 1000, 3),
        "predicted_per_second": round(speed, 3),
    }


def token_data(token: TokenLogprob) -> dict[str, Any]:
    """A token of a chat, and how likely it was."""
    return {
        "token": token.text,
        "logprob": token.logprob,
        "bytes": list(token.bytes),
        "top_logprobs": [
            {"token": one.text, "logprob": one.logprob, "bytes": list(one.bytes)} for one in token.top
        ],
    }
