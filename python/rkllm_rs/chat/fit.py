"""Values against JSON schemas: strictly first, then with the conversions that small models need."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from .values import all_fit, converted, is_dict, is_list, is_of, kinds_of, same, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Fitted", "Misfit", "fit", "fits", "resolve"]

#: How deep values and schemas may be nested together.
DEPTH = 128
#: How many characters a message has.
LONGEST = 800
#: How far from a multiple a float may be that is one.
_EXACT = 1e-9
#: How many problems a message names.
PROBLEMS = 5
_NAMES = {
    "integer": "an integer",
    "number": "a number",
    "string": "a string",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


class Misfit(Exception):  # noqa: N818 - never leaves this package
    """A value does not fit a schema or a type; the text says where and why."""


class Fitted(NamedTuple):
    """A value that fits.

    Attributes:
        value: The value, converted where that was needed.
        conversions: What was converted, a sentence each.
    """

    value: Any
    conversions: list[str]


def fit(value: Any, schema: Any, root: Mapping[str, Any], where: str) -> Fitted:
    """Fits a value to a schema.

    Known are the keywords that describe arguments: types, ``enum``, ``const``, ``anyOf``, ``oneOf`` (as
    ``anyOf``), ``allOf``, local ``$ref``, and limits on numbers, text, lists and objects. Others are ignored.

    Args:
        value: What ``json.loads`` gave. It is not changed.
        schema: The schema.
        root: The schema that ``$ref`` refers to.
        where: The name of the value, for messages.

    Returns:
        The value and what was converted.

    Raises:
        Misfit: It does not fit, with all conversions.
    """
    try:
        try:
            return Fitted(_Fitter(root, lenient=False).fit(value, schema, where), [])
        except Misfit:
            fitter = _Fitter(root, lenient=True)
            return Fitted(fitter.fit(value, schema, where), fitter.notes)
    except RecursionError:
        message = f"{where} is nested too deeply"
        raise Misfit(message) from None


def fits(value: Any, schema: Any, root: Mapping[str, Any]) -> bool:
    """Tells whether a value fits a schema as it is.

    Args:
        value: What ``json.loads`` gave.
        schema: The schema.
        root: The schema that ``$ref`` refers to.

    Returns:
        Whether it does.
    """
    try:
        _Fitter(root, lenient=False).fit(value, schema, "")
    except (Misfit, RecursionError):
        return False
    return True


def resolve(reference: Any, root: Mapping[str, Any]) -> Any:
    """The schema that a local ``$ref`` names."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        message = f"the schema refers to {shown(reference)}, which is not in it"
        raise Misfit(message)
    found: Any = root
    for part in reference[1:].split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if is_dict(found) and key in found:
            found = found[key]
        else:
            message = f"the schema refers to {shown(reference)}, which is not in it"
            raise Misfit(message)
    return found


