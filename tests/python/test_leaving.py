"""Readers that leave in the middle: their run ends, and the next one need not wait for it.

Long because each way to leave, and to come back, is a test of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import warnings

import pytest

from fakes import calls
from rkllm_rs import RKLLM, RkllmWarning
from support import HELD, PATIENCE, began, in_thread, newest, wait_until
from surface import aio, aopen, stepwise, stream_batch, stream_logits

pytestmark = newest

#: Far more than any test waits for.
ENDLESS = {"steps": ["x"], "repeat": 100_000, "delay_ms": 5}
#: Then comes one that ends.
THEN_FINE = {"runs": [ENDLESS, {"steps": ["fine"]}]}

kept: list[BaseException] = []


@pytest.fixture(autouse=True)
def nothing_kept():
    """What "loggers" of these tests keep, with all frames that it refers to, goes with the test."""
    yield
    kept.clear()
    gc.collect()


async def some_of(stream, count=3):
    """Reads a few chunks, then waits for more than will come, so that it is in the middle of waiting."""
    async for _ in stream:
        count -= 1
        if count == 0:
            await asyncio.sleep(0)
    return stream


async def cancelled(task):
    await asyncio.sleep(0.05)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def by_cancelling_its_task(model):
    stream = model.stream("x")
    await cancelled(asyncio.ensure_future(some_of(stream)))
    return stream


async def by_wait_for(model):
    stream = model.stream("x")
    with pytest.raises((TimeoutError, asyncio.TimeoutError)):
        await asyncio.wait_for(some_of(stream), 0.05)
    return stream


async def by_gather(model):
    stream = model.stream("x")
    task = asyncio.ensure_future(some_of(stream))
    asyncio.get_running_loop().call_later(0.05, task.cancel)
    (error,) = await asyncio.gather(task, return_exceptions=True)
    kept.append(error)


async def by_an_exception_that_a_logger_keeps(model):
    async def read():
        stream = model.stream("x")  # in the frame of a traceback that somebody keeps
        try:
            await some_of(stream)
        except asyncio.CancelledError as error:
            kept.append(error)
            raise

    await cancelled(asyncio.ensure_future(read()))


async def while_it_does_something_else(model):
    """A client hangs up while a chunk is sent to it: nothing waits for the stream then."""
    sending = asyncio.Event()

    async def body():
        async for chunk in model.stream("x"):
            yield chunk.text

    async def respond():
        parts = body()
        kept.append(parts)
        async for _ in parts:
            sending.set()
            await asyncio.sleep(3600)

    task = asyncio.ensure_future(respond())
    await sending.wait()
    await cancelled(task)


async def without_ever_having_waited(model):
    """The client is slower than the model: all chunks were at hand."""
    stream = model.stream("x")
    await asyncio.sleep(0.1)

    async def respond():
        await anext(stream)
        await asyncio.sleep(3600)

    task = asyncio.ensure_future(respond())
    await cancelled(task)
    kept.append(task)
    return stream


async def before_it_read_anything(model):
    async def respond():
        kept.append(model.stream("x"))
        await asyncio.sleep(3600)

    await cancelled(asyncio.ensure_future(respond()))


async def while_it_reads_through_wait_for(model):
    """``wait_for`` reads in a task of its own before Python 3.12."""

    async def respond():
        stream = model.stream("x")
        kept.append(stream)
        await asyncio.wait_for(anext(stream), PATIENCE)
        await asyncio.sleep(3600)

    await cancelled(asyncio.ensure_future(respond()))


async def by_an_error_of_its_own(model):
    stream = model.stream("x")

    async def read():
        async for _ in stream:
            raise ZeroDivisionError

    task = asyncio.ensure_future(read())
    with pytest.raises(ZeroDivisionError):
        await task
    kept.append(task)
    return stream


async def by_anyio(model):
    anyio = pytest.importorskip("anyio")
    stream = model.stream("x")
    async with anyio.create_task_group() as group:
        group.start_soon(some_of, stream)
        await asyncio.sleep(0.05)
        group.cancel_scope.cancel()
    return stream


async def by_leaving_a_block(model):
    async with model.stream("x") as stream:
        await anext(stream)
    return stream


async def by_aclose(model):
    stream = model.stream("x")
    await anext(stream)
    await stream.aclose()
    await stream.aclose()
    return stream


@pytest.mark.parametrize(
    "leave",
    [
        by_cancelling_its_task,
        by_wait_for,
        by_gather,
        by_an_exception_that_a_logger_keeps,
        while_it_does_something_else,
        without_ever_having_waited,
        before_it_read_anything,
        while_it_reads_through_wait_for,
        by_an_error_of_its_own,
        by_anyio,
        by_leaving_a_block,
        by_aclose,
    ],
)
def test_the_next_run_comes_soon(open_model, record, leave):
    async def main():
        model = open_model(THEN_FINE)
        stream = await leave(model)
        answer = await asyncio.wait_for(aio(model).generate("y"), PATIENCE)
        assert answer.text == "fine"
        if stream is not None:
            # What came before it was left can still be had.
            assert stream.result().finish_reason == "cancelled"
            assert set(stream.result().text) == {"x"}

    asyncio.run(main())


def test_a_model_that_nobody_waits_for_any_more(make_model, library, record, gate, mode):
    async def main():
        task = asyncio.ensure_future(aopen(make_model({"init": {"delay_ms": HELD}}), library=library))
        await asyncio.to_thread(began, record, "rkllm_init")
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        kept.append(caught.value)
        gate.touch()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RkllmWarning)
        asyncio.run(main())
    if mode == "here":
        # In a worker there is nothing to be kept of it: that is killed.
        began(record, "rkllm_destroy")


def test_a_model_whose_warning_is_an_error(make_model, library, record):
    line = "I rkllm: loaded a: max_context_limit: 256"
    path = make_model({"init": {"log": [["stderr", line]]}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RkllmWarning)
        warnings.filterwarnings("error", message=".*above the model's limit.*")
        with pytest.raises(RkllmWarning, match="256") as caught:
            RKLLM(path, library=library, max_context_len=4096)
    kept.append(caught.value)
    began(record, "rkllm_destroy")


def test_steps_that_are_left_serve_others_again(open_model, gate):
    async def main():
        model = open_model(
            {"runs": [{"steps": ["a"]}, {"prefill_ms": HELD, "steps": ["b"]}, {"steps": ["fine"]}]}
        )
        steps = stepwise(model, "x")
        await anext(steps)
        await cancelled(asyncio.ensure_future(anext(steps)))
        gate.touch()
        # Also the very task that began them; a wait with a limit would be another one up to Python 3.11.
        answer = await aio(model).generate("y")
        assert answer.text == "fine"

    asyncio.run(main())


def test_a_reader_that_comes_back_at_once_loses_nothing(open_model):
    words = [f"{number} " for number in range(20)]

    async def main():
        stream = open_model([{"text": word, "delay_ms": 15} for word in words]).stream("x")
        text, timeouts = "", 0
        while not text.endswith(words[-1]):
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
                text += (await asyncio.wait_for(anext(stream), 0.005)).text
                continue
            timeouts += 1
        assert text == "".join(words)
        assert timeouts > 0
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert stream.result().finish_reason == "stop"

    asyncio.run(main())


def test_also_while_others_wait(open_model, gate):
    async def main():
        model = open_model({"runs": [{"steps": ["a", {"text": "b", "delay_ms": HELD}]}, {"steps": ["fine"]}]})
        stream = model.stream("x")
        assert (await anext(stream)).text == "a"
        other = asyncio.ensure_future(aio(model).generate("y"))
        with pytest.raises((TimeoutError, asyncio.TimeoutError)):
            await asyncio.wait_for(anext(stream), 0.005)
        gate.touch()
        assert (await anext(stream)).text == "b"
        assert (await other).text == "fine"

    asyncio.run(main())


def test_one_of_two_readers_may_leave(open_model, gate):
    async def main():
        stream = open_model([{"text": "a", "delay_ms": HELD}, "b"]).stream("x")
        staying = asyncio.ensure_future(anext(stream))
        leaving = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.02)
        leaving.cancel()
        gate.touch()
        assert (await staying).text == "a"
        assert (await anext(stream)).text == "b"

    asyncio.run(main())


def test_a_batch_is_left_with_all_of_its_rows(open_model):
    rows = [["x"] * 100_000] * 2

    async def main():
        model = open_model({"runs": [{"rows": rows, "delay_ms": 2}, {"rows": [["fine"]] * 2}]}, n_batch=2)

        async def respond():
            batch = stream_batch(model, ["a", "b"])
            kept.append(batch)
            for row in batch:
                async for _ in row:
                    await asyncio.sleep(0)

        await cancelled(asyncio.ensure_future(respond()))
        answers = await asyncio.wait_for(aio(model).generate_batch(["a", "b"]), PATIENCE)
        assert [answer.text for answer in answers] == ["fine", "fine"]

    asyncio.run(main())


def test_a_reader_in_another_loop_stays(open_model, gate):
    stream = open_model([{"text": "a", "delay_ms": HELD}]).stream("x")

    async def read():
        return [chunk.text async for chunk in stream]

    async def impatient():
        with pytest.raises((TimeoutError, asyncio.TimeoutError)):
            await asyncio.wait_for(anext(stream), 0.05)

    reading = in_thread(lambda: asyncio.run(read()))
    asyncio.run(impatient())
    gate.touch()
    assert reading() == ["a"]


def test_a_task_is_told_once_however_many_streams_it_reads(open_model):
    async def main():
        model = open_model(["a"])
        task = asyncio.current_task()
        before = len(getattr(task, "_callbacks", None) or ())
        for _ in range(20):
            assert [chunk.text async for chunk in model.stream("x")] == ["a"]
        assert len(getattr(task, "_callbacks", None) or ()) - before <= 1

    asyncio.run(main())


def test_other_tasks_have_their_turn_while_all_is_at_hand(open_model):
    async def main():
        stream = open_model([{"text": "x", "repeat": 5000}], max_new_tokens=10_000).stream("x")
        wait_until(lambda: "so far" not in repr(stream), "the end of the run")
        turns = 0

        async def count():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.ensure_future(count())
        assert len([chunk async for chunk in stream]) == 5000
        counting.cancel()
        assert turns > 5

    asyncio.run(main())


def test_tasks_may_pass_a_stream_on(open_model, record):
    async def main():
        stream = open_model([{"text": word, "delay_ms": 50} for word in "abcd"]).stream("x")
        text = (await asyncio.ensure_future(anext(stream))).text
        await asyncio.sleep(0.3)  # far beyond the grace of a reader that was cancelled
        async for chunk in stream:
            text += chunk.text
        assert text == "abcd"
        assert stream.result().finish_reason == "stop"

    asyncio.run(main())


def test_synchronous_readers(open_model, record):
    model = open_model({"runs": [ENDLESS, ENDLESS, ENDLESS, ENDLESS, {"steps": ["fine"]}]})

    def texts():
        for chunk in model.stream("x"):
            yield chunk.text

    generator = texts()
    assert next(generator) == "x"
    del generator
    with model.stream("x") as stream:
        next(stream)
    assert stream.result().finish_reason == "cancelled"
    stream = model.stream("x").texts()
    with stream:
        next(stream)
    stream = model.stream("x")
    next(stream)
    stream.close()
    stream.close()
    assert model.generate("y").text == "fine"
    wait_until(lambda: len(calls(record, "run_end")) == 5, "five runs")


def test_arrays_and_batches_close(open_model):
    model = open_model({"runs": [{"logits": [{"rows": 1, "width": 4}] * 1000, "delay_ms": 2}]})
    with stream_logits(model, "x") as arrays:
        next(arrays)
    # What had come before it was closed may be there still.
    assert len(list(arrays)) < 999

    async def main():
        async with stream_logits(model, "x") as arrays:
            await anext(arrays)
        assert len([array async for array in arrays]) < 999

    asyncio.run(main())
    batch = open_model({"runs": [{"rows": [["x"] * 10_000] * 2, "delay_ms": 2}]}, n_batch=2)
    with stream_batch(batch, ["a", "b"]) as rows:
        next(rows[0])
    assert [answer.finish_reason for answer in rows.results()] == ["cancelled"] * 2

    async def both():
        async with stream_batch(batch, ["a", "b"]) as rows:
            await anext(rows[1])
        return [answer.finish_reason for answer in rows.results()]

    assert asyncio.run(both()) == ["cancelled"] * 2
