"""Survives the death of the process that runs the model.

Usage: python examples/isolation.py model.rkllm "Why is the sky blue?"

A crash of the library is simulated: the worker process is killed in the middle of an answer.
"""

from __future__ import annotations

import argparse
import os
import signal

from rkllm_rs import RKLLM, WorkerCrashed


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a .rkllm file, or a .gguf file for the CPU runtime")
    parser.add_argument("question", nargs="?", default="What is the capital of France?")
    arguments = parser.parse_args()

    with RKLLM(arguments.model, max_context_len=1024, top_k=1, isolate=True, kill_after=30) as llm:
        first = llm.worker_pid
        print(f"the model runs in process {first}, this program is process {os.getpid()}")
        stream = llm.stream("Write a long story about the sea.", max_new_tokens=500)
        try:
            print(f"the first piece is {next(stream).text!r}; now the worker is killed")
            os.kill(first or 0, signal.SIGKILL)
            stream.result()
        except WorkerCrashed as error:
            print(f"WorkerCrashed: signal {error.signal}, exit code {error.exit_code}")
        # Nothing else to do: this call starts a new worker and opens the model again.
        answer = llm.generate(arguments.question, max_new_tokens=64, timeout=120)
        print(f"process {llm.worker_pid} answers: {answer.text.strip()}")


if __name__ == "__main__":
    main()
