"""Answers and calls of tools, in turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rkllm_rs.errors import InvalidArgumentError, InvalidTypeError, ToolError

from .tools import Call, Tools
from .values import is_dict

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from rkllm_rs._native import ChatAnswer, ToolCall

    from .loops import ToolLoop
    from .tool import Tool


def can_run(tool: Tool) -> bool:
    """Whether there is something to call."""
    return tool.function is not None or tool._model is not None  # noqa: SLF001 - of this package


def runnable(tools: Iterable[Any]) -> Tools:
    """Tools that can all be called.

    Raises:
        ToolError: One of them is a schema alone, or cannot be a tool.
    """
    every = tools if isinstance(tools, Tools) else Tools(tools)
    for tool in every:
        if not can_run(tool):
            message = f"{tool.name} has no function to call"
            hint = "Pass a function as the tool, or use chat() and run the calls yourself."
            raise ToolError(message, hint=hint)
    return every


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
            InvalidTypeError: The messages are no list, or the number of answers is no number.
        """
        if isinstance(most, bool) or not isinstance(most, int):
            message = f"max_rounds must be an int, got {type(most).__name__}"
            raise InvalidTypeError(message, hint="Pass the maximum number of answers.")
        if most < 1:
            message = f"max_rounds must be at least 1, got {most}"
            raise InvalidArgumentError(message, hint="Pass the maximum number of answers.")
        given: Any = messages
        if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
            kind = type(given).__name__  # pyright: ignore[reportUnknownArgumentType]
            message = f"messages must be a list of dicts, got {kind}"
            raise InvalidTypeError(message, hint='Pass dicts such as {"role": "user", "content": "Hello"}.')
        self.messages: list[Any] = list(messages)
        self.tools = tools
        self._left = most
        self._timeout = timeout
        self._spent = 0.0
        self._asked = 0.0

    def options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The keywords of the next answer, with what is left of the time."""
        self._asked = time.monotonic()
        if not self._spent:
            # As they were given: what is wrong with them is told by the first answer.
            return dict(options)
        left = {} if self._timeout is None else {"timeout": max(self._timeout - self._spent, 0.001)}
        return {**options, **_without_demand(options), **left}

    def is_over(self, answer: ChatAnswer) -> bool:
        """Takes an answer into the conversation; whether it is the last one."""
        self._spent += time.monotonic() - self._asked
        self._left -= 1
        if not answer.tool_calls or self._left == 0 or answer.finish_reason in ("length", "cancelled"):
            return True
        self.messages.append(answer.message)
        return False

    def run_calls(self, answer: ChatAnswer, loop: ToolLoop) -> None:
        """Makes the calls of an answer, and takes their results into the conversation.

        Functions are called one after another; then all that are asynchronous run at the same time.
        """
        calls = [self._call(call) for call in answer.tool_calls]
        begun = [call for call in calls if isinstance(call, Call)]
        try:
            for call in begun:
                call.begin()
            waiting = [call for call in begun if call.result is None]
            if waiting:
                loop.run(_together(call.end() for call in waiting))
        finally:
            for call in begun:
                call.drop()
        self._take(calls)

    async def arun_calls(self, answer: ChatAnswer) -> None:
        """Likewise in an event loop; functions without ``async`` run on a thread, one after another."""
        calls = [self._call(call) for call in answer.tool_calls]
        turn = asyncio.Lock()

        async def run(call: Call) -> None:
            if call.may_block:
                async with turn:
                    await asyncio.to_thread(call.begin)
            else:
                call.begin()
            await call.end()

        begun = [call for call in calls if isinstance(call, Call)]
        try:
            await _together(run(call) for call in begun)
        finally:
            for call in begun:
                call.drop()
        self._take(calls)

    def _call(self, call: ToolCall) -> Call | dict[str, Any]:
        return _refused(call) or Call(self.tools, call.name, call.arguments_json, call.id)

    def _take(self, calls: list[Call | dict[str, Any]]) -> None:
        """Appends the results of calls in the order of the calls."""
        for call in calls:
            if not isinstance(call, Call):
                self.messages.append(call)
            elif call.result is not None:
                result = call.result
                was_not_made = result.error is not None and result.exception is None
                self.messages.append(_told(result.message) if was_not_made else result.message)


def _without_demand(options: Mapping[str, Any]) -> dict[str, Any]:
    """The choice of tools after an answer that had to call one: then the model may answer in words."""
    choice: Any = options.get("tool_choice")
    if is_dict(choice) and choice.get("type") == "allowed_tools":
        inner: Any = choice.get("allowed_tools")
        auto: dict[str, Any] = {"allowed_tools": {**inner, "mode": "auto"}} if inner else {"mode": "auto"}
        return {"tool_choice": {**choice, **auto}, "constraint": None}
    if choice == "required" or is_dict(choice):
        return {"tool_choice": "auto", "constraint": None}
    return {}


async def _together(coroutines: Iterable[Coroutine[Any, Any, Any]]) -> None:
    """Runs coroutines at the same time. If one is cancelled or interrupted, so are the others."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _refused(call: ToolCall) -> dict[str, Any] | None:
    """The result of a call that must not be made: why, for the model.

    Whether values that do not fit can be converted is for the tool to say, and so is all that is wrong with
    them.
    """
    if call.error is None or call._is_misfit:  # noqa: SLF001 - of this package
        return None
    return _told({"role": "tool", "tool_call_id": call.id, "name": call.name, "content": call.error})


def _told(message: dict[str, Any]) -> dict[str, Any]:
    """A message that the model cannot take for a tool's result."""
    return {**message, "content": f"Error: {message['content']}"}
