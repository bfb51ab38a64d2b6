"""The command ``rkllm-rs``: one module for each group of commands, which adds itself to the parser."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from rkllm_rs import _native
from rkllm_rs.errors import RkllmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def _parser() -> argparse.ArgumentParser:
    import argparse

    from . import doctor, library, models, ps, runtime, verify

    parser = argparse.ArgumentParser(prog="rkllm-rs", description="Run language models on Rockchip NPUs.")
    parser.add_argument("--version", action="version", version=f"rkllm-rs {_native.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    library.add_commands(commands)
    runtime.add_commands(commands)
    ps.add_commands(commands)
    doctor.add_commands(commands)
    verify.add_commands(commands)
    models.add_commands(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: The words behind the command's name; those of the process without it.

    Returns:
        The exit status: 0, 1 when an error was printed, 130 when the user stopped it, 141 when the reader
        of the output has gone.
    """
    if sys.stdout is None:  # closed by the shell
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the process's life
    try:
        try:
            parsed = _parser().parse_args(arguments)
            return int(parsed.run(parsed))
        except RkllmError as error:
            sys.stderr.write(f"rkllm-rs: {error}\n")
            return 1
        except KeyboardInterrupt:
            sys.stderr.write("\nrkllm-rs: stopped\n")
            return 128 + signal.SIGINT  # as the shell says of a command that this signal ends
        finally:
            # Here, where a failure can be told; at exit it would be a traceback.
            sys.stdout.flush()
    except OSError as error:
        if error.filename is not None:
            raise
        return _unwritten(error)


def _unwritten(error: OSError) -> int:
    """Ends a command whose output nobody takes; gives its status."""
    # What is left in the buffer goes nowhere, and is not tried again at exit.
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    if isinstance(error, BrokenPipeError):
        return 128 + signal.SIGPIPE  # likewise
    with contextlib.suppress(OSError):
        sys.stderr.write(f"rkllm-rs: cannot write the output: {error.strerror}\n")
    return 1
