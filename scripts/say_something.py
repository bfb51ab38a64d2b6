"""Lets the small real model (fetch_model.py) say a few words on the CPU runtime, and tells how fast.

The model is the first argument, the number of tokens the second. Code that computes wrongly gives words,
too: so they must begin as they should.
"""

from __future__ import annotations

import platform
import sys

from rkllm_rs import RKLLM, SamplingParams

PROMPT = "Explain in two sentences why the sky is blue."
BEGINNING = "The sky is blue because"


def main() -> int:
    """Runs it."""
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 8  # noqa: PLR2004
    greedy = SamplingParams(top_k=1)
    with RKLLM(sys.argv[1], backend="cpu", max_context_len=256, sampling=greedy) as model:
        answer = model.generate(PROMPT, max_new_tokens=count)
    speed = answer.perf.generate_tokens_per_second
    print(f"{platform.machine()}: {answer.text!r} ({len(answer.token_ids)} tokens, {speed:.1f}/s)")
    return 0 if answer.text.startswith(BEGINNING) else 1


if __name__ == "__main__":
    sys.exit(main())
