"""An event loop goes on ticking, whatever the library takes its time for."""

from __future__ import annotations

import asyncio
import time
import warnings

import numpy as np
import pytest

from rkllm_rs import RkllmWarning, Tokens
from support import HELD, PATIENCE, began, let_through, newest
from surface import aio, aopen, stepwise

pytestmark = newest


class Gates:
    """The library takes its time for a call until the loop has seen that it does: a blocked one cannot."""

    def __init__(self, gate, record):
        self.gate, self.record = gate, record

    async def during(self, work, function, count=1):
        """What comes of ``work``, in which the library is called for the ``count``-th time."""
        self.gate.unlink(missing_ok=True)
        opening = asyncio.ensure_future(let_through(self.gate, self.record, function, count))
        result = await work
        await opening
        return result


def opening(path, library):
    warnings.simplefilter("ignore", RkllmWarning)
    return aopen(path, library=library)


async def opens(make_model, library, gates):
    path = make_model({"init": {"delay_ms": HELD}, "runs": [{}]})
    model = await gates.during(opening(path, library), "rkllm_init")
    model.close()


async def closes(make_model, library, gates):
    model = await opening(make_model({"destroy": {"delay_ms": HELD}, "runs": [{}]}), library)
    await gates.during(aio(model).close(), "rkllm_destroy")


async def opens_behind_one_that_closes(make_model, library, gates):
    model = await opening(make_model({"runs": [{"prefill_ms": HELD, "steps": ["x"]}]}), library)
    stream = model.stream("x")
    await asyncio.to_thread(began, gates.record)
    closing = asyncio.ensure_future(aio(model).close())
    path = make_model({"runs": [{"steps": ["y"]}]})
    async with await gates.during(opening(path, library), "rkllm_run") as other:
        assert (await aio(other).generate("x")).text == "y"
    await closing
    stream.close()


async def computes_a_step(make_model, library, gates):
    runs = [{"steps": ["x"], "prefill_ms": HELD}, {"steps": ["x"], "end_ms": HELD}] * 2
    async with await opening(make_model({"runs": [*runs, {}]}), library) as model:
        steps = stepwise(model, "x")
        for count in range(1, 5):
            assert (await gates.during(anext(steps), "rkllm_run", count)).text == "x"
        assert [step async for step in steps] == []


async def clears_and_asks(make_model, library, gates):
    slow = {"delay_ms": HELD}
    script = {"clear_kv_cache": slow, "get_kv_cache_size": slow, "kv_cache_size": [8], "runs": [{}]}
    async with await opening(make_model(script), library) as model:
        await gates.during(aio(model).clear_kv_cache(), "rkllm_clear_kv_cache")
        assert await gates.during(aio(model).kv_cache_size(), "rkllm_get_kv_cache_size") == 8


async def aborts(make_model, library, gates):
    script = {"abort": {"delay_ms": HELD}, "runs": [{"steps": ["x"], "repeat": 100_000, "delay_ms": 2}, {}]}
    async with await opening(make_model(script), library) as model:
        stream = model.stream("x")
        await anext(stream)
        await gates.during(stream.aclose(), "rkllm_abort")
        await aio(model).generate("y")


@pytest.mark.parametrize(
    "work", [opens, closes, opens_behind_one_that_closes, computes_a_step, clears_and_asks, aborts]
)
def test_while_the_library_is_busy(work, make_model, library, gate, record):
    async def main():
        with warnings.catch_warnings():
            await asyncio.wait_for(work(make_model, library, Gates(gate, record)), PATIENCE)

    asyncio.run(main())


def test_while_results_are_computed(open_model):
    """Rows that come in many blocks are joined, and scored, somewhere else."""
    vocabulary, positions = 50_000, 60
    shown = [{"rows": 1, "width": vocabulary}] * positions

    async def main():
        model = open_model({"runs": [{"logits": shown}]})
        tokens = Tokens(range(1, positions))
        joined = np.asarray(await aio(model).logits(tokens))
        assert joined.shape == (positions, vocabulary)
        # Of this thread's own time, however long others have the processor.
        start = time.thread_time()
        score = model.score(Tokens([0]), tokens)
        between = time.thread_time()
        assert (await aio(model).score(Tokens([0]), tokens)).logprobs == score.logprobs
        return between - start, time.thread_time() - between

    alone, beside = asyncio.run(asyncio.wait_for(main(), 2 * PATIENCE))
    assert beside < alone / 2
