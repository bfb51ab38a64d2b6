"""What the words of a command line mean: argparse, with what all commands share."""

from __future__ import annotations

import argparse
import os
import re
import sys

from rkllm_rs.errors import RkllmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, NoReturn


def _formatter(prog: str) -> argparse.HelpFormatter:
    """What lays help out; argparse makes one for each argument, and would import a lot for its width."""
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() else 0
    if not width:
        try:
            width = os.get_terminal_size(1).columns
        except OSError:
            width = 80
    return argparse.RawDescriptionHelpFormatter(prog, width=max(width, 24) - 2)


class UsageError(RkllmError):
    """The words of the command line do not fit together; the exit status is 2.

    Attributes:
        usage: A line that is printed before the message.
    """

    usage: str = ""


class Parser(argparse.ArgumentParser):
    """A parser of a command, or of a command below it.

    Attributes:
        intermixed: Whether options may stand between words of which there can be none or several.
    """

    intermixed: bool = False

    def __init__(self, **keywords: Any) -> None:
        # An abbreviation would mean something else once there is another option.
        keywords.setdefault("allow_abbrev", False)
        keywords.setdefault("formatter_class", _formatter)
        super().__init__(**keywords)
        # Not False, which a command below would set again.
        self.add_argument(
            "--debug",
            action="store_true",
            default=argparse.SUPPRESS,
            help="show the traceback of an error",
        )

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Parses the words. Options may be written with underscores, as Python spells them.

        Raises:
            SystemExit: There is nothing more to do: 0 after ``--help``, and 2 for words that do not fit.
        """
        words = list(words)
        end = words.index("--") if "--" in words else len(words)
        for at, word in enumerate(words[:end]):
            if word.startswith("--"):
                name, equals, value = word.partition("=")
                words[at] = name.replace("_", "-") + equals + value
        return self.parse_intermixed_args(words) if self.intermixed else self.parse_args(words)

    def error(self, message: str) -> NoReturn:
        """As of ``ArgumentParser``, in the words of our own errors, and with a hint."""
        self.print_usage(sys.stderr)
        hint = f"Run `{self.prog} --help` for all arguments."
        if near := self._meant(message):
            hint = f"Did you mean {near}? {hint}"
        self.exit(2, f"{self.prog}: error: {_reworded(message)}\nhint: {hint}\n")

    def _meant(self, message: str) -> str | None:
        """The option that was misspelled, if one was."""
        import difflib

        wrong = re.match(r"unrecognized arguments:.*?\s(--[^\s=]+)", message)
        known = [one for action in self._actions for one in action.option_strings]
        if wrong is None:
            return None
        near = [one for one in known if one.startswith(wrong[1])]  # cut short
        return next(iter(near or difflib.get_close_matches(wrong[1], known, 1)), None)

    def print_help(self, file: Any = None) -> None:
        """As of ``ArgumentParser``, which says nothing if the text cannot be written."""
        (file or sys.stdout).write(self.format_help())


def unknown_command(word: str, commands: Iterable[str], usage: str) -> UsageError:
    """What is said of a word that is not a command."""
    import difflib

    hint = "Run `rkllm-rs --help` for the list of commands."
    if near := difflib.get_close_matches(word, commands, 1):
        hint = f"Did you mean `rkllm-rs {near[0]}`? {hint}"
    elif word.endswith((".rkllm", ".gguf")) or os.path.exists(word):
        hint = f'To use a model: `rkllm-rs chat {word}`, or `rkllm-rs run {word} "…"`.'
    error = UsageError(f"{word!r} is not a command", hint=hint)
    error.usage = usage
    return error


def count(text: str) -> int:
    """Reads a number of things, at least one; for ``type=`` of an argument."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


# What argparse says that a word is not.
count.__name__ = "a whole number of at least 1"


def _reworded(message: str) -> str:
    """What argparse says of a value, as other errors say it."""
    if bad := re.fullmatch(r"argument (\S+): invalid (.+?) value: (.*)", message, re.DOTALL):
        kind = {"int": "a whole number", "float": "a number"}.get(bad[2], bad[2])
        return f"{bad[1]} must be {kind}, got {bad[3]}"
    if bad := re.fullmatch(r"argument (\S+): invalid choice: (.*) \(choose from (.*)\)", message, re.DOTALL):
        return f"{bad[1]} must be one of {bad[3]}, got {bad[2]}"
    return message
