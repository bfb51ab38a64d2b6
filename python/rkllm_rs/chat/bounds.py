"""Refuses JSON schemas that would take the engine for grammars too long, or too deep."""

from __future__ import annotations

import json
from typing import Any

from rkllm_rs.errors import SchemaError

from .values import is_dict, is_list

__all__ = ["check"]

#: How deep parts may refer to each other: each is compiled within the one before, on the stack.
DEEPEST = 100
#: The most remainders of `multipleOf`: each is a state.
MULTIPLE = 10_000
_SIMPLER = "Make it smaller, or describe less of the answer by it."


def check(name: str, text: str) -> None:
    """Refuses a schema by its references and its numbers; other faults are left to the engine.

    Args:
        name: The argument.
        text: The schema as JSON text.

    Raises:
        SchemaError: It is too much.
    """
    if '"$ref"' not in text and '"multipleOf"' not in text:
        return
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        return
    _check_multiples(name, schema)
    _check_references(name, schema)


def _parts(value: Any, place: str = "") -> list[tuple[str, dict[str, Any]]]:
    """All objects within a value, with their places."""
    found: list[tuple[str, dict[str, Any]]] = []
    left = [(place, value)]
    while left:
        here, one = left.pop()
        if is_dict(one):
            found.append((here, one))
            left.extend((f"{here}.{key}".lstrip("."), inner) for key, inner in one.items())
        elif is_list(one):
            left.extend((f"{here}[{at}]", inner) for at, inner in enumerate(one))
    return found


def _check_multiples(name: str, schema: Any) -> None:
    import math

    together, joins = 1, False
    for place, part in _parts(schema):
        joins = joins or "allOf" in part or "$ref" in part
        value = part.get("multipleOf")
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            continue
        count = _remainders(value)
        together = math.lcm(together, count)
        if count > MULTIPLE or (joins and together > MULTIPLE):
            where = f" (at {place})" if place else ""
            message = f"{name} is too complex: multipleOf {value} has too many remainders{where}"
            raise SchemaError(message, hint=_SIMPLER)


def _remainders(value: float) -> int:
    """How many remainders a division tells apart digit by digit: those of 2 and 5 end soon."""
    from decimal import Decimal

    number = abs(Decimal(str(value)))
    digits = number.as_tuple().digits
    left = int("".join(map(str, digits)) or "0") if number.is_finite() else 0
    for factor in (2, 5):
        while left and left % factor == 0:
            left //= factor
    return max(left, 1)


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
    all_of_them = (part.get("$ref") for _, part in _parts(value))
    local = (target for target in all_of_them if isinstance(target, str) and target.startswith("#"))
    return list(dict.fromkeys(local))


def _at(schema: Any, target: str) -> Any:
    """What a reference leads to; nothing if it leads nowhere."""
    here = schema
    for key in target[2:].split("/") if target != "#" else ():
        name = key.replace("~1", "/").replace("~0", "~")
        here = here.get(name) if is_dict(here) else None
    return here
