"""The command ``rkllm-rs verify``: whether everything works with a model on this machine."""

from __future__ import annotations

import json
import sys

from .opening import file_path
from .output import add_json, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from rkllm_rs.verify import Item, Report

HELP = "Verify on this machine what the package promises, and measure what nobody has documented."
EXAMPLES = """\
examples:
  rkllm-rs verify model.rkllm                        a few minutes on a board
  rkllm-rs verify model.rkllm --soak 30              and half an hour of runs, for memory and heat
  rkllm-rs verify model.rkllm --report report.md     and a report for an issue, without names and addresses

The library runs in a process of its own: a crash fails one item, and what hangs is killed. Ctrl-C prints what
was found so far. The exit status is 1 if an item fails, and else 0.
"""
_STOPPED = 130


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from rkllm_rs import verify
    from rkllm_rs.doctor.publish import writable, write
    from rkllm_rs.verify.publish import markdown

    if arguments.report is not None and not writable(arguments.report):
        return 1

    told: list[str] = []

    def on_item(item: Item, report: Report) -> None:
        if arguments.json:
            return
        if not told:
            told.append(report.ran_on)
            say(f"Runs on {report.ran_on}.")
        say(f"{item.verdict:<9} {item.id:<14} {item.seconds:>6.1f} s  {item.reason}")
        if item.verdict == "fail":
            say(f"{'':<9} {'expected:':<14} {'':>6}    {item.expected}")
        sys.stdout.flush()

    report = verify.run(
        file_path(arguments.model),
        backend=arguments.backend,
        library=arguments.library,
        lora=arguments.lora,
        prompt_cache=arguments.prompt_cache,
        soak=arguments.soak,
        timeout=arguments.timeout,
        only=arguments.only.split(",") if arguments.only is not None else None,
        on_item=on_item,
    )
    written = arguments.report is None or write(markdown(report), arguments.report)
    if arguments.json:
        say(json.dumps(report.to_dict(), indent=1))
    else:
        counts = ", ".join(f"{report.count(one)} {one}" for one in ("pass", "fail", "skipped", "measured"))
        say(f"\n{counts}. Ran on {report.ran_on}.")
    if report.interrupted:
        return _STOPPED
    return int(report.failed or not written)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="the model: a .rkllm file (NPU), a .gguf file (CPU runtime), or a model's name",
    )
    add_json(parser)
    parser.add_argument(
        "--report",
        metavar="FILE",
        help="write Markdown for an issue to this file, without names, addresses and serial numbers",
    )
    parser.add_argument(
        "--soak", type=float, default=0, metavar="MINUTES", help="run the model again and again for so long"
    )
    parser.add_argument("--backend", choices=("auto", "npu", "cpu"), default="auto")
    parser.add_argument(
        "--library", metavar="FILE", help="path of the library (default: search the usual places)"
    )
    parser.add_argument("--lora", metavar="FILE", help="a LoRA adapter, to verify that too")
    parser.add_argument("--prompt-cache", metavar="FILE", help="a prompt cache, to load that too")
    parser.add_argument(
        "--timeout",
        type=float,
        default=300,
        metavar="SECONDS",
        help="limit for the load and for each item; what takes longer is killed (default: 300)",
    )
    parser.add_argument("--only", metavar="ID,…", help="do these items only, besides loading the model")
