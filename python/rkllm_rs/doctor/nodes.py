"""The checks of device nodes: whether they are there, and whether this user may open them."""

from __future__ import annotations

import grp
import os
import re
import stat
from typing import TYPE_CHECKING

from .containers import options
from .report import Check

if TYPE_CHECKING:
    from .facts import Facts

GROUPS = 'sudo usermod -aG render,video "$USER"    # then log out and in again'
#: The mode with which a group may read and write.
_GROUP = 0o060
_RULES = {
    "rknpu": 'KERNEL=="rknpu", MODE="0660", GROUP="render"',
    "dri": 'SUBSYSTEM=="drm", KERNEL=="renderD*", MODE="0660", GROUP="render"',
    "dma_heap": 'SUBSYSTEM=="dma_heap", MODE="0660", GROUP="video"',
}


def check_node(facts: Facts) -> Check:
    """Whether the NPU has a device node."""
    npu, root = facts.npu, facts.root
    if facts.kind == "other":
        return Check("node", "not_applicable", "no Rockchip chip, so no NPU node is expected")
    if npu.node:
        return Check("node", "ok", f"{npu.node}, told by {npu.told_by}")
    if npu.name == "rocket":
        return Check("node", "not_applicable", "see driver")
    if npu.disabled and not npu.bound:
        return Check("node", "not_applicable", "see device-tree")
    if facts.container:
        others = facts.npu.untold
        if others:
            why = f"nothing tells whether {', '.join(others)} is the NPU's; mount /sys"
            return Check("node", "unknown", why, "", "docker run --volume /sys:/sys:ro …")
        return Check(
            "node",
            "failure",
            "no NPU node in this container",
            "The container was started without the NPU's devices.",
            f"docker run {options(facts)} …",
        )
    if npu.name is None:
        return Check("node", "unknown" if facts.kind == "unknown" else "not_applicable", "none; see driver")
    if (npu.bound is None and not root.names("/dev")) or root.listing("/dev/dri") is None:
        return Check("node", "unknown", "/dev cannot be read")
    return Check(
        "node",
        "failure",
        "the driver is there, but neither /dev/rknpu nor a node of it in /dev/dri",
        "The driver has no device." if npu.bound is False else "",
        "sudo dmesg | grep -i rknpu    # tells why; then update the board vendor's kernel",
    )


def _group(facts: Facts, gid: int) -> str | None:
    """The name of a group."""
    if not facts.root.live:
        return None
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:  # of a container's host
        return None


def _fix(facts: Facts, node: str, kind: str) -> str:
    """How the user gets the right to open a node."""
    found = facts.root.status(node)
    mode, gid = (stat.S_IMODE(found.st_mode), found.st_gid) if found else (0, 0)
    rule = (
        f"echo '{_RULES[kind]}' | sudo tee -a /etc/udev/rules.d/99-rknpu.rules && "
        "sudo udevadm control --reload && sudo udevadm trigger"
    )
    if facts.container:
        return f'docker run --group-add "$(stat -c %g {node})" …    # the number as it is on the board'
    if mode & _GROUP != _GROUP:
        return f"{rule} && {GROUPS}"
    name = _group(facts, gid)
    if facts.root.live and name:
        if name == "root":
            return f"{rule} && {GROUPS}"
        users: list[str] = grp.getgrgid(gid).gr_mem
        if os.environ.get("USER", "") in users and gid not in os.getgroups():
            return f"newgrp {name}    # or log out and in again: your session is not in this group yet"
        return f'sudo usermod -aG {name} "$USER"    # then log out and in again'
    return GROUPS


def _told(facts: Facts, node: str) -> str:
    found = facts.root.status(node)
    if found is None:
        return node
    owner = f", group {_group(facts, found.st_gid) or found.st_gid}" if facts.root.live else ""
    return f"{node}: mode {stat.S_IMODE(found.st_mode):04o}{owner}"


def _groups(facts: Facts) -> list[str]:
    """The groups of this process."""
    if not facts.root.live:
        return []
    return [
        "your groups: " + ", ".join(_group(facts, gid) or str(gid) for gid in sorted(os.getgroups())[:32])
    ]


def _rules(facts: Facts) -> list[str]:
    """The rules of udev that name such nodes."""
    wanted = re.compile(r'KERNEL=="(?:rknpu|renderD[^"]*)"|SUBSYSTEM=="(?:drm|dma_heap)".*(?:GROUP|MODE)')
    return [
        f"{path}: {line.strip()[:200]}"
        for folder in ("/etc/udev/rules.d", "/usr/lib/udev/rules.d")
        for path in facts.root.glob(f"{folder}/*.rules")
        for line in (facts.root.text(path) or "").splitlines()
        if wanted.search(line) and not line.startswith("#")
    ][:8]


def check_permissions(facts: Facts) -> Check:
    """Whether this user may open the NPU's node."""
    node = facts.npu.node
    if node is None:
        return Check("permissions", "not_applicable", "there is no NPU node to open")
    told = "\n".join([_told(facts, node), *_groups(facts), *_rules(facts)])
    if facts.root.usable(node):
        return Check("permissions", "ok", f"your user may open {node}", told)
    kind = "rknpu" if node == "/dev/rknpu" else "dri"
    why = f"permission denied: your user may not open {node}"
    return Check("permissions", "failure", why, told, _fix(facts, node, kind))


def check_dma_heap(facts: Facts) -> Check:
    """Whether this user may open a heap from which the library takes memory."""
    nodes = [f"/dev/dma_heap/{name}" for name in facts.root.names("/dev/dma_heap")]
    if facts.kind == "other" or not nodes:
        what = "no /dev/dma_heap" + (
            "; pass --device /dev/dma_heap if the board has it" if facts.container else ""
        )
        return Check("dma-heap", "not_applicable", what)
    detail = "\n".join(_told(facts, node) for node in nodes[:16])
    open_ones = [node for node in nodes if facts.root.usable(node)]
    if open_ones:
        return Check("dma-heap", "ok", f"your user may open {', '.join(open_ones[:8])}", detail)
    why = "your user may open none of the heaps in /dev/dma_heap, of which the library may need one"
    return Check("dma-heap", "warning", why, detail, _fix(facts, nodes[0], "dma_heap"))
