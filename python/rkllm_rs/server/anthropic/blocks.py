"""An answer in the form of Anthropic: a message of blocks, whole or as events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from rkllm_rs.server.http import dumps
from rkllm_rs.server.jobs import Done, Reasoning, Started, Text, ToolCallDelta
from rkllm_rs.server.stream import event as sse_event

if TYPE_CHECKING:
    from rkllm_rs.server.jobs import Answer, Event, Finish, Usage

__all__ = ["Blocks", "counts", "whole"]

_REASONS: Final[dict[Finish, str]] = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_PING: Final = sse_event({"type": "ping"}, "ping")


def counts(usage: Usage) -> dict[str, int]:
    """Tokens as Anthropic counts them: those of the prompt are the sum of the first three."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "output_tokens": usage.completion_tokens,
    }


def _stop_of(reason: Finish, stop: str | None) -> dict[str, Any]:
    return {
        "stop_reason": _REASONS[reason] if stop is None else "stop_sequence",
        "stop_sequence": stop,
    }


def _id_of(number: str | None) -> str:
    return "toolu_" + (number or "").removeprefix("call_")


def _message(number: str, model: str) -> dict[str, Any]:
    return {"id": number, "type": "message", "role": "assistant", "model": model, "content": []}


def whole(number: str, model: str, answer: Answer) -> dict[str, Any]:
    """A whole message.

    Args:
        number: Its id.
        model: The name, as the client wrote it.
        answer: The answer.
    """
    content: list[dict[str, Any]] = []
    if answer.reasoning:
        content.append({"type": "thinking", "thinking": answer.reasoning, "signature": ""})
    if answer.text.strip() or (answer.text and not answer.tool_calls):
        content.append({"type": "text", "text": answer.text})
    for call in answer.tool_calls:
        try:
            arguments = json.loads(call.arguments or "{}")
        except ValueError:
            arguments = None
        if isinstance(arguments, dict):
            content.append({"type": "tool_use", "id": _id_of(call.id), "name": call.name, "input": arguments})
        else:
            # A call that was cut off is text: nothing is lost.
            content.append({"type": "text", "text": call.arguments})
    return {
        **_message(number, model),
        "content": content,
        **_stop_of(answer.reason, answer.stop),
        "usage": counts(answer.usage),
    }


class Blocks:
    """Makes events: blocks one after the other, each begun and ended."""

    def __init__(self, number: str, model: str) -> None:
        """Begins a message.

        Args:
            number: Its id.
            model: The name, as the client wrote it.
        """
        self._head = {**_message(number, model), "stop_reason": None, "stop_sequence": None}
        self._begun = False
        self._index = -1
        self._open: tuple[str, int] | None = None
        self._prompt_tokens = 0

    def of(self, event: Event) -> bytes:
        """The events of an event; none for one that says nothing to clients."""
        if isinstance(event, Text):
            opened = self._block(("text", 0), {"type": "text", "text": ""})
            return opened + self._delta({"type": "text_delta", "text": event.text})
        if isinstance(event, Reasoning):
            opened = self._block(("thinking", 0), {"type": "thinking", "thinking": "", "signature": ""})
            return opened + self._delta({"type": "thinking_delta", "thinking": event.text})
        if isinstance(event, ToolCallDelta):
            block: dict[str, Any] = {
                "type": "tool_use",
                "id": _id_of(event.id),
                "name": event.name,
                "input": {},
            }
            opened = self._block(("tool_use", event.call), block)
            if not event.arguments:
                return opened
            return opened + self._delta({"type": "input_json_delta", "partial_json": event.arguments})
        if isinstance(event, Started):
            self._prompt_tokens = event.prompt_tokens
        if isinstance(event, Done):
            ended = self._begin() + self._end_block()
            last = {
                "type": "message_delta",
                "delta": _stop_of(event.reason, event.stop),
                "usage": counts(event.usage),
            }
            stop = sse_event({"type": "message_stop"}, "message_stop")
            return ended + sse_event(last, "message_delta") + stop
        return b""

    def beat(self, _count: int) -> bytes:
        """What is sent in silence."""
        return self._begin() or _PING

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        usage = {
            "input_tokens": self._prompt_tokens,
            "cache_read_input_tokens": 0,
            "cache_creation_input_tokens": 0,
            "output_tokens": 1,
        }
        message = {**self._head, "usage": usage}
        return sse_event({"type": "message_start", "message": message}, "message_start")

    def _block(self, wanted: tuple[str, int], block: dict[str, Any]) -> bytes:
        if self._open == wanted:
            return b""
        ended = self._begin() + self._end_block()
        self._index += 1
        self._open = wanted
        start = {"type": "content_block_start", "index": self._index, "content_block": block}
        return ended + sse_event(start, "content_block_start")

    def _end_block(self) -> bytes:
        if self._open is None:
            return b""
        kind, self._open = self._open[0], None
        # Clients keep the signature with the thinking; there is none here.
        signed = self._delta({"type": "signature_delta", "signature": ""}) if kind == "thinking" else b""
        stop = {"type": "content_block_stop", "index": self._index}
        return signed + sse_event(stop, "content_block_stop")

    def _delta(self, delta: dict[str, str]) -> bytes:
        data = dumps({"type": "content_block_delta", "index": self._index, "delta": delta})
        return b"event: content_block_delta\ndata: " + data + b"\n\n"
