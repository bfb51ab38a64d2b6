"""What a model is told of a function, a pydantic model or a JSON schema.

Long because it is tables: each hint that a function may have, with its schema.
"""

# Hints as people write them.
# ruff: noqa: UP007, UP045

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import json
import subprocess
import sys
import typing
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypedDict, TypeVar, Union

import pytest
import typing_extensions
from tool_functions import FUNCTIONS, Colour

from rkllm_rs import InvalidTypeError, RkllmError, ToolError
from rkllm_rs.chat.tools import Tool, Tools, get_json_schema

if typing.TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal as NotThere

DATA = Path(__file__).with_name("transformers_schemas.json")
THEIRS = json.loads(DATA.read_text(encoding="utf-8"))["schemas"]
#: What transformers says and we do not, and the other way.
LEFT_OUT = ("nullable", "default", "return")


def comparable(schema: Any) -> Any:
    """A schema without the words that differ on purpose: null is a type here, and defaults are told."""
    if isinstance(schema, list):
        return [comparable(item) for item in schema if item not in ({"type": "null"}, None)]
    if not isinstance(schema, dict):
        return schema
    found = {key: comparable(value) for key, value in schema.items() if key not in LEFT_OUT}
    if isinstance(found.get("type"), list):
        kinds = [kind for kind in found["type"] if kind != "null"]
        found["type"] = kinds[0] if len(kinds) == 1 else kinds
    return found


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_is_what_transformers_makes_of_it(name: str) -> None:
    # As text, since the order of the keys is part of it.
    ours, theirs = (json.dumps(comparable(s)) for s in (get_json_schema(FUNCTIONS[name]), THEIRS[name]))
    assert ours == theirs


def test_there_are_enough_of_them() -> None:
    assert len(FUNCTIONS) >= 30
    assert FUNCTIONS.keys() == THEIRS.keys()


def properties(function: Callable[..., Any]) -> dict[str, Any]:
    found: dict[str, Any] = get_json_schema(function)["function"]["parameters"]["properties"]
    return found


def schema_of(hint: Any, default: Any = ...) -> dict[str, Any]:
    def function(x):
        pass

    function.__annotations__ = {"x": hint}
    if default is not ...:
        function.__defaults__ = (default,)
    found: dict[str, Any] = properties(function)["x"]
    return found


def test_the_keys_stand_in_the_order_that_models_know() -> None:
    def get_weather(city: str, days: int = 3) -> str:
        """The weather.

        Args:
            city: The city.
        """
        return city * days

    assert json.dumps(get_json_schema(get_weather)) == (
        '{"type": "function", "function": {"name": "get_weather", "description": "The weather.", '
        '"parameters": {"type": "object", "properties": {"city": {"type": "string", "description": '
        '"The city."}, '
        '"days": {"type": "integer", "default": 3}}, "required": ["city"]}}}'
    )


def test_descriptions_are_optional() -> None:
    def f(x: int):
        pass

    assert get_json_schema(f)["function"] == {
        "name": "f",
        "description": "",
        "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
    }


Number = TypeVar("Number", int, float)
Bound = TypeVar("Bound", bound=str)
UserId = NewType("UserId", int)

HINTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "bool": (bool, {"type": "boolean"}),
    "None": (None, {"type": "null"}),
    "object": (object, {}),
    "Optional": (Optional[int], {"type": ["integer", "null"]}),
    "Optional of a list": (Optional[list[int]], {"type": ["array", "null"], "items": {"type": "integer"}}),
    "Optional of choices": (Optional[Literal["a"]], {"type": ["string", "null"], "enum": ["a", None]}),
    "Optional of anything": (Optional[Any], {}),
    "Union with bool": (Union[bool, int], {"type": ["boolean", "integer"]}),
    "anyOf with null": (
        Union[list[int], str, None],
        {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "string"}, {"type": "null"}]},
    ),
    "Sequence": (collections.abc.Sequence[str], {"type": "array", "items": {"type": "string"}}),
    "typing.Iterable": (typing.Iterable[str], {"type": "array", "items": {"type": "string"}}),
    "bare Sequence": (collections.abc.Sequence, {"type": "array"}),
    "set": (set[int], {"type": "array", "items": {"type": "integer"}}),
    "tuple of any length": (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
    "Mapping": (
        collections.abc.Mapping[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}
    ),
    "dict of numbers": (dict[int, str], {"type": "object", "additionalProperties": {"type": "string"}}),
    "dict of members": (
        dict[Colour, int],
        {
            "type": "object",
            "properties": {"red": {"type": "integer"}, "blue": {"type": "integer"}},
            "additionalProperties": False,
        },
    ),
    "Enum": (Colour, {"type": "string", "enum": ["red", "blue"]}),
    "Annotated": (Annotated[int, "How many."], {"type": "integer", "description": "How many."}),
    "Annotated twice": (Annotated[Annotated[int, "A."], "B."], {"type": "integer", "description": "B."}),
    "NewType": (UserId, {"type": "integer"}),
    "TypeVar": (Number, {"type": ["integer", "number"]}),
    "bound TypeVar": (Bound, {"type": "string"}),
    "string": ("list[str]", {"type": "array", "items": {"type": "string"}}),
    "string inside": (list["int"], {"type": "array", "items": {"type": "integer"}}),
    "string deep inside": (
        Optional[list[dict[str, "int"]]],
        {"type": ["array", "null"], "items": {"type": "object", "additionalProperties": {"type": "integer"}}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HINTS)
def test_hints(case: str) -> None:
    hint, schema = HINTS[case]
    assert json.dumps(schema_of(hint)) == json.dumps(schema)


@pytest.mark.parametrize(
    ("default", "told"),
    [
        (5, 5),
        (1.5, 1.5),
        ("x", "x"),
        (False, False),
        (Colour.RED, "red"),
        ([1], [1]),
        ((1, 2), [1, 2]),
        ({"a": None}, {"a": None}),
    ],
)
def test_defaults_are_told(default: Any, told: Any) -> None:
    assert json.dumps(schema_of(Any, default)) == json.dumps({"default": told})


@pytest.mark.parametrize("default", [float("nan"), float("inf"), object(), {1: 2}, [object()], b"x"])
def test_defaults_that_are_not_json_are_left_out(default: Any) -> None:
    assert schema_of(Any, default) == {}


def test_an_argument_whose_default_is_none_takes_null() -> None:
    assert schema_of(str, None) == {"type": ["string", "null"]}
    assert schema_of(Optional[str], None) == {"type": ["string", "null"]}


def test_annotated_wins_over_the_docstring() -> None:
    def f(x: Annotated[int, "From the hint."], y: int):
        """Text.

        Args:
            x: From the docstring.
            y: From the docstring.
        """

    assert [rules["description"] for rules in properties(f).values()] == [
        "From the hint.",
        "From the docstring.",
    ]


@dataclasses.dataclass
class Person:
    """A person.

    Attributes:
        name: The full name.
    """

    name: str
    age: Annotated[int, "In years."] = 0
    tags: list[str] = dataclasses.field(default_factory=list)
    known: bool = dataclasses.field(default=True, init=False)


@dataclasses.dataclass
class Node:
    value: int
    children: list[Node] = dataclasses.field(default_factory=list)
    best: Node | None = None


class Movie(TypedDict):
    title: str
    year: int


class Rated(Movie, total=False):
    stars: int


class Some(typing_extensions.TypedDict):
    a: int
    b: typing_extensions.NotRequired[str]


class Others(typing_extensions.TypedDict, total=False):
    a: typing_extensions.Required[int]
    b: str


class Point(NamedTuple):
    x: float
    y: float = 0.0


def test_a_dataclass() -> None:
    assert json.dumps(schema_of(Person)) == json.dumps({
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "The full name."},
            "age": {"type": "integer", "description": "In years.", "default": 0},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["name"],
        "description": "A person.",
    })  # fmt: skip


def test_a_typed_dict_and_a_named_tuple() -> None:
    assert schema_of(Rated) == {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "year": {"type": "integer"},
            "stars": {"type": "integer"},
        },
        "required": ["title", "year"],
    }
    assert schema_of(list[Point])["items"] == {
        "type": "object",
        "properties": {"x": {"type": "number"}, "y": {"type": "number", "default": 0.0}},
        "required": ["x"],
    }


def test_typed_dicts_that_say_what_is_required() -> None:
    for kind in (Some, Others):
        found = schema_of(kind)
        assert found["properties"] == {"a": {"type": "integer"}, "b": {"type": "string"}}
        assert found["required"] == ["a"]


def test_a_type_that_contains_itself() -> None:
    def f(tree: Node, other: Node):
        pass

    parameters = get_json_schema(f)["function"]["parameters"]
    reference = {"$ref": "#/$defs/Node"}
    assert parameters["properties"] == {"tree": reference, "other": reference}
    assert parameters["$defs"]["Node"]["properties"] == {
        "value": {"type": "integer"},
        "children": {"type": "array", "items": reference},
        "best": {"anyOf": [reference, {"type": "null"}]},
    }


