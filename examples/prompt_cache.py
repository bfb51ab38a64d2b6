"""Saves the KV cache of a long prompt, and reuses it the next time.

Usage: python examples/prompt_cache.py model.rkllm notes.cache

Run it twice: the first time it saves, the second time it loads.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rkllm_rs import RKLLM, PromptCacheError

NOTES = """Answer from these notes.
The library opens at nine in the morning and closes at six in the evening. On Saturdays it closes at one,
and on Sundays it stays closed. Books are lent for four weeks, films for one week. Readers younger than
sixteen need a signature of their parents. The reading room has forty seats and needs no card.
"""


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a .rkllm file, or a .gguf file for the CPU runtime")
    parser.add_argument(
        "cache", type=Path, help="file of the cache; its metadata file .json is stored beside it"
    )
    arguments = parser.parse_args()

    with RKLLM(arguments.model, max_context_len=1024, top_k=1) as llm:
        save_to = arguments.cache
        if arguments.cache.exists():
            try:
                llm.load_prompt_cache(arguments.cache)
                save_to = None
                print("loaded the cache")
            except PromptCacheError as error:
                # It belongs to another model or release, or is damaged: save it again below.
                print(f"not used: {error}")
        answer = llm.generate(
            NOTES + "When does the library open?", max_new_tokens=24, save_prompt_cache=save_to
        )
        if save_to is not None:
            print(f"saved the cache: {save_to.stat().st_size} bytes")
        print("answer:", answer.text.strip())
        # Since 1.2.1 the library reports how many tokens it had to compute.
        print("prompt tokens computed:", answer.perf.prefill_tokens)


if __name__ == "__main__":
    main()
