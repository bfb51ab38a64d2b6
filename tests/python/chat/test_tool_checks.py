"""Calls are checked twice: by the parser for ``ToolCall.error``, and by ``Tools`` with what it converts.

The first is for every program, also those that run no tools, and converts nothing. The two must not
contradict each other: what ``Tools`` takes as it is has no error, and what has none is taken. Where a program
has its tools run, what ``Tools`` can convert is called.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls
from rkllm_rs import ToolError
from rkllm_rs.chat.tools import Tools

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Opener

TEMPLATE = "{% if tools %}{{ tools }}{% endif %}{{ messages[-1].content }}<|im_start|><tool_call>[assistant]"
ASK = [{"role": "user", "content": "Hi"}]


def of(**schema: Any) -> dict[str, Any]:
    """The parameters of a tool with one argument, which must be given."""
    return {"type": "object", "properties": {"a": schema}, "required": ["a"]}


#: The parameters of a tool, and arguments of calls.
CASES: list[tuple[dict[str, Any], list[Any]]] = [
    (of(type="string"), [{"a": "x"}, {"a": 1}, {"a": None}, {}, {"a": "x", "b": 1}]),
    (of(type="integer"), [{"a": 1}, {"a": "3"}, {"a": 3.0}, {"a": 3.5}, {"a": True}, {"a": 2**70}]),
    (
        of(type="number", minimum=1, exclusiveMaximum=5),
        [{"a": 1}, {"a": 5}, {"a": 4.5}, {"a": 0}, {"a": "2"}],
    ),
    (of(type="integer", multipleOf=5), [{"a": 10}, {"a": 7}]),
    (of(type="number", multipleOf=0.1), [{"a": 0.3}, {"a": 0.35}]),
    (of(type="boolean"), [{"a": True}, {"a": "true"}, {"a": 1}]),
    (of(type=["string", "null"]), [{"a": None}, {"a": "x"}, {"a": 1}]),
    (of(anyOf=[{"type": "integer"}, {"type": "null"}]), [{"a": None}, {"a": 1}, {"a": "x"}]),
    (of(enum=["x", 1, None]), [{"a": "x"}, {"a": 1}, {"a": None}, {"a": "y"}, {"a": True}]),
    (of(const="x"), [{"a": "x"}, {"a": "y"}]),
    (of(type="string", minLength=2, maxLength=3), [{"a": "xy"}, {"a": "x"}, {"a": "wxyz"}, {"a": "é€"}]),
    (
        of(type="array", items={"type": "integer"}, minItems=1),
        [{"a": [1]}, {"a": []}, {"a": ["x"]}, {"a": 1}],
    ),
    (of(type="array", uniqueItems=True), [{"a": [1, 2]}, {"a": [1, 1]}, {"a": [{"b": 1}, {"b": 1}]}]),
    (of(prefixItems=[{"type": "integer"}], items={"type": "string"}), [{"a": [1, "x"]}, {"a": [1, 2]}]),
    (
        of(prefixItems=[{"type": "integer"}, {"type": "string"}]),
        [{"a": [1, "x"]}, {"a": [1]}, {"a": [1, "x", 2]}],
    ),
    (
        of(type="object", properties={"b": {"type": "string"}}),
        [{"a": {"b": "x"}}, {"a": {"b": 1}}, {"a": {"c": 1}}],
    ),
    (of(type="object", additionalProperties=False), [{"a": {}}, {"a": {"b": 1}}]),
    (of(type="object", additionalProperties={"type": "integer"}), [{"a": {"b": 1}}, {"a": {"b": "x"}}]),
    (
        {"type": "object", "properties": {}, "patternProperties": {"^x": {"type": "integer"}}},
        [{"x1": 1}, {}],
    ),
    (of(allOf=[{"type": "string"}, {"minLength": 2}]), [{"a": "xy"}, {"a": "x"}]),
    ({**of(**{"$ref": "#/$defs/b"}), "$defs": {"b": {"type": "integer"}}}, [{"a": 1}, {"a": []}]),
    (of(type="string", nullable=True), [{"a": None}, {"a": "x"}]),
    ({"type": "object", "properties": {}}, [{}, {"a": 1}]),
    ({"type": "object"}, [{}, {"a": 1}]),
    (of(), [{"a": 1}, {"a": {"b": [None]}}]),
]


@pytest.mark.parametrize(("parameters", "calls"), CASES, ids=lambda value: json.dumps(value)[:60])
def test_what_fits_has_no_error_and_what_has_none_fits(
    open_model: Opener, parameters: dict[str, Any], calls: list[Any]
) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    tools = Tools([tool])
    written = [f'<tool_call>{{"name": "f", "arguments": {json.dumps(call)}}}</tool_call>' for call in calls]
    llm = open_model(
        {"runs": [{"steps": [text]} for text in written]}, chat_template=TEMPLATE, family="qwen3"
    )
    for given in calls:
        (call,) = llm.chat(ASK, tools=[tool]).tool_calls
        try:
            converted: list[str] | None = tools.check("f", call.arguments_json).conversions
        except ToolError:
            converted = None
        assert call.error is not None or converted is not None, given
        assert call.error is None or converted != [], (given, call.error)


@pytest.mark.parametrize(
    ("written", "called", "told"),
    [
        ('{"name": "f", "arguments": {"n": "3", "words": "a"}}', (3, ["a"]), "done"),
        ('{"name": "f", "arguments": {"n": 3.0, "words": "[\\"a\\"]"}}', (3, ["a"]), "done"),
        # All that is wrong, for one more try.
        ('{"name": "f", "arguments": {"n": "x", "word": 1}}', None, ("n ", "words", "word ")),
        # What is not JSON, or is called by no name of a tool, is not made to fit.
        ('{"name": "f", "arguments": {"n": "3", "words": "a",}}', None, "Error"),
        ('{"name": "f", "arguments": {"n": "3", "words": "a"}', None, "Error"),
        ('{"name": "g", "arguments": {"n": "3", "words": "a"}}', None, "Error"),
    ],
)
def test_values_are_converted_where_tools_are_run(
    open_model: Opener, record: Path, written: str, called: Any, told: str | tuple[str, ...]
) -> None:
    made: list[Any] = []

    def f(n: int, words: list[str]) -> str:
        """Takes both."""
        made.append((n, words))
        return "done"

    llm = open_model(
        {"runs": [{"steps": [f"<tool_call>{written}</tool_call>"]}, {"steps": ["ok"]}] * 2},
        chat_template="{{ messages[-1].content }}[assistant]",
        family="qwen3",
    )
    assert llm.run_tools(ASK, tools=[f]).content == "ok"
    assert llm.conversation(tools=[f]).send("Hi").content == "ok"
    assert made == [called] * 2 * (called is not None)
    for second in [run["input"]["prompt_input"] for run in calls(record, "rkllm_run")][1::2]:
        for part in (told,) if isinstance(told, str) else told:
            assert part in second
