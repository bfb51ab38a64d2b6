"""Answers several prompts in one run. Each answer ends on its own.

Usage: python examples/batch.py model.rkllm

Needs RKLLM 1.2.1 or later. A model is opened for a number of prompts, and every run has exactly that many.
"""

from __future__ import annotations

import argparse
import threading

from rkllm_rs import RKLLM, TokenStream

QUESTIONS = ("What is the capital of France?", "Name a colour.", "Write a long poem about rain.")


def read(number: int, stream: TokenStream, first: list[int]) -> None:
    """Reads one stream. Threads or tasks can read the streams in any order."""
    for chunk in stream:
        if chunk.text.strip() and number not in first:
            first.append(number)


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a .rkllm file, or a .gguf file for the CPU runtime")
    arguments = parser.parse_args()

    with RKLLM(arguments.model, n_batch=len(QUESTIONS), max_context_len=1024, top_k=1) as llm:
        streams = llm.stream_batch(QUESTIONS, max_new_tokens=48)
        first: list[int] = []
        readers = [
            threading.Thread(target=read, args=(number, stream, first))
            for number, stream in enumerate(streams)
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        for question, answer in zip(QUESTIONS, streams.results(), strict=True):
            print(f"> {question}\n{answer.text.strip()}")
            print(f"({len(answer.token_ids)} tokens, ended by {answer.finish_reason!r})\n")
        print(f"prompts with an answer: {sorted(first)}")


if __name__ == "__main__":
    main()
