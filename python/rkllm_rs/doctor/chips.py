"""Chips and boards: what the device tree says, and what is known of each chip."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from .report import Board, Check

if TYPE_CHECKING:
    from .facts import Facts
    from .root import Root


class Chip(NamedTuple):
    """What is known of a chip with an NPU."""

    name: str
    npu_cores: int
    #: Whether RKLLM supports it; ``None`` if reports differ.
    supported: bool | None = True
    #: The CPUs that are the fast ones on most boards.
    cpu_mask: int = 0x0F
    #: The first release of RKLLM that supports it.
    since: tuple[int, int, int] = (1, 0, 0)


_CHIPS = [
    Chip("rk3588", 3, cpu_mask=0xF0),
    Chip("rk3582", 2, None, 0xF0),
    Chip("rk3583", 2, None, 0xF0),
    Chip("rk3576", 2, cpu_mask=0xF0),
    Chip("rk3562", 1, since=(1, 2, 0)),
    Chip("rv1126b", 1, since=(1, 2, 1)),
    Chip("rk3566", 1, supported=False),
    Chip("rk3568", 1, supported=False),
    Chip("rv1103", 1, supported=False, cpu_mask=1),
    Chip("rv1106", 1, supported=False, cpu_mask=1),
]
CHIPS = {chip.name: chip for chip in _CHIPS}
SUPPORTED = "RK3588, RK3588S, RK3576, RK3562 and RV1126B"

#: A whole entry: `rockchip,rk3588s-orangepi-5` is a board, and `rockchip,rk3588s` holds `rockchip,rk3588`.
_CHIP = re.compile(r"rockchip,((?:rk|rv|px)\d{4}[a-z]?\d?)")
_NPU = re.compile(r"rockchip,((?:rk|rv)\d{4}[a-z]?)-(?:rknpu|rknn-core)")


def named(soc: str) -> str:
    """The name under which RKLLM knows a chip: an RK3588S is an RK3588, but an RV1126B is no RV1126."""
    if soc in CHIPS:
        return soc
    family = soc[:6]
    return family if family in CHIPS else soc


def chip_of(compatible: list[str]) -> str | None:
    """The chip of a board, by the entries of its ``compatible``."""
    found = [match[1] for entry in compatible if (match := _CHIP.fullmatch(entry))]
    # A chip with parts fused off stands before the one that it is made of.
    cut = [soc for soc in found if named(soc) in ("rk3582", "rk3583")]
    return named((cut or found)[-1]) if found else None


def npu_chip(compatible: list[str]) -> str | None:
    """The chip that an NPU is of, by the entries of its own ``compatible``."""
    found = [match[1] for entry in compatible if (match := _NPU.fullmatch(entry))]
    return named(found[-1]) if found else None


def compatible(root: Root) -> list[str]:
    """The entries of the board's ``compatible``, most special first."""
    tree = root.strings("/proc/device-tree/compatible")
    return tree or root.strings("/sys/firmware/devicetree/base/compatible")


def model(root: Root) -> str | None:
    """The board's name."""
    for place in ("/proc/device-tree/model", "/sys/firmware/devicetree/base/model"):
        if text := root.line(place):
            return text
    return None


def board(facts: Facts) -> Board:
    """The board, as the report has it."""
    cores = facts.npu.cores or (facts.chip.npu_cores if facts.chip else None)
    return Board(facts.chip_name, facts.model, facts.compatible, cores)


def check_board(facts: Facts) -> Check:
    """Which board it is, and whether RKLLM supports its chip."""
    name, chip = facts.chip_name, facts.chip
    lines = [f"compatible: {', '.join(facts.compatible[:8])}"] if facts.compatible else []
    other = npu_chip(facts.npu.compatible)
    if name and other not in (None, name):
        lines.append(f"the NPU's own node says {other}")
    detail = "\n".join(lines)
    if facts.kind == "other":
        what = facts.model or facts.processor or facts.arch or "this machine"
        return Check("board", "not_applicable", f"no Rockchip chip: {what}", detail, facts.use_cpu)
    if name is None:
        if facts.container:
            return Check(
                "board",
                "unknown",
                "the chip is not visible in this container",
                "Docker hides /proc/device-tree. Rockchip's library asks the driver instead.",
                "docker run --security-opt systempaths=unconfined …    # if models do not load for that",
            )
        return Check("board", "unknown", "the chip cannot be read from /proc/device-tree", detail)
    told = f"{facts.model or 'unnamed board'}, {name.upper()}"
    if chip is None or chip.supported is False:
        why = f"{told}: RKLLM does not support this chip; it supports {SUPPORTED}"
        return Check("board", "failure", why, detail, facts.use_cpu)
    cores = facts.npu.cores or chip.npu_cores
    told += f", {cores} NPU core{'s' if cores > 1 else ''}"
    if chip.supported is None:
        told += "; RKLLM does not name this chip, and reports differ on whether it runs"
    elif facts.npu.cores and facts.npu.cores < chip.npu_cores:
        lines.append(
            f"The driver shows {facts.npu.cores} of the {chip.npu_cores} cores of an {name.upper()}."
        )
    return Check("board", "ok", told, "\n".join(lines))
