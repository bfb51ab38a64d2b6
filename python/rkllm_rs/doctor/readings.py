"""Clocks and temperatures as numbers: what checks judge, and what a benchmark keeps beside its figures."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .facts import Facts
    from .root import Root

#: Thousandths of a degree that a sensor may show.
_POSSIBLE = range(-50_000, 200_000)


class Devfreq(NamedTuple):
    """A clock of the kernel's devfreq, in Hz."""

    now: int | None
    least: int | None
    most: int | None
    governor: str
    steps: list[int]

    @property
    def top(self) -> int:
        """The highest clock that it has; 0 if that is unknown."""
        return max([*self.steps, self.most or 0])


class Heat(NamedTuple):
    """A sensor of temperature, in thousandths of a degree."""

    folder: str
    sensor: str
    now: int


def devfreq(root: Root, folder: str) -> Devfreq:
    """Reads a clock of the kernel's devfreq."""
    text = root.text(f"{folder}/available_frequencies", 4096) or ""
    return Devfreq(
        root.number(f"{folder}/cur_freq"),
        root.number(f"{folder}/min_freq"),
        root.number(f"{folder}/max_freq"),
        root.line(f"{folder}/governor") or "unknown",
        [int(word) for word in text.split() if re.fullmatch(r"[0-9]{1,15}", word)],
    )


def heats(root: Root) -> list[Heat]:
    """Reads all sensors of temperature."""
    found: list[Heat] = []
    for folder in root.glob("/sys/class/thermal/thermal_zone*"):
        sensor, now = root.line(f"{folder}/type"), root.number(f"{folder}/temp")
        if sensor and now is not None and now in _POSSIBLE:
            found.append(Heat(folder, sensor, now))
    return found


def snapshot(facts: Facts) -> dict[str, Any]:
    """What clocks and temperatures are now, as JSON has it.

    Returns:
        ``clocks``: by name (``"memory"``, ``"npu"``, ``"gpu"`` and ``"cpu"`` with its numbers), ``mhz``,
        ``max_mhz`` and ``governor``. ``temperatures_c``: by sensor. What cannot be read is left out.
    """
    root = facts.root
    clocks: dict[str, dict[str, Any]] = {}
    gpus = root.glob("/sys/class/devfreq/*.gpu")
    places = {"memory": "/sys/class/devfreq/dmc", "npu": facts.npu.clock, "gpu": gpus[0] if gpus else None}
    for name, folder in places.items():
        clock = devfreq(root, folder) if folder else None
        if clock is not None and clock.now is not None:
            clocks[name] = _clock(clock.now / 1e6, clock.top / 1e6, clock.governor)
    for folder in root.glob("/sys/devices/system/cpu/cpufreq/policy*"):
        now = root.number(f"{folder}/scaling_cur_freq")
        if now is not None:
            cpus = root.line(f"{folder}/related_cpus") or folder.rpartition("policy")[2]
            top = root.number(f"{folder}/cpuinfo_max_freq") or 0
            governor = root.line(f"{folder}/scaling_governor") or "unknown"
            clocks[f"cpu {cpus}"] = _clock(now / 1e3, top / 1e3, governor)
    # Some sensors have the same name: of those the hottest counts.
    hottest: dict[str, float] = {}
    for heat in heats(root):
        hottest[heat.sensor] = max(hottest.get(heat.sensor, -50.0), round(heat.now / 1000, 1))
    return {"clocks": clocks, "temperatures_c": hottest}


def _clock(now: float, top: float, governor: str) -> dict[str, Any]:
    return {"mhz": round(now), "max_mhz": round(top) or None, "governor": governor}
