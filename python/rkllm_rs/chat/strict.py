"""The strict form of a JSON schema, for answers that are made to fit it.

Every object says all of its properties, and none is optional: what may be left out may be ``null`` instead.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

from rkllm_rs._typed import expect, typed
from rkllm_rs.errors import SchemaError

from .fit import Misfit, resolve
from .hints import with_null
from .values import is_dict

__all__ = ["strict_schema"]

MAX_DEPTH = 100
MAX_NODES = 100_000
_NOTES = frozenset({"title", "description", "examples", "deprecated", "readOnly", "writeOnly", "$comment"})


@typed
def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the strict form of a JSON schema, for answers that must fit it.

    Objects get ``additionalProperties: false``. All properties become required; those that were optional
    also accept ``null``. A ``$ref`` beside other keywords is replaced by the schema that it refers to.
    Defaults are removed, ``oneOf`` becomes ``anyOf``, and ``nullable`` becomes a union.

    Args:
        schema: The schema of an object. It is not changed.

    Returns:
        The strict form, a new dictionary.

    Raises:
        SchemaError: The schema has no strict form: its root is not an object, an object allows arbitrary
            properties, or the schema is too large or too deeply nested.
    """
    given: Any = schema
    hint = 'Pass the schema itself, such as {"type": "object", "properties": {...}}.'
    expect("schema", given, Mapping, "a dict", hint)
    return _Strict(dict(schema)).root()


class _Strict:
    def __init__(self, schema: dict[str, Any]) -> None:
        self.whole = schema
        self.nodes = 0
        self.inlining: list[str] = []

    def root(self) -> dict[str, Any]:
        schema = copy.deepcopy(self.whole)
        reference = schema.get("$ref")
        if reference is not None:
            rest = {key: part for key, part in schema.items() if key != "$ref"}
            schema = {**self.resolved(reference, "schema"), **rest}
        if "anyOf" in schema or "oneOf" in schema or schema.get("type", "object") != "object":
            message = 'the schema must be one of "type": "object"'
            raise SchemaError(
                message,
                hint="Put the value into an object with one property.",
            )
        schema.setdefault("properties", {})
        schema = {"type": "object", **schema}
        found: dict[str, Any] = self.strict(schema, "the schema", 0)
        return found

    def resolved(self, reference: Any, where: str) -> dict[str, Any]:
        try:
            found = resolve(reference, self.whole)
        except Misfit as misfit:
            raise SchemaError(str(misfit), hint="References must begin with #/$defs/.") from misfit
        if not is_dict(found):
            message = f"{where} refers to {reference}, which is not a schema"
            raise SchemaError(message)
        return copy.deepcopy(found)

    def strict(self, part: Any, where: str, depth: int) -> Any:
        self.nodes += 1
        if depth > MAX_DEPTH:
            message = f"the schema is nested more than {MAX_DEPTH} levels deep"
            raise SchemaError(message)
        if self.nodes > MAX_NODES:
            message = f"the schema has more than {MAX_NODES} parts"
            raise SchemaError(message)
        if not isinstance(part, dict):
            return part
        rules = cast("dict[str, Any]", part)
        rules.pop("default", None)
        if rules.pop("nullable", None) is True:
            rules = with_null(rules)
        if "oneOf" in rules:
            if "anyOf" in rules:
                message = f"{where} has both anyOf and oneOf"
                raise SchemaError(message, hint="Use one of them.")
            rules = {"anyOf" if key == "oneOf" else key: found for key, found in rules.items()}
        if "allOf" in rules:
            parts = rules.pop("allOf")
            if len(parts) != 1 or not isinstance(parts[0], dict):
                message = f"{where} has allOf with several schemas"
                raise SchemaError(message, hint="Merge them into one.")
            rules = {**parts[0], **rules}
        reference = rules.get("$ref")
        if reference is not None and len(rules) > 1 and not rules.keys() <= {"$ref", "$defs", "definitions"}:
            return self.inlined(rules, str(reference), where, depth)
        return self.inside(rules, where, depth)

    def inlined(self, rules: dict[str, Any], reference: str, where: str, depth: int) -> Any:
        rest = {key: found for key, found in rules.items() if key != "$ref"}
        if reference in self.inlining:  # a type that contains itself
            if rest.keys() <= _NOTES:
                return {"$ref": reference}
            message = f"{where} refers to itself with other keywords beside it"
            raise SchemaError(message)
        self.inlining.append(reference)
        try:
            return self.strict({**self.resolved(reference, where), **rest}, where, depth + 1)
        finally:
            self.inlining.pop()

    def inside(self, rules: dict[str, Any], where: str, depth: int) -> dict[str, Any]:
        kinds = rules.get("type")
        if kinds == "object" or (isinstance(kinds, list) and "object" in kinds) or "properties" in rules:
            self.close(rules, where)
        for word in ("$defs", "definitions", "properties"):
            for name, found in rules.get(word, {}).items():
                self.inlining.append(f"#/{word}/{name}")
                rules[word][name] = self.strict(found, f"{where}.{name}", depth + 1)
                self.inlining.pop()
        for word in ("anyOf", "prefixItems"):
            if word in rules:
                rules[word] = [self.strict(found, where, depth + 1) for found in rules[word]]
        if "items" in rules:
            rules["items"] = self.strict(rules["items"], f"{where}[]", depth + 1)
        return rules

    def close(self, rules: dict[str, Any], where: str) -> None:
        is_open = "properties" not in rules and rules.get("additionalProperties") is not False
        if is_open or rules.get("additionalProperties") or rules.get("patternProperties"):
            message = f"{where} allows arbitrary properties, so it has no strict form"
            raise SchemaError(
                message,
                hint="Name its properties, or use a list of objects with a key and a value.",
            )
        properties: dict[str, Any] = rules.setdefault("properties", {})
        required: set[str] = set(rules.get("required", []))
        for name, found in properties.items():
            if name not in required and isinstance(found, dict):
                properties[name] = with_null(cast("dict[str, Any]", found))
        rules["required"] = list(properties)
        rules["additionalProperties"] = False
