"""Answers and calls of tools, in turn."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rkllm_rs.errors import InvalidArgumentError, InvalidTypeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rkllm_rs._native import ChatAnswer, ToolCall

    from .loops import ToolLoop
    from .tools import Tools


class Rounds:
    """A conversation that goes on until the model calls no more tools."""

    def __init__(
        self, messages: Iterable[Mapping[str, Any]], tools: Tools, most: object, timeout: float | None
    ) -> None:
        """Begins a conversation.

        Args:
            messages: The messages. They are not changed.
            tools: The tools.
            most: How many answers there may be.
            timeout: Seconds for all answers together.

        Raises:
            InvalidArgumentError: There may be no answer at all.
            InvalidTypeError: The number of answers is not one.
        """
        if isinstance(most, bool) or not isinstance(most, int):
            message = f"max_rounds must be an int, got {type(most).__name__}"
            raise InvalidTypeError(message, hint="Pass the maximum number of answers.")
        if most < 1:
            message = f"max_rounds must be at least 1, got {most}"
            raise InvalidArgumentError(message, hint="Pass the maximum number of answers.")
        self.messages: list[Any] = list(messages)
        self.tools = tools
        self._left = most
        self._timeout = timeout
        self._spent = 0.0
        self._asked = 0.0

    def options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The keywords of the next answer, with what is left of the time."""
        self._asked = time.monotonic()
        if self._timeout is None or not self._spent:
            # As it was given: what is wrong with it is told by the first answer.
            return dict(options)
        return {**options, "timeout": max(self._timeout - self._spent, 0.001)}

    def is_over(self, answer: ChatAnswer) -> bool:
        """Takes an answer into the conversation; whether it is the last one."""
        self._spent += time.monotonic() - self._asked
        self._left -= 1
        if not answer.tool_calls or self._left == 0 or answer.finish_reason in ("length", "cancelled"):
            return True
        self.messages.append(answer.message)
        return False

    def run_calls(self, answer: ChatAnswer, loop: ToolLoop) -> None:
        """Makes the calls of an answer, and takes their results into the conversation."""
        for call in answer.tool_calls:
            result = _refused(call)
            if result is None:
                result = self.tools.run(call.name, call.arguments_json, id=call.id, loop=loop).message
            self.messages.append(result)

    async def arun_calls(self, answer: ChatAnswer) -> None:
        """Likewise in an event loop; functions without ``async`` run on a thread."""
        for call in answer.tool_calls:
            result = _refused(call)
            if result is None:
                run = self.tools.arun(call.name, call.arguments_json, id=call.id, in_thread=True)
                result = (await run).message
            self.messages.append(result)


def _refused(call: ToolCall) -> dict[str, Any] | None:
    """The result of a call that must not be made: why, for the model."""
    if call.error is None:
        return None
    return {"role": "tool", "tool_call_id": call.id, "name": call.name, "content": f"Error: {call.error}"}
