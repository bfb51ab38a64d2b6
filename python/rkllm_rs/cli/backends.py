"""The command ``rkllm-rs backends``: what can run a model on this machine."""

from __future__ import annotations

from .output import add_json, report

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

HELP = "List the backends and why one is not available. Nothing is loaded."
EXAMPLES = """\
examples:
  rkllm-rs backends
  rkllm-rs backends --json
"""
add_arguments = add_json
_KEYS = ("name", "available", "library", "reason", "hint")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from rkllm_rs import backends

    found = backends()
    lines: list[str] = []
    for status in found:
        lines.append(f"{status.name}: {'available' if status.available else 'not available'}")
        told = ("library", status.library), ("why", status.reason), ("fix", status.hint)
        lines += [f"  {label}: {text}" for label, text in told if text]
    report(arguments, [{key: getattr(status, key) for key in _KEYS} for status in found], *lines)
    return 0
