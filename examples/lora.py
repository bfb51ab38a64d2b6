"""Generates with and without a LoRA adapter, with one open model.

Usage: python examples/lora.py model.rkllm adapter.rkllm [--scale 0.8]

The adapter is converted for the same backend as the model: .rkllm for the NPU, .gguf for the CPU.
"""

from __future__ import annotations

import argparse

from rkllm_rs import RKLLM


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a .rkllm file, or a .gguf file for the CPU runtime")
    parser.add_argument("adapter", help="file of the adapter")
    parser.add_argument("question", nargs="?", default="What is the capital of France?")
    parser.add_argument("--scale", type=float, default=1.0, help="strength of the adapter")
    arguments = parser.parse_args()

    with RKLLM(arguments.model, max_context_len=1024, top_k=1) as llm:
        llm.load_lora(arguments.adapter, name="style", scale=arguments.scale)
        # An adapter cannot be unloaded. Without lora=, a run uses the base model.
        print("loaded: ", ", ".join(f"{lora.name} ({lora.scale:g})" for lora in llm.loras))
        base = llm.generate(arguments.question, max_new_tokens=24)
        styled = llm.generate(arguments.question, max_new_tokens=24, lora="style")
        print("without:", repr(base.text))
        print("with:   ", repr(styled.text))
        print("the same tokens:", "yes" if base.token_ids == styled.token_ids else "no")


if __name__ == "__main__":
    main()
