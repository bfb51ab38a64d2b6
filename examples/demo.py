"""Streams the answer of a small real model. `make demo` runs this.

Usage: python examples/demo.py MODEL [QUESTION]
"""

from __future__ import annotations

import sys

from rkllm_rs import RKLLM, RkllmError

QUESTION = "Explain in two sentences why the sky is blue."


def main() -> int:
    """Runs the demo.

    Returns:
        The exit status.
    """
    if len(sys.argv) < 2:  # noqa: PLR2004 - the program's name and a model
        sys.stderr.write(f"usage: {sys.argv[0]} MODEL [QUESTION]\n")
        return 2
    question = " ".join(sys.argv[2:]) or QUESTION
    try:
        with RKLLM(sys.argv[1], max_context_len=2048, max_new_tokens=256) as llm:
            print(f"\n> {question}\n")
            stream = llm.stream(question)
            for chunk in stream:
                print(chunk.text, end="", flush=True)
            answer = stream.result()
            perf = answer.perf
            print("\n")
            speed = perf.generate_tokens_per_second or 0
            print(f"tokens per second:   {speed:.1f} ({perf.generate_tokens} tokens)")
            print(f"time to first token: {perf.time_to_first_token_ms or 0:.0f} ms")
            print(f"backend:             {llm.backend}, {llm.runtime.path}")
            print(f'\nAsk it something else:\n    rkllm-rs run {sys.argv[1]} "Why is the sea salty?"')
            if llm.backend == "cpu":
                print(
                    "\nThis was the CPU runtime, not an NPU. On a Rockchip board with librkllmrt.so,\n"
                    "the same program runs on the NPU with a converted model:\n"
                    "    python examples/demo.py model.rkllm"
                )
    except RkllmError as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
