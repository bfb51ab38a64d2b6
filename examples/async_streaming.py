"""Streams in an event loop: two prompts to one model, while the loop does other work.

Usage: python examples/async_streaming.py model.rkllm
"""

from __future__ import annotations

import argparse
import asyncio

from rkllm_rs import AsyncRKLLM

QUESTIONS = ("What is the capital of France?", "What is two plus two?")


async def ask(llm: AsyncRKLLM, question: str) -> None:
    """Streams one answer. A task that waits in the queue costs nothing."""
    pieces = [chunk.text async for chunk in llm.stream(question, max_new_tokens=32)]
    print(f"> {question}\n{''.join(pieces).strip()}\n")


async def other_work(counter: list[int]) -> None:
    """Represents the rest of a server. It would stop if the model blocked the loop."""
    while True:
        counter[0] += 1
        await asyncio.sleep(0.01)


async def run(model: str) -> None:
    """Opens the model, generates both answers, and shows that the loop was not blocked."""
    counter = [0]
    other = asyncio.create_task(other_work(counter))
    async with AsyncRKLLM(model, max_context_len=1024, top_k=1) as llm:
        # Runs of one model are served one after the other, in the order of the calls.
        await asyncio.gather(*(ask(llm, question) for question in QUESTIONS))
        answer = await llm.generate("Say hello.", max_new_tokens=16, timeout=120)
        print(f"> Say hello.\n{answer.text.strip()}\n")
    other.cancel()
    print(f"meanwhile the loop went round {counter[0]} times")


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a .rkllm file, or a .gguf file for the CPU runtime")
    asyncio.run(run(parser.parse_args().model))


if __name__ == "__main__":
    main()
