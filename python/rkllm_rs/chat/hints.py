"""Type hints: the JSON schema of each, and the way from a JSON value back to a value of that type."""

from __future__ import annotations

import collections.abc
import types
import typing
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from rkllm_rs.errors import ToolError

from . import foreign
from .fit import Misfit, fit, fits
from .values import kinds_of, same, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Reader", "Shape", "described"]

_NONE: type[None] = type(None)
_BASIC: dict[Any, dict[str, Any]] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    _NONE: {"type": "null"},
    Any: {},
    object: {},
}
_SCALARS = {int: "integer", float: "number", str: "string", bool: "boolean", _NONE: "null"}
_LISTS: dict[Any, Callable[[Any], Any] | None] = {
    list: None,
    collections.abc.Sequence: None,
    collections.abc.MutableSequence: None,
    collections.abc.Collection: None,
    collections.abc.Iterable: None,
    tuple: tuple,
    set: set,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
    frozenset: frozenset,
}
_DICTS = {dict, collections.abc.Mapping, collections.abc.MutableMapping}


class Shape(NamedTuple):
    """What a hint means in JSON.

    Attributes:
        schema: Its JSON schema.
        value: Makes a value of the type from a JSON value that fits the schema; the text names the place.
            Raises ``Misfit``.
    """

    schema: dict[str, Any]
    value: Callable[[Any, str], Any]


