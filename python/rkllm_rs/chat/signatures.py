"""A function as a tool: its name, its description, its arguments, and the way to call it."""

from __future__ import annotations

import functools
import inspect
import json
import re
import types
from typing import TYPE_CHECKING, Any

from rkllm_rs.errors import ToolError

from .classes import MISSING, add_default
from .docstrings import read_docstring
from .evaluation import evaluated
from .fit import Misfit
from .hints import Reader, described
from .values import is_list

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeGuard

    from .hints import Shape

__all__ = ["Signature"]

_BY_HAND = "Write a function with def, type hints and a docstring that calls it."


class Signature:
    """What is known of a function.

    Attributes:
        name: Its name.
        description: Its description, from the docstring.
        parameters: The JSON schema of its arguments.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        """Reads a function.

        Args:
            function: The function, method, partial or callable object.

        Raises:
            ToolError: It cannot be a tool; the hint says what to write instead.
        """
        inner, bound = _inner(function)
        self.name = _name(inner)
        self._nulls: set[str] = set()
        self._shapes: dict[str, Shape] = {}
        self._others: Shape | None = None
        parameters = self._parameters(function, inner, bound)
        hints = self._hints(inner, parameters)
        named = [p for p in parameters if p.kind is not p.VAR_KEYWORD]
        documentation = read_docstring(_docstring(inner, function), [p.name for p in named])
        self.description = documentation.description
        reader = Reader(self.name)
        properties: dict[str, Any] = {}
        for parameter in named:
            hint = hints[parameter.name]
            shape = self._shapes[parameter.name] = reader.read(hint, parameter.name)
            text, choices = _choices(documentation.arguments.get(parameter.name))
            schema = _with_choices(shape.schema, choices) if choices else shape.schema
            text = described(hint) or text
            properties[parameter.name] = add_default(schema, text, parameter.default)
            if parameter.default is None:
                self._nulls.add(parameter.name)
        self.parameters: dict[str, Any] = {"type": "object", "properties": properties}
        if required := [p.name for p in named if p.default is MISSING]:
            self.parameters["required"] = required
        for parameter in parameters:
            if parameter.kind is parameter.VAR_KEYWORD:
                self._others = reader.read(hints[parameter.name], parameter.name)
                self.parameters["additionalProperties"] = self._others.schema or True
        if reader.defs:
            self.parameters["$defs"] = reader.defs

    def values(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Makes the values that the function is called with.

        Args:
            arguments: Arguments that fit the schema.

        Returns:
            The keywords of the call.

        Raises:
            Misfit: A type of the program refuses a value.
        """
        found: dict[str, Any] = {}
        problems: list[str] = []
        for name, argument in arguments.items():
            shape = self._shapes.get(name) or self._others
            try:
                if shape is None or (argument is None and name in self._nulls):
                    found[name] = argument
                else:
                    found[name] = shape.value(argument, name)
            except Misfit as misfit:
                problems.append(str(misfit))
        if problems:
            raise Misfit("; ".join(problems))
        return found

    def _parameters(
        self, function: Callable[..., Any], inner: Any, bound: set[str]
    ) -> list[inspect.Parameter]:
        if self.name == "<lambda>":
            message = "a lambda cannot be a tool: it has no name and no type hints"
            raise ToolError(message, hint=_BY_HAND)
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError) as error:
            message = f"{self.name} cannot be a tool: its signature cannot be read"
            raise ToolError(message, hint=_BY_HAND) from error
        if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
            message = f"{self.name} cannot be a tool: it is a generator"
            raise ToolError(
                message,
                hint="Return a list, or one text, instead of yielding.",
            )
        parameters = [p for p in signature.parameters.values() if p.name not in bound]
        for parameter in parameters:
            if parameter.kind is parameter.VAR_POSITIONAL:
                message = f"{self.name} cannot be a tool: it takes *{parameter.name}"
                raise ToolError(
                    message,
                    hint=f"Take a list instead, such as {parameter.name}: list[str].",
                )
            if parameter.kind is parameter.POSITIONAL_ONLY:
                message = (
                    f"{self.name} cannot be a tool: its argument {parameter.name} has no name for callers"
                )
                raise ToolError(
                    message,
                    hint=f"Remove the / after {parameter.name} in its signature."
                    if isinstance(inner, types.FunctionType)
                    else _BY_HAND,
                )
        return parameters

    def _hints(self, inner: Any, parameters: list[inspect.Parameter]) -> dict[str, Any]:
        function = inspect.unwrap(inner)
        try:
            hints = _evaluated_hints(function)
        except NameError as error:
            message = f"a type hint of {self.name} names {error.name}, which is not defined"
            raise ToolError(
                message,
                hint=f"Define or import {error.name} at the top of the module of {self.name}, "
                "not only under TYPE_CHECKING.",
            ) from error
        except (SyntaxError, TypeError) as error:
            message = f"a type hint of {self.name} cannot be evaluated: {error}"
            raise ToolError(
                message,
                hint="Write a type, such as str or list[int].",
            ) from error
        found: dict[str, Any] = {}
        for parameter in parameters:
            hint = hints.get(parameter.name, parameter.annotation)
            if hint is MISSING:
                if parameter.name in ("self", "cls"):
                    name = self.name
                    message = f"{name} cannot be a tool: it is a method without its object"
                    raise ToolError(
                        message,
                        hint=f"Pass the method of an object, such as thing.{name}.",
                    )
                message = f"the argument {parameter.name} of {self.name} has no type hint"
                raise ToolError(
                    message,
                    hint=f"Write its type, such as {parameter.name}: str."
                    if isinstance(function, types.FunctionType)
                    else _BY_HAND,
                )
            found[parameter.name] = hint
        return found


