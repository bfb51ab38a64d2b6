"""The arguments of a call: checked, converted where that is safe, and made values of the function's types.

Long because it is tables: each type that an argument may have.
"""

# ruff: noqa: UP007, UP045

from __future__ import annotations

import dataclasses
import enum
import json
import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NewType, Optional, TypedDict, Union

import pytest

from rkllm_rs import InvalidTypeError, ToolError
from rkllm_rs.chat.tools import Tool, Tools

if TYPE_CHECKING:
    from collections.abc import Callable


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass
class Person:
    name: str
    age: float = 0
    colour: Optional[Colour] = None
    friends: list[Person] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.name:
            message = "a person needs a name"
            raise ValueError(message)


class Movie(TypedDict, total=False):
    title: str
    colour: Colour


class Point(NamedTuple):
    x: float
    y: float = 0.0


class Other(NamedTuple):
    z: int


UserId = NewType("UserId", int)


def tool_of(hint: Any, default: Any = ...) -> Tool:
    def f(x):
        return x

    f.__annotations__ = {"x": hint}
    if default is not ...:
        f.__defaults__ = (default,)
    return Tool(f)


#: A hint, the JSON of the argument, and the value that the function gets.
VALUES: list[tuple[Any, str, Any]] = [
    (int, "3", 3),
    (float, "3", 3.0),
    (float, "3.5", 3.5),
    (str, '"3"', "3"),
    (bool, "true", True),
    (None, "null", None),
    (Any, '{"a": [1]}', {"a": [1]}),
    (Optional[int], "null", None),
    (Union[int, str], '"3"', "3"),
    (Union[bool, int], "true", True),
    (Union[bool, int], "1", 1),
    (Union[Colour, str], '"red"', Colour.RED),
    (Union[Colour, str], '"green"', "green"),
    (Union[Point, Other, Person], '{"z": 1}', Other(1)),
    (list[Colour], '["red", "blue"]', [Colour.RED, Colour.BLUE]),
    (set[int], "[1, 2, 1]", {1, 2}),
    (frozenset[str], '["a"]', frozenset({"a"})),
    (tuple[int, str], '[1, "a"]', (1, "a")),
    (tuple[float, ...], "[1, 2]", (1.0, 2.0)),
    (tuple, "[1, 2]", (1, 2)),
    (dict[str, Point], '{"a": {"x": 1}}', {"a": Point(1.0)}),
    (dict[int, str], '{"7": "x"}', {7: "x"}),
    (dict[Colour, int], '{"red": 1}', {Colour.RED: 1}),
    (Colour, '"blue"', Colour.BLUE),
    (Level, "1", Level.LOW),
    (Literal["a", 1], "1", 1),
    (UserId, "5", 5),
    (Point, '{"x": 1, "y": 2}', Point(1.0, 2.0)),
    (Movie, '{"title": "M", "colour": "red"}', {"title": "M", "colour": Colour.RED}),
    (Person, '{"name": "Ada", "age": 36, "colour": "red", "friends": [{"name": "Bob"}]}',
     Person("Ada", 36.0, Colour.RED, [Person("Bob")])),
]  # fmt: skip


@pytest.mark.parametrize(("hint", "text", "value"), VALUES)
def test_values(hint: Any, text: str, value: Any) -> None:
    checked = tool_of(hint).check(f'{{"x": {text}}}')
    assert checked.values == {"x": value}
    assert type(checked.values["x"]) is type(value)
    assert (checked.arguments, checked.conversions) == ({"x": json.loads(text)}, [])


