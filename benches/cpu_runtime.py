"""Tokens a second of the CPU runtime beside llama-cpp-python: same model, prompt, threads and sampling.

    python benches/cpu_runtime.py --install     builds llama-cpp-python in a venv of its own (minutes)
    python benches/cpu_runtime.py [--library librkllmrt_cpu.so] [--rounds N] [--threads 1 2] [--json]

Both sides are timed from outside, in a process for each round, in turns: the prompt up to the first
token, the answer from the first token to the last, each token turned into text.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

from goals import GOALS
from harness import Row, cache_folder, table

VERSION = "0.3.36"
# GCC 12 optimises the set-up of AMX tiles away; the CPU runtime is built without AMX too.
NO_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
PROMPT = [100 + at * 7919 % 30_000 for at in range(512)]
ANSWER = 96
GREEDY = {"top_k": 1, "top_p": 1.0, "temperature": 0.0, "repeat_penalty": 1.0}
DEFAULT = {"top_k": 40, "top_p": 0.9, "temperature": 0.8, "repeat_penalty": 1.1}
HERE = os.path.dirname(os.path.abspath(__file__))


def venv_python() -> str:
    """The interpreter that has llama-cpp-python."""
    return os.path.join(cache_folder(), "llama-cpp-venv", "bin", "python")


def install() -> None:
    """Builds llama-cpp-python as the CPU runtime is built: for this machine."""
    python = venv_python()
    subprocess.run([sys.executable, "-m", "venv", os.path.dirname(os.path.dirname(python))], check=True)
    flags = f"-DGGML_NATIVE=ON '-DCMAKE_C_FLAGS={NO_AMX}' '-DCMAKE_CXX_FLAGS={NO_AMX}'"
    package = f"llama-cpp-python=={VERSION}"
    command = [python, "-m", "pip", "install", "--no-binary", "llama-cpp-python", package]
    subprocess.run(command, check=True, env={**os.environ, "CMAKE_ARGS": flags})


def ours(model: str, library: str | None, threads: int, sampling: dict[str, Any]) -> list[float]:
    """Begin, first token, last token, and how many: by this package."""
    from rkllm_rs import RKLLM, SamplingParams, Tokens

    with RKLLM(
        model,
        backend="cpu",
        library=library,
        max_context_len=1024,
        enabled_cpus_num=threads,
        enabled_cpus_mask=(1 << threads) - 1,
        ignore_eos_token=True,
        sampling=SamplingParams(**sampling),
    ) as llm:
        llm.generate(Tokens(PROMPT[:8]), max_new_tokens=4)
        begin = time.perf_counter()
        stream = llm.stream(Tokens(PROMPT), max_new_tokens=ANSWER)
        pieces = [time.perf_counter() for _ in stream]
        # A piece can be of several tokens, where a character is split among them.
        return [begin, pieces[0], pieces[-1], len(stream.result().token_ids)]


def theirs(model: str, _: str | None, threads: int, sampling: dict[str, Any]) -> list[float]:
    """Begin, first token, last token, and how many: by llama-cpp-python."""
    from llama_cpp import Llama  # type: ignore[import-not-found]

    llm = Llama(model, n_ctx=1024, n_threads=threads, n_threads_batch=threads, verbose=False)
    options = {**sampling, "temp": sampling["temperature"]}
    del options["temperature"]

    def answer(prompt: list[int], count: int) -> list[float]:
        times = [time.perf_counter()]
        for token in llm.generate(prompt, **options):
            llm.detokenize([token])
            times.append(time.perf_counter())
            if len(times) > count:
                break
        return [times[0], times[1], times[-1], len(times) - 1]

    answer(PROMPT[:8], 4)
    return answer(PROMPT, ANSWER)


def round_of(python: str, side: str, *arguments: str) -> tuple[float, float]:
    """Prompt and answer tokens a second of one side, in a process of its own."""
    command = [python, os.path.abspath(__file__), "--side", side, *arguments]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    begin, first, last, tokens = json.loads(output.splitlines()[-1])
    return len(PROMPT) / (first - begin), (tokens - 1) / (last - first)


def compare(arguments: argparse.Namespace) -> list[Row]:
    """All combinations, in turns."""
    fetch = [sys.executable, os.path.join(HERE, "..", "scripts", "fetch_model.py")]
    model = (
        arguments.model or subprocess.run(fetch, check=True, stdout=subprocess.PIPE).stdout.decode().strip()
    )
    rows: list[Row] = []
    for threads in arguments.threads:
        for name, sampling in (("greedy", GREEDY), ("default sampling", DEFAULT)):
            label = f"{threads} thread{'s' if threads > 1 else ''}, {name}"
            prompt = Row(f"prompt, {label}", "tokens/s", GOALS["CPU runtime, prompt"])
            answer = Row(f"answer, {label}", "tokens/s", GOALS["CPU runtime, answer"])
            rows += [prompt, answer]
            shared = ["--model", model, "--threads", str(threads), "--sampling", json.dumps(sampling)]
            if arguments.library:
                shared += ["--library", arguments.library]
            for _ in range(arguments.rounds):
                for side, python in (("ours", sys.executable), ("floor", venv_python())):
                    figures = round_of(python, side, *shared)
                    for row, figure in zip((prompt, answer), figures, strict=True):
                        getattr(row, side).append(figure)
            sys.stderr.write(f"{label} done\n")
    return rows


def main() -> None:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--install", action="store_true", help="build llama-cpp-python and stop")
    parser.add_argument("--model", help="a .gguf file; the small one of the tests if not given")
    parser.add_argument("--library", help="librkllmrt_cpu.so; the installed one if not given")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="every round, as JSON")
    parser.add_argument("--side", choices=["ours", "floor"], help=argparse.SUPPRESS)
    parser.add_argument("--sampling", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.install:
        install()
    elif arguments.side:
        run = ours if arguments.side == "ours" else theirs
        times = run(arguments.model, arguments.library, arguments.threads[0], arguments.sampling)
        print("\n" + json.dumps(times))
    elif not os.path.exists(venv_python()):
        parser.error("llama-cpp-python is not there; build it with --install")
    else:
        rows = compare(arguments)
        rows_json = json.dumps([row.as_json() for row in rows], indent=1)
        print(rows_json if arguments.json else table(rows, floor="llama-cpp-python"))


if __name__ == "__main__":
    main()
