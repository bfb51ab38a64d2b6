"""Saves the KV cache of a long prompt, and starts from it the next time.

Usage: python examples/prompt_cache.py model.rkllm notes.cache

Run it twice: the first time it saves, the second time it loads.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rkllm_rs import RKLLM, PromptCacheError, SamplingParams

NOTES = """Answer from these notes.
The library opens at nine in the morning and closes at six in the evening. On Saturdays it closes at one,
and on Sundays it stays closed. Books are lent for four weeks, films for one week. Readers younger than
sixteen need a signature of their parents. The reading room has forty seats and needs no card.
"""


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a .rkllm file, or a .gguf file for the CPU runtime")
    parser.add_argument("cache", type=Path, help="where the cache is kept, with its side file .json")
    arguments = parser.parse_args()

    with RKLLM(arguments.model, max_context_len=1024, sampling=SamplingParams(top_k=1)) as llm:
        save_to = arguments.cache
        if arguments.cache.exists():
            try:
                llm.load_prompt_cache(arguments.cache)
                save_to = None
                print("loaded the cache")
            except PromptCacheError as error:
                # Of another model, of another release, or damaged: made anew below.
                print(f"not used: {error}")
        answer = llm.generate(
            NOTES + "When does the library open?", max_new_tokens=24, save_prompt_cache=save_to
        )
        if save_to is not None:
            print(f"saved the cache: {save_to.stat().st_size} bytes")
        print("answer:", answer.text.strip())
        # From 1.2.1 on the library tells how many tokens it really had to compute.
        print("prompt tokens computed:", answer.perf.prefill_tokens)


if __name__ == "__main__":
    main()
