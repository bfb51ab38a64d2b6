"""Shows that a second turn does not pay for the first: its tokens are in the KV cache already.

Usage: python examples/prefix_reuse.py model.gguf
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from rkllm_rs import RKLLM

if TYPE_CHECKING:
    from rkllm_rs import ChatAnswer


def report(name: str, answer: ChatAnswer) -> None:
    """Prints what a turn took. The vendor's library does not count the tokens of a text."""
    perf = answer.perf
    print(f"{name}: {perf.prompt_tokens} tokens, {perf.cached_tokens} of them held, ", end="")
    print(f"{perf.prefill_tokens} computed in {perf.prefill_time_ms:.0f} ms")


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a .rkllm file, or a .gguf file for the CPU runtime")
    arguments = parser.parse_args()

    text = "The river rose for the third day, and the bridge was closed. " * 12
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Answer questions about this report: " + text},
        {"role": "user", "content": "What was closed?"},
    ]
    with RKLLM(arguments.model, max_context_len=1024, max_new_tokens=16, top_k=1) as llm:
        first = llm.chat(messages)
        report("first turn", first)
        messages += [first.message, {"role": "user", "content": "And what rose?"}]
        # "fast" takes all that is held. "auto", the default, takes what cannot change a greedy answer.
        report("second turn", llm.chat(messages, reuse="fast"))
        report("without reuse", llm.chat(messages, reuse=False))


if __name__ == "__main__":
    main()
