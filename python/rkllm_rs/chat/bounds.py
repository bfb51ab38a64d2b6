"""Refuses JSON schemas whose parts refer to each other too deep."""

from __future__ import annotations

import json
from typing import Any

from rkllm_rs.errors import SchemaError

from .values import is_dict, is_list

__all__ = ["check"]

#: How deep parts may refer to each other: each is compiled within the one before, on the stack.
DEEPEST = 100
_SIMPLER = "Make it smaller, or describe less of the answer by it."


def check(name: str, text: str) -> None:
    """Refuses a schema by its references; other faults are left to the engine.

    Args:
        name: The argument.
        text: The schema as JSON text.

    Raises:
        SchemaError: It is too much.
    """
    if '"$ref"' not in text:
        return
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        return
    _check_references(name, schema)


def _parts(value: Any) -> list[dict[str, Any]]:
    """All objects within a value."""
    found: list[dict[str, Any]] = []
    left = [value]
    while left:
        one = left.pop()
        if is_dict(one):
            found.append(one)
            left.extend(one.values())
        elif is_list(one):
            left.extend(one)
    return found


def _check_references(name: str, schema: Any) -> None:
    all_of_them = _references(schema)
    if len(all_of_them) <= DEEPEST:
        return
    behind = {target: _references(_at(schema, target)) for target in all_of_them}
    depths: dict[str, int] = {}
    for first in all_of_them:
        path = [] if first in depths else [first]
        while path:
            # What is on the path already leads round in a circle, and is not gone into again.
            new = [one for one in behind[path[-1]] if one not in depths and one not in path]
            if new:
                path.append(new[0])
            else:
                target = path.pop()
                depths[target] = 1 + max((depths.get(one, 0) for one in behind[target]), default=0)
            if len(path) > DEEPEST or depths.get(first, 0) > DEEPEST:
                reason = f"its parts refer to each other more than {DEEPEST} deep"
                message = f"{name} is too complex: {reason} (at {first})"
                raise SchemaError(message, hint=_SIMPLER)


def _references(value: Any) -> list[str]:
    """Each place that is referred to within a value."""
    all_of_them = (part.get("$ref") for part in _parts(value))
    local = (target for target in all_of_them if isinstance(target, str) and target.startswith("#"))
    return list(dict.fromkeys(local))


def _at(schema: Any, target: str) -> Any:
    """What a reference leads to; nothing if it leads nowhere."""
    here = schema
    for key in target[2:].split("/") if target != "#" else ():
        name = key.replace("~1", "/").replace("~0", "~")
        here = here.get(name) if is_dict(here) else None
    return here
