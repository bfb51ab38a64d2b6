"""One tool: its description for a model, and how the arguments of a call become values for the function."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from rkllm_rs._typed import expect, typed
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
    """The arguments of a call, after they have been checked. ``Tool.check`` returns it.

    Any number of threads may read it.

    Attributes:
        arguments: The arguments as JSON values, after conversions.
        values: The arguments as the function takes them, such as members of an ``Enum`` and dataclasses. If
            the tool is a pydantic model, its fields.
        conversions: One sentence for each value that had to be converted. Empty if all fitted as they were.
        instance: The instance, if the tool is a pydantic model; otherwise ``None``.
    """

    arguments: dict[str, Any]
    values: dict[str, Any]
    conversions: list[str]
    instance: Any = None


if not TYPE_CHECKING:  # a type checker knows its arguments
    CheckedArguments.__new__ = staticmethod(typed(CheckedArguments.__new__))


class Tool:
    """One tool: a function, a pydantic model, or a JSON schema without a function.

    Do not change it; then any number of threads and tasks may use it at the same time.

    Attributes:
        name: The name with which the model calls it.
        description: The description that the model sees.
        parameters: The JSON schema of the arguments.
        function: The function to call, or ``None`` for a schema or a pydantic model.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    function: Callable[..., Any] | None

    @typed
    def __init__(
        self,
        tool: Callable[..., Any] | Mapping[str, Any] | Tool,
        *,
        name: str | None = None,
        description: str | None = None,
    ) -> None:
        """Creates the description of a tool.

        Args:
            tool: A function (also ``async def``, a method, a partial, an object with ``__call__``), a
                pydantic model class, or a dictionary: ``{"type": "function", "function": {...}}``, or the
                inner dictionary alone.
            name: Name for the model. Default: the function's name.
            description: Description for the model. Default: the docstring.

        Raises:
            ToolError: The function or its name cannot be used; the hint says what to write instead.
            InvalidTypeError: ``tool`` has another type.
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
                hint=f"Pass a function that takes a {tool.__name__}, or a pydantic model.",
            )
        elif callable(cast("Any", tool)):
            function: Any = tool
            self.function = function
            signature = self._signature = Signature(function)
            self._schema = _schema(name or signature.name, signature.description, signature.parameters)
        elif inspect.iscoroutine(tool):
            tool.close()
            message = f"tool must be {_KINDS}, got a coroutine"
            raise InvalidTypeError(
                message,
                hint="Pass the function itself, without parentheses: get_weather, not get_weather().",
            )
        else:
            message = f"tool must be {_KINDS}, got {type(cast('Any', tool)).__name__}"
            raise InvalidTypeError(
                message, hint="Pass functions with type hints, such as tools=[get_weather]."
            )
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
                hint="Rename the function, or pass Tool(function, name=...).",
            )
        self._schema = {**self._schema, "function": function}
        self.name = function["name"]
        self.description = function.get("description") or ""
        self.parameters = function.get("parameters") or {"type": "object", "properties": {}}

    def __repr__(self) -> str:
        return f"Tool({self.name!r})"

    @property
    def schema(self) -> dict[str, Any]:
        """The description in OpenAI's format, as chat templates take it. Do not change it."""
        return self._schema

    @property
    def strict_parameters(self) -> dict[str, Any]:
        """The strict form of ``parameters`` (``strict_schema``). Raises ``SchemaError`` if it has none."""
        return strict_schema(self.parameters)

    @typed
    def check(self, arguments: str | Mapping[str, Any]) -> CheckedArguments:
        """Checks the arguments of a call, and converts them to the values that the function takes.

        Values that do not fit as they are may be converted: ``"3"`` and ``3.0`` where an integer is expected,
        ``"true"`` for a boolean, a single value for a list, JSON text for an object or a list, ``null`` for
        an optional argument. ``conversions`` of the result describes each conversion.

        Args:
            arguments: The arguments as the model wrote them: JSON text, or the dictionary that it contains.

        Returns:
            The checked arguments.

        Raises:
            ToolError: The arguments do not fit. The message is written for the model: it names each wrong
                argument, what was expected and what came.
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

    @typed
    def call(self, checked: CheckedArguments) -> Any:
        """Calls the function.

        Args:
            checked: The result of ``check()``.

        Returns:
            The function's result; an awaitable if the function is asynchronous. For a pydantic model, the
            instance.

        Raises:
            ToolError: The tool has no function.
        """
        expect("checked", checked, CheckedArguments, "CheckedArguments", "Pass the result of check().")
        if self.function is not None:
            return self.function(**checked.values)
        if self._model is not None:
            return checked.instance
        message = f"{self.name} has no function to call"
        raise ToolError(
            message,
            hint="Pass a function as the tool, or run the call yourself.",
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
        found: Any = _json(arguments, self.name) if arguments.strip() not in {"", "None"} else None
        if isinstance(found, str) and found.lstrip().startswith("{"):
            found = _json(found, self.name)
            conversions.append("the arguments were JSON in a string and were read as an object")
        if found is None or (isinstance(found, str) and not found.strip()):
            # How some models write that there are none.
            return {}
        if not is_dict(found):
            message = f"the arguments of {self.name} must be a JSON object, got {shown(found)}"
            raise ToolError(message)
        return found


@typed
def get_json_schema(tool: Callable[..., Any] | Mapping[str, Any] | Tool) -> dict[str, Any]:
    """Returns the description of a tool in OpenAI's format, as chat templates take it.

    Args:
        tool: A function, a pydantic model class, a dictionary or a ``Tool``.

    Returns:
        ``{"type": "function", "function": {"name", "description", "parameters"}}``.

    Raises:
        ToolError: The function cannot be used as a tool; the hint says what to write instead.
        InvalidTypeError: ``tool`` has another type.
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
        message = f"tool must contain only what JSON can represent: {error}"
        raise InvalidTypeError(message, hint="Use text, numbers, lists and dicts in the schema.") from error
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
