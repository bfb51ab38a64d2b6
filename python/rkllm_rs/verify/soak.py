"""Runs for minutes: errors, answers that change, memory that grows."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rkllm_rs.errors import RkllmError

from .session import Session, fail, skip, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from rkllm_rs._native import Generation

PROMPTS = ("Say hello.", "Name three colours.", "Write one sentence about a river.")
#: Growth that may be a cache which fills up, in MB.
_ALLOWED_MB = 64
#: How much a run may cost for good, in MB; RKLLM 1.3.0 was reported to lose 2 MB in each run.
_ALLOWED_PER_RUN_MB = 0.1
#: How many descriptors more may be open in the end.
_ALLOWED_DESCRIPTORS = 16
#: Rounds before memory is compared.
_WARM_UP = 1


def resident_mb(pid: int | None) -> float:
    """Memory of a process, in MB; 0 if it cannot be read."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as opened:
            return int(opened.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError, ValueError):
        return 0.0


def descriptors(pid: int | None) -> int:
    """How many descriptors a process has open; 0 if it cannot be read."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


@dataclass
class _Watch:
    """What is counted over the runs."""

    pid: int | None
    first: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    runs: int = 0
    different: int = 0
    speeds: list[float] = field(default_factory=list[float])
    #: Runs, memory and descriptors once it was warm.
    base: tuple[int, float, int] | None = None

    def take(self, prompt: str, answer: Generation) -> None:
        """Counts a run."""
        self.runs += 1
        self.different += answer.token_ids != self.first.setdefault(prompt, answer.token_ids)
        if answer.perf.generate_tokens_per_second:
            self.speeds.append(answer.perf.generate_tokens_per_second)
        if self.base is None and self.runs == _WARM_UP * len(PROMPTS):
            self.base = self.runs, resident_mb(self.pid), descriptors(self.pid)

    def value(self) -> dict[str, Any]:
        """What was counted so far."""
        found: dict[str, Any] = {"runs": self.runs, "different": self.different}
        if self.speeds:
            part = max(1, len(self.speeds) // 5)
            both = self.speeds[:part], self.speeds[-part:]
            found["tokens_per_second"] = [round(sum(some) / part, 2) for some in both]
        if self.base is not None and self.runs > self.base[0]:
            grown = resident_mb(self.pid) - self.base[1]
            found["growth_mb"] = round(grown, 1)
            found["growth_mb_per_run"] = round(grown / (self.runs - self.base[0]), 4)
            found["descriptors"] = [self.base[2], descriptors(self.pid)]
        return found


def soak(session: Session, progress: Callable[[], None]) -> tuple[str, Any]:
    """Runs until the time is over.

    Args:
        session: The model.
        progress: Called after each run.
    """
    minutes = session.job.soak
    if not minutes:
        skip("not asked for; pass --soak MINUTES")
    until = time.monotonic() + 60 * minutes
    watch = _Watch(session.pid())
    while watch.runs <= len(PROMPTS) * _WARM_UP or time.monotonic() < until:
        prompt = PROMPTS[watch.runs % len(PROMPTS)]
        try:
            answer = session.generate(prompt, 16, **session.anew())
        except RkllmError as error:
            fail(f"run {watch.runs + 1} failed: {told(error)}", watch.value())
        watch.take(prompt, answer)
        if session.pid() != watch.pid:
            fail(f"the worker was replaced in run {watch.runs}", watch.value())
        progress()
    return _judged(watch)


def _judged(watch: _Watch) -> tuple[str, Any]:
    value = watch.value()
    grown, per_run = value["growth_mb"], value["growth_mb_per_run"]
    before, after = value["descriptors"]
    if grown > _ALLOWED_MB and per_run > _ALLOWED_PER_RUN_MB:
        fail(f"memory grew by {grown:.0f} MB, {per_run:.2f} MB per run", value)
    if after > before + _ALLOWED_DESCRIPTORS:
        fail(f"open descriptors grew from {before} to {after}", value)
    if watch.different:
        fail(f"{watch.different} of {watch.runs} answers differ from the first to the same prompt", value)
    return f"{watch.runs} runs without an error; memory grew by {grown:.1f} MB", value
