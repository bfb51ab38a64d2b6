"""Descriptions out of docstrings, in the styles of Google, NumPy and Sphinx."""

from __future__ import annotations

import inspect
import itertools
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["Docstring", "read_docstring"]

_ARGUMENTS = frozenset({
    "args", "arguments", "params", "parameters", "keyword args", "keyword arguments", "other parameters",
    "attributes",
})  # fmt: skip
#: What ends a description in Google's style. Examples and notes are part of it.
_OTHERS = frozenset({"returns", "return", "raises", "yields", "yield"})
_GOOGLE_ENTRY = re.compile(r"([ \t]*)\*{0,2}(\w+)[ \t]*(?:\((?:[^()]|\([^()]*\))*\))?:(?!\S*//)[ \t]*(.*)")
_NUMPY_ENTRY = re.compile(r"(\*{0,2}\w+(?:[ \t]*,[ \t]*\*{0,2}\w+)*)[ \t]*(?::.*)?$")
_SPHINX_FIELD = re.compile(r":(\w+)(?:[ \t]+([^:\n]*?))?:(?:[ \t]+(.*))?$")
_SPHINX_ARGUMENTS = frozenset({
    "param", "parameter", "arg", "argument", "key", "keyword", "kwarg", "var", "ivar",
})  # fmt: skip
_SPHINX_OTHERS = frozenset({
    "type", "vartype", "return", "returns", "rtype", "raise", "raises", "except", "exception", "yield",
    "yields",
})  # fmt: skip


class Docstring(NamedTuple):
    """What a docstring says.

    Attributes:
        description: The text before the arguments.
        arguments: The description of each argument, on one line.
    """

    description: str
    arguments: dict[str, str]


def read_docstring(text: str | None, names: Collection[str] = ()) -> Docstring:
    """Reads a docstring in whichever style describes most of the arguments.

    Args:
        text: The docstring.
        names: The arguments that there are.

    Returns:
        The description, and those of the named arguments.
    """
    if not text or not text.strip():
        return Docstring("", {})
    lines = inspect.cleandoc(text).splitlines()
    readings = [read(lines) for read in (_google, _numpy, _sphinx)]
    known = [
        Docstring(found.description, {name: text for name in names if (text := found.arguments.get(name))})
        for found in readings
    ]
    return max(known, key=lambda found: (len(found.arguments), -len(found.description)))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _joined(lines: list[str]) -> str:
    return " ".join(word for line in lines if (word := line.strip()))


def _google(lines: list[str]) -> Docstring:
    def header(line: str) -> str | None:
        name = line.strip().lower()
        return name[:-1] if name.endswith(":") and name[:-1] in _ARGUMENTS | _OTHERS else None

    start = next((i for i, line in enumerate(lines) if header(line)), len(lines))
    arguments: dict[str, list[str]] = {}
    reading, level, entry = False, 0, -1
    current: list[str] = []
    for line in lines[start:]:
        if name := header(line):
            reading, level, entry = name in _ARGUMENTS, _indent(line), -1
        elif reading and line.strip():
            found = _GOOGLE_ENTRY.match(line)
            if found and (entry < 0 or len(found[1]) <= entry):
                if entry >= 0 and len(found[1]) <= level < entry:
                    reading = False  # the next section
                    continue
                entry = len(found[1])
                current = arguments.setdefault(found[2], [])
                current.append(found[3])
            elif entry > level >= _indent(line):
                reading = False
            elif entry >= 0:
                current.append(line)
    return Docstring(
        "\n".join(lines[:start]).strip(), {name: _joined(found) for name, found in arguments.items()}
    )


def _numpy(lines: list[str]) -> Docstring:
    def sections() -> Iterator[tuple[int, str]]:
        for i, (line, below) in enumerate(itertools.pairwise(lines)):
            if re.fullmatch(r"[ \t]*-{3,}[ \t]*", below) and line.strip():
                yield i, line.strip().lower()

    found = list(sections())
    start = next((i for i, name in found if name in _ARGUMENTS | _OTHERS), len(lines))
    arguments: dict[str, list[str]] = {}
    ends = [*(i for i, _ in found), len(lines)][1:]
    for (i, name), end in zip(found, ends, strict=True):
        if name not in _ARGUMENTS:
            continue
        level = _indent(lines[i])
        current: list[list[str]] = []
        for line in lines[i + 2 : end]:
            if line.strip() and _indent(line) <= level:
                entry = _NUMPY_ENTRY.match(line.strip())
                names = re.findall(r"\w+", entry[1]) if entry else []
                current = [arguments.setdefault(name, []) for name in names]
            else:
                for text in current:
                    text.append(line)
    return Docstring(
        "\n".join(lines[:start]).strip(), {name: _joined(text) for name, text in arguments.items()}
    )


def _sphinx(lines: list[str]) -> Docstring:
    start = len(lines)
    arguments: dict[str, list[str]] = {}
    current: list[str] = []
    blank = False
    for i, line in enumerate(lines):
        found = _SPHINX_FIELD.match(line.strip())
        if found and found[1] in _SPHINX_ARGUMENTS | _SPHINX_OTHERS:
            start = min(start, i)
            current = []
            if found[1] in _SPHINX_ARGUMENTS and found[2]:
                current = arguments.setdefault(found[2].split()[-1].lstrip("*\\"), [])
                current.append(found[3] or "")
        elif blank and line.strip() and not line[0].isspace():
            current = []
        else:
            current.append(line)
        blank = not line.strip()
    return Docstring(
        "\n".join(lines[:start]).strip(), {name: _joined(text) for name, text in arguments.items()}
    )
