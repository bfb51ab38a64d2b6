"""The command ``rkllm-rs plan``: whether models fit into memory together."""

from __future__ import annotations

from .opening import file_path
from .output import add_json, problems, report
from .parsing import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

HELP = "Say whether models fit into memory together, and in which domains of the NPU."
EXAMPLES = """\
examples:
  rkllm-rs plan Qwen3-0.6B_W8A8_RK3588.rkllm
  rkllm-rs plan --max-context-len 8192 model.rkllm vision.rknn

The exit status is 1 if they do not fit.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="paths or names of models")
    add_json(parser)
    parser.add_argument(
        "--root", default="/", metavar="DIR", help="read the files of another machine from this folder"
    )
    parser.add_argument("--release", metavar="R", help="release of RKLLM (default: 1.2.2 or newer)")
    parser.add_argument(
        "--max-context-len",
        type=count,
        metavar="N",
        help="context of each model in tokens (default: what RKLLM() chooses)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from rkllm_rs.models import plan

    found = plan(
        [file_path(name) for name in arguments.files],
        root=arguments.root,
        release=arguments.release,
        max_context_len=arguments.max_context_len,
    )
    lines = ["fits: yes" if found.fits else "fits: no"]
    for model in found.models:
        where = "no NPU domain"
        if model.base_domain_id is not None:
            where = f"base_domain_id={model.base_domain_id}"
            if model.domains > 1:
                where += f", up to domain {model.base_domain_id + model.domains - 1}"
        mib = f"{model.resident_bytes >> 20} MiB, {model.context_bytes >> 20} MiB of it for the context"
        lines += [model.path, f"  {where}", f"  {mib}"]
    lines += problems(found.problems)
    lines += [f"assumed: {text}" for text in found.assumptions]
    report(arguments, found.to_dict(), *lines)
    return 0 if found.fits else 1
