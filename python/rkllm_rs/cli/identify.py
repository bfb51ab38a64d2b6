"""The command ``rkllm-rs identify``: which release a library is."""

from __future__ import annotations

from rkllm_rs import _native

from .output import add_json, report

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

HELP = "Load a library and print its release, with the evidence."
EXAMPLES = """\
examples:
  rkllm-rs identify                      the library that would be loaded
  rkllm-rs identify ./librkllmrt.so
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument(
        "library", nargs="?", metavar="FILE", help="path of the library (default: search the usual places)"
    )
    add_json(parser)
    parser.add_argument("--backend", choices=("auto", "npu", "cpu"), default="auto")
    parser.add_argument(
        "--abi", metavar="ABI", help="ABI of the library, such as v1_3_0, if it cannot be detected"
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    runtime = _native.Runtime.load(arguments.library, backend=arguments.backend, abi=arguments.abi)
    identity = runtime.identity
    evidence = [{"kind": e.kind, "finding": e.finding, "allows": e.allows} for e in identity.evidence]
    data = {
        "path": runtime.path,
        "backend": runtime.backend,
        "abi": identity.abi,
        "version": identity.version,
        "cpu_runtime": identity.cpu_runtime,
        "evidence": evidence,
        "capabilities": sorted(runtime.capabilities),
    }
    lines = [
        f"library:    {runtime.path}",
        f"backend:    {runtime.backend}",
        f"abi:        {identity.abi}",
        f"release:    {identity.version or 'unknown'}",
        *(f"evidence:   {e.kind}: {e.finding} (allows {e.allows})" for e in identity.evidence),
    ]
    report(arguments, data, *lines)
    return 0
