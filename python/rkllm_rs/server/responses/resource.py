"""The object of a response: all its keys, in whatever state it is."""

from __future__ import annotations

import time

from rkllm_rs.server.jobs import new_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Final, Literal

    from rkllm_rs.server.entry import Entry
    from rkllm_rs.server.errors import ApiError
    from rkllm_rs.server.jobs import Usage

    Status = Literal["in_progress", "completed", "incomplete", "failed"]

__all__ = ["Resource", "error_data"]

#: What a response says of its sampling, as numbers: these, as long as the model's own are not known.
_SAMPLING: Final = {"temperature": 1.0, "top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


class Resource:
    """What stays the same from the first event of a response to its last."""

    def __init__(
        self, model: str, settings: Mapping[str, Any], entry: Entry, sampling: Mapping[str, Any]
    ) -> None:
        """Begins a response.

        Args:
            model: The name of the model, as the client wrote it.
            settings: The part that repeats the request.
            entry: The model.
            sampling: What the request says of it; the rest is the model's own.
        """
        self._entry = entry
        self._asked = sampling
        self._data = {
            "id": new_id("resp_"),
            "object": "response",
            "created_at": int(time.time()),
            "model": model,
            "background": False,
            "previous_response_id": None,
            "service_tier": "default",
            "store": False,
            "truncation": "disabled",
            **settings,
        }

    def data(
        self,
        status: Status,
        output: Sequence[Mapping[str, Any]] = (),
        usage: Usage | None = None,
        error: ApiError | None = None,
    ) -> dict[str, Any]:
        """The object.

        Args:
            status: Its state.
            output: Its items.
            usage: What it took, once that is known.
            error: Why it failed.

        Returns:
            The object, with all keys.
        """
        return {
            **self._data,
            **self._sampling(),
            "status": status,
            "completed_at": int(time.time()) if status == "completed" else None,
            "error": None if error is None else error_data(error),
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "output": list(output),
            "usage": None if usage is None else _usage_data(usage),
        }

    def _sampling(self) -> dict[str, float]:
        own = self._entry.sampling
        used: dict[str, float] = {}
        for name, known in _SAMPLING.items():
            value = self._asked.get(name)
            if value is None and own is not None:
                value = getattr(own, name)
            # The library has them in single precision.
            used[name] = known if value is None else round(float(value), 6)
        return used


def error_data(error: ApiError) -> dict[str, Any]:
    """An error in the few words that the types of OpenAI's package have for its code."""
    codes = {400: "invalid_prompt", 429: "rate_limit_exceeded"}
    return {"code": codes.get(error.status, "server_error"), "message": error.message}


def _usage_data(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
