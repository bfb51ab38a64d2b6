"""The file ``Modelfile`` beside a model, as rkllama and Ollama have it: the user's settings for it."""

from __future__ import annotations

import os
import re

from rkllm_rs._typed import expect, typed

FILE = "Modelfile"
#: No real one has more.
_LONGEST = 1 << 18
#: A value in quotes, which may have several lines, or the rest of the line.
_VALUE = r"""(?:\"{3}(?P<long>.*?)\"{3}|"(?P<double>(?:\\.|[^"\\])*)"|'(?P<single>[^']*)'|(?P<bare>[^\n]*))"""
_KEY = r"[ \t]*(?:export[ \t]+)?(?:PARAMETER[ \t]+)?(?P<key>[A-Za-z_][A-Za-z0-9_]*)(?:[ \t]*=[ \t]*|[ \t]+)"
_LINE = re.compile(
    f"^{_KEY}{_VALUE}",
    re.MULTILINE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class Modelfile:
    """What a ``Modelfile`` says; :func:`modelfile` returns it.

    Any number of threads and tasks may read it at the same time.

    Attributes:
        path: The file.
        model: Name of the model's file in the same folder, or ``None``. One outside the folder is not taken.
        system: The system prompt, or ``None``.
        settings: All other entries, by their names in upper case. Values are text, as they stand there.
    """

    __slots__ = ("model", "path", "settings", "system")

    def __init__(self, path: str, entries: dict[str, str]) -> None:
        """Keeps the entries.

        Args:
            path: The file.
            entries: What it says, by key in upper case.
        """
        self.path = path
        named = os.path.normpath(entries.pop("FROM", "") or ".")
        inside = not os.path.isabs(named) and named.split(os.sep)[0] not in ("..", ".") and "\0" not in named
        self.model = named if inside else None
        self.system = entries.pop("SYSTEM", None) or None
        self.settings = entries

    def to_dict(self) -> dict[str, object]:
        """The same as a dictionary."""
        return {"path": self.path, "model": self.model, "system": self.system, "settings": self.settings}


def parsed(text: str) -> dict[str, str]:
    """Reads entries: ``KEY=value`` as rkllama has them, ``KEY value`` and ``PARAMETER key value`` as Ollama.

    Args:
        text: The file's text.

    Returns:
        The entries by key in upper case; the first of a key wins.
    """
    found: dict[str, str] = {}
    for match in _LINE.finditer(text):
        long, double, single, bare = match.group("long", "double", "single", "bare")
        if long is not None:
            value = long.strip("\n")
        elif double is not None:
            value = re.sub(r"\\(.)", lambda one: _ESCAPES.get(one[1], one[1]), double, flags=re.DOTALL)
        elif single is not None:
            value = single
        else:
            value = re.sub(r"(^|[ \t])#.*", "", bare).strip()
        found.setdefault(match["key"].upper(), value)
    return found


@typed
def modelfile(path: str) -> Modelfile | None:
    """Reads the ``Modelfile`` beside a model, as rkllama and Ollama have it.

    Entries are ``KEY=value`` (rkllama) or ``KEY value`` and ``PARAMETER key value`` (Ollama). Nothing in it
    is run, and a file that it names outside of its own folder is not used.

    Args:
        path: The model's file.

    Returns:
        What it says, or ``None`` if there is none, if it cannot be read, or if its ``FROM`` names another
        model in the folder.

    Example:
        >>> from rkllm_rs import models
        >>> found = models.modelfile(models.find("qwen2.5:3b"))  # doctest: +SKIP
        >>> found.system, found.settings  # doctest: +SKIP
        ('Be brief.', {'TEMPERATURE': '0.7'})
    """
    hint = "Pass what find() returns."
    expect("path", path, (str, os.PathLike), "a str", hint)
    found = in_folder(os.path.dirname(os.path.abspath(path)))
    if found is None or found.model in (None, os.path.basename(path)):
        return found
    beside = os.path.join(os.path.dirname(os.path.abspath(path)), found.model or "")
    return None if os.path.exists(beside) else found


def in_folder(folder: str) -> Modelfile | None:
    """Reads a folder's ``Modelfile``.

    Args:
        folder: The folder.

    Returns:
        What it says; ``None`` if there is none, or if it cannot be read.
    """
    path = os.path.join(folder, FILE)
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            return Modelfile(path, parsed(file.read(_LONGEST)))
    except OSError:
        return None
