"""The lines of an answer in the form of Ollama: parts, the end with its counts, and the line of silence."""

from __future__ import annotations

import datetime as dt
import json
import time
from typing import TYPE_CHECKING, Any, Final

from rkllm_rs.server.http import dumps
from rkllm_rs.server.jobs import Done, Reasoning, Text, ToolCall, ToolCallDelta

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rkllm_rs.logprobs import TokenLogprob
    from rkllm_rs.server.jobs import Answer, Event, Job, Usage

__all__ = ["Lines", "counts", "now", "rfc3339"]

_NANOSECONDS: Final = 1_000_000_000


def rfc3339(seconds: float) -> str:
    """A time as Python's older ``fromisoformat`` reads it, too: six digits, and an offset for ``Z``."""
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f+00:00")


def now() -> str:
    """The time."""
    return rfc3339(time.time())


def counts(usage: Usage) -> dict[str, int]:
    """Counts and times of an answer: integers, in nanoseconds."""
    load, prefill, decode = (
        int(seconds * _NANOSECONDS) for seconds in (usage.load_s, usage.prefill_s, usage.generate_s)
    )
    return {
        "total_duration": max(int(usage.total_s * _NANOSECONDS), load + prefill + decode),
        "load_duration": load,
        "prompt_eval_count": usage.prompt_tokens,
        "prompt_eval_duration": prefill,
        "eval_count": usage.completion_tokens,
        "eval_duration": decode,
    }


def _logprobs(tokens: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    return [
        {
            "token": token.text,
            "logprob": token.logprob,
            "bytes": list(token.bytes),
            "top_logprobs": [
                {"token": one.text, "logprob": one.logprob, "bytes": list(one.bytes)} for one in token.top
            ],
        }
        for token in tokens
    ]


def _call_data(at: int, call: ToolCall) -> dict[str, Any] | None:
    """A call, whose arguments are an object here; ``None`` if they were cut off."""
    try:
        arguments = json.loads(call.arguments or "{}")
    except ValueError:
        return None
    if not isinstance(arguments, dict):
        return None
    return {"id": call.id, "function": {"index": at, "name": call.name, "arguments": arguments}}


class Lines:
    """Makes lines of events; calls of tools are whole ones, and come before the end."""

    def __init__(self, model: str, job: Job, *, is_chat: bool) -> None:
        """Begins an answer.

        Args:
            model: The name, as the client wrote it.
            job: What is asked for.
            is_chat: The answer is a message, and not a response.
        """
        self._model = model
        self._job = job
        self._is_chat = is_chat
        self._calls: list[ToolCall] = []

    def of(self, event: Event) -> bytes:
        """The lines of an event; none for one that says nothing to clients."""
        if isinstance(event, Text):
            more = {"logprobs": _logprobs(event.logprobs)} if self._job.logprobs is not None else {}
            return self._line(self._said(event.text), **more)
        if isinstance(event, Reasoning):
            return self._line(self._said("", thinking=event.text))
        if isinstance(event, ToolCallDelta):
            if event.call >= len(self._calls):
                self._calls.append(ToolCall(event.id or "", event.name or ""))
            self._calls[event.call].arguments += event.arguments
        if isinstance(event, Done):
            return self._called() + dumps(self._end(event)) + b"\n"
        return b""

    def silence(self) -> bytes:
        """A line that says nothing: there are no comments, and clients fail at an empty line."""
        return self._line(self._said(""))

    def whole(self, answer: Answer) -> dict[str, Any]:
        """A whole answer in one object."""
        said = self._said(answer.text, thinking=answer.reasoning)
        if answer.tool_calls:
            said["message"].update(self._calls_of(answer.tool_calls))
        end = self._end(Done(answer.reason, answer.usage, answer.stop, context=answer.context))
        if self._job.logprobs is not None:
            end["logprobs"] = _logprobs(answer.logprobs)
        return {**end, **said}

    def _called(self) -> bytes:
        if not self._calls:
            return b""
        return self._line({"message": {"role": "assistant", "content": "", **self._calls_of(self._calls)}})

    @staticmethod
    def _calls_of(calls: Sequence[ToolCall]) -> dict[str, Any]:
        found = [_call_data(at, call) for at, call in enumerate(calls)]
        data: dict[str, Any] = {"tool_calls": [one for one in found if one is not None]}
        cut = "".join(call.arguments for call, one in zip(calls, found, strict=True) if one is None)
        # What is no call is text: nothing is lost.
        return {**data, "content": cut} if cut else data

    def _said(self, text: str, thinking: str = "") -> dict[str, Any]:
        thought = {"thinking": thinking} if thinking else {}
        if self._is_chat:
            return {"message": {"role": "assistant", "content": text, **thought}}
        return {"response": text, **thought}

    def _line(self, said: dict[str, Any], **more: Any) -> bytes:
        head = {"model": self._model, "created_at": now()}
        return dumps({**head, **said, "done": False, **more}) + b"\n"

    def _end(self, done: Done) -> dict[str, Any]:
        return {
            "model": self._model,
            "created_at": now(),
            **self._said(""),
            "done": True,
            "done_reason": "length" if done.reason == "length" else "stop",
            **counts(done.usage),
            **({"context": list(done.context)} if done.context else {}),
        }
