"""Classes as types of arguments: enumerations, dataclasses, TypedDicts and NamedTuples."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import typing
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from rkllm_rs.errors import ToolError

from .docstrings import read_docstring
from .evaluation import evaluated
from .fit import Misfit
from .hints import Shape, described, with_null
from .values import is_dict

if TYPE_CHECKING:
    from collections.abc import Callable

    from .hints import Reader

__all__ = ["add_default", "json_default", "read_class"]

#: Stands where there is no default.
MISSING: Any = inspect.Parameter.empty


class _Field(NamedTuple):
    name: str
    hint: Any
    default: Any  # MISSING if it is not known
    required: bool


def read_class(reader: Reader, kind: type[Any], where: str) -> Shape | None:
    """Reads a class as a type.

    Args:
        reader: Reads the types of its fields.
        kind: The class.
        where: The argument that has it, for messages.

    Returns:
        Its shape, or ``None`` if it is none of these.

    Raises:
        ToolError: The type of a field cannot be described.
    """
    if issubclass(kind, enum.Enum):
        return reader.choices([(member.value, member) for member in kind], where, kind)
    if dataclasses.is_dataclass(kind):
        return _object(reader, kind, _of_dataclass(kind, _hints(reader, kind, where)), where, kind)
    if typing.is_typeddict(kind) or type(kind).__name__ == "_TypedDictMeta":
        return _object(reader, kind, _of_typed_dict(kind, _hints(reader, kind, where)), where, dict)
    if _is_named_tuple(kind):
        return _object(reader, kind, _of_named_tuple(kind, _hints(reader, kind, where)), where, kind)
    return None


def _is_named_tuple(kind: type[Any]) -> bool:
    return hasattr(kind, "_fields") and issubclass(kind, tuple)


def _is_instance_of_dataclass(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _hints(reader: Reader, kind: type[Any], where: str) -> dict[str, Any]:
    try:
        return evaluated(kind, {kind.__name__: kind})
    except NameError as error:
        message = (
            f"the argument {where} of {reader.owner} has the type {kind.__name__}, "
            f"whose hints name {error.name}, which is not defined"
        )
        raise ToolError(
            message,
            hint=f"Import {error.name} where {kind.__name__} is defined, not only under TYPE_CHECKING.",
        ) from error


def _of_dataclass(kind: Any, hints: dict[str, Any]) -> list[_Field]:
    fields = [field for field in dataclasses.fields(kind) if field.init]
    return [
        _Field(
            field.name,
            hints.get(field.name, Any),
            MISSING if field.default is dataclasses.MISSING else field.default,
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in fields
    ]


def _of_typed_dict(kind: Any, hints: dict[str, Any]) -> list[_Field]:
    def required(name: str, hint: Any) -> bool:
        while (origin := typing.get_origin(hint)) is not None:
            word = getattr(origin, "_name", None)
            if word in ("Required", "NotRequired"):
                return bool(word == "Required")
            if word != "ReadOnly" and origin is not typing.Annotated:
                break
            hint = typing.get_args(hint)[0]
        return name in kind.__required_keys__

    return [_Field(name, hint, MISSING, required(name, hint)) for name, hint in hints.items()]


def _of_named_tuple(kind: Any, hints: dict[str, Any]) -> list[_Field]:
    defaults: dict[str, Any] = kind._field_defaults
    return [
        _Field(name, hints.get(name, Any), defaults.get(name, MISSING), name not in defaults)
        for name in cast("tuple[str, ...]", kind._fields)
    ]


def _object(
    reader: Reader, kind: type[Any], fields: list[_Field], where: str, make: Callable[..., Any]
) -> Shape:
    text = vars(kind).get("__doc__")
    if text and text.startswith(f"{kind.__name__}("):  # what dataclass() and NamedTuple write themselves
        text = None
    documentation = read_docstring(text, [field.name for field in fields])
    nulls = {field.name for field in fields if field.default is None}
    shapes = {field.name: reader.read(field.hint, f"{where}.{field.name}") for field in fields}
    properties = {
        field.name: add_default(
            shapes[field.name].schema,
            described(field.hint) or documentation.arguments.get(field.name),
            field.default,
        )
        for field in fields
    }
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required := [field.name for field in fields if field.required]:
        schema["required"] = required
    if documentation.description:
        schema["description"] = documentation.description

    def value(found: dict[str, Any], where: str) -> Any:
        if unknown := [name for name in found if name not in shapes]:
            message = f"{where}.{unknown[0]} is unknown; known are {', '.join(shapes) or 'none'}"
            raise Misfit(message)
        parts = {
            name: None if part is None and name in nulls else shapes[name].value(part, f"{where}.{name}")
            for name, part in found.items()
        }
        try:
            return make(**parts)
        except Exception as error:  # what __post_init__ of the program raises
            message = f"{where} was rejected: {type(error).__name__}: {error}"
            raise Misfit(message) from error

    return Shape(schema, value)


def add_default(schema: dict[str, Any], description: str | None, default: Any) -> dict[str, Any]:
    """A property: the schema of its type, its description and its default.

    Args:
        schema: The schema of the type.
        description: The description, if there is one.
        default: The default, or ``MISSING``.

    Returns:
        The property's schema.
    """
    found = dict(schema)
    if default is None:
        found = with_null(found)
    if description:
        found.pop("description", None)
        found["description"] = description
    if default is not MISSING and default is not None:
        known = json_default(default)
        if known is not MISSING:
            found["default"] = known
    return found


def json_default(value: Any) -> Any:  # noqa: PLR0911 - a case a line
    """A default as JSON has it, or ``MISSING``."""
    if isinstance(value, enum.Enum):
        return json_default(value.value)
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if value - value == 0 else MISSING  # neither NaN nor infinite
    if _is_instance_of_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if field.init]
        return json_default({name: getattr(value, name) for name in names})
    if hasattr(value, "_asdict"):
        return json_default(value._asdict())
    if isinstance(value, (list, tuple)):
        items = [json_default(item) for item in cast("list[Any]", value)]
        return MISSING if any(item is MISSING for item in items) else items
    if is_dict(value):
        pairs = {key: json_default(item) for key, item in value.items()}
        fine = all(isinstance(key, str) and item is not MISSING for key, item in pairs.items())
        return pairs if fine else MISSING
    return MISSING
