"""What an examination finds: plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Worst first: the status of a report is the worst of its checks.
Status = Literal["ok", "warning", "failure", "not_applicable", "unknown"]


@dataclass(frozen=True)
class Check:
    """One thing that was examined. Immutable; any number of threads may use it.

    Attributes:
        id: Name of the check, such as ``"driver"``. No two checks of a report have the same.
        status: ``"ok"``, ``"warning"``, ``"failure"``, ``"not_applicable"``, or ``"unknown"`` if it cannot be
            read.
        summary: What was found, in one line.
        detail: More of it, in lines; may be empty.
        fix: What to do, as a command where one helps. Every warning and failure has one.
    """

    id: str
    status: Status
    summary: str
    detail: str = ""
    fix: str | None = None


@dataclass(frozen=True)
class Board:
    """The board. Immutable; any number of threads may use it.

    Attributes:
        chip: The chip as RKLLM names it, such as ``"rk3588"`` (also of an RK3588S), or ``None`` if unknown.
        model: The board's name, or ``None``.
        compatible: The entries of the device tree's ``compatible``.
        npu_cores: Number of NPU cores, or ``None`` if unknown.
    """

    chip: str | None = None
    model: str | None = None
    compatible: list[str] = field(default_factory=list[str])
    npu_cores: int | None = None


@dataclass(frozen=True)
class Driver:
    """The NPU's driver. Immutable; any number of threads may use it.

    Attributes:
        version: Version of Rockchip's driver ``rknpu``, or ``None`` if there is none or nothing tells it.
        source: What told the version: ``"ioctl"``, the path of a file, ``"kernel log"`` or ``"vendor log"``;
            ``"none"`` if nothing did.
        node: The NPU's device node, or ``None``.
        name: ``"rknpu"``, ``"rocket"`` (mainline Linux, with which RKLLM cannot work), or ``None``.
        date: The driver's date, such as ``"20240828"``, or ``None``.
    """

    version: str | None = None
    source: str = "none"
    node: str | None = None
    name: str | None = None
    date: str | None = None


@dataclass(frozen=True)
class Cpu:
    """The processor. Immutable; any number of threads may use it.

    Attributes:
        mask: The fastest CPUs, as ``enabled_cpus_mask`` takes them; 0 if nothing is known.
        online: Numbers of the CPUs that are online.
    """

    mask: int = 0
    online: list[int] = field(default_factory=list[int])


@dataclass(frozen=True)
class Report:
    """What ``examine()`` found. Immutable; any number of threads may use it.

    Attributes:
        checks: The checks, in a fixed order.
        board: The board.
        driver: The NPU's driver.
        cpu: The processor.
    """

    checks: list[Check]
    board: Board
    driver: Driver
    cpu: Cpu

    @property
    def status(self) -> Status:
        """The worst status of the checks: ``"failure"``, ``"warning"`` or ``"ok"``.

        ``"not_applicable"`` if nothing is wrong and the machine has no Rockchip chip, ``"unknown"`` if
        nothing tells whether it has one.
        """
        found = {check.status for check in self.checks}
        if "failure" in found:
            return "failure"
        if "warning" in found:
            return "warning"
        board = self.find("board")
        return "ok" if board is None or self.board.chip or self.driver.name else board.status

    def find(self, id: str) -> Check | None:  # noqa: A002 - as the attribute is called
        """The check with this id, or ``None``."""
        return next((check for check in self.checks if check.id == id), None)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON has it: what ``rkllm-rs doctor --json`` prints."""
        return {
            "status": self.status,
            "board": asdict(self.board),
            "driver": asdict(self.driver),
            "cpu": asdict(self.cpu),
            "checks": [asdict(check) for check in self.checks],
        }


def count(checks: Iterable[Check], status: Status) -> int:
    """How many checks have a status."""
    return sum(check.status == status for check in checks)
