"""Streams in event loops."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest

from fakes import calls
from rkllm_rs import ClosedError, GenerationError, GenerationTimeout
from support import HELD, PATIENCE, SOON, in_thread, let_through, newest, status

ENDLESS = {"steps": ["x"], "repeat": 100_000, "delay_ms": 2}


async def joined(stream) -> str:
    return "".join([chunk.text async for chunk in stream])


def test_async_for(open_model):
    stream = open_model(["The", " sky", "!"]).stream("x")

    async def main():
        return [(chunk.text, chunk.token_id) async for chunk in stream]

    assert asyncio.run(main()) == [("The", 1), (" sky", 2), ("!", 3)]
    assert stream.result().text == "The sky!"


def test_texts(open_model):
    stream = open_model({"runs": [{"steps": ["a", "b"], "delay_ms": 10}]}).stream("x")

    async def main():
        return [text async for text in stream.texts()]

    assert asyncio.run(main()) == ["a", "b"]


def test_the_loop_goes_on_meanwhile(open_model, record, gate):
    stream = open_model({"runs": [{"prefill_ms": HELD, "steps": ["a"]}]}).stream("x")

    async def main():
        opening = asyncio.ensure_future(let_through(gate, record))
        text = await joined(stream)
        await opening
        return text

    assert asyncio.run(asyncio.wait_for(main(), PATIENCE)) == "a"


def test_many_tokens(open_model):
    count = 50_000
    model = open_model({"runs": [{"steps": ["ab"], "repeat": count}]}, max_new_tokens=2 * count)
    assert asyncio.run(joined(model.stream("x"))) == "ab" * count


def test_others_have_their_turn_while_all_is_at_hand(open_model):
    count = 50_000
    model = open_model(
        {"runs": [{"steps": ["ab"], "repeat": count}, {"steps": ["c"]}]}, max_new_tokens=2 * count
    )
    stream = model.stream("x")
    # Runs of one model come one after the other: this one has ended then.
    model.generate("y", max_new_tokens=1)
    turns = []

    async def other():
        while True:
            turns.append(len(turns))
            await asyncio.sleep(0)

    async def main():
        task = asyncio.ensure_future(other())
        text = await joined(stream)
        task.cancel()
        return text

    assert asyncio.run(main()) == "ab" * count
    assert turns


def test_cancel(open_model):
    model = open_model({"runs": [ENDLESS, {"steps": ["fine"]}]})

    async def main():
        stream = model.stream("1")
        got = 0
        async for _ in stream:
            got += 1
            if got == 3:
                stream.cancel()
        assert got >= 3
        assert stream.result().finish_reason == "cancelled"
        return await joined(model.stream("2"))

    assert asyncio.run(main()) == "fine"


def test_cancel_from_another_thread_wakes_the_loop(open_model, record):
    stream = open_model({"runs": [{"prefill_ms": HELD, **ENDLESS}]}).stream("x")

    async def main():
        reading = asyncio.ensure_future(joined(stream))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(stream.cancel)
        assert await reading == ""

    asyncio.run(main())
    assert not calls(record, "run_end")


def test_cancelling_the_task(open_model, record):
    model = open_model({"runs": [ENDLESS, {"steps": ["fine"]}]})

    async def read():
        async for _ in model.stream("1"):
            started.set()

    async def main():
        nonlocal started
        started = asyncio.Event()
        task = asyncio.ensure_future(read())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await joined(model.stream("2"))

    started = None
    assert asyncio.run(main()) == "fine"
    assert [end["end"] for end in calls(record, "run_end")] == ["aborted", "played"]


def test_wait_for_leaves_the_stream_usable(open_model, gate):
    stream = open_model({"runs": [{"prefill_ms": HELD, "steps": ["a"]}]}).stream("x")

    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(anext(stream), 0.05)
        gate.touch()
        return (await anext(stream)).text

    assert asyncio.run(main()) == "a"


def test_ten_tasks_are_served_in_order(open_model, record):
    model = open_model({"runs": [{"steps": [{"echo": True}, "!"], "delay_ms": 3}]})
    prompts = [f"prompt {number}" for number in range(10)]

    async def main():
        return await asyncio.gather(*(joined(model.stream(prompt)) for prompt in prompts))

    assert asyncio.run(main()) == [f"{prompt}!" for prompt in prompts]
    assert [run["input"]["prompt_input"] for run in calls(record, "rkllm_run")] == prompts


def test_two_loops_in_two_threads(open_model):
    model = open_model({"runs": [{"steps": [{"echo": True}, "!"], "delay_ms": 1}]})

    async def main(name):
        return [await joined(model.stream(f"{name}{number}")) for number in range(10)]

    loops = [in_thread(lambda name=name: asyncio.run(main(name))) for name in "ab"]
    for name, result in zip("ab", loops, strict=True):
        assert result() == [f"{name}{number}!" for number in range(10)]


def test_a_stream_moves_between_loops_and_threads(open_model):
    stream = open_model({"runs": [{"steps": ["a", "b", "c", "d"], "delay_ms": 15}]}).stream("x")

    async def one():
        return (await anext(stream)).text

    assert asyncio.run(one()) == "a"
    assert in_thread(lambda: asyncio.run(one()))() == "b"
    assert next(stream).text == "c"
    assert asyncio.run(one()) == "d"
    assert asyncio.run(joined(stream)) == ""


def test_deadline(open_model):
    model = open_model({"runs": [ENDLESS, {"steps": ["fine"]}]})

    async def main():
        begin = time.monotonic()
        with pytest.raises(GenerationTimeout) as caught:
            await joined(model.stream("1", timeout=0.15))
        assert time.monotonic() - begin < 0.15 + SOON
        assert caught.value.partial.text
        return await joined(model.stream("2"))

    assert asyncio.run(main()) == "fine"


def test_deadline_during_the_prompt(open_model, record):
    model = open_model({"runs": [{"prefill_ms": HELD, "steps": ["a"]}]})

    async def main():
        with pytest.raises(GenerationTimeout):
            await joined(model.stream("1", timeout=0.1))

    asyncio.run(main())
    assert not calls(record, "run_end")


def test_errors(open_model):
    stream = open_model({"runs": [{"steps": ["a"], "error": True}]}).stream("x")

    async def main():
        assert (await anext(stream)).text == "a"
        for _ in range(2):
            with pytest.raises(GenerationError):
                await anext(stream)

    asyncio.run(main())


def test_after_the_end(open_model):
    stream = open_model(["a"]).stream("x")

    async def main():
        assert await joined(stream) == "a"
        assert await joined(stream) == ""
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    asyncio.run(main())


def test_closing_the_model_ends_it(open_model):
    model = open_model({"runs": [ENDLESS]})

    async def main():
        running, waiting = model.stream("1"), model.stream("2")
        await anext(running)
        model.close()
        for stream in (running, waiting):
            with pytest.raises(ClosedError):
                await joined(stream)

    asyncio.run(main())


@newest
def test_no_thread_per_stream(open_model):
    model = open_model({"runs": [{"steps": ["a"], "delay_ms": 5}]})

    async def main():
        await joined(model.stream("x"))
        before = threading.active_count(), status("Threads")
        tasks = [asyncio.ensure_future(joined(model.stream("x"))) for _ in range(50)]
        await asyncio.sleep(0)
        during = threading.active_count(), len(os.listdir("/proc/self/task"))
        await asyncio.gather(*tasks)
        return before, during

    before, during = asyncio.run(main())
    assert during == before


@newest
def test_descriptors_are_used_again(open_model):
    model = open_model({"runs": [{"prefill_ms": 5, "steps": ["a"]}]})

    def run():
        return asyncio.run(joined(model.stream("x")))

    assert run() == "a"
    before = len(os.listdir("/proc/self/fd"))
    assert [run() for _ in range(20)] == ["a"] * 20
    assert len(os.listdir("/proc/self/fd")) == before


class LoopWithoutThreads(asyncio.SelectorEventLoop):
    """Runs nothing on a thread, and hears from none."""

    def run_in_executor(self, *_):
        raise AssertionError

    def call_soon_threadsafe(self, *_, **__):
        raise AssertionError


@newest
def test_reading_needs_no_default_executor(open_model):
    stream = open_model({"runs": [{"steps": ["a", "b"], "delay_ms": 20}]}).stream("x")
    loop = LoopWithoutThreads()
    try:
        assert loop.run_until_complete(joined(stream)) == "ab"
    finally:
        loop.close()