#: What small models write, and what is made of it; each is told.
CONVERSIONS: list[tuple[Any, str, Any]] = [
    (int, '"3"', 3),
    (int, '" -3 "', -3),
    (int, "3.0", 3),
    (int, '"3.0"', 3),
    (float, '"3.5"', 3.5),
    (float, '"1e3"', 1000.0),
    (bool, '"true"', True),
    (bool, '"False"', False),
    (Optional[int], '"3"', 3),
    (Optional[int], '"null"', None),
    (Union[int, list[int]], '"3"', 3),
    (Level, '"1"', Level.LOW),
    (list[str], '"a"', ["a"]),
    (list[int], '"3"', [3]),
    (list[int], "3", [3]),
    (list[int], '"[1, 2]"', [1, 2]),
    (Optional[list[str]], '"a"', ["a"]),
    (dict[str, int], '"{\\"a\\": 1}"', {"a": 1}),
    (Point, '"{\\"x\\": \\"1\\"}"', Point(1.0)),
    (Point, '{"x": 1, "y": null}', Point(1.0, 0.0)),
]


@pytest.mark.parametrize(("hint", "text", "value"), CONVERSIONS)
def test_conversions_are_made_and_told(hint: Any, text: str, value: Any) -> None:
    checked = tool_of(hint).check(f'{{"x": {text}}}')
    assert checked.values == {"x": value}
    assert type(checked.values["x"]) is type(value)
    assert checked.conversions
    assert all("x" in sentence for sentence in checked.conversions)


#: What is never guessed.
MISFITS: list[tuple[Any, str]] = [
    (int, "3.5"),
    (int, '"3.5"'),
    (int, '"three"'),
    (int, "true"),
    (int, "null"),
    (int, "[3]"),
    (int, '"1_000"'),
    (float, '"nan"'),
    (float, '"1e999"'),
    (float, "1" + "0" * 400),
    (str, "3"),
    (str, "null"),
    (bool, "1"),
    (bool, '"yes"'),
    (Colour, '"RED"'),
    (Colour, "1"),
    (Literal[1], "true"),
    (list[int], '"a"'),
    (list[int], "null"),
    (list[int], '["a"]'),
    (set[Any], "[[1]]"),
    (tuple[int, str], "[1]"),
    (tuple[int, str], '[1, "a", 2]'),
    (dict[str, int], '"no JSON"'),
    (dict[str, int], '{"a": "b"}'),
    (dict[int, str], '{"a": "x"}'),
    (Union[int, list[int]], '"x"'),
    (Person, "{}"),
    (Person, '{"name": "Ada", "height": 1}'),
    (Person, '{"name": ""}'),
    (Point, "[1, 2]"),
]


@pytest.mark.parametrize(("hint", "text"), MISFITS)
def test_what_does_not_fit_is_told_with_its_name(hint: Any, text: str) -> None:
    with pytest.raises(ToolError, match="x"):
        tool_of(hint).check(f'{{"x": {text}}}')


def get_weather(city: str, days: int = 3, tags: Optional[list[str]] = None) -> str:
    return f"{city} {days} {tags}"


WEATHER = Tool(get_weather)


def told(arguments: Any, tool: Tool = WEATHER) -> str:
    with pytest.raises(ToolError) as caught:
        tool.check(arguments)
    return str(caught.value.args[0])


def test_unknown_and_missing_arguments_are_named_together() -> None:
    text = told('{"town": "Paris", "days": "many"}')
    assert all(name in text for name in ("get_weather", "town", "city", "days", "tags", "many"))


def test_many_problems_make_a_short_text() -> None:
    assert len(told({f"name{i}": "x" * 1000 for i in range(1000)})) < 1000
    assert len(told({"city": "a", "days": "x" * 100_000})) < 300


@pytest.mark.parametrize(
    "text", ['{"city": "Par', '{"city": ', '{"city": "Paris"', "{", '{"city": "a\\', "["]
)
def test_json_that_is_cut(text: str) -> None:
    assert "incomplete" in told(text)


@pytest.mark.parametrize(
    "text",
    [
        "{'city': 'Paris'}",
        "city=Paris",
        '{"city": NaN}',
        '{"city": "a"} x',
        "[" * 9999 + "]" * 9999,
        "1" * 5000,
    ],
    ids=["quotes", "words", "NaN", "more text", "deep", "long number"],
)
def test_text_that_is_not_json(text: str) -> None:
    assert "get_weather" in told(text)


@pytest.mark.parametrize("text", ["[]", "5", '"Paris"', "true"])
def test_json_that_is_not_an_object(text: str) -> None:
    assert "object" in told(text)