class Reader:
    """Reads the hints of one function.

    Attributes:
        defs: The schemas of types that contain themselves, for ``$defs``.
    """

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.defs: dict[str, Any] = {}
        # The types that are being read, each with its name in $defs once something in it refers to it.
        self._open: dict[Any, str | None] = {}
        self._closed: dict[Any, Shape] = {}

    def read(self, hint: Any, where: str) -> Shape:
        """Reads a hint.

        Args:
            hint: The hint, evaluated.
            where: The argument that has it, for messages.

        Returns:
            Its schema and its values.

        Raises:
            ToolError: The hint cannot be described in JSON.
        """
        if hint is None:
            hint = _NONE
        if _is_basic(hint):
            return Shape(dict(_BASIC[hint]), _to_float if hint is float else _as_it_is)
        if isinstance(hint, typing.TypeVar):
            return self._read_variable(hint, where)
        if supertype := getattr(hint, "__supertype__", None):  # typing.NewType
            return self.read(supertype, where)
        if type(hint).__name__ == "TypeAliasType":
            found = self._named(hint, lambda: self.read(hint.__value__, where))
            return found or self.read(Any, where)
        origin = typing.get_origin(hint)
        if origin is None:
            return self._read_plain(hint, where)
        return self._read_generic(hint, origin, typing.get_args(hint), where)

    def _read_variable(self, hint: typing.TypeVar, where: str) -> Shape:
        if hint.__bound__ is not None:
            return self.read(hint.__bound__, where)
        return self._union(hint.__constraints__, where) if hint.__constraints__ else self.read(Any, where)

    def _read_plain(self, hint: Any, where: str) -> Shape:
        from .classes import read_class

        if hint in _LISTS:
            return Shape({"type": "array"}, _collected(_LISTS[hint], _as_it_is))
        if hint in _DICTS:
            return Shape({"type": "object"}, _as_it_is)
        if getattr(hint, "__name__", "") == "LiteralString":
            return self.read(str, where)
        if found := self._foreign(hint):
            return found
        if isinstance(hint, type) and (found := self._named(hint, lambda: read_class(self, hint, where))):
            return found
        if found := self._foreign(hint, any_type=True):
            return found
        raise self._unknown(hint, where)

    def _read_generic(  # noqa: PLR0911 - a case a line
        self, hint: Any, origin: Any, args: tuple[Any, ...], where: str
    ) -> Shape:
        if origin is typing.Union or origin is types.UnionType:
            return self._union(args, where)
        if origin is typing.Literal:
            return self.choices([(value, value) for value in args], where, hint)
        if origin is typing.Annotated:
            return self._annotated(hint, args, where)
        if _is_wrapper(origin):
            return self.read(args[0], where)
        if origin is tuple:
            return self._tuple(hint, args, where)
        if origin in _LISTS:
            item = self.read(args[0], where)
            return Shape({"type": "array", "items": item.schema}, _collected(_LISTS[origin], item.value))
        if origin in _DICTS:
            return self._dict(args, where)
        if found := self._foreign(hint, any_type=True):
            return found
        raise self._unknown(hint, where)

    def _union(self, hints: tuple[Any, ...], where: str) -> Shape:
        arms = [self.read(hint, where) for hint in hints]
        others = [arm.schema for arm, hint in zip(arms, hints, strict=True) if hint not in (None, _NONE)]
        if len(others) == 1:
            schema = others[0]
        elif all(other.keys() == {"type"} and isinstance(other["type"], str) for other in others):
            kinds = sorted({other["type"] for other in others})
            schema = {"type": kinds[0] if len(kinds) == 1 else kinds}
        else:
            schema = {"anyOf": others}
        if len(others) < len(arms):
            schema = with_null(schema)

        def value(found: Any, where: str) -> Any:
            problem = Misfit(f"{where} must not be given")
            for arm in arms:
                if fits(found, arm.schema, self.root):
                    try:
                        return arm.value(found, where)
                    except Misfit as misfit:
                        problem = misfit
            raise problem

        return Shape(schema, value)

    @property
    def root(self) -> dict[str, Any]:
        """What references in the schemas refer to."""
        return {"$defs": self.defs}

    def choices(self, pairs: list[tuple[Any, Any]], where: str, hint: Any) -> Shape:
        """One of several values.

        Args:
            pairs: Each value as JSON has it, and as Python has it.
            where: The argument, for messages.
            hint: The type, for messages.

        Returns:
            The shape.

        Raises:
            ToolError: JSON cannot have one of them.
        """
        kinds = list(dict.fromkeys(_kind_of(value) for value, _ in pairs))
        if not kinds or "" in kinds:
            raise self._unknown(hint, where, "Choices must be text, numbers, booleans or None.")

        def value(found: Any, where: str) -> Any:
            for choice, member in pairs:
                if same(found, choice):
                    return member
            message = f"{where} must not be {shown(found)}"
            raise Misfit(message)

        values = [choice for choice, _ in pairs]
        return Shape({"type": kinds[0] if len(kinds) == 1 else kinds, "enum": values}, value)

    def _annotated(self, hint: Any, args: tuple[Any, ...], where: str) -> Shape:
        if any(foreign.is_constraint(extra) for extra in args[1:]) and (
            found := self._foreign(hint, any_type=True)
        ):
            return found
        shape = self.read(args[0], where)
        text = described(hint)
        return Shape({**shape.schema, "description": text}, shape.value) if text else shape

    def _tuple(self, hint: Any, args: tuple[Any, ...], where: str) -> Shape:
        if args[1:] == (...,):
            item = self.read(args[0], where)
            return Shape({"type": "array", "items": item.schema}, _collected(tuple, item.value))
        if ... in args:
            raise self._unknown(hint, where)
        items = [self.read(arg, where) for arg in args if arg != ()]

        def value(found: list[Any], where: str) -> Any:
            pairs = zip(items, found, strict=True)
            return tuple(item.value(part, f"{where}[{i}]") for i, (item, part) in enumerate(pairs))

        return Shape({"type": "array", "prefixItems": [item.schema for item in items]}, value)

    def _dict(self, args: tuple[Any, ...], where: str) -> Shape:
        key, item = self.read(args[0], where), self.read(args[1], where)
        kinds = key.schema.get("type", "string")
        if kinds not in ("string", "integer", "number"):
            raise self._unknown(args[0], where, "Keys of JSON objects are text: write dict[str, …].")

        def value(found: dict[str, Any], where: str) -> dict[Any, Any]:
            def name(text: str) -> Any:
                place = f"the key {shown(text)} of {where}"
                return key.value(fit(text, key.schema, self.root, place).value, place)

            if key.schema == {"type": "string"} and key.value is item.value is _as_it_is:
                return dict(found)
            return {name(text): item.value(part, f"{where}.{text}") for text, part in found.items()}

        if names := key.schema.get("enum"):
            properties = dict.fromkeys(map(str, names), item.schema)
            return Shape({"type": "object", "properties": properties, "additionalProperties": False}, value)
        return Shape({"type": "object", "additionalProperties": item.schema}, value)

    def _named(self, hint: Any, read: Callable[[], Shape | None]) -> Shape | None:
        """Reads a type that may contain itself: then it stands in ``$defs``."""
        if hint in self._closed:
            return self._closed[hint]
        if hint in self._open:
            name = self._open[hint] or self._free_name(hint.__name__)
            self._open[hint] = name
            self.defs.setdefault(name, {})
            return Shape({"$ref": f"#/$defs/{name}"}, self._later(hint))
        self._open[hint] = None
        try:
            shape = read()
        finally:
            used = self._open.pop(hint)
        if shape and used:
            self.defs[used] = shape.schema
            shape = self._closed[hint] = Shape({"$ref": f"#/$defs/{used}"}, shape.value)
        return shape

    def _later(self, hint: Any) -> Callable[[Any, str], Any]:
        """Makes values of a type that is still being read."""

        def value(found: Any, where: str) -> Any:
            return self._closed[hint].value(found, where)

        return value

    def _free_name(self, name: str) -> str:
        wanted, count = name, 1
        while wanted in self.defs:
            count += 1
            wanted = f"{name}{count}"
        return wanted

    def _foreign(self, hint: Any, *, any_type: bool = False) -> Shape | None:
        """What pydantic or msgspec make of a type, if the program uses them."""
        found = foreign.read(hint, any_type=any_type)
        if found is None:
            return None
        schema, value = found
        schema = foreign.hoist(schema, self.defs, self._free_name)

        def convert(json_value: Any, where: str) -> Any:
            try:
                return value(json_value)
            except Exception as error:  # whatever validators of the program raise
                raise Misfit(foreign.told(error, where)) from error

        return Shape(schema, convert)

    def _unknown(self, hint: Any, where: str, more: str = "") -> ToolError:
        name = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
        known = (
            "Use int, float, str, bool, list, dict, tuple, Optional, Union, Literal, an Enum, a dataclass, "
            "a TypedDict or a NamedTuple, or write the JSON schema of the tool by hand."
        )
        return ToolError(
            f"the argument {where} of {self.owner} has the type hint {name.replace('typing.', '')}, "
            "which cannot be described in JSON",
            hint=f"{more} {known}".strip(),
        )


