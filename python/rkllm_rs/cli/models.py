"""The commands about models' files: ``rkllm-rs inspect`` and ``rkllm-rs plan``."""

from __future__ import annotations

from .output import report, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from rkllm_rs.models import Inspection, Problem

INSPECT = "tell what a model's file is, without loading it"
INSPECT_EXAMPLES = """\
examples:
  rkllm-rs inspect Qwen3-0.6B_W8A8_RK3588.rkllm
  rkllm-rs inspect --json *.rkllm       one JSON object a line

The exit status is 1 if a file is not one that RKLLM() takes.
"""
PLAN = "tell whether models fit into memory together, and in which domains of the NPU"
PLAN_EXAMPLES = """\
examples:
  rkllm-rs plan Qwen3-0.6B_W8A8_RK3588.rkllm
  rkllm-rs plan --max-context-len 8192 model.rkllm vision.rknn

The exit status is 1 if they do not fit.
"""


def _problems(problems: Iterable[Problem]) -> list[str]:
    lines: list[str] = []
    for problem in problems:
        lines.append(f"  problem:     {problem.summary}")
        if problem.fix:
            lines.append(f"  fix:         {problem.fix}")
    return lines


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
        *_problems(found.problems),
    ]


def _inspect(arguments: argparse.Namespace) -> int:
    import json

    from rkllm_rs.models import inspect

    found = [inspect(path) for path in arguments.files]
    if arguments.json and len(found) > 1:
        for one in found:
            say(json.dumps(one.to_dict()))
    else:
        report(arguments, found[0].to_dict(), *(line for one in found for line in _file(one)))
    return 0 if all(one.loadable for one in found) else 1


def _plan(arguments: argparse.Namespace) -> int:
    from rkllm_rs.models import plan

    found = plan(
        arguments.files,
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
    lines += _problems(found.problems)
    lines += [f"assumed: {text}" for text in found.assumptions]
    report(arguments, found.to_dict(), *lines)
    return 0 if found.fits else 1


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


_count.__name__ = "number of tokens"


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the commands."""
    import argparse

    def command(name: str, text: str, examples: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.add_argument("files", nargs="+", metavar="FILE")
        sub.add_argument("--json", action="store_true", help="print JSON")
        return sub

    command("inspect", INSPECT, INSPECT_EXAMPLES).set_defaults(run=_inspect)
    plan = command("plan", PLAN, PLAN_EXAMPLES)
    plan.add_argument(
        "--root", default="/", metavar="DIR", help="read the files of another machine from this folder"
    )
    plan.add_argument("--release", metavar="R", help="release of RKLLM (default: 1.2.0 or newer)")
    plan.add_argument(
        "--max-context-len",
        type=_count,
        metavar="N",
        help="context of each model in tokens (default: what RKLLM() chooses)",
    )
    plan.set_defaults(run=_plan)
