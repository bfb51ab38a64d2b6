"""The slash commands of a chat: what each does to a conversation."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from rkllm_rs.cli.stats import perf_lines
from rkllm_rs.errors import InvalidArgumentError, UnsupportedFeatureError

from . import files
from .screen import table

if TYPE_CHECKING:
    from collections.abc import Callable

    from .screen import Screen
    from .talk import Talk

#: A slash and a word: a path such as /usr/bin, or a comment, is not one.
_COMMAND = re.compile(r"/([^\s/*]*)(?:\s+(.*))?", re.DOTALL)


class Leave(Exception):  # noqa: N818 - it is not an error
    """The user wants to leave."""


class Command(NamedTuple):
    """A slash command."""

    argument: str
    text: str
    run: Callable[[Talk, Screen, str], None]


def parse(text: str) -> tuple[str, str] | None:
    """The name and the argument of a command; ``None`` for what is a message."""
    found = _COMMAND.fullmatch(text.rstrip()) if text.startswith("/") else None
    return (found[1], (found[2] or "").strip()) if found else None


def run(talk: Talk, screen: Screen, name: str, argument: str) -> None:
    """Does what a command is for.

    Raises:
        InvalidArgumentError: There is no such command, or its argument does not fit.
        Leave: The chat is over.
        RkllmError: It could not be done.
    """
    name = _ALIASES.get(name, name)
    if name == "no_think":  # as users of Qwen's models write it
        name, argument = "think", "off"
    command = COMMANDS.get(name)
    if command is None:
        import difflib

        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"Did you mean /{near[0]}? " if near else ""
        message = f"/{name} is not a command"
        raise InvalidArgumentError(
            message, hint=f"{hint}Enter /help for the list; begin with a space to send it as a message."
        )
    if argument and not command.argument and name not in ("help", "exit"):
        message = f"/{name} takes nothing behind it, got {_short(argument)}"
        raise InvalidArgumentError(message, hint=f"Enter /{name}, or /help for the list.")
    command.run(talk, screen, argument)


def _help(talk: Talk, screen: Screen, _argument: str) -> None:
    del talk
    rows = [(f"/{name} {one.argument}".rstrip(), one.text) for name, one in COMMANDS.items()]
    screen.show(table([*rows, *KEYS], screen.width))


def _clear(talk: Talk, screen: Screen, _argument: str) -> None:
    talk.clear()
    kept = ", but for the system message" if talk.system is not None else ""
    screen.note(f"The conversation is empty{kept}.")


def _system(talk: Talk, screen: Screen, argument: str) -> None:
    if not argument:
        screen.show("There is no system message." if talk.system is None else talk.system)
        return
    talk.system = None if argument == "off" else argument
    screen.note("There is no system message." if argument == "off" else "The system message is set.")


def _stats(talk: Talk, screen: Screen, _argument: str) -> None:
    if talk.last is None:
        screen.show("There is no answer yet.")
        return
    perf = talk.last.perf
    lines = perf_lines(perf)
    if perf.prompt_tokens is not None:
        size = f" of {talk.llm.max_context_len}" if talk.llm.max_context_len else ""
        lines.append(f"context:      {perf.prompt_tokens + perf.generate_tokens}{size} tokens")
    screen.show("\n".join(lines))


def _think(talk: Talk, screen: Screen, argument: str) -> None:
    switch = {"on": True, "off": False, "auto": None}
    state = {True: "on", False: "off", None: "as the model's chat template has it"}
    if not argument:
        screen.show(f"Thinking is {state[talk.options.get('thinking')]}.")
        return
    if argument not in switch:
        message = f"/think must be followed by on, off or auto, got {argument}"
        raise InvalidArgumentError(message, hint="Enter /think off, for example.")
    thinking = switch[argument]
    # Says whether this model can.
    try:
        talk.llm.render_chat([{"role": "user", "content": "?"}], thinking=thinking)
    except UnsupportedFeatureError as error:
        raise UnsupportedFeatureError(str(error.args[0])) from error
    talk.options["thinking"] = thinking
    screen.note(f"Thinking is {state[thinking]}.")


def _tools(talk: Talk, screen: Screen, _argument: str) -> None:
    if not talk.tools:
        screen.show(
            "There are no tools. Start the chat with --tools FILE.py to give the model its functions."
        )
        return
    rows = [(_signature(tool.name, tool.parameters), tool.description) for tool in talk.tools]
    screen.show(table(rows, screen.width))


def _signature(name: str, parameters: dict[str, Any]) -> str:
    return f"{name}({', '.join(parameters.get('properties') or ())})"


def _schema(talk: Talk, screen: Screen, argument: str) -> None:
    import json

    from rkllm_rs.cli.opening import read_schema

    schema = talk.options.get("json_schema")
    if not argument:
        screen.show("Answers are free text." if schema is None else json.dumps(schema, indent=1))
    elif argument == "off":
        talk.options.pop("json_schema", None)
        screen.note("Answers are free text.")
    elif talk.tools:
        message = "answers cannot be kept to a schema in a chat with tools"
        raise UnsupportedFeatureError(message, hint="Start the chat without --tools.")
    else:
        talk.options["json_schema"] = read_schema(argument)
        screen.note(f"Answers fit the schema in {argument}. Enter /schema off to end this.")


def _save(talk: Talk, screen: Screen, argument: str) -> None:
    messages = talk.messages
    files.save(messages, _named("/save", argument))
    screen.note(f"{_count(len(messages))} saved to {argument}.")


def _load(talk: Talk, screen: Screen, argument: str) -> None:
    messages = files.load(_named("/load", argument))
    talk.replace(messages)
    screen.note(f"{_count(len(messages))} loaded from {argument}.")


def _count(number: int) -> str:
    return "1 message" if number == 1 else f"{number} messages"


def _named(name: str, file: str) -> str:
    if not file or not os.path.basename(file):
        message = f"{name} must be followed by the name of a file"
        raise InvalidArgumentError(message, hint=f"Enter {name} talk.json, for example.")
    return file


def _undo(talk: Talk, screen: Screen, _argument: str) -> None:
    text = talk.undo()
    screen.note("There is nothing to take back." if text is None else f"Taken back: {_short(text)}")


def _short(text: str, limit: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[:limit]}…"


def _image(_talk: Talk, _screen: Screen, _argument: str) -> None:
    message = "images are not supported yet"
    raise UnsupportedFeatureError(message)


def _exit(_talk: Talk, _screen: Screen, _argument: str) -> None:
    raise Leave


COMMANDS = {
    "help": Command("", "show this list", _help),
    "clear": Command("", "forget the conversation, but for the system message", _clear),
    "system": Command("TEXT|off", "set or remove the system message; show it", _system),
    "stats": Command("", "show timings of the last answer, and how full the context window is", _stats),
    "think": Command("on|off|auto", "thinking on, off, or as the model has it; show it", _think),
    "tools": Command("", "list the tools that the model may call", _tools),
    "schema": Command("FILE|off", "keep answers to a JSON schema; show it", _schema),
    "save": Command("FILE", "write the messages to a file, as JSON", _save),
    "load": Command("FILE", "go on with the messages of a file", _load),
    "undo": Command("", "take back your last message and its answer", _undo),
    "image": Command("FILE", "not supported yet", _image),
    "exit": Command("", "leave", _exit),
}
_ALIASES = {"?": "help", "quit": "exit", "bye": "exit"}
KEYS = [
    ("Enter", "send"),
    ("Alt-Enter", 'begin a new line; a message between """ and """ may have several lines, too'),
    ("Up, Down", "earlier messages; Ctrl-R searches them"),
    ("Ctrl-C", "stop the answer, or drop the line; twice: leave"),
    ("Ctrl-D", "leave"),
]
