#!/usr/bin/env python3
"""Has random conversations on the CPU runtime, and compares each greedy answer with one without reuse.

    python scripts/soak_chats.py MODEL [--talks 20] [--first 0] [--turns 8]

The conversations are edited, answered again and forked, with tools, with thinking on and off, in a window so
small that old messages are left out; every other one has a chat template with thinking.
Ends with 1 at the first answer that differs.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "python"))

from rkllm_rs import RKLLM
from talks import talk


def main() -> int:
    """Runs them, and prints a line for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", help="as scripts/fetch_model.py prints it")
    parser.add_argument("--talks", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--turns", type=int, default=8)
    arguments = parser.parse_args()
    print("talk   prompts  from the cache  shortened turns  seconds")
    with RKLLM(arguments.model, backend="cpu", max_context_len=224, top_k=1) as llm:
        for number in range(arguments.first, arguments.first + arguments.talks):
            began = time.monotonic()
            draw = random.Random(number)  # noqa: S311 - no secret
            try:
                figures = talk(draw, llm, arguments.turns, thinks=number % 2 == 1)
            except AssertionError as error:
                print(f"{number:>4}  differs: {error}")
                return 1
            seconds = time.monotonic() - began
            tokens = f"{figures.prompts:>8}  {figures.cached:>14}"
            print(f"{number:>4}  {tokens}  {figures.shortened:>15}  {seconds:>7.1f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
