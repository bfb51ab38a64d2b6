"""Compares texts, predicts the next token, and computes how likely a text is.

Usage: python examples/embeddings_and_logits.py model.rkllm

Needs NumPy; logits need RKLLM 1.2.0 or later, hidden states 1.1.0.
"""

from __future__ import annotations

import argparse

import numpy as np

from rkllm_rs import RKLLM, UnsupportedFeatureError

TEXTS = ("A cat sleeps on the sofa.", "A kitten naps on the couch.", "Interest rates rose again in March.")
PROMPT = "The capital of France is"


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a .rkllm file, or a .gguf file for the CPU runtime")
    arguments = parser.parse_args()

    # No chat template: with one, most of each text would be the same.
    with RKLLM(arguments.model, max_context_len=512, template="raw") as llm:
        vectors = llm.embed(list(TEXTS), pooling="mean").to_numpy()
        for other in (1, 2):
            likeness = float(vectors[0] @ vectors[other])
            print(f"likeness {likeness:.3f}: {TEXTS[0]} / {TEXTS[other]}")

        # One row per position; the last one predicts the next token.
        logits = llm.logits(PROMPT).to_numpy()
        likely = np.argsort(logits[-1])[-3:][::-1]
        print(f"logits {logits.shape[0]} x {logits.shape[1]}; likeliest next tokens: {likely.tolist()}")
        print(f"hidden states {' x '.join(map(str, llm.hidden_states(PROMPT).shape))}")

        try:
            for ending in (" Paris", " potatoes"):
                score = llm.score(PROMPT, ending)
                print(f"perplexity {score.perplexity:.1f}: {PROMPT}{ending}")
        except UnsupportedFeatureError as error:
            # The vendor's library has no tokenizer: pass Tokens, or open the model with tokenizer=.
            print(f"no score: {error}")


if __name__ == "__main__":
    main()