class _Fitter:
    """One value against one schema."""

    def __init__(self, root: Mapping[str, Any], *, lenient: bool) -> None:
        self.root = root
        self.lenient = lenient
        self.notes: list[str] = []
        self.depth = 0
        self.branches = 0  # of the schemas around, how many look at a value more than once
        # What was found out about lists and objects, so that schemas with many arms take no exponential time.
        # The objects are kept alive, so that no id is given twice.
        self.memo: dict[tuple[int, int, bool], tuple[Any, Any, Misfit | Fitted]] = {}

    def fit(self, value: Any, schema: Any, where: str) -> Any:
        if schema is True or schema == {}:
            return value
        if not is_dict(schema):
            message = f"{where} must not be given"
            raise Misfit(message)
        rules: dict[str, Any] = schema
        key = (id(value), id(rules), self.lenient)
        nested = self.branches > 0 and (is_list(value) or is_dict(value))
        known = self.memo.get(key) if nested else None
        if known is None:
            before = len(self.notes)
            outcome: Misfit | Fitted
            try:
                found = self.fit_rules(value, rules, where)
                outcome = Fitted(found, self.notes[before:])
            except Misfit as misfit:
                outcome = misfit
            del self.notes[before:]
            known = (value, rules, outcome)
            if nested:
                self.memo[key] = known
        outcome = known[2]
        if isinstance(outcome, Misfit):
            raise outcome.with_traceback(None)
        self.notes += outcome.conversions
        return outcome.value

    def fit_rules(self, value: Any, rules: dict[str, Any], where: str) -> Any:
        if self.depth >= DEPTH:
            message = f"{where} is nested too deeply"
            raise Misfit(message)
        branches = (
            "anyOf" in rules or "oneOf" in rules or "allOf" in rules or ("$ref" in rules and len(rules) > 1)
        )
        self.depth += 1
        self.branches += branches
        try:
            if "$ref" in rules:
                value = self.fit(value, resolve(rules["$ref"], self.root), where)
            if value is None and rules.get("nullable") is True:
                return value
            for part in rules.get("allOf", ()):
                value = self.fit(value, part, where)
            for word in ("anyOf", "oneOf"):
                if word in rules:
                    value = self.fit_arms(value, rules[word], where)
            if "type" in rules:
                value = self.fit_type(value, rules, where)
            self.check_choice(value, rules, where)
            return self.fit_inside(value, rules, where)
        finally:
            self.depth -= 1
            self.branches -= branches

    def fit_inside(self, value: Any, rules: dict[str, Any], where: str) -> Any:
        if isinstance(value, str):
            self.check_text(value, rules, where)
        elif is_list(value):
            return self.fit_list(value, rules, where)
        elif is_dict(value):
            return self.fit_object(value, rules, where)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            self.check_number(value, rules, where)
        return value

    def fit_arms(self, value: Any, arms: list[Any], where: str) -> Any:
        lenient = self.lenient
        problems: list[str] = []
        for way in [False, True] if lenient else [False]:
            problems.clear()
            for arm in arms:
                self.lenient = way
                try:
                    return self.fit(value, arm, where)
                except Misfit as misfit:
                    problems.append(str(misfit))
                finally:
                    self.lenient = lenient
        raise Misfit(_short(", or ".join(dict.fromkeys(problems))) or f"{where} must not be given")

    def fit_type(self, value: Any, rules: dict[str, Any], where: str) -> Any:
        kinds = kinds_of(rules)
        if any(is_of(value, kind) for kind in kinds):
            return value
        for kind in kinds if self.lenient else ():
            found = converted(value, kind)
            if found is not None or (kind == "null" and value in ("null", "None")):
                self.notes.append(f"{where} was {shown(value)} and was read as {shown(found)}")
                return found
            if kind == "array" and value is not None:
                try:
                    item = self.fit(value, rules.get("items", True), where)
                except Misfit:
                    continue
                self.notes.append(f"{where} was {shown(value)} and was read as a list of it")
                return [item]
        wanted = " or ".join(_NAMES.get(kind, str(kind)) for kind in kinds)
        message = f"{where} must be {wanted}, got {shown(value)}"
        raise Misfit(message)

    def check_choice(self, value: Any, rules: dict[str, Any], where: str) -> None:
        choices: list[Any] | None = [rules["const"]] if "const" in rules else rules.get("enum")
        if choices is not None and not any(same(value, choice) for choice in choices):
            listed = ", ".join(shown(choice) for choice in choices[:30])
            one_of = "one of " * (len(choices) > 1)
            message = f"{where} must be {one_of}{listed}, got {shown(value)}"
            raise Misfit(message)

    def check_text(self, value: str, rules: dict[str, Any], where: str) -> None:
        if len(value) < rules.get("minLength", 0):
            message = f"{where} must have at least {rules['minLength']} characters, got {len(value)}"
            raise Misfit(message)
        if len(value) > rules.get("maxLength", math.inf):
            message = f"{where} must have at most {rules['maxLength']} characters, got {len(value)}"
            raise Misfit(message)
        if "pattern" in rules:
            try:
                matches = re.search(rules["pattern"], value)
            except re.error:
                return  # another dialect of regular expressions
            if not matches:
                message = f"{where} must match {rules['pattern']}, got {shown(value)}"
                raise Misfit(message)

    def check_number(self, value: float, rules: dict[str, Any], where: str) -> None:
        limits: list[tuple[str, str, Callable[[Any], bool]]] = [
            ("minimum", "at least", lambda limit: value >= limit),
            ("maximum", "at most", lambda limit: value <= limit),
            ("exclusiveMinimum", "greater than", lambda limit: value > limit),
            ("exclusiveMaximum", "less than", lambda limit: value < limit),
        ]
        for word, wanted, holds in limits:
            if word in rules and not holds(rules[word]):
                message = f"{where} must be {wanted} {rules[word]}, got {value}"
                raise Misfit(message)
        step = rules.get("multipleOf")
        if step and not _is_multiple(value, step):
            message = f"{where} must be a multiple of {step}, got {value}"
            raise Misfit(message)

    def fit_list(self, value: list[Any], rules: dict[str, Any], where: str) -> list[Any]:
        least, most = rules.get("minItems", 0), rules.get("maxItems", math.inf)
        first: list[Any] = rules.get("prefixItems", [])
        if "prefixItems" in rules and "items" not in rules:
            least, most = max(least, len(first)), min(most, len(first))
        if not least <= len(value) <= most:
            count = f"{least}" if least == most else f"{least} to {most}"
            if most == math.inf:
                count = f"at least {least}"
            message = f"{where} must have {count} items, got {len(value)}"
            raise Misfit(message)
        if rules.get("uniqueItems") and len({json.dumps(item, sort_keys=True) for item in value}) < len(
            value
        ):
            message = f"{where} must not contain an item twice"
            raise Misfit(message)
        rest = rules.get("items", True)
        if not first and all_fit(value, rest):
            return list(value)
        return [
            self.fit(item, first[i] if i < len(first) else rest, f"{where}[{i}]")
            for i, item in enumerate(value)
        ]

    def fit_object(self, value: dict[str, Any], rules: dict[str, Any], where: str) -> dict[str, Any]:
        properties: dict[str, Any] = rules.get("properties", {})
        required: list[str] = rules.get("required", [])
        others = rules.get("additionalProperties", True)
        patterns: dict[str, Any] = rules.get("patternProperties", {})
        problems: list[str] = []
        found: dict[str, Any] = {}
        is_map = not rules.keys() & {"properties", "required", "patternProperties"}
        if is_map and all_fit(value.values(), others):
            return dict(value)
        for name, item in value.items():
            place = f"{where}.{name}" if where else name
            schema = properties.get(name)
            if schema is None:
                schema = next((patterns[p] for p in patterns if _searched(p, name)), others)
                if schema is False:
                    listed = ", ".join(properties) or "none"
                    problems.append(f"{place} is not known; known are {listed}")
                    continue
            try:
                found[name] = self.fit(item, schema, place)
            except Misfit as misfit:
                if item is None and name in properties and name not in required and self.lenient:
                    self.notes.append(f"{place} was null and was left out")
                else:
                    problems.append(str(misfit))
        problems += [f"{where}.{name} is missing" if where else f"{name} is missing"
                     for name in required if name not in value]  # fmt: skip
        if len(problems) > PROBLEMS:
            problems[PROBLEMS:] = [f"and {len(problems) - PROBLEMS} more problems"]
        if problems:
            raise Misfit(_short("; ".join(problems)))
        return found


def _short(text: str) -> str:
    """Not all of it, since every level of a schema may say what is wrong in each of its arms."""
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _is_multiple(value: float, step: float) -> bool:
    if isinstance(value, int) and isinstance(step, int):
        return value % step == 0
    try:
        return abs(value / step - round(value / step)) <= _EXACT
    except OverflowError:
        return False


def _searched(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:
        return False
