"""Answers in a form that a program can read: a dataclass, a JSON schema, a pattern, one of several texts.

Usage: python examples/structured.py model.gguf [TEXT]
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Literal

from rkllm_rs import RKLLM


@dataclasses.dataclass
class Animal:
    """An animal."""

    name: str
    years: int
    kind: Literal["cat", "dog", "bird"]


LIST = {"type": "array", "items": {"type": "string", "maxLength": 20}, "minItems": 1, "maxItems": 3}


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a .gguf file for the CPU runtime")
    parser.add_argument("text", nargs="?", default="Rex is a dog. He is 3 years old and lives in Paris.")
    arguments = parser.parse_args()

    with RKLLM(arguments.model, max_context_len=1024, max_new_tokens=200, top_k=1) as llm:
        messages = [{"role": "user", "content": f"Read this text: {arguments.text}"}]

        answer = llm.chat(messages, json_schema=Animal)
        print("class:", answer.parsed)

        answer = llm.chat(messages, json_schema=LIST)
        print("schema:", answer.parsed, answer.finish_reason)

        print("choice:", llm.generate(f"{arguments.text} Is Rex a cat?", choices=["yes", "no"]).text)
        print("pattern:", llm.generate("Today's date:", regex=r"[0-9]{4}-[0-9]{2}-[0-9]{2}").text)
        print("how:", answer.constraint)


if __name__ == "__main__":
    main()
