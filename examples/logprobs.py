"""How sure a model is of its answer, and how to change what it chooses.

Usage: python examples/logprobs.py model.gguf [PROMPT]
"""

from __future__ import annotations

import argparse
import math

from rkllm_rs import RKLLM


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a .gguf file for the CPU runtime")
    parser.add_argument("prompt", nargs="?", default="What is the capital of France?")
    arguments = parser.parse_args()

    with RKLLM(arguments.model, max_context_len=512, max_new_tokens=16, top_k=1) as llm:
        answer = llm.generate(arguments.prompt, logprobs=3)
        for token in answer.logprobs or []:
            others = ", ".join(f"{one.text!r} {math.exp(one.logprob):.0%}" for one in token.top)
            print(f"{token.text!r:15} {math.exp(token.logprob):4.0%}   of: {others}")

        first = answer.token_ids[0]
        other = llm.generate(arguments.prompt, logit_bias={first: -math.inf})
        print("without its first token:", other.text)

        for seed in (1, 2):
            answer = llm.generate(arguments.prompt, temperature=1.2, top_k=0, min_p=0.1, seed=seed)
            print(f"min_p, seed {seed}:", answer.text)


if __name__ == "__main__":
    main()
