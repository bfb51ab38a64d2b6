#!/usr/bin/env python3
"""Takes many tokens from the scripted fake, in each way that there is, here and in a worker.

    RKLLM_RS_FAKES=target/release python scripts/soak_tokens.py [10000000]

Each answer must have every token and its whole text, of which a letter comes in two tokens; one stream in
five is left early.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "python"))

from soaking import Part

from fakes import fake_library, fake_model
from rkllm_rs import RKLLM, AsyncRKLLM, Chunk, RkllmWarning

if TYPE_CHECKING:
    from collections.abc import Callable

#: A letter of two bytes comes in two tokens.
STEPS: list[Any] = [
    "It",
    " rained",
    {"bytes": [0x20, 0xC3]},
    {"bytes": [0xA9]},
    " day",
    ".",
    "\n",
    "And",
    " then",
    "?",
]
REPEAT = 1000
TEXT = "It rained é day.\nAnd then?" * REPEAT
COUNT = len(STEPS) * REPEAT


class Source:
    """A model of the fake, here or in a worker."""

    def __init__(self, script: Path, keywords: dict[str, Any]) -> None:
        self.llm = RKLLM(script, **keywords)
        self._again = script, keywords

    async def awaited(self) -> tuple[str, int]:
        """A stream of a task, from a model of its own."""
        script, keywords = self._again
        async with AsyncRKLLM(script, **keywords) as llm:
            chunks = [chunk async for chunk in llm.stream("Hi")]
        return joined(chunks)


def joined(chunks: list[Chunk]) -> tuple[str, int]:
    """The text of chunks, and the number of those that are tokens."""
    return "".join(chunk.text for chunk in chunks), sum(chunk.token_id is not None for chunk in chunks)


def whole(answer: tuple[str, int]) -> int:
    """The number of tokens of an answer that is whole."""
    if answer != (TEXT, COUNT):
        text, tokens = answer
        message = f"{tokens} tokens of {COUNT}, {len(text)} characters of {len(TEXT)}"
        raise SystemExit(message)
    return COUNT


def generated(source: Source) -> int:
    """An answer at once."""
    answer = source.llm.generate("Hi")
    return whole((answer.text, len(answer.token_ids)))


def streamed(source: Source) -> int:
    """A stream to its end."""
    return whole(joined(list(source.llm.stream("Hi"))))


def told(source: Source) -> int:
    """A callback for each token."""
    chunks: list[Chunk] = []
    source.llm.generate("Hi", on_token=chunks.append)
    return whole(joined(chunks))


def left(source: Source) -> int:
    """A stream that is left in its first half."""
    with source.llm.stream("Hi") as stream:
        return sum(1 for _ in itertools.islice(stream, COUNT // 2))


def awaited(source: Source) -> int:
    """A stream of a task."""
    return whole(asyncio.run(source.awaited()))


WAYS: list[Callable[[Source], int]] = [generated, streamed, told, left, awaited]


def main() -> int:
    """Takes them."""
    warnings.simplefilter("ignore", RkllmWarning)
    goal = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    folder = Path(tempfile.mkdtemp())
    script = fake_model(folder, runs=[{"steps": STEPS, "repeat": REPEAT}])
    library = fake_library(folder / "lib", "v1_3_1", quiet=True)
    keywords: dict[str, Any] = {"library": library, "vendor_log": "quiet", "max_new_tokens": COUNT}
    sources = [Source(script, keywords), Source(script, {**keywords, "isolate": True})]
    part = Part("tokens", goal)
    done = 0
    for source, way in itertools.cycle(itertools.product(sources, WAYS)):
        done += way(source)
        part.at(done)
        if done >= goal:
            break
    return part.ended(done)


if __name__ == "__main__":
    sys.exit(main())
