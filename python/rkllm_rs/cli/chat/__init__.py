"""The command ``rkllm-rs chat``: a conversation with a model, on a terminal or through a pipe."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from rkllm_rs.cli.opening import (
    add_model_arguments,
    add_sampling_arguments,
    generation_keywords,
    open_model,
)
from rkllm_rs.cli.parsing import UsageError

if TYPE_CHECKING:
    import argparse

    from rkllm_rs import RKLLM

    from .reading import Reader
    from .screen import Screen

HELP = "Talk with a model. /help lists the commands of a chat."
EXAMPLES = """\
examples:
  rkllm-rs chat model.rkllm
  rkllm-rs chat model.rkllm --system "Answer in French." --temperature 0.3
  rkllm-rs chat model.rkllm --tools weather.py            the model may call the functions of this file
  echo "Why is the sky blue?" | rkllm-rs chat model.rkllm

In a pipe each line of stdin is a message or a command, and the answers are plain text. Several lines between
\"\"\" and \"\"\" are one message. The exit status is 1 if one of them failed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    add_model_arguments(parser)
    parser.add_argument("--system", metavar="TEXT", help="system message")
    parser.add_argument(
        "--tools",
        metavar="FILE.py",
        help="Python file, which is run; the model may call its public functions",
    )
    parser.add_argument(
        "--overflow",
        choices=("error", "drop_oldest"),
        help="what to do when the context window is full (default: error)",
    )
    add_sampling_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from rkllm_rs._extras import require

    for module in ("rich", "prompt_toolkit"):
        require(module, extra="cli", purpose="rkllm-rs chat")
    from rkllm_rs.models import modelfile

    from . import files
    from .loop import Chat
    from .reading import no_echo
    from .talk import Talk

    if arguments.json_schema == "-":
        message = "--json-schema must be a file or a schema, because stdin has the messages"
        raise UsageError(message, hint="Pass the name of a file.")
    options = generation_keywords(arguments)
    if arguments.overflow is not None:
        options["overflow"] = arguments.overflow
    tools = None if arguments.tools is None else files.load_tools(arguments.tools)
    screen, reader = _sides(arguments)
    with contextlib.ExitStack() as loading:
        if reader.interactive:
            loading.enter_context(no_echo())
            loading.enter_context(screen.busy(f"Loading {os.path.basename(arguments.model)} …"))
        llm = open_model(arguments)
    with llm:
        system = arguments.system
        beside = modelfile(str(llm.model_path)) if system is None else None
        if beside is not None and beside.system is not None:
            system = beside.system
            screen.note(f"The system message is that of {beside.path}.")
        if reader.interactive:
            screen.note(_greeting(llm))
        talk = Talk(llm, system=system, tools=tools, options=options)
        chat = Chat(talk, reader, screen, debug=getattr(arguments, "debug", False))
        return chat.run(vendor_log=arguments.vendor_log)


def _sides(arguments: argparse.Namespace) -> tuple[Screen, Reader]:
    """Where answers go, and where messages come from."""
    from . import reading, screen
    from .commands import COMMANDS

    dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
    shown: Screen
    if sys.stdout.isatty() and not dumb:
        from .terminal import TerminalScreen

        shown = TerminalScreen()
    else:
        shown = screen.Plain(thinks=arguments.thinking is True)
    if not sys.stdin.isatty():
        return shown, reading.Lines()
    if dumb or not (sys.stdout.isatty() or sys.stderr.isatty()):
        return shown, reading.Dumb()
    return shown, reading.Editor(shown, {name: one.argument for name, one in COMMANDS.items()})


def _greeting(llm: RKLLM) -> str:
    name = os.path.basename(str(llm.model_path))
    size = f", context window {llm.max_context_len} tokens" if llm.max_context_len else ""
    return f"{name} ({llm.backend}{size}). /help lists the commands, Ctrl-D leaves."
