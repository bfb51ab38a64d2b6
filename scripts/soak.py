#!/usr/bin/env python3
"""Kills and recovers a worker process many times, and prints what has grown.

    python scripts/soak.py [--rounds 1000] [--model MODEL]

Without a model, the newest fake of the tests is used. Ends with 1 if anything was left behind: a process,
descriptors, threads, shared memory, or more than 20 MB.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "python"))

from fakes import fake_library, fake_model
from rkllm_rs import RKLLM, RkllmWarning, WorkerCrashed

GROWTH = 20.0


class State(NamedTuple):
    """What a process has."""

    megabytes: float
    descriptors: int
    threads: int
    children: int
    shared: int

    @classmethod
    def now(cls) -> State:
        """Of this process."""
        gc.collect()
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        me = str(os.getpid())
        return cls(
            megabytes=int(status["VmRSS"].split()[0]) / 1e3,
            descriptors=len(os.listdir("/proc/self/fd")),
            threads=int(status["Threads"]),
            children=sum(parent(name) == me for name in os.listdir("/proc") if name.isdigit()),
            shared=Path("/proc/self/maps").read_text().count("rkllm-rows"),
        )


def parent(pid: str) -> str:
    """The parent of a process; "" if that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    except OSError:
        return ""


def fake() -> dict[str, object]:
    """A model of the tests: endless answers, and logits."""
    folder = Path(tempfile.mkdtemp())
    endless = {"steps": ["x"], "repeat": 1_000_000, "delay_ms": 1}
    logits = {"rows": 1, "width": 10_000}
    return {
        "model": fake_model(folder, runs=[endless], logits=logits),
        "library": fake_library(folder / "lib", "v1_3_1", quiet=True),
    }


def one_round(llm: RKLLM, chance: random.Random) -> None:
    """Kills the worker somewhere in a run, or while it is idle; the next call must work."""
    stream = llm.stream("Tell a story.", max_new_tokens=200)
    taken = chance.randrange(3)
    for _ in range(taken):
        next(stream)
    pid = llm.worker_pid
    if pid is not None:
        os.kill(pid, chance.choice((signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT)))
    try:
        stream.result()
    except WorkerCrashed:
        pass
    else:
        # One that the worker had not begun is served by the next worker.
        if taken:
            message = "a run has ended well without its worker"
            raise SystemExit(message)
    if not llm.generate("Hi", max_new_tokens=1).text:
        message = "the next call gave nothing"
        raise SystemExit(message)


def main() -> int:
    """Runs all rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--model", help="a real model in place of the fake")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    keywords = {"model": given.model} if given.model else fake()
    chance = random.Random(given.seed)  # noqa: S311 - nothing secret
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RkllmWarning)
        llm = RKLLM(**keywords, isolate=True, vendor_log="quiet")
    warm = max(1, given.rounds // 20)
    begin = time.monotonic()
    before = State.now()
    for number in range(given.rounds + warm):
        if number == warm:
            before = State.now()
        one_round(llm, chance)
        if number and number % 100 == 0:
            print(f"{number:6} {State.now()}", flush=True)
    after = State.now()
    seconds = time.monotonic() - begin
    llm.close()
    end = State.now()
    print(f"before {before}\nafter  {after}\nclosed {end}")
    grown_by = after.megabytes - before.megabytes
    print(f"{given.rounds + warm} rounds in {seconds:.1f} s, grown by {grown_by:.1f} MB")
    grown = (
        after.megabytes - before.megabytes > GROWTH
        or after.descriptors > before.descriptors + 2
        or after.threads > before.threads + 2
        or end.children
        or end.shared
    )
    return int(bool(grown))


if __name__ == "__main__":
    raise SystemExit(main())
