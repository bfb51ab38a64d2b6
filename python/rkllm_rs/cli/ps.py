"""The command ``rkllm-rs ps``: what uses the NPU."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rkllm_rs import _native

from .output import report

if TYPE_CHECKING:
    import argparse
    from typing import Any


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # one of another machine's, or of a container
        return str(uid)


def _line() -> dict[str, Any]:
    """The lock as data."""
    path, problem, line = _native.npu_line()
    keys = "pid", "uid", "program", "for", "since"
    known: list[dict[str, Any]] = []
    for one in line:
        entry: dict[str, Any] = dict.fromkeys((*keys, "user"))
        if one:
            entry.update(zip(keys, one, strict=True))
            entry["user"] = _user(one[1])
        known.append(entry)
    holder = known[0] if known else None
    return {"path": path, "holder": holder, "waiting": known[1:], "problem": problem}


def _told(one: dict[str, Any], verb: str) -> str:
    if one["pid"] is None:
        return f"{verb} by a process that left no record" if verb == "held" else f"{verb}: unknown process"
    use = {"run": "a run", "npu_lock": "npu_lock()"}[one["for"]]
    seconds = max(0.0, time.time() - one["since"])
    by = "held by" if verb == "held" else verb
    return f"{by} {one['program']} (pid {one['pid']}, user {one['user']}) for {use}, since {seconds:.1f} s"


def _ps(arguments: argparse.Namespace) -> int:
    lock = _line()
    # What a server has open will stand here; a program's own models are known to it alone.
    data: dict[str, Any] = {"models": [], "npu_lock": lock}
    if lock["path"] is None:
        lines = ["NPU lock: off (RKLLM_RS_NPU_LOCK)"]
    else:
        lines = [f"NPU lock: {lock['path']}"]
        if lock["problem"] is not None:
            lines.append(f"  unknown: {lock['problem']}")
        elif lock["holder"] is None:
            lines.append("  free")
        else:
            lines.append(f"  {_told(lock['holder'], 'held')}")
            lines += [f"  {_told(one, 'waiting:')}" for one in lock["waiting"]]
    report(arguments, data, *lines)
    return 0


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds ``ps``."""
    text = "show who uses the NPU and who waits for it"
    sub = commands.add_parser("ps", help=text, description=text)
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub.set_defaults(run=_ps)
