"""JSON values: what they are, how they are shown, and which are read as another type."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import TypeGuard

__all__ = ["all_fit", "converted", "is_dict", "is_list", "is_of", "kinds_of", "same", "shown"]

#: How many characters of a value a message has.
_LONGEST = 60
_INTEGER = re.compile(r"[+-]?\d{1,4000}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_PYTHON: dict[str, type[Any]] = {"string": str, "array": list, "object": dict}
_SCALARS: dict[str, set[type[Any]]] = {
    "string": {str},
    "integer": {int},
    "number": {int, float},
    "boolean": {bool},
    "null": {type(None)},
}
#: Keywords that refuse no value but by its type.
_ONLY_TYPES = {"type", "title", "description", "default", "examples"}


def shown(value: Any) -> str:
    """A value for messages: as JSON, and not long."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Whether a value is a list, for type checkers too."""
    return isinstance(value, list)


def is_dict(value: Any) -> TypeGuard[dict[Any, Any]]:
    """Whether a value is a dict, for type checkers too."""
    return isinstance(value, dict)


def kinds_of(rules: dict[str, Any]) -> list[str]:
    """The types that a schema allows."""
    kinds = rules.get("type", [])
    return kinds if is_list(kinds) else [kinds]


def all_fit(values: Collection[Any], schema: Any) -> bool:
    """Whether all values fit a schema, where that can be told quickly: there may be very many of them.

    False if the schema says more than the types of scalars.
    """
    if schema is True or schema == {}:
        return True
    if not is_dict(schema) or not schema.keys() <= _ONLY_TYPES:
        return False
    allowed: set[type[Any]] = set()
    for kind in kinds_of(schema):
        allowed |= _SCALARS.get(kind, set())
    found = set(map(type, values))
    return found <= allowed and (
        float not in found or all(math.isfinite(value) for value in values if isinstance(value, float))
    )


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal; unlike in Python, ``true`` is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if is_list(one) and is_list(other):
        return len(one) == len(other) and all(map(same, one, other))
    if is_dict(one) and is_dict(other):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def is_of(value: Any, kind: str) -> bool:
    """Whether a JSON value is of a type of JSON schema."""
    if isinstance(value, bool):
        return kind == "boolean"
    if value is None:
        return kind == "null"
    if isinstance(value, int):
        return kind in {"integer", "number"}
    if isinstance(value, float):
        return kind == "number" and math.isfinite(value)
    return isinstance(value, _PYTHON.get(kind, ()))


def _integer(value: Any) -> int | None:
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        return int(value)
    number = _number(value) if isinstance(value, str) else value
    return int(number) if isinstance(number, float) and number.is_integer() else None


def _number(value: Any) -> float | None:
    if not isinstance(value, str) or not _NUMBER.fullmatch(value.strip()):
        return None
    if _INTEGER.fullmatch(value.strip()):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None


def _boolean(value: Any) -> bool | None:
    return {"true": True, "false": False}.get(value.strip().lower()) if isinstance(value, str) else None


def _json_of(kind: type) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
            return None
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, kind) else None

    return convert


_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "array": _json_of(list),
    "object": _json_of(dict),
}


def converted(value: Any, kind: str) -> Any:
    """A value as a small model may have meant it, where a type of JSON schema is expected.

    Args:
        value: The value, which is of another type.
        kind: The type.

    Returns:
        The value as that type, or ``None`` if it cannot be read as one.
    """
    convert = _CONVERSIONS.get(kind)
    return convert(value) if convert else None
