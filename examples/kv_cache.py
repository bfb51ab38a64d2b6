"""Inspects the KV cache of a growing conversation, and removes tokens in the middle of an answer.

Usage: python examples/kv_cache.py model.rkllm

Needs RKLLM 1.2.1 or later.
"""

from __future__ import annotations

import argparse

from rkllm_rs import RKLLM


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a .rkllm file, or a .gguf file for the CPU runtime")
    arguments = parser.parse_args()

    with RKLLM(arguments.model, max_context_len=1024, top_k=1) as llm:
        print("empty:         ", llm.kv_cache_size())
        # keep_history: send only the new turn, the library remembers the earlier ones.
        llm.generate("My name is Ada.", keep_history=True, max_new_tokens=24)
        print("one turn:      ", llm.kv_cache_size())
        llm.generate("What is my name?", keep_history=True, max_new_tokens=24)
        print("two turns:     ", llm.kv_cache_size())
        llm.clear_kv_cache()
        print("cleared:       ", llm.kv_cache_size())

        # The model pauses between two steps. Then single positions can be removed.
        with llm.steps("Count to five.", max_new_tokens=8) as steps:
            next(steps)
            before = llm.kv_cache_size()
            llm.clear_kv_cache(ranges=[(before - 2, before)])
            print("paused:        ", before)
            print("without the last two:", llm.kv_cache_size())
            for _ in steps:
                pass
        print("answer:        ", repr(steps.result().text))


if __name__ == "__main__":
    main()
