"""Descriptions out of docstrings of every style."""

from __future__ import annotations

import pytest

from rkllm_rs.chat.docstrings import read_docstring

GOOGLE = """Finds a train.

    A second paragraph.

    Args:
        start (str): Where it starts:
            a city.
        end: Where it ends.
        *others: More.

    Returns:
        dict: The train.

    Raises:
        end: It is not an argument here.
    """

NUMPY = """Finds a train.

    A second paragraph.

    Parameters
    ----------
    start : str
        Where it starts:
        a city.
    end, others : str, optional
        Where it ends.

    Returns
    -------
    end : dict
        It is not an argument here.
    """

SPHINX = """Finds a train.

    A second paragraph.

    :param str start: Where it starts:
        a city.
    :param end: Where it ends.
    :type end: str
    :param others: More.

    :returns: The train.
    :rtype: dict
    """


@pytest.mark.parametrize(
    ("text", "others"), [(GOOGLE, "More."), (NUMPY, "Where it ends."), (SPHINX, "More.")]
)
def test_styles(text: str, others: str) -> None:
    found = read_docstring(text, ["start", "end", "others", "missing"])
    assert found.description == "Finds a train.\n\nA second paragraph."
    assert found.arguments == {"start": "Where it starts: a city.", "end": "Where it ends.", "others": others}


@pytest.mark.parametrize(
    ("text", "description", "arguments"),
    [
        (None, "", {}),
        ("", "", {}),
        ("  \n ", "", {}),
        ("One line.", "One line.", {}),
        ("One line.\nArgs:\n    x: No blank line.", "One line.", {"x": "No blank line."}),
        ("Args:\n    x: No description.", "", {"x": "No description."}),
        ("F.\n\nArguments:\nx: Not indented.\ny: Nor this.", "F.", {"x": "Not indented.", "y": "Nor this."}),
        ("F.\n\nArgs:\n    x: One.\n\nExample:\n    y: Not an argument.", "F.", {"x": "One."}),
        ("F.\n\nArgs:\n    x: One.\n\nText at the left ends it.\n    y: No.", "F.", {"x": "One."}),
        ("F.\n\nArgs:\n    x:\n        Below the name.\n    y (dict[str, tuple(int)]): Two.", "F.",
         {"x": "Below the name.", "y": "Two."}),
        ("F.\n\nArgs:\n    x: One\n        y: more of x.\n    y: Two.", "F.",
         {"x": "One y: more of x.", "y": "Two."}),
        ("F.\n\nArgs:\n    x: See\n    https://example.org/a.\n    y: Two.", "F.",
         {"x": "See https://example.org/a.", "y": "Two."}),
        ("F.\n\nArgs:\n    x:\n    y: Two.", "F.", {"y": "Two."}),
        ("F.\n\nKeyword Args:\n    x: One.\n\nArgs:\n    y: Two.", "F.", {"x": "One.", "y": "Two."}),
        ("F.\n\nReturns:\n    x: Not an argument.", "F.", {}),
        ("F.\n\nReturns\n-------\nint\n    Nothing.", "F.", {}),
        ("F.\n\n:return: nothing", "F.", {}),
        ("F.\n\nOther Parameters\n----------------\nx\n    One.", "F.", {"x": "One."}),
        ("F.\n\n:arg x: One.\n:keyword y: Two.\n\nText at the left.", "F.", {"x": "One.", "y": "Two."}),
        ("F: Args: of a kind.\n\nAt 10:30, say.", "F: Args: of a kind.\n\nAt 10:30, say.", {}),
        ("F.\n\nArgs:\n    z: Not there.", "F.", {}),
    ],
)  # fmt: skip
def test_edges(text: str | None, description: str, arguments: dict[str, str]) -> None:
    assert read_docstring(text, ["x", "y"]) == (
        description,
        {name: said for name, said in arguments.items() if said},
    )


@pytest.mark.parametrize("part", ["(", "x (((", ":param ", "- ", "Args:\n", "    x: (", "\\"])
def test_long_ones_take_no_time(part: str) -> None:
    # A regular expression that backtracks would not come back.
    read_docstring("Args:\n    " + part * 20_000, ["x"])
