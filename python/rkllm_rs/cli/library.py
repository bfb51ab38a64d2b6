"""The commands about the library: ``rkllm-rs abi``, ``backends`` and ``identify``."""

from __future__ import annotations

from rkllm_rs import _native

from .output import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def _abi(arguments: argparse.Namespace) -> int:
    layouts = _native.abi_layouts()
    lines: list[str] = []
    for abi, structs in layouts.items():
        lines.append(abi)
        for name, layout in structs.items():
            lines.append(f"  {name}: {layout['size']} bytes, aligned to {layout['align']}")
            lines += [f"    {offset:>4}  {field}" for field, offset in layout["fields"].items()]
    report(arguments, layouts, *lines)
    return 0


def _backends(arguments: argparse.Namespace) -> int:
    from rkllm_rs import backends

    found = backends()
    keys = ("name", "available", "library", "reason", "hint")
    lines: list[str] = []
    for status in found:
        lines.append(f"{status.name}: {'available' if status.available else 'not available'}")
        told = ("library", status.library), ("why", status.reason), ("fix", status.hint)
        lines += [f"  {label}: {text}" for label, text in told if text]
    report(arguments, [{key: getattr(status, key) for key in keys} for status in found], *lines)
    return 0


def _identify(arguments: argparse.Namespace) -> int:
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


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the commands."""

    def command(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--json", action="store_true", help="print JSON")
        return sub

    command("abi", "print the C struct layouts compiled into this build").set_defaults(run=_abi)
    command("backends", "list the backends and why one is not available").set_defaults(run=_backends)
    identify = command("identify", "load a library and print its release, with the evidence")
    identify.add_argument("library", nargs="?", help="path of the library (default: search the usual places)")
    identify.add_argument("--backend", choices=("auto", "npu", "cpu"), default="auto")
    identify.add_argument("--abi", help="ABI of the library, such as v1_3_0, if it cannot be detected")
    identify.set_defaults(run=_identify)
