"""Answers several questions in one run; each answer ends at its own time.

Usage: python examples/batch.py model.rkllm

Needs RKLLM 1.2.1 or later. A model is opened for a number of rows, and every run has exactly so many.
"""

from __future__ import annotations

import argparse
import threading

from rkllm_rs import RKLLM, SamplingParams, TokenStream

QUESTIONS = ("What is the capital of France?", "Name a colour.", "Write a long poem about rain.")


def read(row: int, stream: TokenStream, first: list[int]) -> None:
    """Reads one row; rows can be read by different threads or tasks, in any order."""
    for chunk in stream:
        if chunk.text.strip() and row not in first:
            first.append(row)


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a .rkllm file, or a .gguf file for the CPU runtime")
    arguments = parser.parse_args()

    greedy = SamplingParams(top_k=1)
    with RKLLM(arguments.model, n_batch=len(QUESTIONS), max_context_len=1024, sampling=greedy) as llm:
        streams = llm.stream_batch(QUESTIONS, max_new_tokens=48)
        first: list[int] = []
        readers = [
            threading.Thread(target=read, args=(row, stream, first)) for row, stream in enumerate(streams)
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        for question, answer in zip(QUESTIONS, streams.results(), strict=True):
            print(f"> {question}\n{answer.text.strip()}")
            print(f"({len(answer.token_ids)} tokens, ended by {answer.finish_reason!r})\n")
        print(f"rows that gave text: {sorted(first)}")


if __name__ == "__main__":
    main()
