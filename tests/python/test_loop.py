"""An event loop goes on ticking, whatever the library takes its time for."""

from __future__ import annotations

import asyncio
import time
import warnings

import numpy as np
import pytest

from rkllm_rs import RkllmWarning, Tokens
from support import PATIENCE, SLOW, newest
from surface import aio, aopen, stepwise

pytestmark = newest

#: Milliseconds that the library takes for what is tested; no stall of the loop comes near it.
LONG = round(600 * SLOW)


async def longest_stall(work):
    """How long, in milliseconds, the loop did nothing else while ``work`` was awaited."""
    longest, last, going = 0.0, time.monotonic(), True

    async def tick():
        nonlocal longest, last
        while going:
            await asyncio.sleep(0.002)
            now = time.monotonic()
            longest, last = max(longest, now - last), now

    ticking = asyncio.ensure_future(tick())
    await asyncio.sleep(0.01)
    await work
    await asyncio.sleep(0.01)
    going = False
    await ticking
    return longest * 1000


def opening(path, library):
    warnings.simplefilter("ignore", RkllmWarning)
    return aopen(path, library=library)


async def opens(make_model, library):
    model = await opening(make_model({"init": {"delay_ms": LONG}, "runs": [{}]}), library)
    model.close()


async def closes(make_model, library):
    model = await opening(make_model({"destroy": {"delay_ms": LONG}, "runs": [{}]}), library)
    await aio(model).close()


async def opens_behind_one_that_closes(make_model, library):
    slow = make_model({"runs": [{"prefill_ms": LONG, "steps": ["x"]}]})
    model = await opening(slow, library)
    stream = model.stream("x")
    async with await opening(make_model({"runs": [{"steps": ["y"]}]}), library) as other:
        assert (await aio(other).generate("x")).text == "y"
    await aio(model).close()
    await aio(await opening(slow, library)).close()
    stream.close()


async def computes_a_step(make_model, library):
    script = {"runs": [{"steps": ["x"], "prefill_ms": LONG // 4, "end_ms": LONG // 4}] * 4 + [{}]}
    async with await opening(make_model(script), library) as model:
        assert [step.text async for step in stepwise(model, "x")] == ["x"] * 4


async def clears_and_asks(make_model, library):
    script = {
        "clear_kv_cache": {"delay_ms": LONG},
        "get_kv_cache_size": {"delay_ms": LONG},
        "kv_cache_size": [8],
    }
    async with await opening(make_model({**script, "runs": [{}]}), library) as model:
        await aio(model).clear_kv_cache()
        assert await aio(model).kv_cache_size() == 8


async def aborts(make_model, library):
    script = {"abort": {"delay_ms": LONG}, "runs": [{"steps": ["x"], "repeat": 100_000, "delay_ms": 2}, {}]}
    async with await opening(make_model(script), library) as model:
        stream = model.stream("x")
        await anext(stream)
        await stream.aclose()
        await aio(model).generate("y")


@pytest.mark.parametrize(
    "work", [opens, closes, opens_behind_one_that_closes, computes_a_step, clears_and_asks, aborts]
)
def test_while_the_library_is_busy(work, make_model, library):
    async def main():
        with warnings.catch_warnings():
            return await asyncio.wait_for(longest_stall(work(make_model, library)), PATIENCE)

    assert asyncio.run(main()) < LONG / 3


def test_while_results_are_computed(open_model):
    """Rows that come in many blocks are joined, and scored, somewhere else."""
    vocabulary, positions = 50_000, 60
    shown = [{"rows": 1, "width": vocabulary}] * positions

    async def main():
        model = open_model({"runs": [{"logits": shown}]})
        tokens = Tokens(range(1, positions))
        joined = np.asarray(await aio(model).logits(tokens))
        assert joined.shape == (positions, vocabulary)
        start = time.monotonic()
        score = model.score(Tokens([0]), tokens)
        alone = (time.monotonic() - start) * 1000
        stall = await longest_stall(aio(model).score(Tokens([0]), tokens))
        assert (await aio(model).score(Tokens([0]), tokens)).logprobs == score.logprobs
        return alone, stall

    alone, stall = asyncio.run(asyncio.wait_for(main(), 2 * PATIENCE))
    assert stall < max(alone, 20)
