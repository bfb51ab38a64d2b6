"""One tool: what a model is told of it, and how the arguments of a call become the values of the function."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from rkllm_rs.errors import InvalidTypeError, ToolError

from . import foreign
from .fit import Misfit, fit
from .signatures import Signature
from .strict import strict_schema
from .values import is_dict, shown

__all__ = ["CheckedArguments", "Tool", "get_json_schema"]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KINDS = "a function, a pydantic model or a JSON schema"


class CheckedArguments(NamedTuple):
    """The arguments of a call that fit.

    Attributes:
        arguments: As JSON has them, after conversions.
        values: As the function takes them: members of an Enum, dataclasses, models. For a pydantic model as
            the tool, its fields.
        conversions: What was converted so that it fits, a sentence each; empty for what was right as it came.
        instance: The instance, where the tool is a pydantic model.
    """

    arguments: dict[str, Any]
    values: dict[str, Any]
    conversions: list[str]
    instance: Any = None


class Tool:
    """One tool: a function, a pydantic model, or a JSON schema without a function.

    Threads may share it.

    Attributes:
        name: The name that the model calls.
        description: What the model is told of it.
        parameters: The JSON schema of its arguments.
        function: What is called, or ``None`` if the tool is a schema or a model alone.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    function: Callable[..., Any] | None

    def __init__(
        self,
        tool: Callable[..., Any] | Mapping[str, Any] | Tool,
        *,
        name: str | None = None,
        description: str | None = None,
    ) -> None:
        """Describes a tool.

        Args:
            tool: A function (also ``async def``, a method, a partial, an object with ``__call__``), a class
                of pydantic models, or a dict: ``{"type": "function", "function": {...}}`` or the inner one.
            name: Another name than the function's.
            description: Another description than the docstring's.

        Raises:
            ToolError: The function cannot be a tool, or its name cannot; the hint says what to write.
            InvalidTypeError: It is none of these.
        """
        self.function = None
        self._signature: Signature | None = None
        self._model: Any = None
        if isinstance(tool, Tool):
            vars(self).update(vars(tool))
        elif isinstance(tool, Mapping):
            self._schema = _schema_of_dict(cast("Mapping[Any, Any]", tool))
        elif foreign.is_model(tool):
            self._model = cast("Any", tool)
            text = inspect.cleandoc(vars(tool).get("__doc__") or "")
            self._schema = _schema(self._model.__name__, text, foreign.model_schema(self._model))
        elif isinstance(tool, type):
            message = f"the class {tool.__name__} cannot be a tool"
            raise ToolError(
                message,
                hint=f"Give a function that takes a {tool.__name__}, or a pydantic model.",
            )
        elif callable(cast("Any", tool)):
            signature = self._signature = Signature(tool)
            self.function = tool
            self._schema = _schema(name or signature.name, signature.description, signature.parameters)
        elif inspect.iscoroutine(tool):
            tool.close()
            message = "tools must hold functions, got a coroutine"
            raise InvalidTypeError(
                message,
                hint="Give the function itself, without calling it.",
            )
        else:
            message = f"tools must hold {_KINDS}, got {type(cast('Any', tool)).__name__}"
            raise InvalidTypeError(message)
        self._rename(name, description)

    def _rename(self, name: str | None, description: str | None) -> None:
        function: dict[str, Any] = dict(self._schema["function"])
        if name is not None:
            function["name"] = name
        if description is not None:
            function["description"] = description
        if not isinstance(function.get("name"), str) or not _NAME.fullmatch(function["name"]):
            got = shown(function.get("name"))
            message = f"the name of a tool must be 1 to 64 letters, digits, _ or -, got {got}"
            raise ToolError(
                message,
                hint="Rename the function, or give Tool(function, name=...).",
            )
        self._schema = {**self._schema, "function": function}
        self.name = function["name"]
        self.description = function.get("description") or ""
        self.parameters = function.get("parameters") or {"type": "object", "properties": {}}

    def __repr__(self) -> str:
        return f"Tool({self.name!r})"

    @property
    def schema(self) -> dict[str, Any]:
        """The tool in OpenAI's shape, as chat templates are given it. Do not change it."""
        return self._schema

    @property
    def strict_parameters(self) -> dict[str, Any]:
        """The schema of the arguments in its strict form; raises ``SchemaError`` if it has none."""
        return strict_schema(self.parameters)

    def check(self, arguments: str | Mapping[str, Any]) -> CheckedArguments:
        """Checks the arguments of a call, and makes the function's values of them.

        What does not fit as it is may be converted: ``"3"`` and ``3.0`` where an integer is expected,
        ``"true"`` for a boolean, one value for a list of one, JSON text for an object or a list, ``null`` for
        an argument that may be left out. ``conversions`` tells of each.

        Args:
            arguments: The JSON text of the call, or the object in it.

        Returns:
            The arguments.

        Raises:
            ToolError: They do not fit. The message is meant for the model: it names each argument, what was
                expected and what came.
        """
        conversions: list[str] = []
        found = self._parsed(arguments, conversions)
        problem: Exception
        try:
            fitted = fit(found, self._closed_parameters(), self.parameters, "")
            conversions += fitted.conversions
            if self._model is not None:
                instance = self._instance(fitted.value)
                names: list[str] = list(self._model.model_fields)
                values = {name: getattr(instance, name) for name in names}
                return CheckedArguments(fitted.value, values, conversions, instance)
            values = self._signature.values(fitted.value) if self._signature else dict(fitted.value)
            return CheckedArguments(fitted.value, values, conversions)
        except Misfit as misfit:
            problem = misfit
        except (TypeError, AttributeError, KeyError) as error:
            if self._signature or self._model is not None:
                raise
            message = f"the parameters of {self.name} are not a JSON schema: {error}"
            raise ToolError(message) from error
        message = f"the arguments of {self.name} do not fit: {problem}"
        raise ToolError(message) from problem

    def call(self, checked: CheckedArguments) -> Any:
        """Calls the function.

        Args:
            checked: What ``check`` returned.

        Returns:
            What the function returns; an awaitable if it is asynchronous. For a pydantic model the instance.

        Raises:
            ToolError: The tool has no function.
        """
        if self.function is not None:
            return self.function(**checked.values)
        if self._model is not None:
            return checked.instance
        message = f"{self.name} has no function to call"
        raise ToolError(
            message,
            hint="Give a function as the tool, or run the call yourself.",
        )

    def _closed_parameters(self) -> dict[str, Any]:
        """The schema with unknown arguments refused, unless it says itself what to do with them."""
        rules = self.parameters
        if "properties" not in rules or "additionalProperties" in rules or "patternProperties" in rules:
            return rules
        return {**rules, "additionalProperties": False}

    def _instance(self, arguments: dict[str, Any]) -> Any:
        try:
            return self._model.model_validate(arguments)
        except Exception as error:  # whatever validators of the program raise
            raise Misfit(foreign.told(error, "")) from error

    def _parsed(self, arguments: str | Mapping[str, Any], conversions: list[str]) -> dict[str, Any]:
        if isinstance(arguments, Mapping):
            return dict(arguments)
        if not isinstance(cast("Any", arguments), str):
            message = f"arguments must be JSON text or a dict, got {type(arguments).__name__}"
            raise InvalidTypeError(message)
        found: Any = _json(arguments, self.name) if arguments.strip() else None
        if isinstance(found, str) and found.lstrip().startswith("{"):
            found = _json(found, self.name)
            conversions.append("the arguments were JSON in a string and were read as an object")
        if found is None:  # how some models write that there are none
            return {}
        if not is_dict(found):
            message = f"the arguments of {self.name} must be a JSON object, got {shown(found)}"
            raise ToolError(message)
        return found


