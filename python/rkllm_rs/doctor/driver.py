"""The checks of the NPU's driver, and of its place in the device tree."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .report import Check, Driver

if TYPE_CHECKING:
    from .facts import Facts

#: The vendor's manual asks for it since RKLLM 1.1.0.
ASKED = (0, 9, 8)
#: The first with allocations above 4 GB; below it, answers can be garbage.
LEAST = (0, 9, 6)
#: The words of the kernel's command line that matter; others can tell who owns the board.
_SETTINGS = ("cma", "mem", "maxcpus", "isolcpus", "iommu.passthrough", "coherent_pool", "androidboot.fwver")


def numbers(version: str) -> tuple[int, ...]:
    """A version to compare by."""
    return tuple(int(part) for part in re.findall(r"[0-9]{1,9}", version)[:3])


def driver(facts: Facts) -> Driver:
    """The driver, as the report has it."""
    npu = facts.npu
    first = npu.answers[0] if npu.answers else None
    date = next((answer.date for answer in npu.answers if answer.date), None)
    source = first.source if first else "none"
    return Driver(npu.version, source, npu.node, npu.name, date if first else None)


def check_driver(facts: Facts) -> Check:
    """Which driver it is, and whether RKLLM works with it."""
    npu = facts.npu
    if npu.name is None:
        return _no_driver(facts)
    if npu.name == "rocket":
        return Check(
            "driver",
            "failure",
            "the NPU's driver is mainline's rocket, with which RKLLM cannot work",
            f"kernel {_release(facts) or 'unknown'}; RKLLM needs the driver rknpu.",
            facts.vendor_kernel,
        )
    if npu.version is None:
        denied = npu.denied or ["/sys/kernel/debug/rknpu/version"]
        return Check(
            "driver",
            "unknown",
            "rknpu, of a version that cannot be read",
            "\n".join(f"{path}: no right to read" for path in npu.denied),
            f"sudo cat {denied[-1]}",
        )
    lines = [f"{answer.source}: {answer.version}" for answer in npu.answers]
    lines += [f"{path}: no right to read" for path in npu.denied]
    if len({answer.version for answer in npu.answers}) > 1:
        lines.append("The sources differ; the first one is believed.")
    told, found = f"rknpu {npu.version}", numbers(npu.version)
    if found >= ASKED:
        return Check("driver", "ok", f"{told}, read from {npu.answers[0].source}", "\n".join(lines))
    if found >= LEAST:
        return Check(
            "driver",
            "warning",
            f"{told} is older than 0.9.8, which RKLLM's manual asks for; large models can fail to load",
            "\n".join(lines),
            facts.vendor_kernel,
        )
    return Check(
        "driver",
        "failure",
        f"{told} is too old: answers can be garbage without an error; 0.9.8 is needed",
        "\n".join([*lines, "Do not unbind or unload a built-in driver: the kernel can crash."]),
        facts.vendor_kernel,
    )


def _no_driver(facts: Facts) -> Check:
    if facts.kind == "other":
        return Check("driver", "not_applicable", "no Rockchip chip, so no NPU driver is expected")
    if facts.chip and facts.chip.supported is False:
        return Check("driver", "not_applicable", "none; RKLLM does not support this chip")
    if facts.npu.disabled and not _mainline(facts):
        return Check("driver", "not_applicable", "none is active, because the device tree disables the NPU")
    if facts.kind == "unknown" or not facts.root.names("/sys"):
        return Check("driver", "unknown", "none was found, and nothing tells whether there should be one")
    return Check(
        "driver",
        "failure",
        "this kernel has no driver for the NPU",
        f"kernel {_release(facts) or 'unknown'}; RKLLM needs the driver rknpu, which is part of the board "
        "vendors' kernels 5.10 and 6.1.",
        facts.vendor_kernel,
    )


def _mainline(facts: Facts) -> bool:
    """Whether the NPU's nodes are those of mainline Linux, which is without the driver rknpu."""
    return any(one.endswith("-rknn-core") for one in facts.npu.compatible)


def check_device_tree(facts: Facts) -> Check:
    """Whether the device tree leaves the NPU switched on."""
    root, disabled = facts.root, facts.npu.disabled
    nodes = root.glob("/proc/device-tree/npu@*") + root.glob("/proc/device-tree/soc/npu@*")
    if facts.kind == "other":
        return Check("device-tree", "not_applicable", "no Rockchip chip")
    if not nodes:
        return Check("device-tree", "unknown", "no NPU node can be seen in /proc/device-tree")
    if disabled and _mainline(facts) and facts.npu.name != "rknpu":
        return Check("device-tree", "not_applicable", "the device tree is mainline's; see driver")
    # Of three cores, a tree may leave some off; a driver that is there decides.
    if disabled and len(disabled) == len(nodes):
        name = disabled[0].rpartition("/")[2]
        return Check(
            "device-tree",
            "failure",
            f"the device tree disables the NPU: the status of {', '.join(disabled)} is disabled",
            "The vendor's system has an overlay for it, or a newer device tree. The IOMMU of the NPU must be "
            "enabled too. Without that, the kernel makes no device.",
            f"sudo dtc -I fs /proc/device-tree 2>/dev/null | grep -A9 '{name}'    "
            "# then set status = okay by an overlay of the board's system, and reboot",
        )
    told = ", ".join(path.removeprefix("/proc/device-tree") for path in nodes)
    return Check("device-tree", "ok", f"the NPU is enabled: {told}")


def _release(facts: Facts) -> str | None:
    """The kernel's release."""
    return facts.root.line("/proc/sys/kernel/osrelease")


def check_kernel(facts: Facts) -> Check:
    """Which kernel it is."""
    root = facts.root
    release = _release(facts)
    if not release:
        return Check("kernel", "unknown", "the kernel's release cannot be read")
    lines: list[str] = []
    if told := root.text("/etc/os-release"):
        names = [
            line.partition("=")[2].strip('"') for line in told.splitlines() if line.startswith("PRETTY_NAME=")
        ]
        lines += [f"system: {name}" for name in names[:1]]
    words = (root.text("/proc/cmdline", 4096) or "").split()
    lines += [f"started with {word}" for word in words if word.partition("=")[0] in _SETTINGS]
    return Check("kernel", "ok", " ".join(filter(None, [release, facts.arch])), "\n".join(lines))


def check_log(facts: Facts) -> Check:
    """What the kernel's log tells of faults."""
    log = facts.log
    if facts.kind == "other":
        return Check("kernel-log", "not_applicable", "no Rockchip chip")
    if not log.lines:
        why = "it may be read by root only" if log.denied else "there is none"
        return Check(
            "kernel-log",
            "unknown",
            f"the kernel's log cannot be read: {why}",
            "",
            "sudo dmesg | grep -i rknpu",
        )
    bad = r"RKNPU.*(?:failed to wait job|job timeout|job abort|soft reset, num|switch iommu domain time out)"
    bad += r"|failed to get ack on domain 'npu'|RKNPU.*failed to allocate"
    found = [match.string.strip() for match in log.search(bad)]
    if not found:
        return Check("kernel-log", "ok", f"no fault of the NPU in {log.source}")
    return Check(
        "kernel-log",
        "warning",
        f"the kernel's log has {len(found)} line{'s' if len(found) > 1 else ''} of NPU faults",
        "\n".join(found[-5:]),
        "rkllm-rs ps    # only one program may use the NPU at a time; if faults go on: sudo reboot",
    )
