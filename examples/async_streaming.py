"""Streams in an event loop: two questions to one model, while the loop goes on with other work.

Usage: python examples/async_streaming.py model.rkllm
"""

from __future__ import annotations

import argparse
import asyncio

from rkllm_rs import AsyncRKLLM, SamplingParams

QUESTIONS = ("What is the capital of France?", "What is two plus two?")


async def ask(llm: AsyncRKLLM, question: str) -> None:
    """Streams one answer; a task that waits for its turn costs nothing."""
    pieces = [chunk.text async for chunk in llm.stream(question, max_new_tokens=32)]
    print(f"> {question}\n{''.join(pieces).strip()}\n")


async def other_work(counter: list[int]) -> None:
    """Stands for the rest of a server; it would stand still if the model blocked the loop."""
    while True:
        counter[0] += 1
        await asyncio.sleep(0.01)


async def run(model: str) -> None:
    """Opens the model, asks, and shows that the loop was free."""
    counter = [0]
    other = asyncio.create_task(other_work(counter))
    greedy = SamplingParams(top_k=1)
    async with AsyncRKLLM(model, max_context_len=1024, sampling=greedy) as llm:
        # Runs on one model are served in turn, in the order of the calls.
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