def test_an_object_in_a_string_is_read() -> None:
    checked = WEATHER.check(json.dumps('{"city": "Paris"}'))
    assert (checked.arguments, len(checked.conversions)) == ({"city": "Paris"}, 1)


@pytest.mark.parametrize("nothing", ["", " \n", "{}", "null", {}])
def test_no_arguments(nothing: Any) -> None:
    def f() -> None:
        pass

    assert Tool(f).check(nothing) == ({}, {}, [], None)


def test_arguments_of_the_wrong_type() -> None:
    for wrong in (5, None, b"{}", ["city"]):
        with pytest.raises(InvalidTypeError, match="arguments"):
            WEATHER.check(wrong)


def test_null_is_as_good_as_nothing_where_there_is_a_default() -> None:
    checked = WEATHER.check('{"city": "Paris", "days": null, "tags": null}')
    assert checked.values == {"city": "Paris", "tags": None}
    assert len(checked.conversions) == 1


def test_the_default_none_of_a_type_that_is_not_optional() -> None:
    tool = tool_of(float, None)
    assert tool.check('{"x": null}').values == {"x": None}
    assert tool.check('{"x": 1}').values == {"x": 1.0}


def test_what_is_given_is_not_changed() -> None:
    given = {"city": "Paris", "tags": "a"}
    assert WEATHER.check(given).arguments == {"city": "Paris", "tags": ["a"]}
    assert given == {"city": "Paris", "tags": "a"}


def by_hand(parameters: dict[str, Any]) -> Tool:
    return Tool({"name": "f", "parameters": parameters})


RULES: list[tuple[dict[str, Any], Any, Any]] = [
    ({"minimum": 1}, 1, 0),
    ({"maximum": 1}, 1, 2),
    ({"exclusiveMinimum": 1}, 2, 1),
    ({"exclusiveMaximum": 1}, 0, 1),
    ({"multipleOf": 3}, 10**30 - 1, 10**30),
    ({"multipleOf": 0.1}, 0.3, 0.35),
    ({"minLength": 2}, "ab", "a"),
    ({"maxLength": 2}, "ab", "abc"),
    ({"pattern": "^a"}, "ab", "ba"),
    ({"type": "array", "minItems": 1}, [1], []),
    ({"type": "array", "maxItems": 1}, [1], [1, 2]),
    ({"type": "array", "uniqueItems": True}, [1, True, "1"], [{"a": 1}, {"a": 1}]),
    (
        {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "integer"}},
        ["a", 1],
        ["a", "b"],
    ),
    ({"const": 1}, 1, True),
    ({"enum": [[1], {"a": 1}]}, {"a": 1}, {"a": True}),
    ({"type": "string", "nullable": True}, None, 5),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, None, 5),
    ({"oneOf": [{"type": "string"}, {"type": "null"}]}, "a", 5),
    ({"allOf": [{"type": "string"}, {"minLength": 2}]}, "ab", "a"),
    ({"$ref": "#/$defs/n"}, 5, "a"),
    ({"type": "object", "additionalProperties": {"type": "integer"}}, {"a": 1}, {"a": "b"}),
    ({"type": "object", "properties": {"a": {}}, "additionalProperties": False}, {"a": 1}, {"b": 1}),
    ({"type": "object", "patternProperties": {"^a": {"type": "integer"}}}, {"ab": 1, "b": "x"}, {"ab": "x"}),
    ({"type": "object", "properties": {"a": {}}}, {"b": 1}, 5),
    ({"type": "string", "format": "date", "unknown": 1}, "x", 5),
]


@pytest.mark.parametrize(("rules", "good", "bad"), RULES)
def test_rules_of_schemas_by_hand(rules: dict[str, Any], good: Any, bad: Any) -> None:
    tool = by_hand({"type": "object", "properties": {"x": rules}, "$defs": {"n": {"type": "integer"}}})
    assert tool.check({"x": good}).values == {"x": good}
    with pytest.raises(ToolError, match="x"):
        tool.check({"x": bad})


