"""The checks of memory: RAM, contiguous memory, swap, and the NPU's address spaces."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .driver import LEAST, numbers
from .report import Check

if TYPE_CHECKING:
    from .facts import Facts

_GIB = 1 << 20  # in kB, as /proc/meminfo counts
#: The smallest models of the vendor's tables need about half of it, and the system the rest.
_LEAST = _GIB


def meminfo(facts: Facts) -> dict[str, int]:
    """The numbers of ``/proc/meminfo``, in kB."""
    found = re.findall(r"^(\w+):\s+(\d{1,15}) kB$", facts.root.text("/proc/meminfo") or "", re.MULTILINE)
    return {name: int(value) for name, value in found}


def _size(kilobytes: int) -> str:
    if kilobytes >= _GIB:
        return f"{kilobytes / _GIB:.1f} GiB"
    return f"{kilobytes / 1024:.0f} MiB"


def check_memory(facts: Facts) -> Check:
    """How much RAM there is."""
    told = meminfo(facts)
    total, free = told.get("MemTotal"), told.get("MemAvailable")
    if total is None or free is None:
        return Check("memory", "unknown", "/proc/meminfo cannot be read")
    what = f"{_size(free)} of {_size(total)} RAM available"
    detail = "A model needs about the size of its file, its context, and 100 to 300 MB."
    if free < _LEAST:
        fix = "ps axo rss,comm --sort=-rss | head    # close what is not needed, or choose a smaller model"
        return Check("memory", "warning", f"{what}: enough for the smallest models only", detail, fix)
    return Check("memory", "ok", what, detail)


def check_swap(facts: Facts) -> Check:
    """Whether there is swap."""
    told = meminfo(facts)
    total = told.get("SwapTotal")
    if total is None:
        return Check("swap", "unknown", "/proc/meminfo cannot be read")
    detail = "A model's weights stay in RAM; swap makes room for them by moving other programs out."
    if facts.root.exists("/sys/block/zram0/disksize") and total:
        detail += " Some of it is compressed RAM (zram)."
    what = f"{_size(told.get('SwapFree', 0))} of {_size(total)} swap free" if total else "no swap"
    return Check("swap", "ok", what, detail)


def uses_iommu(facts: Facts) -> bool | None:
    """Whether the driver uses an IOMMU."""
    if found := facts.log.last(r"RKNPU.*(?:(non-iommu) mode|using iommu mode)|rknpu.*(non-iommu)"):
        return not (found[1] or found[2])
    groups = facts.root.glob("/sys/kernel/iommu_groups/*/devices/*npu")
    return True if groups else None


def check_iommu(facts: Facts) -> Check:
    """Whether the NPU has address spaces of its own, in which memory need not be contiguous."""
    if facts.npu.name != "rknpu":
        return Check("iommu", "not_applicable", "there is no driver rknpu")
    used = uses_iommu(facts)
    if used is None:
        return Check("iommu", "unknown", "nothing tells whether the NPU uses an IOMMU")
    if used:
        groups = facts.root.glob("/sys/kernel/iommu_groups/*/devices/*npu")
        detail = "\n".join(f"{path.split('/')[-1]} is in group {path.split('/')[4]}" for path in groups)
        domains = "up to 16 domains of 4 GiB each (base_domain_id 0 to 15)"
        if facts.npu.version and numbers(facts.npu.version) < LEAST:
            domains = "drivers below 0.9.6 have no more than 4 GiB"
        return Check("iommu", "ok", f"the NPU uses its IOMMU; {domains}", detail)
    found = facts.log.last("non-iommu")
    return Check(
        "iommu",
        "warning",
        "the driver works without the IOMMU (non-IOMMU mode): a model must fit into contiguous memory",
        found.string.strip() if found else "",
        facts.vendor_kernel,
    )


def check_cma(facts: Facts) -> Check:
    """How much contiguous memory there is, where the NPU needs it."""
    told = meminfo(facts)
    total = told.get("CmaTotal")
    if facts.kind == "other":
        return Check("cma", "not_applicable", "no Rockchip chip")
    if total is None:
        return Check("cma", "unknown", "the kernel does not tell its contiguous memory")
    what = f"{_size(told.get('CmaFree', 0))} of {_size(total)} contiguous memory (CMA) free"
    if facts.npu.name == "rknpu" and uses_iommu(facts) is False:
        if total < _LEAST // 2:
            fix = "cat /proc/cmdline    # then add cma=1024M to it, in the boot configuration"
            return Check("cma", "warning", f"{what}; without the IOMMU, a model must fit into it", "", fix)
        return Check("cma", "ok", f"{what}; without the IOMMU, a model must fit into it")
    return Check("cma", "ok", f"{what}; it does not matter while the NPU uses its IOMMU")
