"""The check of who uses the NPU."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from . import native
from .report import Check

if TYPE_CHECKING:
    from .facts import Facts

#: Seconds that the search may take, and the descriptors of one process that are looked at.
_SECONDS = 0.4
_DESCRIPTORS = 1024


def _holders(facts: Facts, nodes: set[str | None]) -> tuple[list[tuple[int, str]], int]:
    """The processes that have one of the nodes open, and how many others could not be looked into."""
    root, found, closed = facts.root, list[tuple[int, str]](), 0
    until = time.monotonic() + _SECONDS
    for pid in root.names("/proc"):
        if not pid.isdecimal() or not pid.isascii():
            continue
        if time.monotonic() > until:
            return found, closed + 1
        files = root.listing(f"/proc/{pid}/fd")
        closed += files is None
        if any(root.link(f"/proc/{pid}/fd/{file}") in nodes for file in (files or [])[:_DESCRIPTORS]):
            name = root.line(f"/proc/{pid}/comm") or "unknown"
            found.append((int(pid), name))
    return found, closed


def _line(facts: Facts) -> list[tuple[int, str]]:
    """The programs of this package that hold the NPU's lock or wait for it."""
    if not facts.root.live:
        return []
    try:
        line = native.load().npu_line()[2]
    except ImportError:
        return []
    return [(one[0], one[2]) for one in line if one]


def check_users(facts: Facts) -> Check:
    """Which programs have the NPU open."""
    node = facts.npu.node
    if node is None:
        return Check("npu-users", "not_applicable", "there is no NPU node to hold")
    found, closed = _holders(facts, {node, facts.npu.card or node})
    line = _line(facts)
    lines = [f"{name} (pid {pid}) has the NPU's node open" for pid, name in found]
    lines += [
        f"{name} (pid {pid}) {'waits for' if place else 'holds'} the NPU lock"
        for place, (pid, name) in enumerate(line)
    ]
    if closed:
        lines.append("Other users' processes cannot be looked into without root.")
    detail = "\n".join(lines)
    names = ", ".join(dict.fromkeys(name for _, name in [*found, *line]))
    see = f"sudo fuser -v {node}; rkllm-rs ps"
    load = re.findall(r"(\d+)%", facts.root.text("/proc/rknpu/load", 1024) or "")
    busy = f"; load {', '.join(f'{part} %' for part in load)}" if any(int(part[:4]) for part in load) else ""
    if names:
        told = f"the NPU is in use by {names}{busy}"
        return Check(
            "npu-users",
            "ok",
            told,
            detail + "\nTwo programs at once can hang the board, unless they take turns.",
            see,
        )
    if closed or busy:
        return Check(
            "npu-users",
            "unknown",
            f"no process of yours uses the NPU; others cannot be seen{busy}",
            detail,
            see,
        )
    return Check("npu-users", "ok", "no process uses the NPU", detail)
