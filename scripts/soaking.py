"""What the parts of the soak share: what a process has and has grown by, and the line that tells it."""

from __future__ import annotations

import gc
import json
import os
import signal
import time
from pathlib import Path
from typing import NamedTuple, NoReturn

#: More memory than this, in MB, is growth.
GROWTH_MB = 20.0
#: So many more descriptors and threads: the core keeps what a stream is woken by for the next one.
SPARE = 4
#: Begins the line of a part's outcome, which ``soak.py`` reads.
OUTCOME = "outcome: "


class State(NamedTuple):
    """What a process has."""

    megabytes: float
    descriptors: int
    threads: int
    processes: int
    shared: int
    temporary: int

    @classmethod
    def of(cls, pid: int | None = None) -> State:
        """Looks at a process, or at this one."""
        if pid is None:
            gc.collect()
        me = pid or os.getpid()
        status = dict(line.split(":", 1) for line in Path(f"/proc/{me}/status").read_text().splitlines())
        tasks = Path(f"/proc/{me}/task").iterdir()
        return cls(
            megabytes=int(status["VmRSS"].split()[0]) / 1e3,
            descriptors=len(os.listdir(f"/proc/{me}/fd")),
            threads=int(status["Threads"]),
            processes=sum(len((task / "children").read_text().split()) for task in tasks),
            shared=Path(f"/proc/{me}/maps").read_text().count("rkllm-rows"),
            temporary=sum(1 for _ in Path(os.environ["TMPDIR"]).rglob("*")) if "TMPDIR" in os.environ else 0,
        )

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:g}" for name, value in self._asdict().items())

    def grown(self, before: State, kept_mb: float = 0) -> list[str]:
        """What is more than it was, and more than may be."""
        spare = State(GROWTH_MB + kept_mb, SPARE, SPARE, 0, 0, 0)
        return [
            f"{name} from {was:g} to {now:g}"
            for name, was, now, more in zip(self._fields, before, self, spare, strict=True)
            if now > was + more
        ]


class Part:
    """One part of the soak: its count, the growth over it, and what it says of itself.

    SIGTERM ends it, and it says what was done until then.

    Attributes:
        pid: The process that is looked at; this one if it is None.
        kept_kb: So much memory is kept for each one of the count, on purpose.
        done: The count.
    """

    def __init__(self, name: str, goal: int, *, pid: int | None = None, kept_kb: float = 0) -> None:
        self.name, self.goal, self._pid, self._kept_kb = name, goal, pid, kept_kb
        self._began = time.monotonic()
        self._before: State | None = None
        self._told = self.done = 0
        signal.signal(signal.SIGTERM, self._out_of_time)

    def _out_of_time(self, _number: int, _frame: object) -> NoReturn:
        # Workers that end by it are no news.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(self.ended(self.done, "out of time"))

    def at(self, done: int) -> None:
        """Remembers what there is after the first tenth, and prints it at each further one."""
        self.done = done
        if self._before is None and done * 10 >= self.goal:
            self._before = State.of(self._pid)
        if done * 10 >= self.goal * (self._told + 1):
            self._told = done * 10 // self.goal
            print(f"{done:>9} {self.name}: {State.of(self._pid)}", flush=True)

    def ended(self, done: int, wrong: str = "") -> int:
        """Prints the outcome; 1 if anything is wrong or has grown."""
        after = State.of(self._pid)
        before = self._before or after
        faults = ([wrong] if wrong else []) + after.grown(before, done * self._kept_kb / 1e3)
        if done < self.goal:
            faults.append(f"only {done} of {self.goal}")
        outcome = {
            "part": self.name,
            "goal": self.goal,
            "done": done,
            "seconds": round(time.monotonic() - self._began, 1),
            "before": before._asdict(),
            "after": after._asdict(),
            "faults": faults,
        }
        print(OUTCOME + json.dumps(outcome), flush=True)
        return int(bool(faults))
