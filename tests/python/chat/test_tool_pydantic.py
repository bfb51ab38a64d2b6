"""Tools with types of pydantic and msgspec, for programs that use them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import subprocess
import sys
from typing import Annotated, Any, Optional, Union

import pytest

pydantic = pytest.importorskip("pydantic")

from rkllm_rs import ToolError  # noqa: E402
from rkllm_rs.chat.tools import Tool, Tools, get_json_schema  # noqa: E402


class City(pydantic.BaseModel):
    """A city."""

    name: str = pydantic.Field(min_length=2, description="Its name.")
    founded: Optional[dt.date] = None  # noqa: UP045


class Tree(pydantic.BaseModel):
    children: list[Tree] = pydantic.Field(default_factory=list)


class Alias(pydantic.BaseModel):
    """An alias."""

    from_: str = pydantic.Field(alias="from")

    @pydantic.field_validator("from_")
    @classmethod
    def check(cls, value: str) -> str:
        if value == "nowhere":
            message = "there is no way"
            raise ValueError(message)
        return value


def test_a_model_as_a_tool() -> None:
    schema = get_json_schema(City)
    assert list(schema["function"]) == ["name", "description", "parameters"]
    assert (schema["function"]["name"], schema["function"]["description"]) == ("City", "A city.")
    parameters = schema["function"]["parameters"]
    assert list(parameters) == ["type", "properties", "required"]
    assert parameters["properties"] == City.model_json_schema()["properties"]
    checked = Tool(City).check('{"name": "Köln", "founded": "0050-01-01"}')
    assert checked.instance == City(name="Köln", founded=dt.date(50, 1, 1))
    assert checked.values == {"name": "Köln", "founded": dt.date(50, 1, 1)}
    result = Tools([City]).run("City", '{"name": "Köln"}')
    assert (result.value, json.loads(result.content)) == (
        City(name="Köln"),
        {"name": "Köln", "founded": None},
    )


def test_a_model_that_contains_itself() -> None:
    parameters = get_json_schema(Tree)["function"]["parameters"]
    assert parameters["type"] == "object"
    assert parameters["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}
    assert Tool(Tree).check('{"children": [{}]}').instance == Tree(children=[Tree()])


def test_models_as_arguments() -> None:
    def f(city: City, trees: list[Tree], either: Union[City, str], place: Optional[City] = None):  # noqa: UP007, UP045
        return city, trees, either, place

    tool = Tool(f)
    assert tool.parameters["properties"]["city"]["properties"]["name"]["description"] == "Its name."
    assert tool.parameters["$defs"].keys() == {"Tree"}
    given = {"city": {"name": "Rom"}, "trees": [{"children": [{}]}], "either": {"name": "Ulm"}, "place": None}
    assert tool.call(tool.check(json.dumps(given))) == (
        City(name="Rom"), [Tree(children=[Tree()])], City(name="Ulm"), None
    )  # fmt: skip
    # One value for a list of one, and JSON text for an object.
    given = {"city": '{"name": "Rom"}', "trees": [], "either": "x"}
    checked = tool.check(given)
    assert (checked.values["city"], checked.values["either"]) == (City(name="Rom"), "x")
    assert checked.conversions


def test_what_a_model_refuses_is_told() -> None:
    def f(alias: Alias):
        return alias.from_

    tool = Tool(f)
    assert tool.call(tool.check('{"alias": {"from": "here"}}')) == "here"
    for arguments, text in [
        ('{"alias": {"from": "nowhere"}}', "there is no way"),
        ('{"alias": {"from_": "x"}}', "from"),
    ]:
        with pytest.raises(ToolError, match="alias") as caught:
            tool.check(arguments)
        assert text in str(caught.value)
        assert "http" not in str(caught.value)
    with pytest.raises(ToolError, match="there is no way"):
        Tool(Alias).check({"from": "nowhere"})
    with pytest.raises(ToolError, match="name"):
        Tool(City).check({"name": "A"})


def test_types_that_only_pydantic_knows() -> None:
    @pydantic.dataclasses.dataclass
    class Day:
        date: dt.date

    def f(when: dt.datetime, days: list[Any]):
        return when, days

    f.__annotations__ = {"when": dt.datetime, "days": list[Day]}
    tool = Tool(f)
    assert tool.parameters["properties"]["when"] == {"type": "string", "format": "date-time"}
    when, days = tool.call(tool.check({"when": "2026-01-02T03:04:05", "days": [{"date": "2026-01-02"}]}))
    assert when == dt.datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001
    assert days == [Day(dt.date(2026, 1, 2))]
    with pytest.raises(ToolError, match="when"):
        tool.check({"when": "tomorrow", "days": []})


def test_fields_in_annotations() -> None:
    def f(
        count: Annotated[int, pydantic.Field(ge=1, le=5, description="How many.")],
        text: Annotated[str, "Just text."],
    ):
        return count, text

    tool = Tool(f)
    assert tool.parameters["properties"] == {
        "count": {"type": "integer", "minimum": 1, "maximum": 5, "description": "How many."},
        "text": {"type": "string", "description": "Just text."},
    }
    assert tool.check({"count": "5", "text": "x"}).values == {"count": 5, "text": "x"}
    with pytest.raises(ToolError, match="count"):
        tool.check({"count": 6, "text": "x"})


def test_definitions_of_one_name() -> None:
    def another() -> Any:
        class Tree(pydantic.BaseModel):
            leaves: Optional[list[Tree]] = None  # noqa: UP045

        Tree.model_rebuild(_types_namespace={"Tree": Tree, "Optional": Optional})
        return Tree

    @dataclasses.dataclass
    class Holder:
        one: Any
        other: Any

    Holder.__annotations__.update(one=Tree, other=another())

    def f(x: Any):
        return x

    f.__annotations__ = {"x": Holder}
    parameters = Tool(f).parameters
    assert parameters["$defs"].keys() == {"Tree", "Tree2"}
    assert "leaves" in parameters["$defs"]["Tree2"]["properties"]
    inner = parameters["$defs"]["Tree2"]["properties"]["leaves"]["anyOf"][0]
    assert inner["items"] == {"$ref": "#/$defs/Tree2"}


def test_without_pydantic_such_types_are_refused() -> None:
    code = """
import datetime, sys
from rkllm_rs import ToolError
from rkllm_rs.chat.tools import Tool
def f(when: datetime.date): pass
try:
    Tool(f)
except ToolError as error:
    assert error.hint
    print("refused", "pydantic" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "refused False\n"), done.stderr


def test_structs_of_msgspec() -> None:
    msgspec = pytest.importorskip("msgspec")

    class Place(msgspec.Struct):
        name: str
        height: float = 0.0

    def f(place: Any):
        return place

    f.__annotations__ = {"place": Place}
    tool = Tool(f)
    assert tool.call(tool.check('{"place": {"name": "Brocken", "height": 1141}}')) == Place("Brocken", 1141.0)
    with pytest.raises(ToolError, match="name"):
        tool.check('{"place": {}}')
