"""The check of containers: what to pass to one, exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .report import Check

if TYPE_CHECKING:
    from .facts import Facts

_LIBRARY = "/opt/rkllm/librkllmrt.so"
_LOCK = "/run/lock/rkllm_rs-npu.lock"


def options(facts: Facts) -> str:
    """The options of ``docker run`` for the NPU, with the board's own nodes where they can be seen."""
    root, npu, library = facts.root, facts.npu, facts.library.chosen
    nodes = [node for node in (npu.node, npu.card) if node and root.exists(node)]
    if not nodes:
        nodes = ["/dev/rknpu" if root.exists("/sys/class/misc/rknpu") else "/dev/dri"]
    if facts.container or root.exists("/dev/dma_heap"):
        nodes.append("/dev/dma_heap")
    words = [f"--device {node}" for node in nodes]
    if facts.container:  # whose groups have other numbers than the board's
        words += [f'--group-add "$(getent group {name} | cut -d: -f3)"' for name in ("render", "video")]
    else:
        words += [f'--group-add "$(stat -c %g {node})"' for node in nodes if not root.names(node)]
    words.append(f"--volume {_LOCK}:{_LOCK}")
    if library and not facts.container:
        words.append(f"--volume {library.path}:{_LIBRARY}:ro --env RKLLM_RS_LIB={_LIBRARY}")
    return " ".join(words)


def check_container(facts: Facts) -> Check:
    """Whether this is a container, and what to pass to one."""
    inside = f"inside a container ({facts.container})"
    if facts.kind == "other":
        if facts.container:
            return Check("container", "ok", f"{inside}; there is no NPU to pass to it")
        return Check("container", "not_applicable", "this is not a container")
    lines = [
        f"docker run {options(facts)} …",
        f"Create {_LOCK} first, if it is not there, and mount the model. /sys must be visible,",
        "as it is in Docker. Not needed: --privileged.",
    ]
    if facts.container is None:
        detail = "\n".join(["To start one:", *lines]) if facts.npu.node else ""
        return Check("container", "not_applicable", "this is not a container", detail)
    lines += [
        f"{path}: {'visible' if facts.root.exists(path) else 'not visible'}"
        for path in ("/sys/class", "/dev/dri", "/dev/dma_heap", "/dev/rknpu", "/proc/device-tree")
    ]
    return Check("container", "ok", inside, "\n".join(lines))