def _is_partial(function: Any) -> TypeGuard[functools.partial[Any]]:
    return isinstance(function, functools.partial)


def _inner(function: Any) -> tuple[Any, set[str]]:
    """The function in partials and callable objects, and the arguments that partials have fixed."""
    bound: set[str] = set()
    while _is_partial(function):
        bound |= function.keywords.keys()
        function = function.func
    return function, bound


def _is_object(function: Any) -> bool:
    return not isinstance(
        function, (types.FunctionType, types.MethodType, types.BuiltinFunctionType, types.MethodWrapperType)
    ) and not hasattr(function, "__wrapped__")


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", None) or type(function).__name__)


def _docstring(inner: Any, function: Any) -> str | None:
    attributes: dict[str, Any] = getattr(function, "__dict__", {})
    own = attributes.get("__doc__")  # set on a partial
    if own and function is not inner:
        return str(own)
    if _is_object(inner):
        return inspect.getdoc(inner.__class__.__call__) or inspect.getdoc(inner.__class__)
    return inspect.getdoc(inner)


def _evaluated_hints(function: Any) -> dict[str, Any]:
    if _is_object(function):
        function = type(function).__call__
    if isinstance(function, types.MethodType):
        function = inspect.unwrap(function.__func__)
    try:
        return evaluated(function)
    except NameError:
        # What the function returns is of no interest.
        if not isinstance(function, types.FunctionType):
            raise
        annotations = {key: hint for key, hint in function.__annotations__.items() if key != "return"}
        copied = types.FunctionType(function.__code__, function.__globals__, closure=function.__closure__)
        copied.__annotations__ = annotations
        copied.__module__ = function.__module__
        return evaluated(copied)


def _choices(text: str | None) -> tuple[str | None, list[Any] | None]:
    """Takes ``(choices: ["a", "b"])`` off the end of a description."""
    found = re.search(r"\(choices:\s*(.*?)\)\s*$", text, re.IGNORECASE) if text else None
    if not text or not found:
        return text, None
    try:
        choices = json.loads(found[1])
    except ValueError:
        return text, None
    if not is_list(choices) or not choices:
        return text, None
    cleaned = [c.strip() if isinstance(c, str) else c for c in choices]
    return text[: found.start()].strip(), cleaned


def _with_choices(schema: dict[str, Any], choices: list[Any]) -> dict[str, Any]:
    if schema.get("type") == "array" and not any(isinstance(choice, list) for choice in choices):
        return {**schema, "items": {**schema.get("items", {}), "enum": choices}}
    kinds: Any = schema.get("type", [])
    takes_null = isinstance(kinds, list) and "null" in kinds
    return {**schema, "enum": [*choices, None] if takes_null and None not in choices else choices}
