"""Python functions as tools: their descriptions for a model, and what happens when it calls one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from rkllm_rs._typed import expect, typed
from rkllm_rs.errors import InvalidArgumentError, InvalidTypeError, ToolError

from .loops import ToolLoop
from .results import MAX_CHARACTERS, ToolResult, failure_text, result_text
from .strict import strict_schema
from .tool import CheckedArguments, Tool, get_json_schema
from .values import shown

__all__ = [
    "MAX_CHARACTERS",
    "CheckedArguments",
    "Tool",
    "ToolLoop",
    "ToolResult",
    "Tools",
    "get_json_schema",
    "strict_schema",
]


class Tools(Sequence[Tool]):
    """The tools that a model may call: a sequence of ``Tool``.

    Immutable; any number of threads and tasks may use it at the same time, if the functions allow it.
    """

    @typed
    def __init__(self, tools: Iterable[Callable[..., Any] | Mapping[str, Any] | Tool] | None = None) -> None:
        """Creates the descriptions of the tools.

        Args:
            tools: Functions, pydantic models, JSON schemas and ``Tool`` objects. They are not changed.

        Raises:
            ToolError: One of them cannot be used as a tool, or two have the same name.
            InvalidTypeError: ``tools`` is not a list, or contains an object of another type.
        """
        given: Any = tools
        kind = type(tools).__name__
        if (
            isinstance(given, (str, bytes, Mapping, set, frozenset))
            or callable(given)
            or not hasattr(given or (), "__iter__")
        ):
            message = f"tools must be a list, got {kind}"
            raise InvalidTypeError(message, hint="Pass a list of functions, such as tools=[get_weather].")
        self._tools: dict[str, Tool] = {}
        for at, tool in enumerate(tools or ()):
            found = _tool(f"tools[{at}]", tool)
            if found.name in self._tools:
                message = f"tools must have different names, got two with the name {found.name}"
                raise ToolError(
                    message,
                    hint="Rename one, or pass Tool(function, name=...).",
                )
            self._tools[found.name] = found

    @overload
    def __getitem__(self, index: int) -> Tool: ...

    @overload
    def __getitem__(self, index: slice) -> list[Tool]: ...

    def __getitem__(self, index: int | slice) -> Tool | list[Tool]:
        return list(self._tools.values())[index]

    def __len__(self) -> int:
        return len(self._tools)

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __repr__(self) -> str:
        return f"Tools({list(self._tools)!r})"

    @property
    def names(self) -> list[str]:
        """The names of the tools, in order."""
        return list(self._tools)

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """The descriptions of the tools in OpenAI's format, for a chat template."""
        return [tool.schema for tool in self]

    @typed
    def find(self, name: str) -> Tool:
        """Returns the tool with a name.

        Args:
            name: Its name, as the model wrote it.

        Returns:
            The tool.

        Raises:
            ToolError: There is no such tool; the message lists the tools.
        """
        _expect_name(name)
        if tool := self._tools.get(name):
            return tool
        known = f"the tools are {', '.join(self._tools)}" if self._tools else "there are none"
        message = f"{shown(name)} is not a tool; {known}"
        raise ToolError(message)

    @typed
    def check(self, name: str, arguments: str | Mapping[str, Any]) -> CheckedArguments:
        """Checks a call: the tool must exist, and the arguments must fit (``Tool.check``).

        Args:
            name: The name of the tool.
            arguments: The arguments as the model wrote them: JSON text, or the dictionary that it contains.

        Returns:
            The checked arguments.

        Raises:
            ToolError: The call does not fit. The message is written for the model.
        """
        return self.find(name).check(arguments)

    @typed
    def run(
        self,
        name: str,
        arguments: str | Mapping[str, Any],
        *,
        id: str | None = None,  # noqa: A002 - the name in OpenAI's shape
        loop: ToolLoop | None = None,
        max_characters: int | None = MAX_CHARACTERS,
    ) -> ToolResult:
        """Runs a call and returns its result. Waits for asynchronous tools.

        Errors in the call or in the function do not raise: they become the result, so that the model can
        react to them. ``KeyboardInterrupt`` and other exceptions that are not an ``Exception`` are raised.

        Args:
            name: The name of the tool.
            arguments: The arguments as the model wrote them: JSON text, or the dictionary that it contains.
            id: The id of the call, for the message.
            loop: Event loop for asynchronous tools. Default: a new one for each call.
            max_characters: Maximum length of the text for the model; longer results are cut. ``None`` does
                not cut.

        Returns:
            The result. ``result.message`` is the message for the model.

        Raises:
            InvalidTypeError: An argument of this method has the wrong type.
            InvalidArgumentError: ``max_characters`` is negative.
        """
        _expect_call(name, arguments, id, max_characters)
        expect("loop", loop, (ToolLoop, type(None)), "a ToolLoop", "Pass a ToolLoop, or omit it.")
        call = Call(self, name, arguments, id, max_characters)
        call.begin()
        if call.result is not None:
            return call.result
        if loop is not None:
            return loop.run(call.end())
        with ToolLoop() as own:
            return own.run(call.end())

    @typed
    async def arun(
        self,
        name: str,
        arguments: str | Mapping[str, Any],
        *,
        id: str | None = None,  # noqa: A002 - the name in OpenAI's shape
        in_thread: bool = False,
        max_characters: int | None = MAX_CHARACTERS,
    ) -> ToolResult:
        """Runs a call in an event loop, like ``run()``. Cancelling the task cancels an asynchronous tool.

        Args:
            name: The name of the tool.
            arguments: The arguments as the model wrote them: JSON text, or the dictionary that it contains.
            id: The id of the call, for the message.
            in_thread: Call functions that are not ``async def`` on a thread of the loop's executor.
            max_characters: Maximum length of the text for the model; longer results are cut. ``None`` does
                not cut.

        Returns:
            The result. ``result.message`` is the message for the model.

        Raises:
            InvalidTypeError: An argument of this method has the wrong type.
            InvalidArgumentError: ``max_characters`` is negative.
        """
        _expect_call(name, arguments, id, max_characters)
        call = Call(self, name, arguments, id, max_characters)
        if in_thread and call.may_block:
            await asyncio.to_thread(call.begin)
        else:
            call.begin()
        return await call.end()


