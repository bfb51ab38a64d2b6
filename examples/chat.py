"""Chats in the terminal, and keeps the conversation. An empty line ends it.

Usage: python examples/chat.py model.rkllm [--system TEXT] [--think | --no-think]
"""

from __future__ import annotations

import argparse
from typing import Any

from rkllm_rs import RKLLM


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a .rkllm file, or a .gguf file for the CPU runtime")
    parser.add_argument("--system", default="Answer briefly.", help="the system message")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="limit of each answer")
    thinking = parser.add_mutually_exclusive_group()
    thinking.add_argument("--think", action="store_true", default=None, help="let the model think first")
    thinking.add_argument("--no-think", action="store_false", dest="think", help="do not let it think")
    arguments = parser.parse_args()

    messages: list[dict[str, Any]] = [{"role": "system", "content": arguments.system}]
    with RKLLM(arguments.model, max_context_len=2048, temperature=0.7) as llm:
        while question := ask():
            messages.append({"role": "user", "content": question})
            stream = llm.chat_stream(
                messages,
                max_new_tokens=arguments.max_new_tokens,
                thinking=arguments.think,
                overflow="drop_oldest",
            )
            for delta in stream:
                # Of thinking there is one or the other.
                print(delta.reasoning + delta.content, end="", flush=True)
            answer = stream.result()
            print(f"\n[{answer.perf.generate_tokens} tokens]")
            for note in answer.notes:
                print(f"[{note}]")
            messages.append(answer.message)


def ask() -> str:
    """The next question; empty at the end."""
    try:
        return input("> ").strip()
    except EOFError:
        return ""


if __name__ == "__main__":
    main()
