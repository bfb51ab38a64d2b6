"""The command ``rkllm-rs inspect``: what a model's file is."""

from __future__ import annotations

from .opening import file_path
from .output import add_json, problems, report, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from rkllm_rs.models import Inspection

HELP = "Say what a model's file is, without loading it."
EXAMPLES = """\
examples:
  rkllm-rs inspect Qwen3-0.6B_W8A8_RK3588.rkllm
  rkllm-rs inspect --json *.rkllm       one JSON object a line

The exit status is 1 if a file is not one that RKLLM() takes.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="paths or names of models")
    add_json(parser)


def _size(size: int | None) -> str:
    return "unknown" if size is None else f"{size:,} bytes"


def _told(label: str, values: dict[str, object]) -> list[str]:
    known = ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)
    return [f"  {label + ':':<12} {known}"] if known else []


def _file(found: Inspection) -> list[str]:
    yes = {True: "yes", False: "no", None: "unknown"}
    return [
        found.path,
        f"  kind:        {found.kind}",
        f"  size:        {_size(found.size)}",
        f"  loadable:    {yes[found.loadable]}",
        f"  truncated:   {yes[found.truncated]}",
        *_told("facts", found.facts),
        *_told("hints", found.hints),
        *_told("last load", found.last_load or {}),
        *problems(found.problems),
    ]


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    import json

    from rkllm_rs.models import inspect

    found = [inspect(file_path(name)) for name in arguments.files]
    if arguments.json and len(found) > 1:
        for one in found:
            say(json.dumps(one.to_dict()))
    else:
        report(arguments, found[0].to_dict(), *(line for one in found for line in _file(one)))
    return 0 if all(one.loadable for one in found) else 1
