"""Tokens a second of the CPU runtime's threads beside other builds of it, quiet and beside busy loops.

    python benches/omp.py [--library LIBRARY] --beside NAME LIBRARY [VARIABLE=VALUE ...] [--beside ...]

All builds compute the same prompt and answer, in a process for each round, in turns. How the other builds
are made stands in cpu-runtime/README.md. A figure is the median of its rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = os.path.dirname(os.path.abspath(__file__))
PROMPT = [100 + at * 7919 % 30_000 for at in range(128)]
ANSWER = 32
#: Seconds after which a build that crawls is counted by what it has.
PATIENCE = 15.0


@dataclass
class Build:
    """One library, how it is started, and what it made for each number of loops."""

    name: str
    library: str | None
    variables: dict[str, str]
    prompt: list[float] = field(default_factory=list)
    answer: list[float] = field(default_factory=list)


def measure(model: str, library: str | None, threads: int) -> tuple[float, float]:
    """Prompt and answer tokens a second, in this process."""
    from rkllm_rs import RKLLM, SamplingParams, Tokens

    with RKLLM(
        model,
        backend="cpu",
        library=library,
        max_context_len=512,
        enabled_cpus_num=threads,
        enabled_cpus_mask=(1 << threads) - 1,
        ignore_eos_token=True,
        sampling=SamplingParams(top_k=1),
    ) as llm:
        llm.generate(Tokens(PROMPT[:8]), max_new_tokens=2)
        begin = time.perf_counter()
        stream = llm.stream(Tokens(PROMPT), max_new_tokens=ANSWER)
        times: list[float] = []
        for _ in stream:
            times.append(time.perf_counter())
            if times[-1] - times[0] > PATIENCE:
                stream.cancel()
        # A piece can be of several tokens, where a character is split among them.
        tokens = len(stream.result().token_ids)
        return len(PROMPT) / (times[0] - begin), (tokens - 1) / (times[-1] - times[0])


def calm() -> None:
    """Waits until others leave the processors alone, or a minute."""
    for _ in range(60):
        before = idle()
        time.sleep(1)
        if idle() - before > 0.95 * len(os.sched_getaffinity(0)):
            return
    sys.stderr.write("the processors are not idle\n")


def idle() -> float:
    """Seconds that all processors together have had nothing to do."""
    with open("/proc/stat", encoding="ascii") as file:
        return int(file.readline().split()[4]) / os.sysconf("SC_CLK_TCK")


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """Others who want the processors."""
    spin = "import time\nend = time.time() + 600\nwhile time.time() < end: pass"
    running = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def round_of(build: Build, model: str, threads: int) -> None:
    """One round, in a process of its own."""
    command = [sys.executable, os.path.abspath(__file__), "--inside", model, "--threads", str(threads)]
    if build.library:
        command += ["--library", build.library]
    environment = {**os.environ, **build.variables}
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout
    prompt, answer = json.loads(output.splitlines()[-1])
    build.prompt.append(prompt)
    build.answer.append(answer)


def line(what: str, loops: int, builds: list[Build]) -> str:
    """One row of the table: each build, and how much faster the first one is."""
    medians = [statistics.median(getattr(build, what)) for build in builds]
    cells = [f"{medians[0]:.1f}", *(f"{figure:.1f} ({medians[0] / figure:.2f})" for figure in medians[1:])]
    return f"| {what}, {loops} loops | " + " | ".join(cells) + " |"


def compare(arguments: argparse.Namespace) -> None:
    """All builds under every load, in turns."""
    fetch = [sys.executable, os.path.join(HERE, "..", "scripts", "fetch_model.py")]
    model = subprocess.run(fetch, check=True, stdout=subprocess.PIPE).stdout.decode().strip()
    print("| tokens/s, and ours divided by it | ours | " + " | ".join(b[0] for b in arguments.beside) + " |")
    print("|---" * (len(arguments.beside) + 2) + "|")
    for loops in arguments.loops:
        builds = [Build("ours", arguments.library, {})]
        for name, library, *variables in arguments.beside:
            builds.append(Build(name, library, dict(variable.split("=", 1) for variable in variables)))
        with busy(loops):
            for turn in range(arguments.rounds):
                # Each comes first in turn.
                for at in range(len(builds)):
                    if not loops:
                        calm()
                    round_of(builds[(at + turn) % len(builds)], model, arguments.threads)
        for what in ("prompt", "answer"):
            print(line(what, loops, builds), flush=True)
            for build in builds:
                rounds = ", ".join(f"{figure:.1f}" for figure in getattr(build, what))
                sys.stderr.write(f"{what}, {loops} loops, {build.name}: {rounds}\n")


def main() -> None:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--library", help="librkllmrt_cpu.so; the installed one if not given")
    parser.add_argument(
        "--beside",
        nargs="+",
        action="append",
        default=[],
        metavar="WORD",
        help="another build: its name, its librkllmrt_cpu.so, and variables for its environment (A=B)",
    )
    parser.add_argument("--loops", type=int, nargs="+", default=[0, 3, 6], help="busy loops beside it")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        print("\n" + json.dumps(measure(arguments.inside, arguments.library, arguments.threads)))
    else:
        compare(arguments)


if __name__ == "__main__":
    main()
