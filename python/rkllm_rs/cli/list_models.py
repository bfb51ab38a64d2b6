"""The command ``rkllm-rs list``: the models on this machine. Not called ``list``, which the package uses."""

from __future__ import annotations

from .output import add_json, plain_warnings, report, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

HELP = "List the models on this machine. The first column is what other commands take as MODEL."
EXAMPLES = """\
examples:
  rkllm-rs list
  rkllm-rs list --json        one array: name, path, source, size_bytes, …

The places are ~/.local/share/rkllm_rs/models, RKLLM_MODELS_ROOT, ~/RKLLAMA/models, ~/models and the cache
of the Hugging Face hub.
"""
add_arguments = add_json


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from rkllm_rs.models import installed

    plain_warnings()
    found = installed()
    width = max((len(one.name) for one in found), default=0)
    lines = [f"{one.name:<{width}}  {size(one.size_bytes):>9}  {one.source:<7}  {one.path}" for one in found]
    if not found and not arguments.json:
        from .output import note

        note("no models are installed; `rkllm-rs pull hub:OWNER/NAME` downloads one")
    report(arguments, [one.to_dict() for one in found], *lines)
    return 0
