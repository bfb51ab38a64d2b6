"""Passes the output of an encoder to a decoder with cross attention.

Usage: python examples/cross_attention.py decoder.rkllm

Needs RKLLM 1.2.1 or later, NumPy, and a model with cross attention. The arrays are random here; pass your
encoder's output. Layers, heads and head width must be those of the decoder.
"""

from __future__ import annotations

import argparse

import numpy as np

from rkllm_rs import RKLLM, CrossAttention, RkllmError

LAYERS, HEADS, HEAD_WIDTH = 2, 4, 8


def encode(tokens: int) -> CrossAttention:
    """Represents an encoder, which would run with RKNN."""
    random = np.random.default_rng(0)
    keys = random.standard_normal((LAYERS, tokens, HEADS, HEAD_WIDTH), dtype=np.float32)
    values = random.standard_normal((LAYERS, tokens, HEADS, HEAD_WIDTH), dtype=np.float32)
    # V has another memory order than K: the tokens are the last dimension.
    values = np.ascontiguousarray(values.transpose(0, 2, 3, 1))
    return CrossAttention(keys, values, np.ones(tokens, np.float32), np.arange(tokens, dtype=np.int32))


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a .rkllm file with cross attention")
    arguments = parser.parse_args()
    try:
        with RKLLM(arguments.model, use_cross_attn=True, max_context_len=1024) as llm:
            encoder = encode(tokens=16)
            # All runs use it until another one is set.
            llm.set_cross_attention(encoder)
            print(f"encoder output of {encoder.num_tokens} tokens")
            print("answer:", llm.generate("Describe it.", max_new_tokens=32).text.strip())
    except RkllmError as error:
        # The CPU runtime has no cross attention, and most models have none.
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
