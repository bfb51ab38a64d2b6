#!/usr/bin/env python3
"""Kills and recovers a worker process many times, and prints what has grown.

    python scripts/soak_kills.py [1000] [--model MODEL]

Without a model, the newest fake of the tests is used. Ends with 1 if anything was left behind: a process,
descriptors, threads, shared memory, temporary files, or more than 20 MB.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "python"))

from soaking import Part, State

from fakes import fake_library, fake_model
from rkllm_rs import RKLLM, RkllmWarning, WorkerCrashed


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
    parser.add_argument("rounds", type=int, nargs="?", default=1000)
    parser.add_argument("--model", help="a real model in place of the fake")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    keywords = {"model": given.model} if given.model else fake()
    chance = random.Random(given.seed)  # noqa: S311 - nothing secret
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RkllmWarning)
        llm = RKLLM(**keywords, isolate=True, vendor_log="quiet")
    part = Part("kills", given.rounds)
    for number in range(1, given.rounds + 1):
        one_round(llm, chance)
        part.at(number)
    open_state = part.ended(given.rounds)
    llm.close()
    closed = State.of()
    print(f"closed: {closed}")
    return int(bool(open_state or closed.processes or closed.shared))


if __name__ == "__main__":
    raise SystemExit(main())
