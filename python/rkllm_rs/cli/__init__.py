"""The command ``rkllm-rs``: finds the module of a command, runs it, and tells what went wrong.

A command is a module of this package with ``HELP`` (what it does), ``EXAMPLES`` (lines to paste),
``add_arguments(parser)`` and ``run(arguments)``, which returns the exit status. Only the module of the
command that is called is imported.
"""

from __future__ import annotations

import os
import sys

from rkllm_rs import _native

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from typing import Any, Protocol

    from .parsing import Parser

    class Command(Protocol):
        """The module of a command."""

        HELP: str
        EXAMPLES: str

        def add_arguments(self, parser: Parser) -> None:
            """Declares the command's arguments."""
            ...

        def run(self, arguments: argparse.Namespace) -> int:
            """Does what the command is for.

            Returns:
                The exit status.
            """
            ...


#: The commands as ``--help`` shows them: heading, name, module in this package, and what it does.
GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "use a model": {
        "chat": ("chat", "talk with a model"),
        "run": ("run", "answer one prompt"),
        "serve": ("serve", "serve models over HTTP"),
    },
    "models": {
        "list": ("list_models", "list the models on this machine"),
        "show": ("show", "show what is known of a model, and from where"),
        "pull": ("pull", "download a model from the Hugging Face hub"),
        "rm": ("rm", "remove a model"),
        "inspect": ("inspect", "say what a model's file is, without loading it"),
        "plan": ("plan", "say whether models fit into memory together"),
    },
    "this machine": {
        "bench": ("bench", "measure how fast models are, beside the vendor's figures"),
        "doctor": ("doctor", "examine this machine: chip, driver, rights, library, clocks, memory"),
        "verify": ("verify", "verify what the package promises, with a model on this machine"),
        "ps": ("ps", "show the processes with an open model, and who uses the NPU"),
        "backends": ("backends", "list the backends and why one is not available"),
    },
    "libraries": {
        "runtime": ("runtime", "install and select the vendor's library"),
        "identify": ("identify", "load a library and print its release, with the evidence"),
        "abi": ("abi", "print the C struct layouts compiled into this build"),
    },
    "this command": {
        "version": ("version", "print the version"),
        "completion": ("completion", "print a script that completes commands and options in a shell"),
    },
}
#: Name of a command -> its module and what it does.
COMMANDS = {name: entry for group in GROUPS.values() for name, entry in group.items()}

USAGE = "usage: rkllm-rs [--debug] COMMAND …"
EXAMPLES = """\
examples:
  rkllm-rs chat model.rkllm
  rkllm-rs run model.rkllm "Why is the sky blue?"
  rkllm-rs doctor                                   when something does not work
  rkllm-rs run --help                               arguments and examples of a command
"""


def command(name: str) -> Command:
    """Imports the module of a command."""
    from importlib import import_module

    module: Any = import_module(f".{COMMANDS[name][0]}", __name__)
    found: Command = module
    return found


def parser_of(name: str) -> Parser:
    """The parser of a command, with its arguments."""
    from .parsing import Parser

    module = command(name)
    parser = Parser(prog=f"rkllm-rs {name}", description=module.HELP, epilog=module.EXAMPLES)
    module.add_arguments(parser)
    return parser


def overview() -> str:
    """What ``rkllm-rs --help`` prints."""
    lines = [USAGE, "", "Run language models on Rockchip NPUs.", ""]
    for heading, group in GROUPS.items():
        lines += [f"{heading}:", *(f"  {name:<12} {entry[1]}" for name, entry in group.items()), ""]
    lines += [
        "options:",
        "  -h, --help   show this text; behind a command, its arguments and examples",
        "  --version    print the version",
        "  --debug      show the traceback of an error; also behind a command",
        "",
        EXAMPLES,
    ]
    return "\n".join(lines)


def _start(words: list[str]) -> int:
    """Runs what the words ask for."""
    while words[:1] == ["--debug"]:
        del words[0]
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    first = words[0] if words else None
    if first in ("-h", "--help"):
        sys.stdout.write(overview())
        return 0
    if first == "--version" or words == ["version"]:
        sys.stdout.write(f"rkllm-rs {_native.__version__}\n")
        return 0
    if first is None:
        sys.stderr.write(overview())
        return 2
    if first not in COMMANDS:
        from .parsing import unknown_command

        raise unknown_command(first, COMMANDS, USAGE)
    arguments = parser_of(first).read(words[1:])
    return int(command(first).run(arguments))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: The words behind the command's name; those of the process without it.

    Returns:
        The exit status: 0, 1 when an error was printed, 2 when the words were not understood, 130 when the
        user stopped it, 141 when the reader of the output has gone.

    Raises:
        SystemExit: The same, from the parser: for ``--help``, and for words that it does not understand.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words[: words.index("--") if "--" in words else len(words)]
    _open_streams()
    try:
        try:
            return _start(words)
        finally:
            # Here, where a failure can be told; at exit it would be a traceback.
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - there is nobody else to tell
        from .failing import told

        return told(error, debug=debug)


def _open_streams() -> None:
    """Has every stream open, and able to write any text."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the shell
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for the process's life
    stdout: Any = sys.stdout
    if hasattr(stdout, "reconfigure") and stdout.errors == "strict":
        # Names of files need not be UTF-8, and answers need not fit the terminal's encoding.
        utf8 = stdout.encoding.lower().replace("-", "") == "utf8"
        stdout.reconfigure(errors="surrogateescape" if utf8 else "replace")