def test_two_types_of_one_name_that_contain_themselves() -> None:
    def another() -> type[Any]:
        @dataclasses.dataclass
        class Node:
            next: Node | None

        return Node

    def f(one: Any, other: Any):
        pass

    f.__annotations__ = {"one": Node, "other": another()}
    parameters = get_json_schema(f)["function"]["parameters"]
    assert parameters["properties"] == {"one": {"$ref": "#/$defs/Node"}, "other": {"$ref": "#/$defs/Node2"}}
    assert parameters["$defs"].keys() == {"Node", "Node2"}


class Weather:
    """Tells the weather."""

    unit = "C"

    def here(self, city: str) -> str:
        """Tells it here."""
        return f"{city} {self.unit}"

    @classmethod
    def of_class(cls, city: str) -> str:
        return f"{city} {cls.unit}"

    @staticmethod
    def static(city: str) -> str:
        return city

    def __call__(self, city: str) -> str:
        """Tells it when called."""
        return self.here(city)


def doubled(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs) * 2

    return wrapper


@doubled
def wrapped(city: str) -> str:
    """Is wrapped."""
    return city


def three(city: str, unit: str, days: int = 1) -> str:
    """Takes three."""
    return f"{city} {unit} {days}"


CALLABLES: dict[str, tuple[Callable[..., Any], str, str, list[str]]] = {
    "method": (Weather().here, "here", "Tells it here.", ["city"]),
    "class method": (Weather.of_class, "of_class", "", ["city"]),
    "static method": (Weather.static, "static", "", ["city"]),
    "object": (Weather(), "Weather", "Tells it when called.", ["city"]),
    "wrapped": (wrapped, "wrapped", "Is wrapped.", ["city"]),
    "partial": (functools.partial(three, unit="C"), "three", "Takes three.", ["city", "days"]),
    "partial by position": (functools.partial(three, "Paris"), "three", "Takes three.", ["unit", "days"]),
    "partial of a partial": (
        functools.partial(functools.partial(three, unit="C"), days=2), "three", "Takes three.", ["city"]
    ),
    "partial of a method": (functools.partial(Weather().here), "here", "Tells it here.", ["city"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CALLABLES)
def test_what_can_be_called(case: str) -> None:
    function, name, description, arguments = CALLABLES[case]
    tool = Tool(function)
    assert (tool.name, tool.description) == (name, description)
    assert list(tool.parameters["properties"]) == arguments
    given = {name: 2 if name == "days" else "Paris" for name in arguments}
    assert tool.call(tool.check(given)) == function(**given)


def test_keywords_of_any_name() -> None:
    def f(a: int, **others: str):
        return a, others

    tool = Tool(f)
    assert tool.parameters["additionalProperties"] == {"type": "string"}
    assert tool.call(tool.check('{"a": 1, "b": "x"}')) == (1, {"b": "x"})
    with pytest.raises(ToolError, match="b"):
        tool.check('{"a": 1, "b": 2}')


def test_names_and_descriptions_can_be_given() -> None:
    tool = Tool(wrapped, name="other", description="Another.")
    assert (tool.name, tool.description) == ("other", "Another.")
    assert tool.schema["function"]["name"] == "other"
    assert Tool(lambda_like, name="fine").name == "fine"
    assert Tool(tool, name="third").schema["function"]["name"] == "third"
    assert tool.name == "other"


def lambda_like(x: int) -> int:
    return x


lambda_like.__name__ = "has spaces"


def arguments_in_a_row(*cities: str):
    pass


def by_position(city: str, /):
    pass


def without_hint(city):
    pass


def unknown_name(city: NotThere):
    pass


def generator(city: str):
    yield city


async def asynchronous_generator(city: str):
    yield city


class Plain:
    pass


def odd_type(city: Plain):
    pass


def odd_keys(city: dict[tuple[int, int], str]):
    pass


def broken_hint(city: "list[") -> None:  # noqa: F722
    pass


@dataclasses.dataclass
class Holds:
    field: NotThere


def odd_field(city: Holds):
    pass


class Odd(enum.Enum):
    A = (1, 2)


def odd_enum(city: Odd):
    pass


#: What cannot be a tool, and what the error must name.
REFUSED: dict[str, tuple[Any, str]] = {
    "lambda": (lambda city: city, "lambda"),
    "partial of a lambda": (functools.partial(lambda city: city), "lambda"),
    "*args": (arguments_in_a_row, "cities"),
    "positional-only": (by_position, "city"),
    "builtin": (len, "len"),
    "builtin without signature": (max, "max"),
    "no hint": (without_hint, "city"),
    "method without object": (Weather.here, "here"),
    "unknown name": (unknown_name, "NotThere"),
    "unknown name in a field": (odd_field, "NotThere"),
    "hint that is no Python": (broken_hint, "broken_hint"),
    "generator": (generator, "generator"),
    "asynchronous generator": (asynchronous_generator, "asynchronous_generator"),
    "class of the program": (odd_type, "Plain"),
    "keys that are not text": (odd_keys, "city"),
    "Enum of tuples": (odd_enum, "Odd"),
    "class": (Plain, "Plain"),
    "name": (lambda_like, "has spaces"),
    "long name": ({"name": "a" * 65}, "64"),
    "empty name": ({"name": ""}, "name"),
    "no name": ({"description": "x"}, "name"),
    "name that is no text": ({"name": 5}, "name"),
    "another kind": ({"type": "web_search", "name": "x"}, "name"),
    "parameters that are no object": ({"name": "x", "parameters": {"type": "string"}}, "x"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_a_tool(case: str) -> None:
    tool, named = REFUSED[case]
    with pytest.raises(ToolError, match=named) as caught:
        Tools([tool])
    assert caught.value.hint


async def coroutine() -> None:
    pass


WRONG_TYPES: dict[str, Any] = {
    "a function alone": wrapped,
    "a dict alone": {"name": "x"},
    "text": "[]",
    "a number": 5,
    "a list with text": ["get_weather"],
    "a list with None": [None],
    "a list with a number": [5],
    "a coroutine": "coroutine",
    "a dict that is not JSON": [{"name": "x", "parameters": {"type": "object", "properties": {1, 2}}}],
    "NaN": [{"name": "x", "parameters": {"minimum": float("nan")}}],
    "a description that is no text": [{"name": "x", "description": 5}],
    "parameters that are a list": [{"name": "x", "parameters": []}],
}


@pytest.mark.parametrize("case", WRONG_TYPES)
def test_wrong_types(case: str) -> None:
    tools = [coroutine()] if case == "a coroutine" else WRONG_TYPES[case]
    with pytest.raises(InvalidTypeError, match="tool"):
        Tools(tools)


def test_two_tools_of_one_name() -> None:
    with pytest.raises(ToolError, match="wrapped") as caught:
        Tools([wrapped, {"name": "wrapped"}])
    assert caught.value.hint
    assert Tools([wrapped, Tool(wrapped, name="again")]).names == ["wrapped", "again"]


def test_a_hint_of_the_result_may_be_unknown() -> None:
    def f(x: int) -> NotThere:
        raise NotImplementedError

    assert schema_of(int) == properties(f)["x"]


def test_schemas_by_hand() -> None:
    inner = {
        "parameters": {"type": "object", "properties": {"b": {}, "a": {}}},
        "name": "f",
        "description": "ü",
    }
    whole = {"type": "function", "function": inner}
    flat = {"type": "function", **inner, "strict": True}
    # The keys stay in the order of the user.
    assert json.dumps(get_json_schema(whole)) == json.dumps(whole)
    assert json.dumps(get_json_schema(inner)) == json.dumps(whole)
    assert get_json_schema(flat) == {"type": "function", "function": {**inner, "strict": True}}
    assert get_json_schema({"name": "f"}) == {"type": "function", "function": {"name": "f"}}
    # A copy: later changes are the caller's own.
    tool = Tool(whole)
    inner["name"] = "g"
    assert (tool.name, tool.schema["function"]["name"]) == ("f", "f")


def test_a_list_of_tools() -> None:
    tools = Tools([wrapped, {"name": "other"}])
    assert [tool.name for tool in tools] == tools.names == ["wrapped", "other"]
    assert tools.schemas == [get_json_schema(wrapped), {"type": "function", "function": {"name": "other"}}]
    assert (len(tools), tools[1].name, bool(Tools()), bool(Tools(None)), Tools(tools).names) == (
        2, "other", False, False, tools.names
    )  # fmt: skip
    with pytest.raises(RkllmError, match="wrapped, other"):
        tools.find("third")


def test_nothing_heavy_is_imported() -> None:
    code = """
import sys
import rkllm_rs
assert not [name for name in sys.modules if name.startswith("rkllm_rs.chat")]
from rkllm_rs.chat.tools import Tools
def f(x: int): pass
Tools([f]).run("f", "{}")
print([name for name in ("pydantic", "msgspec", "griffe", "docstring_parser") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
