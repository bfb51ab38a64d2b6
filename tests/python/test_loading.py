"""What goes on while a library is being loaded, which may take seconds or for ever."""

from __future__ import annotations

import asyncio
import threading

import pytest

from fakes import fake_library
from rkllm_rs import Runtime
from support import PATIENCE, in_thread, newest, wait_until
from surface import aio

pytestmark = newest


@pytest.fixture
def loading(tmp_path, abi_version):
    """A library whose constructor does not return before the fixture's function is called."""
    begun, go_on = tmp_path / "begun", tmp_path / "go on"
    slow = fake_library(
        tmp_path / "slow", abi_version, constructor_touch=begun, constructor_wait=go_on, quiet=True
    )

    def start():
        result = in_thread(lambda: Runtime.load(slow))
        wait_until(begun.exists, "the constructor")
        return result

    yield start, go_on.touch
    go_on.touch()


@pytest.mark.both_modes
def test_an_event_loop_goes_on(loading, open_model):
    start, finish = loading
    model = open_model({"runs": [{"steps": ["a"] * 5, "delay_ms": 2}]})
    result = start()
    in_time = True

    def give_up():
        nonlocal in_time
        in_time = False
        finish()

    async def main():
        ticks = 0

        async def beat():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.001)  # without taking a processor from the worker
                ticks += 1

        beating = asyncio.ensure_future(beat())
        # More streams at once than there can be spare descriptors, and what is no stream.
        streams = [model.stream("x") for _ in range(20)]
        texts = await asyncio.gather(*(joined(stream) for stream in streams))
        await aio(model).kv_cache_size()
        beating.cancel()
        return texts, ticks

    async def joined(stream):
        return "".join([chunk.text async for chunk in stream])

    timer = threading.Timer(PATIENCE, give_up)
    timer.start()
    texts, ticks = asyncio.run(main())
    timer.cancel()
    assert in_time, "the loop waited for the library that was being loaded"
    assert texts == ["a" * 5] * 20
    assert ticks > 5
    finish()
    assert result().path
