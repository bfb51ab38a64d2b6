"""Python functions as tools: their descriptions for a model, and what happens when it calls one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from rkllm_rs._typed import typed
from rkllm_rs.errors import InvalidTypeError, ToolError

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
        """
        checked: CheckedArguments | None = None
        try:
            tool = self.find(name)
            checked = tool.check(arguments)
            value = tool.call(checked)
            if inspect.isawaitable(value):
                if loop is not None:
                    value = loop.run(value)
                else:
                    with ToolLoop() as own:
                        value = own.run(value)
            return _succeeded(name, id, checked, value, max_characters)
        except Exception as error:  # noqa: BLE001 - the model is told
            return _failed(name, id, checked, error, max_characters)

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
        """
        checked: CheckedArguments | None = None
        try:
            tool = self.find(name)
            checked = tool.check(arguments)
            if in_thread and not inspect.iscoroutinefunction(tool.function):
                value = await asyncio.to_thread(tool.call, checked)
            else:
                value = tool.call(checked)
            if inspect.isawaitable(value):
                value = await value
            return _succeeded(name, id, checked, value, max_characters)
        except Exception as error:  # noqa: BLE001 - the model is told
            return _failed(name, id, checked, error, max_characters)


def _tool(place: str, tool: Any) -> Tool:
    """A tool of a list; what is wrong with its type is told with its place."""
    try:
        return Tool(tool)
    except InvalidTypeError as error:
        message = str(error.args[0]).replace("tool", place, 1)
        raise InvalidTypeError(message, hint=error.hint) from error.__cause__


def _succeeded(
    name: str, call_id: str | None, checked: CheckedArguments, value: Any, limit: int | None
) -> ToolResult:
    content = result_text(value, limit)
    return ToolResult(name, content, value, conversions=tuple(checked.conversions), id=call_id)


def _failed(
    name: str, call_id: str | None, checked: CheckedArguments | None, error: Exception, limit: int | None
) -> ToolResult:
    told = checked is None and isinstance(error, ToolError)
    content = failure_text(error, limit) if not told else result_text(str(error.args[0]), limit)
    conversions = tuple(checked.conversions) if checked else ()
    return ToolResult(name, content, None, content, None if told else error, conversions, call_id)
