"""The checks of clocks: memory first, since it decides how fast tokens come."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .readings import devfreq, heats
from .report import Check

if TYPE_CHECKING:
    from .facts import Facts

_SLOW = ("powersave", "userspace")


def _devfreq(facts: Facts, id: str, what: str, folder: str) -> Check:  # noqa: A002 - as the attribute is called
    """A clock of the kernel's devfreq."""
    clock = devfreq(facts.root, folder)
    now, least, most, governor, steps = clock
    top = clock.top
    if now is None or not top:
        return Check(id, "unknown", f"the clock of {what} cannot be read", folder)
    lines = [f"{folder}: {least or 0} to {most or 0} Hz, governor {governor}"]
    if steps:
        lines.append("steps in MHz: " + " ".join(str(step // 1_000_000) for step in sorted(steps)))
    told = f"{what} at {now / 1e6:.0f} of {top / 1e6:.0f} MHz, governor {governor}"
    fix = f"echo performance | sudo tee {folder}/governor"
    if steps and most and most < top:
        lines.append(f"The limit is {most} Hz.")
        return Check(
            id,
            "warning",
            f"{told}: limited to {most / 1e6:.0f} MHz",
            "\n".join(lines),
            f"echo {top} | sudo tee {folder}/max_freq",
        )
    if now < top and governor in _SLOW:
        return Check(id, "warning", f"{told}: it does not rise under load", "\n".join(lines), fix)
    if now < top and governor != "performance":
        lines.append("It rises under load, but perhaps not for the NPU's load alone.")
        return Check(id, "ok", told, "\n".join(lines), fix)
    return Check(id, "ok", told, "\n".join(lines))


def check_ddr(facts: Facts) -> Check:
    """The clock of the memory."""
    if facts.kind != "rockchip":
        return Check("ddr-clock", "not_applicable", "no Rockchip chip")
    if facts.root.exists("/sys/class/devfreq/dmc"):
        return _devfreq(facts, "ddr-clock", "memory", "/sys/class/devfreq/dmc")
    lines = [
        match.string.strip()
        for match in facts.log.search(r"dmc.*(?:ATF version|frequencies)|trusted firmware")
    ]
    words = (facts.root.text("/proc/cmdline", 4096) or "").split()
    lines += [f"boot firmware: {word}" for word in words if word.startswith("androidboot.fwver=")]
    told = "the memory clock cannot be read: this system has no /sys/class/devfreq/dmc"
    lines.append("The clock stays as the boot firmware set it. It decides how fast tokens come.")
    return Check(
        "ddr-clock",
        "unknown",
        told,
        "\n".join(lines[-4:]),
        "sudo grep sclk_ddr /sys/kernel/debug/clk/clk_summary",
    )


def check_npu(facts: Facts) -> Check:
    """The clock of the NPU."""
    folder = facts.npu.clock
    if folder:
        return _devfreq(facts, "npu-clock", "NPU", folder)
    if facts.npu.name != "rknpu":
        return Check("npu-clock", "not_applicable", "there is no driver rknpu")
    # The driver's own file is not read: that would power up the NPU.
    return Check("npu-clock", "unknown", "the NPU has no clock in /sys/class/devfreq")


def check_gpu(facts: Facts) -> Check:
    """The clock of the GPU, which the library may use through OpenCL."""
    if facts.kind != "rockchip":
        return Check("gpu-clock", "not_applicable", "no Rockchip chip")
    found = facts.root.glob("/sys/class/devfreq/*.gpu")
    if not found:
        return Check("gpu-clock", "not_applicable", "no GPU in /sys/class/devfreq")
    check = _devfreq(facts, "gpu-clock", "GPU", found[0])
    link = facts.root.link(f"{found[0]}/device/driver")
    driver = f"\ndriver: {link.rpartition('/')[2]}" if link else ""
    # The library does without it, so nothing about it is a fault.
    status = "ok" if check.status == "warning" else check.status
    return Check("gpu-clock", status, check.summary, check.detail + driver)


def check_cpu(facts: Facts) -> Check:
    """The clocks of the CPUs."""
    root, lines, slow, fixes = facts.root, list[str](), list[str](), list[str]()
    governors: dict[str, None] = {}
    tops: list[str] = []
    for folder in root.glob("/sys/devices/system/cpu/cpufreq/policy*"):
        most, limit = root.number(f"{folder}/cpuinfo_max_freq"), root.number(f"{folder}/scaling_max_freq")
        governor = root.line(f"{folder}/scaling_governor") or "unknown"
        governors[governor] = None
        cpus = root.line(f"{folder}/related_cpus") or "?"
        now = root.number(f"{folder}/scaling_cur_freq") or 0
        tops.append(str((most or 0) // 1000))
        lines.append(f"CPUs {cpus}: {now // 1000} of {tops[-1]} MHz, governor {governor}")
        if governor in _SLOW and most and now < most:
            slow.append(cpus)
        if most and limit and limit < most:
            fixes.append(f"echo {most} | sudo tee {folder}/scaling_max_freq")
    if not lines:
        return Check("cpu-clock", "unknown", "the kernel does not tell the clocks of the CPUs")
    told = f"up to {', '.join(tops[:8])} MHz, governor {', '.join(governors)}"
    detail = "\n".join(lines[:16])
    fix = "echo performance | sudo tee /sys/devices/system/cpu/cpufreq/policy*/scaling_governor"
    if facts.kind != "rockchip":
        return Check("cpu-clock", "ok", told, detail)
    if slow:
        return Check("cpu-clock", "warning", f"CPUs {', '.join(slow)} do not rise under load", detail, fix)
    if fixes:
        why = f"{told}; {len(fixes)} of {len(lines)} clusters may not reach that"
        return Check("cpu-clock", "warning", why, detail, " && ".join(fixes[:8]))
    return Check("cpu-clock", "ok", told, detail, None if list(governors) == ["performance"] else fix)


def check_heat(facts: Facts) -> Check:
    """How hot the board is, and whether it slows down for that."""
    root, hot, lines, slowed = facts.root, list[str](), list[str](), list[str]()
    found: list[tuple[int, str]] = []
    for folder, kind, heat in heats(root):
        found.append((heat, kind))
        lines.append(f"{kind}: {heat / 1000:.0f} °C")
        trips = [
            trip
            for place in range(12)
            if root.line(f"{folder}/trip_point_{place}_type") == "passive"
            and (trip := root.number(f"{folder}/trip_point_{place}_temp")) is not None
        ]
        if heat >= max(75_000, min(trips, default=85_000)):
            hot.append(lines[-1])
    for folder in root.glob("/sys/class/thermal/cooling_device*"):
        kind, state = root.line(f"{folder}/type") or "", root.number(f"{folder}/cur_state") or 0
        if state > 0 and re.search("devfreq|cpufreq", kind):
            slowed.append(f"{kind} is slowed down, state {state} of {root.number(f'{folder}/max_state')}")
    if not found and not slowed:
        return Check("heat", "unknown", "no temperature can be read")
    detail = "\n".join([*lines[:24], *slowed[:24]])
    fix = "grep . /sys/class/thermal/thermal_zone*/temp    # again, with a heat sink or a fan"
    if slowed:
        return Check("heat", "warning", "the system is slowed down because it is hot", detail, fix)
    if hot:
        return Check("heat", "warning", f"hot: {', '.join(hot[:4])}", detail, fix)
    hottest = max(found)
    return Check("heat", "ok", f"{hottest[0] / 1000:.0f} °C at most ({hottest[1]})", detail)
