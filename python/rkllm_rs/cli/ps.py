"""The command ``rkllm-rs ps``: which processes have a model open, and who uses the NPU."""

from __future__ import annotations

import time

from rkllm_rs import _native
from rkllm_rs._presence import servers

from .output import add_json, report
from .processes import processes, user

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any


HELP = """\
Show the processes of this machine that have a model open, as far as /proc and the NPU lock tell, and who uses
the NPU and who waits for it."""
EXAMPLES = """\
examples:
  rkllm-rs ps
  rkllm-rs ps --json
  sudo rkllm-rs ps           with the processes of other users
"""
add_arguments = add_json
_WIDTH = 100
#: What is known of a process by looking into it.
_UNKNOWN = "model", "model_from", "library", "worker_of", "resident_bytes"


def _line() -> dict[str, Any]:
    """The lock as data."""
    path, problem, line = _native.npu_line()
    keys = "pid", "uid", "program", "for", "since"
    known: list[dict[str, Any]] = []
    for one in line:
        entry: dict[str, Any] = dict.fromkeys((*keys, "user"))
        if one:
            entry.update(zip(keys, one, strict=True))
            entry["user"] = user(one[1])
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


def _models(holder: dict[str, Any] | None) -> tuple[list[dict[str, Any]], int]:
    """The processes with an open model, as far as they can be known."""
    found, hidden = processes()
    for one in found:
        one["program"] = " ".join(one["program"])
    if holder and holder["for"] == "run" and holder["pid"] not in {one["pid"] for one in found}:
        # Another user's, perhaps: it has left its name in the lock's file.
        known = {"pid": holder["pid"], "user": holder["user"], "program": holder["program"]}
        found.append({**known, **dict.fromkeys(_UNKNOWN)})
    _name(found)
    return found, hidden


def _name(found: list[dict[str, Any]]) -> None:
    """Adds what servers tell: the names of their models, and those that are not loaded."""
    for process in found:
        worker = None if process["worker_of"] is None else process["pid"]
        process.update(name=None, worker_pid=worker, state="loaded")
    by_pid = {process["pid"]: process for process in found}
    for server in servers():
        for model in server["models"]:
            one = by_pid.get(model["worker_pid"])
            if one is None:
                one = _nothing("pid", "user", "program", *_UNKNOWN)
                found.append(one)
            one.update(model=model["path"], name=model["name"], worker_pid=model["worker_pid"])
            one.update(state=model["state"], server_pid=server["pid"])


def _nothing(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names)


def _short(program: str) -> str:
    line = " ".join(program.split())
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"


def _process(one: dict[str, Any]) -> list[str]:
    model = one["model"] or "unknown model"
    if one["name"] is not None:
        model = f"{one['name']}: {model}"
    if one["pid"] is None:
        return [model, f"  {one['state']}, of the server with pid {one['server_pid']}"]
    size = "" if one["resident_bytes"] is None else f", {one['resident_bytes'] >> 20} MiB"
    worker = "" if one["worker_of"] is None else f", worker of {one['worker_of']}"
    return [model, f"  pid {one['pid']}, user {one['user']}{size}{worker}", f"  {_short(one['program'])}"]


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    lock = _line()
    models, hidden = _models(lock["holder"])
    data: dict[str, Any] = {"models": models, "npu_lock": lock, "hidden_processes": hidden}
    lines = [line for one in models for line in _process(one)] or ["no process with an open model was found"]
    if hidden:
        lines.append(f"processes that cannot be looked into: {hidden}")
    lines.append("")
    if lock["path"] is None:
        lines.append("NPU lock: off (RKLLM_RS_NPU_LOCK)")
    else:
        lines.append(f"NPU lock: {lock['path']}")
        if lock["problem"] is not None:
            lines.append(f"  unknown: {lock['problem']}")
        elif lock["holder"] is None:
            lines.append("  free")
        else:
            lines.append(f"  {_told(lock['holder'], 'held')}")
            lines += [f"  {_told(one, 'waiting:')}" for one in lock["waiting"]]
    report(arguments, data, *lines)
    return 0
