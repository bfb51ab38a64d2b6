"""The command ``rkllm-rs abi``: the layouts of C structs that this build knows."""

from __future__ import annotations

from rkllm_rs import _native

from .output import add_json, report

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

HELP = "Print the C struct layouts compiled into this build."
EXAMPLES = """\
examples:
  rkllm-rs abi
  rkllm-rs abi --json
"""
add_arguments = add_json


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    layouts = _native.abi_layouts()
    lines: list[str] = []
    for abi, structs in layouts.items():
        lines.append(abi)
        for name, layout in structs.items():
            lines.append(f"  {name}: {layout['size']} bytes, aligned to {layout['align']}")
            lines += [f"    {offset:>4}  {field}" for field, offset in layout["fields"].items()]
    report(arguments, layouts, *lines)
    return 0
