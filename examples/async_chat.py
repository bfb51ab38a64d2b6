"""Two conversations at a time in an event loop, with one model.

Usage: python examples/async_chat.py model.rkllm
"""

from __future__ import annotations

import argparse
import asyncio

from rkllm_rs import AsyncRKLLM


async def answer(llm: AsyncRKLLM, name: str, question: str) -> None:
    """Prints the answer to one question, each piece with the name of its conversation."""
    messages = [{"role": "user", "content": question}]
    async for text in llm.chat_stream(messages, max_new_tokens=16).texts():
        print(f"{name}: {text!r}")


async def run(path: str) -> None:
    """Runs both."""
    async with AsyncRKLLM(path, max_context_len=1024, top_k=1) as llm:
        # One model answers one after the other, in the order of the calls. The loop stays free.
        await asyncio.gather(
            answer(llm, "first", "Name a colour."),
            answer(llm, "second", "Name an animal."),
        )


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a .rkllm file, or a .gguf file for the CPU runtime")
    asyncio.run(run(parser.parse_args().model))


if __name__ == "__main__":
    main()
