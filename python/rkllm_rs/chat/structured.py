"""What an answer may be: a JSON schema, or a Python type, and the way from the answer's text to its value."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from rkllm_rs.errors import GenerationError, InvalidArgumentError, InvalidTypeError, SchemaError, ToolError

from . import bounds
from .fit import Misfit
from .values import is_dict, is_list

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .hints import Shape

__all__ = ["Parse", "response_format", "wanted"]

_WANTED = "a JSON schema (dict or JSON text) or a type, such as a dataclass"
_READ = "Read what the model wrote from the answer's text or content, or ask it again."
_FORMATS = '"text", "json_object" or "json_schema"'


class Parse:
    """Makes the value of an answer from its text.

    Attributes:
        kind: The type of the value; ``None`` for what ``json.loads`` gives.
    """

    def __init__(self, kind: Any = None) -> None:
        self.kind = kind
        self._shape: Shape | None = None

    def __reduce__(self) -> tuple[type[Parse], tuple[Any]]:
        return (Parse, (self.kind,))

    def schema(self) -> dict[str, Any]:
        """The JSON schema of the type.

        Raises:
            InvalidTypeError: It cannot be described in JSON.
        """
        from .hints import Reader

        reader = Reader("json_schema")
        try:
            self._shape = reader.read(self.kind, "json_schema")
        except ToolError as error:
            raise _wrong(self.kind, str(error)) from None
        schema: dict[str, Any] = _closed(self._shape.schema)
        if reader.defs:
            schema["$defs"] = {name: _closed(part) for name, part in reader.defs.items()}
        return schema

    def __call__(self, text: str) -> Any:
        """Returns the value of an answer with this text.

        Raises:
            GenerationError: The type refuses a value that fits its schema, or Python does: a number with
                thousands of digits, or lists in lists without end.
        """
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            message = f"the answer fits json_schema, but Python cannot read it: {error}"
            raise GenerationError(message, hint=_READ) from error
        if self.kind is None:
            return value
        if self._shape is None:
            self.schema()
        try:
            return cast("Shape", self._shape).value(value, "parsed")
        except Misfit as misfit:
            message = f"the answer fits json_schema, but not its type: {misfit}"
            raise GenerationError(message, hint=_READ) from misfit.__cause__ or misfit


def wanted(value: Any) -> tuple[str, Parse]:
    """What ``json_schema=`` says.

    Args:
        value: The argument.

    Returns:
        The schema as JSON text, and what makes the value of an answer.

    Raises:
        InvalidTypeError: It is neither a schema nor a type.
        SchemaError: The schema cannot be written as JSON.
    """
    if isinstance(value, str):
        bounds.check("json_schema", value)
        return value, Parse()
    if is_dict(value):
        return _text("json_schema", value), Parse()
    if not _is_type(value):
        raise _wrong(value, None)
    parse = Parse(value)
    return _text("json_schema", parse.schema()), parse


def response_format(value: Any) -> Any:
    """What ``response_format=`` says, as ``json_schema=`` would say it.

    Args:
        value: The argument: a dict in the OpenAI format, or a type.

    Returns:
        The schema, or ``None`` for plain text.

    Raises:
        InvalidArgumentError: It has no known ``type``, or no schema.
        InvalidTypeError: It is neither a dict nor a type.
    """
    if not is_dict(value):
        if _is_type(value):
            return value
        message = f"response_format must be a dict or a type, got {type(value).__name__}"
        raise InvalidTypeError(message, hint='Pass {"type": "json_schema", "json_schema": {"schema": ...}}.')
    kind = value.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    if kind != "json_schema":
        message = f"response_format.type must be {_FORMATS}, got {kind!r}"
        raise InvalidArgumentError(message, hint="Pass one of these types.")
    named = value.get("json_schema")
    schema = named.get("schema") if is_dict(named) else None
    if not is_dict(schema):
        message = "response_format.json_schema.schema must be a dict"
        raise InvalidArgumentError(message, hint='Pass {"name": "answer", "schema": {...}} as json_schema.')
    return schema


def _is_type(value: Any) -> bool:
    return isinstance(value, type) or hasattr(value, "__origin__") or hasattr(value, "__args__")


def _text(name: str, schema: Mapping[Any, Any]) -> str:
    try:
        text = json.dumps(schema, ensure_ascii=False, allow_nan=False)
        text.encode()  # fails for half a surrogate pair
    except RecursionError:
        message = f"{name} must be at most 127 levels deep"
        raise SchemaError(message, hint="Nest it less, or refer to its parts with $ref.") from None
    except (TypeError, ValueError) as error:
        message = f"{name} cannot be written as JSON: {error}"
        raise SchemaError(message, hint="A JSON schema has only dicts, lists, texts and numbers.") from None
    bounds.check(name, text)
    return text


def _wrong(value: Any, reason: str | None) -> InvalidTypeError:
    got = getattr(value, "__name__", None) if isinstance(value, type) else type(value).__name__
    message = f"json_schema must be {_WANTED}, got {got}" + (f" ({reason})" if reason else "")
    return InvalidTypeError(
        message, hint="Pass a dict with the schema, or a dataclass, TypedDict or pydantic model."
    )


def _closed(schema: Any) -> Any:
    """The schema of a type, in which objects and tuples have no other parts than those of the type."""
    if is_list(schema):
        return [_closed(part) for part in schema]
    if not is_dict(schema):
        return schema
    closed = {
        key: {name: _closed(part) for name, part in value.items()}
        if key in {"properties", "$defs"} and is_dict(value)
        else _closed(value)
        for key, value in schema.items()
        if key != "default"
    }
    if "properties" in closed and "additionalProperties" not in closed:
        closed["additionalProperties"] = False
    if "prefixItems" in closed and "items" not in closed:
        closed["items"] = False
        closed.setdefault("minItems", len(closed["prefixItems"]))
    return closed
