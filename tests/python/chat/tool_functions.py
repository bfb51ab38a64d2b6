"""Functions that transformers can describe as tools; nothing here needs this project."""

# mypy: disable-error-code="type-arg"

from __future__ import annotations

import enum
from typing import Any, Dict, List, Literal, Optional, Tuple, Union


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 3


class Mixed(enum.Enum):
    ONE = 1
    TWO = "two"
    NONE = None


def plain(x: int):
    """A function.

    Args:
        x: The input.
    """


def no_arguments():
    """Takes nothing."""


def four(a: int, b: float, c: str, d: bool):
    """Takes the four basic types.

    Args:
        a: One
        b: Two
        c: Three
        d: Four
    """


def defaults(a: int, b: int = 5, c: str = "x", d: bool = False):
    """Has defaults.

    Args:
        a: One.
        b: Two.
        c: Three.
        d: Four.
    """


def optional(a: Optional[int]):
    """Takes an optional argument that must be given.

    Args:
        a: The number, if any.
    """


def optional_default(a: Optional[str] = None, b: int | None = None):
    """Takes optional arguments.

    Args:
        a: The text.
        b: The number.
    """


def union(a: Union[int, str]):
    """Takes one of two types.

    Args:
        a: The input.
    """


def union_new(a: str | float | int):
    """Takes one of three types.

    Args:
        a: The input.
    """


def union_optional(a: Union[int, str, None]):
    """Takes one of two types, or none.

    Args:
        a: The input.
    """


def union_complex(a: Union[list[int], str]):
    """Takes a list or a text.

    Args:
        a: The input.
    """


def union_lists(a: list[int] | list[str] | None = None):
    """Takes one of two lists.

    Args:
        a: The input.
    """


def bare(a: list, b: dict, c: tuple):
    """Takes containers of anything.

    Args:
        a: A list.
        b: An object.
        c: Another list.
    """


def lists(a: list[str], b: List[float], c: list[list[int]]):
    """Takes lists.

    Args:
        a: Of texts.
        b: Of numbers.
        c: Of lists.
    """


def tuples(a: tuple[int, str], b: Tuple[float, float, float]):
    """Takes tuples.

    Args:
        a: A pair.
        b: A point.
    """


def dicts(a: dict[str, int], b: Dict[str, list[str]], c: dict[str, Any]):
    """Takes objects.

    Args:
        a: Of numbers.
        b: Of lists.
        c: Of anything.
    """


def anything(a: Any):
    """Takes anything.

    Args:
        a: The input.
    """


def literal(unit: Literal["celsius", "fahrenheit"]):
    """Takes one of two words.

    Args:
        unit: The unit.
    """


def literal_numbers(a: Literal[1, 2, 3], b: Literal["a", 1, True]):
    """Takes one of several values.

    Args:
        a: A number.
        b: Something.
    """


def literal_none(a: Literal["a", None]):
    """Takes a word or none.

    Args:
        a: The word.
    """


def optional_literal(a: Optional[list[Literal["a", "b"]]] = None):
    """Takes a list of words.

    Args:
        a: The words.
    """


def enumeration(colour: Colour, level: Level = Level.LOW):
    """Takes members of enumerations.

    Args:
        colour: The colour.
        level: The level.
    """


def enumeration_mixed(a: Mixed, b: list[Colour]):
    """Takes members of other enumerations.

    Args:
        a: One of them.
        b: Several of the other.
    """


def choices(drink: str, count: int):
    """Pours drinks.

    Args:
        drink: The drink (choices: ["tea", "coffee"])
        count: How many (choices: [1, 2])
    """


def long_lines(a: str, b: int):
    """
    Has a description
    of two lines.

    And a second paragraph.

    Args:
        a: Text that goes on
            in a second line
            and a third.
        b: Text that
        goes on as far to the left.
    """


def typed_arguments(a: int, b: str = "x", c: Optional[list[int]] = None):
    """Names the types in the docstring.

    Args:
        a (int): One.
        b (str, optional): Two. Defaults to "x".
        c (`list[int]`, *optional*): Three.
    """


def returns(a: int) -> str:
    """Returns something.

    Args:
        a: The input.

    Returns:
        The output: a text.
    """


def returns_unknown(a: int) -> Colour | bytes:
    """Returns what has no schema.

    Args:
        a: The input.

    Returns:
        Something.

    Raises:
        ValueError: It does not like the input.
    """


def raises(a: int):
    """Raises something.

    Args:
        a: The input.

    Raises:
        ValueError: Always: no exception.
    """


def close_together(a: int, b: str):
    """Has no blank lines.
    Args:
        a: One.
        b: Two.
    Returns:
        Nothing.
    """


def other_order(a: int, b: int):
    """Describes its arguments in another order.

    Args:
        b: The second.
        a: The first.
    """


def colons(url: str, pattern: str):
    """Fetches: a page, for example https://example.org.

    Args:
        url: The address: http://example.org/a:b, for example.
        pattern: One of: a, b
    """


def example_before(a: int):
    """Has an example.

    Example:
        example_before(1)

    Args:
        a: The input.
    """


def unicode_text(straße: str):
    """Sucht eine Straße 🌦 in „Köln“.

    Args:
        straße: Der Name, z. B. "Domstraße" <b>&amp;</b>
    """


def keyword_only(a: int, *, b: str, c: float = 1.5):
    """Has arguments that are keywords.

    Args:
        a: One.
        b: Two.
        c: Three.
    """


async def asynchronous(city: str):
    """Waits.

    Args:
        city: The city.
    """


def nested(a: dict[str, dict[str, Optional[list[Union[int, str]]]]], b: list[tuple[int, Literal["x", "y"]]]):
    """Nests types.

    Args:
        a: Deep.
        b: Less so.
    """


FUNCTIONS = {
    name: value
    for name, value in dict(globals()).items()
    if callable(value) and getattr(value, "__module__", None) == __name__ and not isinstance(value, type)
}
