"""Runs one prompt with the model's own chat template, with another one, and without any.

Usage: python examples/chat_template.py model.rkllm

Before RKLLM 1.2.0 the library has no templates: rkllm_rs then adds the three strings to each text.
"""

from __future__ import annotations

import argparse

from rkllm_rs import RKLLM

# The markers of ChatML; other models need their own.
SYSTEM = "<|im_start|>system\nYou answer with one word.<|im_end|>\n"
PREFIX = "<|im_start|>user\n"
POSTFIX = "<|im_end|>\n<|im_start|>assistant\n"


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a .rkllm file, or a .gguf file for the CPU runtime")
    arguments = parser.parse_args()
    question = "The capital of France is"

    with RKLLM(arguments.model, max_context_len=1024, top_k=1) as llm:
        print("the model's own:", repr(llm.generate(question, max_new_tokens=16).text))
        llm.set_chat_template(SYSTEM, PREFIX, POSTFIX)
        print("ours:           ", repr(llm.generate(question, max_new_tokens=16).text))

    # No call brings the model's own template back: a model is opened again for that. "raw" from the start:
    with RKLLM(arguments.model, max_context_len=1024, top_k=1, template="raw") as llm:
        print("none:           ", repr(llm.generate(question, max_new_tokens=16).text))


if __name__ == "__main__":
    main()
