"""The check of the CPUs: which are the fast ones, and the mask that follows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from .report import Check, Cpu

if TYPE_CHECKING:
    from .facts import Facts

#: A CPU with this share of the fastest one's capacity belongs to the fast ones.
_FAST = 0.8
#: Kinds of CPUs, by the number in /proc/cpuinfo, with a rank.
_PARTS = {
    "0xd0b": ("A76", 3),
    "0xd08": ("A72", 2),
    "0xd05": ("A55", 1),
    "0xd03": ("A53", 1),
    "0xc07": ("A7", 0),
}
_MOST = 1024


class Found(NamedTuple):
    """The fast CPUs, and what told them."""

    cpu: Cpu
    told_by: str
    offline: list[int]
    isolated: list[int]


def ranges(text: str | None) -> list[int]:
    """The numbers of a list such as ``0-3,6``; also as ``related_cpus`` has them."""
    found: set[int] = set()
    for first, last in re.findall(r"(\d{1,4})(?:-(\d{1,4}))?", text or ""):
        found.update(range(int(first), min(int(last or first), _MOST) + 1))
    return sorted(found)


def _ranks(facts: Facts) -> tuple[dict[int, int], str]:
    """How fast each CPU is, and what told it."""
    root = facts.root
    folders = [
        path for path in root.glob("/sys/devices/system/cpu/cpu*") if re.fullmatch(r"cpu\d{1,4}", path[24:])
    ]
    capacities = {int(path[27:]): root.number(f"{path}/cpu_capacity") for path in folders}
    known = {cpu: capacity for cpu, capacity in capacities.items() if capacity is not None and capacity > 0}
    if known:
        return known, "cpu_capacity"
    blocks = re.findall(
        r"^processor\s*:\s*(\d{1,4})$(.*?)(?=^processor|\Z)", facts.cpuinfo, re.MULTILINE | re.DOTALL
    )
    parts = {
        int(cpu): re.search(r"^CPU part\s*:\s*(0x[0-9a-f]+)", told, re.MULTILINE) for cpu, told in blocks
    }
    ranks = {cpu: _PARTS[part[1]][1] + 1 for cpu, part in parts.items() if part and part[1] in _PARTS}
    if ranks:
        return ranks, "/proc/cpuinfo"
    clocks = {
        cpu: most
        for folder in root.glob("/sys/devices/system/cpu/cpufreq/policy*")
        if (most := root.number(f"{folder}/cpuinfo_max_freq")) is not None and most > 0
        for cpu in ranges(root.line(f"{folder}/related_cpus"))
    }
    return clocks, "the highest clocks"


def find(facts: Facts) -> Found:
    """Tells the fast CPUs."""
    root = facts.root
    ranks, told_by = _ranks(facts)
    present = ranges(root.line("/sys/devices/system/cpu/online"))
    isolated = ranges(root.line("/sys/devices/system/cpu/isolated"))
    online = present or sorted(ranks)
    chip = facts.chip
    ranks = {cpu: rank for cpu, rank in ranks.items() if cpu in online} if online else ranks
    if ranks:
        top = max(ranks.values())
        fast = [cpu for cpu, rank in ranks.items() if rank >= _FAST * top]
    elif chip:
        fast = [cpu for cpu in range(8) if chip.cpu_mask >> cpu & 1 and (not online or cpu in online)]
        told_by = "the usual order of this chip"
    else:
        fast, told_by = online, "nothing: they are taken to be alike"
    absent = [cpu for cpu in ranges(root.line("/sys/devices/system/cpu/present")) if cpu not in online]
    return Found(Cpu(sum(1 << cpu for cpu in fast), online or sorted(fast)), told_by, absent, isolated)


def cpu(facts: Facts) -> Cpu:
    """The processor, as the report has it."""
    return find(facts).cpu


def check_cpus(facts: Facts) -> Check:
    """Which CPUs the library should use."""
    found = find(facts)
    mask = found.cpu.mask
    fast = [number for number in range(mask.bit_length()) if mask >> number & 1]
    if not fast:
        return Check("cpu", "unknown", "the CPUs cannot be read")
    told = f"{len(found.cpu.online)} CPUs online"
    if facts.kind == "other":
        return Check("cpu", "ok", f"{told}: {facts.processor or facts.arch or 'unknown processor'}")
    named = f"CPU{'s' if len(fast) > 1 else ''} {', '.join(map(str, fast))}"
    told += f"; the fastest: {named} (mask {mask:#x})"
    lines = [f"told by {found.told_by}", f"RKLLM(…, enabled_cpus_mask={mask:#x})"]
    if found.isolated:
        lines.append(f"isolated from other programs: {', '.join(map(str, found.isolated))}")
    cores = facts.npu.cores or (facts.chip.npu_cores if facts.chip else 0)
    if found.offline:
        fix = " && ".join(
            f"echo 1 | sudo tee /sys/devices/system/cpu/cpu{n}/online" for n in found.offline[:8]
        )
        why = f"{told}; offline: {', '.join(map(str, found.offline))}"
        return Check("cpu", "warning", why, "\n".join(lines), fix)
    if len(fast) < cores:
        lines.append(f"RKLLM needs at least as many CPUs as the NPU has cores ({cores}): add slower ones.")
    return Check("cpu", "ok", told, "\n".join(lines))
