"""A text that grows, in parts, and how many of them can no longer change."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from markdown_it import MarkdownIt


class Part(NamedTuple):
    """A part of a text.

    Attributes:
        start: Where it begins.
        text: What it is.
        apart: Whether an empty line separates it from the part before.
    """

    start: int
    text: str
    apart: bool


def lines(text: str) -> tuple[list[Part], int]:
    """The parts of plain text: its lines.

    All but the last one are settled; but empty lines are not, behind which nothing may follow.
    """
    found: list[Part] = []
    start = 0
    for line in text.split("\n"):
        found.append(Part(start, line, apart=False))
        start += len(line) + 1
    settled = len(found) - 1
    while settled and not found[settled - 1].text.strip():
        settled -= 1
    return found, settled


def markdown_parser() -> MarkdownIt:
    """The parser of Markdown for answers, which loses nothing of a text.

    HTML is shown as it is written, and so are definitions of links, which rich would leave out.
    """
    from markdown_it import MarkdownIt

    return MarkdownIt().enable(["strikethrough", "table"]).disable(["html_block", "html_inline", "reference"])


def blocks(text: str) -> tuple[list[Part], int]:
    """The parts of Markdown: paragraphs, items of lists, tables, blocks of code.

    All but the last one are settled, once its first line is whole: ``##`` is a heading, and ``##a`` is not.
    """
    starts: dict[int, bool] = {}  # the line on which a part begins, and whether it is apart
    for token in markdown_parser().parse(text):
        if token.map is None or token.nesting < 0:
            continue
        if token.level == 0:
            starts[token.map[0]] = True
        elif token.level == 1 and token.type == "list_item_open":
            starts.setdefault(token.map[0], False)
    found: list[Part] = []
    offsets = [0]
    for line in text.split("\n"):
        offsets.append(offsets[-1] + len(line) + 1)
    begins = sorted(starts)
    for begin, end in itertools.pairwise([*begins, len(offsets) - 1]):
        found.append(Part(offsets[begin], text[offsets[begin] : offsets[end]], starts[begin]))
    return found, max(0, len(found) - (1 if found and "\n" in found[-1].text else 2))
