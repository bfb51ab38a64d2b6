"""Sends one prompt to a model and prints the whole answer with its timing.

Usage: python examples/basic.py model.rkllm "Why is the sky blue?"
"""

from __future__ import annotations

import argparse

from rkllm_rs import RKLLM


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a .rkllm file, or a .gguf file for the CPU runtime")
    parser.add_argument("question", nargs="?", default="What is the capital of France?")
    arguments = parser.parse_args()

    # top_k=1 always picks the most likely token, so the answer is the same every time.
    with RKLLM(arguments.model, max_context_len=1024, top_k=1) as llm:
        answer = llm.generate(arguments.question, max_new_tokens=64, timeout=120)
        print(answer.text.strip())
        print()
        print(f"backend:           {llm.backend} (RKLLM {llm.runtime.identity.version or 'unknown'})")
        print(f"tokens:            {len(answer.token_ids)}, ended by {answer.finish_reason!r}")
        print(f"tokens per second: {answer.perf.generate_tokens_per_second or 0:.1f}")


if __name__ == "__main__":
    main()