def _expect_name(name: object) -> None:
    expect("name", name, str, "a str", 'Pass the name of a tool, such as "get_weather".')


def _expect_call(name: object, arguments: object, id: object, max_characters: object) -> None:  # noqa: A002
    """Refuses what the program that runs a call got wrong: that is no result for the model."""
    _expect_name(name)
    expect("arguments", arguments, (str, Mapping), "JSON text or a dict", "Pass the call's arguments_json.")
    expect("id", id, (str, type(None)), "a str", "Pass the call's id, or omit it.")
    wanted = "an int", "Pass the number of characters, or None."
    expect("max_characters", max_characters, (int, type(None)), *wanted)
    if isinstance(max_characters, int) and max_characters < 0:
        message = f"max_characters must be 0 or more, got {max_characters}"
        raise InvalidArgumentError(message, hint="Pass the number of characters, or None.")


class Call:
    """A call on its way. Whatever goes wrong with it is its result."""

    def __init__(
        self,
        tools: Tools,
        name: str,
        arguments: str | Mapping[str, Any],
        id: str | None,  # noqa: A002 - the name in OpenAI's shape
        max_characters: int | None = MAX_CHARACTERS,
    ) -> None:
        """Describes a call, as ``Tools.run()`` takes it."""
        self.result: ToolResult | None = None
        self._tools, self._name, self._arguments = tools, name, arguments
        self._id, self._limit = id, max_characters
        self._checked: CheckedArguments | None = None
        self._awaitable: Awaitable[Any] | None = None

    @property
    def may_block(self) -> bool:
        """Whether the tool is a function that is not ``async def``."""
        tool = self._tools._tools.get(self._name)  # noqa: SLF001 - of this file
        return tool is None or not inspect.iscoroutinefunction(tool.function)

    def begin(self) -> None:
        """Checks the arguments and calls the function; one that is asynchronous does not begin yet."""
        try:
            tool = self._tools.find(self._name)
            self._checked = tool.check(self._arguments)
            value = tool.call(self._checked)
            if inspect.isawaitable(value):
                self._awaitable = value
            else:
                self._succeed(value)
        except Exception as error:  # noqa: BLE001 - the model is told
            self._fail(error)

    async def end(self) -> ToolResult:
        """Runs what is asynchronous, and returns the result."""
        if self._awaitable is not None and self.result is None:
            try:
                self._succeed(await self._awaitable)
            except Exception as error:  # noqa: BLE001 - the model is told
                self._fail(error)
        result = self.result
        if result is None:
            raise RuntimeError  # begin() comes first
        return result

    def drop(self) -> None:
        """Lets go of a call that is not ended: an interrupt came before."""
        if self.result is None and inspect.iscoroutine(self._awaitable):
            self._awaitable.close()

    @property
    def _conversions(self) -> tuple[str, ...]:
        return tuple(self._checked.conversions) if self._checked else ()

    def _succeed(self, value: Any) -> None:
        content = result_text(value, self._limit)
        self.result = ToolResult(self._name, content, value, conversions=self._conversions, id=self._id)

    def _fail(self, error: Exception) -> None:
        told = self._checked is None and isinstance(error, ToolError)
        content = result_text(str(error.args[0]), self._limit) if told else failure_text(error, self._limit)
        self.result = ToolResult(
            self._name, content, None, content, None if told else error, self._conversions, self._id
        )


def _tool(place: str, tool: Any) -> Tool:
    """A tool of a list; what is wrong with its type is told with its place."""
    try:
        return Tool(tool)
    except InvalidTypeError as error:
        message = str(error.args[0]).replace("tool", place, 1)
        raise InvalidTypeError(message, hint=error.hint) from error.__cause__
