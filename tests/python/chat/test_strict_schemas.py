"""The strict form of schemas: closed objects, all properties required, references without neighbours."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from rkllm_rs import SchemaError
from rkllm_rs.chat.tools import Tool, strict_schema


def object_of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def closed(**properties: Any) -> dict[str, Any]:
    return {**object_of(**properties), "additionalProperties": False}


TEXT, NULL = {"type": "string"}, {"type": "null"}

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "empty": ({"type": "object"}, closed()),
    "no type": ({"properties": {}}, closed()),
    "required": (object_of(a=TEXT), closed(a=TEXT)),
    "optional": ({**object_of(a=TEXT), "required": []}, closed(a={"type": ["string", "null"]})),
    "optional choices": (
        {"type": "object", "properties": {"a": {"type": "string", "enum": ["x"]}}},
        closed(a={"type": ["string", "null"], "enum": ["x", None]}),
    ),
    "optional reference": (
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/t"}}, "$defs": {"t": TEXT}},
        {**closed(a={"anyOf": [{"$ref": "#/$defs/t"}, NULL]}), "$defs": {"t": TEXT}},
    ),
    "nullable": (object_of(a={"type": "string", "nullable": True}), closed(a={"type": ["string", "null"]})),
    "default": (object_of(a={"type": "string", "default": "x"}), closed(a=TEXT)),
    "a property named default": (object_of(default=TEXT), closed(default=TEXT)),
    "nested": (object_of(a=object_of(b=TEXT)), closed(a=closed(b=TEXT))),
    "list": (
        object_of(a={"type": "array", "items": object_of(b=TEXT), "prefixItems": [object_of()]}),
        closed(a={"type": "array", "items": closed(b=TEXT), "prefixItems": [closed()]}),
    ),
    "oneOf": (object_of(a={"oneOf": [object_of(b=TEXT), NULL]}), closed(a={"anyOf": [closed(b=TEXT), NULL]})),
    "allOf of one": (object_of(a={"allOf": [TEXT], "title": "A"}), closed(a={**TEXT, "title": "A"})),
    "reference": (
        {**object_of(a={"$ref": "#/$defs/t"}), "$defs": {"t": object_of(b=TEXT)}},
        {**closed(a={"$ref": "#/$defs/t"}), "$defs": {"t": closed(b=TEXT)}},
    ),
    "reference with neighbours": (
        {**object_of(a={"$ref": "#/$defs/t", "description": "A"}), "$defs": {"t": object_of(b=TEXT)}},
        {**closed(a={**closed(b=TEXT), "description": "A"}), "$defs": {"t": closed(b=TEXT)}},
    ),
    "reference at the root": (
        {"$ref": "#/$defs/t", "$defs": {"t": object_of(b=TEXT)}},
        {**closed(b=TEXT), "$defs": {"t": closed(b=TEXT)}},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_strict_form(case: str) -> None:
    schema, strict = CASES[case]
    before = copy.deepcopy(schema)
    assert strict_schema(schema) == strict
    assert schema == before
    # It is strict already.
    assert strict_schema(strict) == strict


def test_a_reference_with_neighbours_to_itself_ends() -> None:
    node = object_of(next={"anyOf": [{"$ref": "#/$defs/n", "description": "The next."}, NULL]})
    strict = strict_schema(
        {**object_of(n={"$ref": "#/$defs/n", "description": "First."}), "$defs": {"n": node}}
    )
    assert strict["properties"]["n"]["properties"]["next"] == {"anyOf": [{"$ref": "#/$defs/n"}, NULL]}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = TEXT
    for _ in range(depth):
        schema = object_of(a=schema)
    return schema


REFUSED: dict[str, dict[str, Any]] = {
    "text": TEXT,
    "anyOf": {"anyOf": [object_of(), object_of()]},
    "any properties": {"type": "object", "additionalProperties": True},
    "dict": object_of(a={"type": "object"}),
    "dict of text": object_of(a={"type": "object", "additionalProperties": TEXT}),
    "patterns": object_of(a={"type": "object", "properties": {}, "patternProperties": {"a": TEXT}}),
    "allOf of two": object_of(a={"allOf": [TEXT, TEXT]}),
    "unknown reference": object_of(a={"$ref": "#/$defs/x", "title": "A"}),
    "reference elsewhere": object_of(a={"$ref": "http://example.org/a", "title": "A"}),
    "too deep": nested(101),
    "too many": object_of(**{f"a{i}": TEXT for i in range(100_000)}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_schemas_without_a_strict_form(case: str) -> None:
    with pytest.raises(SchemaError):
        strict_schema(REFUSED[case])


def test_the_limit_is_where_it_is_said_to_be() -> None:
    assert strict_schema(nested(99))


def test_a_tool_has_a_strict_form_beside_its_own() -> None:
    def f(a: int, b: str = "x"):
        return a, b

    tool = Tool(f)
    assert tool.strict_parameters == closed(a={"type": "integer"}, b={"type": ["string", "null"]})
    assert "additionalProperties" not in tool.parameters
    # What the strict form makes a model write for an argument that it leaves out.
    assert tool.call(tool.check('{"a": 1, "b": null}')) == (1, "x")
