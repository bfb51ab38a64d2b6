"""Types of pydantic and msgspec, for programs that have imported them; this package never does."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

from .values import is_dict, is_list

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["hoist", "is_constraint", "is_model", "read", "told"]

_MODULES = ("pydantic", "pydantic_core", "annotated_types", "msgspec")


def _imported(name: str) -> Any:
    return sys.modules.get(name)


def is_model(kind: Any) -> bool:
    """Whether it is a class of pydantic models."""
    pydantic = _imported("pydantic")
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def is_constraint(extra: Any) -> bool:
    """Whether something in an ``Annotated`` is of these packages."""
    return type(extra).__module__.partition(".")[0] in _MODULES


def read(hint: Any, *, any_type: bool = False) -> tuple[dict[str, Any], Callable[[Any], Any]] | None:
    """The schema of a type, and what makes its values of JSON values.

    Args:
        hint: The type.
        any_type: Take any type that pydantic can describe, not only its own classes.

    Returns:
        Both, or ``None`` if no package that is imported knows the type.
    """
    msgspec, pydantic = _imported("msgspec"), _imported("pydantic")
    if msgspec is not None and isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        kind = cast("type[Any]", hint)
        return _ordered(msgspec.json.schema(kind)), lambda value: msgspec.convert(value, kind)
    if pydantic is None or not (any_type or hasattr(cast("Any", hint), "__pydantic_core_schema__")):
        return None
    try:
        adapter = pydantic.TypeAdapter(hint)
        schema = adapter.json_schema()
    except pydantic.errors.PydanticUserError:
        if any_type:
            return None
        raise
    return _ordered(schema), adapter.validate_python


def model_schema(kind: Any) -> dict[str, Any]:
    """The schema of a pydantic model, as the parameters of a tool."""
    schema = kind.model_json_schema()
    reference = schema.get("$ref", "")
    if reference.startswith("#/$defs/"):  # a model that contains itself
        schema = {**schema["$defs"][reference.removeprefix("#/$defs/")], "$defs": schema["$defs"]}
    return {key: value for key, value in _ordered(schema).items() if key not in ("title", "description")}


def _ordered(schema: dict[str, Any]) -> dict[str, Any]:
    """The keys in the order that models know."""
    first = [key for key in ("type", "properties", "required") if key in schema]
    return {key: schema[key] for key in [*first, *(key for key in schema if key not in first)]}


def hoist(schema: dict[str, Any], defs: dict[str, Any], free_name: Callable[[str], str]) -> dict[str, Any]:
    """Moves the ``$defs`` of a schema to those of the whole.

    Args:
        schema: The schema.
        defs: The whole's; they grow.
        free_name: Finds a name that is not taken.

    Returns:
        The schema without them.
    """
    own: dict[str, Any] = schema.pop("$defs", {})
    names: dict[str, str] = {}
    for name, found in own.items():
        names[name] = name if defs.get(name, found) == found else free_name(name)
        defs[names[name]] = found

    def renamed(part: Any) -> Any:
        if is_list(part):
            return [renamed(item) for item in part]
        if not is_dict(part):
            return part
        rules = {key: renamed(value) for key, value in part.items()}
        target = rules.get("$ref")
        if isinstance(target, str) and target.startswith("#/$defs/"):
            name = target.removeprefix("#/$defs/")
            rules["$ref"] = f"#/$defs/{names.get(name, name)}"
        return rules

    if all(name == to for name, to in names.items()):
        return schema
    for to in names.values():
        defs[to] = renamed(defs[to])
    return cast("dict[str, Any]", renamed(schema))


def told(error: Exception, where: str) -> str:
    """What a validator raised, in one line."""
    pydantic = _imported("pydantic")
    if pydantic is not None and isinstance(error, pydantic.ValidationError):
        found = cast("Any", error).errors(include_url=False, include_context=False, include_input=False)
        places = [".".join([*filter(None, [where]), *map(str, problem["loc"])]) for problem in found]
        return "; ".join(
            f"{place or 'the arguments'}: {problem['msg']}"
            for place, problem in zip(places, found, strict=True)
        )
    text = " ".join(str(error).split())
    return f"{where or 'the arguments'}: {type(error).__name__}: {text}"
