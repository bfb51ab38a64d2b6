"""The hints of functions and classes, evaluated: names and strings become types."""

from __future__ import annotations

import sys
import types
import typing
from typing import Any

__all__ = ["evaluated"]


def evaluated(owner: Any, local: dict[str, Any] | None = None) -> dict[str, Any]:
    """The hints of a function or class, evaluated, with all that ``Annotated`` says.

    Args:
        owner: The function or class.
        local: More names.

    Returns:
        The hints by name.

    Raises:
        NameError: A name in them is not there.
    """
    hints = typing.get_type_hints(owner, localns=local, include_extras=True)
    if sys.version_info < (3, 11):
        module = sys.modules.get(owner.__module__)
        names: dict[str, Any] = {**(vars(module) if module else {}), **(local or {})}
        return {name: _strings_evaluated(hint, names) for name, hint in hints.items()}
    return hints


def _strings_evaluated(hint: Any, names: dict[str, Any]) -> Any:
    """Evaluates ``list["Node"]`` and its like, which Python 3.10 leaves as they are."""
    if isinstance(hint, str):
        holder = types.SimpleNamespace(__annotations__={"hint": hint})
        return typing.get_type_hints(holder, names, include_extras=True)["hint"]
    origin = typing.get_origin(hint)
    is_union = origin is typing.Union or origin is types.UnionType
    if not is_union and not isinstance(hint, types.GenericAlias):
        return hint
    args = tuple(_strings_evaluated(arg, names) for arg in typing.get_args(hint))
    kind: Any = typing.Union if is_union else origin
    return kind[args]
