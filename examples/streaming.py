"""Prints an answer while it is generated. A stop string or a time limit ends it.

Usage: python examples/streaming.py model.rkllm [--stop TEXT] [--timeout SECONDS]
"""

from __future__ import annotations

import argparse

from rkllm_rs import RKLLM, GenerationTimeout


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a .rkllm file, or a .gguf file for the CPU runtime")
    parser.add_argument("question", nargs="?", default="Count from one to ten in words.")
    parser.add_argument("--stop", action="append", default=[], help="end the answer before this text")
    parser.add_argument("--timeout", type=float, default=120, help="time limit in seconds")
    arguments = parser.parse_args()

    with RKLLM(arguments.model, max_context_len=1024, top_k=1) as llm:
        stream = llm.stream(
            arguments.question, max_new_tokens=100, stop=arguments.stop, timeout=arguments.timeout
        )
        try:
            for chunk in stream:
                print(chunk.text, end="", flush=True)
        except GenerationTimeout as error:
            tokens = len(error.partial.token_ids) if error.partial else 0
            print(f"\n\nnot done after {arguments.timeout} s: {tokens} tokens")
            return
        # The result includes what was read.
        answer = stream.result()
        print(f"\n\n{len(answer.token_ids)} tokens, ended by {answer.finish_reason!r}")


if __name__ == "__main__":
    main()