def _is_basic(hint: Any) -> bool:
    try:
        return hint in _BASIC
    except TypeError:  # a Literal of lists, for example
        return False


def _kind_of(value: Any) -> str:
    return _SCALARS.get(value.__class__, "")


def with_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that takes ``null`` besides."""
    found = dict(schema)
    if "enum" in found and None not in found["enum"]:
        found["enum"] = [*found["enum"], None]
    if "type" in found and "$ref" not in found and "const" not in found:
        kinds = kinds_of(found)
        found["type"] = kinds if "null" in kinds else [*kinds, "null"]
        return found
    if found.keys() == {"anyOf"}:
        arms = cast("list[Any]", found["anyOf"])
        return {"anyOf": arms if {"type": "null"} in arms else [*arms, {"type": "null"}]}
    return {"anyOf": [found, {"type": "null"}]} if found else found


def described(hint: Any) -> str | None:
    """The description in an ``Annotated``: a string, or an object that has one."""
    if typing.get_origin(hint) is not typing.Annotated:
        return None
    for extra in reversed(typing.get_args(hint)[1:]):  # the outermost wins
        for text in (extra, getattr(extra, "description", None), getattr(extra, "documentation", None)):
            if isinstance(text, str):
                return text
    return None


def _is_wrapper(origin: Any) -> bool:
    """Whether it is ``Required``, ``NotRequired``, ``ReadOnly`` or ``Final``, of whichever module."""
    name = getattr(origin, "_name", None) or getattr(origin, "__name__", None)
    return name in {"Required", "NotRequired", "ReadOnly", "Final"}


def _as_it_is(value: Any, where: str) -> Any:  # noqa: ARG001 - as all of them
    return value


def _to_float(value: Any, where: str) -> float:
    try:
        return float(value)
    except OverflowError:
        message = f"{where} is too large"
        raise Misfit(message) from None


def _collected(
    collect: Callable[[Any], Any] | None, item: Callable[[Any, str], Any]
) -> Callable[[Any, str], Any]:
    def value(found: list[Any], where: str) -> Any:
        items = list(found)
        if item is not _as_it_is:
            items = [item(part, f"{where}[{i}]") for i, part in enumerate(found)]
        try:
            return collect(items) if collect else items
        except TypeError:  # a set of lists
            message = f"{where} must have items of text or numbers, got {shown(found)}"
            raise Misfit(message) from None

    return value