def test_unknown_arguments_of_schemas_by_hand() -> None:
    properties = {"type": "object", "properties": {"a": {}}}
    with pytest.raises(ToolError, match="b"):
        by_hand(properties).check({"b": 1})
    assert by_hand({**properties, "additionalProperties": True}).check({"b": 1}).arguments == {"b": 1}
    assert by_hand({"type": "object"}).check({"b": 1}).arguments == {"b": 1}
    assert Tool({"name": "f"}).check({}).arguments == {}
    with pytest.raises(ToolError, match="b"):
        Tool({"name": "f"}).check({"b": 1})


@pytest.mark.parametrize(
    "parameters",
    [
        {"properties": {"x": {"$ref": "#/$defs/none"}}},
        {"properties": {"x": {"$ref": "http://example.org"}}},
        {"properties": {"x": {"$ref": "#/properties/x"}}},
        {"properties": {"x": {"minimum": "five"}}},
        {"properties": {"x": {"properties": []}}},
        {"properties": {"x": 5}},
    ],
)
def test_broken_schemas_are_errors_of_the_tool(parameters: dict[str, Any]) -> None:
    tool = by_hand(parameters)
    with pytest.raises(ToolError, match=r"f|x"):  # noqa: PT012 - one or the other is looked at
        tool.check({"x": 5})
        tool.check({"x": {"a": 1}})


def test_a_schema_with_many_arms_takes_no_exponential_time() -> None:
    arms = [
        {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}, "required": [name]} for name in "ab"
    ]
    tool = by_hand({
        "type": "object", "properties": {"x": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"anyOf": arms}}
    })  # fmt: skip
    value: dict[str, Any] = {}
    for _ in range(30):
        value = {"next": value}
    before = time.process_time()
    with pytest.raises(ToolError):
        tool.check({"x": value})
    assert time.process_time() - before < 5


def test_arguments_that_are_nested_too_deeply() -> None:
    value: Any = 1
    for _ in range(500):
        value = [value]
    with pytest.raises(ToolError, match="deep"):
        tool_of(Any) and by_hand({"properties": {"x": {"items": {"$ref": "#/properties/x"}}}}).check(
            {"x": value}
        )


def test_a_megabyte_of_text() -> None:
    text = "x" * 1_000_000
    assert WEATHER.check(json.dumps({"city": text})).values["city"] == text


def test_the_tools_of_a_conversation_check_the_name_too() -> None:
    tools = Tools([get_weather])
    assert tools.check("get_weather", '{"city": "Paris"}').values == {"city": "Paris"}
    with pytest.raises(ToolError, match="get_weather"):
        tools.check("get_wether", "{}")
    with pytest.raises(ToolError, match="wether"):
        Tools().check("get_wether", "{}")


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (list[int], list(range(100_000))),
        (list[float], [0.5] * 200_000),
        (dict[str, str], {f"key {number}": "value" for number in range(30_000)}),
    ],
    ids=["list[int]", "list[float]", "dict[str, str]"],
)
def test_a_megabyte_of_values_is_checked_in_little_more_than_reading_it(hint: Any, value: Any) -> None:
    tool, text = tool_of(hint), json.dumps({"x": value})

    def best(work: Callable[[], Any]) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return min(times)

    assert tool.check(text).values == {"x": value}
    assert best(lambda: tool.check(text)) < 10 * best(lambda: json.loads(text))


@pytest.mark.parametrize(
    ("hint", "value", "what"),
    [
        (list[int], [1, True], r"x\[1\]"),
        (list[float], [1, 2.5, None], r"x\[2\]"),
        (dict[str, int], {"a": []}, "a"),
    ],
)
def test_one_wrong_value_among_plain_ones_is_named(hint: Any, value: Any, what: str) -> None:
    with pytest.raises(ToolError, match=what):
        tool_of(hint).check({"x": value})


def test_lists_of_arguments_and_values_are_not_the_same() -> None:
    found = tool_of(list[int]).check('{"x": [1]}')
    found.values["x"].append(2)
    assert found.arguments == {"x": [1]}