def get_json_schema(tool: Callable[..., Any] | Mapping[str, Any] | Tool) -> dict[str, Any]:
    """The description of a tool in OpenAI's shape, as chat templates are given it.

    Args:
        tool: What ``Tool`` takes.

    Returns:
        ``{"type": "function", "function": {"name", "description", "parameters"}}``.

    Raises:
        ToolError: The function cannot be a tool; the hint says what to write.
        InvalidTypeError: It is neither a function, a pydantic model nor a dict.
    """
    return Tool(tool).schema


def _schema(name: str, description: str, parameters: dict[str, Any]) -> dict[str, Any]:
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


def _schema_of_dict(tool: Mapping[Any, Any]) -> dict[str, Any]:
    """A tool that is written by hand: checked, copied, and in OpenAI's shape."""
    try:
        copied = cast("dict[str, Any]", json.loads(json.dumps(dict(tool), allow_nan=False)))
    except (TypeError, ValueError, RecursionError) as error:
        message = f"tools must be JSON, but one is not: {error}"
        raise InvalidTypeError(message) from error
    if "function" not in copied and copied.get("type", "function") == "function":
        copied = {"type": "function", "function": {k: v for k, v in copied.items() if k != "type"}}
    function: Any = copied.get("function")
    if copied.get("type", "function") != "function" or not is_dict(function) or "name" not in function:
        message = "a tool must have a name"
        raise ToolError(
            message,
            hint='Write {"type": "function", "function": {"name": ..., "parameters": {...}}}.',
        )
    rules: dict[str, Any] = function
    for key, kind in (("description", str), ("parameters", dict)):
        if not isinstance(rules.get(key), (kind, type(None))):
            wanted = {"description": "text", "parameters": "a JSON schema"}[key]
            message = f"the {key} of the tool {shown(rules['name'])} must be {wanted}"
            raise InvalidTypeError(message)
    parameters: dict[str, Any] = rules.get("parameters") or {}
    if parameters.get("type", "object") != "object":
        message = f'the parameters of the tool {shown(rules["name"])} must be of "type": "object"'
        raise ToolError(
            message,
            hint="Describe the arguments as the properties of an object.",
        )
    return {"type": "function", **copied}


def _json(text: str, name: str) -> Any:
    def constant(word: str) -> Any:
        message = f"{word} is not JSON"
        raise ValueError(message)

    try:
        return json.loads(text, parse_constant=constant)
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
            message = f"the arguments of {name} are incomplete: the JSON ends in the middle"
            raise ToolError(message) from error
        message = f"the arguments of {name} are not JSON: {error}"
        raise ToolError(message) from error
    except (ValueError, RecursionError) as error:
        message = f"the arguments of {name} are not JSON: {error}"
        raise ToolError(message) from error
