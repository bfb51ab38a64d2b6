"""The command ``rkllm-rs``, also ``python -m rkllm_rs``."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from . import _native
from .errors import RkllmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def _abi(arguments: argparse.Namespace) -> int:
    layouts = _native.abi_layouts()
    if arguments.json:
        import json

        _print(json.dumps(layouts, indent=1))
        return 0
    for generation, structs in layouts.items():
        _print(generation)
        for name, layout in structs.items():
            _print(f"  {name}: {layout['size']} bytes, aligned to {layout['align']}")
            for field, offset in layout["fields"].items():
                _print(f"    {offset:>4}  {field}")
    return 0


def _backends(arguments: argparse.Namespace) -> int:
    from . import backends

    found = backends()
    if arguments.json:
        import json

        keys = ("name", "available", "library", "reason", "hint")
        _print(json.dumps([{key: getattr(status, key) for key in keys} for status in found], indent=1))
        return 0
    for status in found:
        _print(f"{status.name}: {'available' if status.available else 'not available'}")
        for label, text in (("library", status.library), ("why", status.reason), ("fix", status.hint)):
            if text:
                _print(f"  {label}: {text}")
    return 0


def _identify(arguments: argparse.Namespace) -> int:
    runtime = _native.Runtime.load(arguments.library, backend=arguments.backend, abi=arguments.abi)
    identity = runtime.identity
    if arguments.json:
        import json

        evidence = [{"kind": e.kind, "finding": e.finding, "allows": e.allows} for e in identity.evidence]
        report = {
            "path": runtime.path,
            "backend": runtime.backend,
            "abi": identity.abi,
            "version": identity.version,
            "cpu_runtime": identity.cpu_runtime,
            "evidence": evidence,
            "capabilities": sorted(runtime.capabilities),
        }
        _print(json.dumps(report, indent=1))
        return 0
    _print(f"library:    {runtime.path}")
    _print(f"backend:    {runtime.backend}")
    _print(f"generation: {identity.abi}")
    _print(f"release:    {identity.version or 'unknown'}")
    for piece in identity.evidence:
        _print(f"evidence:   {piece.kind}: {piece.finding} (allows {piece.allows})")
    return 0


def _unwritten(error: OSError) -> int:
    """Ends a command whose output nobody takes; gives its status."""
    # What is left in the buffer goes nowhere, and is not tried again at exit.
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    if isinstance(error, BrokenPipeError):
        return 128 + signal.SIGPIPE  # as the shell says of a command that this signal ends
    with contextlib.suppress(OSError):
        sys.stderr.write(f"rkllm-rs: the output cannot be written: {error.strerror}\n")
    return 1


def _parser() -> argparse.ArgumentParser:
    import argparse

    parser = argparse.ArgumentParser(prog="rkllm-rs", description="Language models on Rockchip NPUs.")
    parser.add_argument("--version", action="version", version=f"rkllm-rs {_native.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--json", action="store_true", help="print JSON")
        return sub

    command("abi", "print the C layouts as this build has compiled them").set_defaults(run=_abi)
    command("backends", "say which backends this machine has, and why not").set_defaults(run=_backends)
    identify = command("identify", "load a library and say which release it is, with the evidence")
    identify.add_argument("library", nargs="?", help="its file; without it, the usual search")
    identify.add_argument("--backend", choices=("auto", "npu", "cpu"), default="auto")
    identify.add_argument("--abi", help="the generation, where the library does not tell")
    identify.set_defaults(run=_identify)

    from ._runtime_cli import add_commands

    add_commands(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: The words behind the command's name; those of the process without it.

    Returns:
        The exit status: 0, 1 when an error was printed, 141 when whoever read the output has gone.
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
        finally:
            # Here, where a failure can be told; at exit it would be a traceback.
            sys.stdout.flush()
    except OSError as error:
        if error.filename is not None:
            raise
        return _unwritten(error)


if __name__ == "__main__":
    sys.exit(main())
