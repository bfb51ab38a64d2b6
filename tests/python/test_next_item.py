"""What `anext()` of a stream gives: something to await once, wherever asyncio takes a coroutine."""

from __future__ import annotations

import asyncio

import pytest

from fakes import calls
from support import PATIENCE, newest, wait_until

pytestmark = newest

ENDLESS = {"runs": [{"steps": ["x"], "repeat": 100_000, "delay_ms": 2}, {"steps": ["fine"]}]}


async def gathered(item):
    return (await asyncio.gather(item))[0]


async def by_a_task(item):
    return await asyncio.create_task(item)


async def by_a_deadline(item):
    return await asyncio.wait_for(item, PATIENCE)


async def by_a_future(item):
    return await asyncio.ensure_future(item)


async def by_itself(item):
    return await item


def all_at_hand(stream):
    wait_until(lambda: "so far" not in repr(stream), "the end of the run")
    return stream


def as_texts(stream):
    return stream.texts()


def as_chunks(stream):
    return stream


@pytest.mark.parametrize("at_hand", [True, False])
@pytest.mark.parametrize("take", [by_itself, by_a_task, by_a_deadline, by_a_future, gathered])
@pytest.mark.parametrize("kind", [as_chunks, as_texts])
def test_whatever_awaits_it(open_model, kind, take, at_hand):
    async def main():
        script = ["a", "b"] if at_hand else [{"text": text, "delay_ms": 30} for text in "ab"]
        stream = open_model(script).stream("x")
        if at_hand:
            all_at_hand(stream)
        stream = kind(stream)
        assert [str(await take(anext(stream))) for _ in range(2)] == ["a", "b"]
        for _ in range(2):
            with pytest.raises(StopAsyncIteration):
                await take(anext(stream))
        assert await anext(stream, "none") == "none"

    asyncio.run(main())


@pytest.mark.parametrize("name", ["throw", "close"])
def test_one_that_waits_can_be_ended(open_model, record, name):
    """Nobody waits any more: the run is left, and so ends."""

    async def main():
        run = {"steps": ["a"], "repeat": 100, "delay_ms": 500}
        stream = open_model({"runs": [run]}).stream("x")
        item = anext(stream)
        # Other tasks may have their turn first.
        while (waits_for := item.send(None)) is None:
            pass
        assert asyncio.isfuture(waits_for)
        if name == "throw":
            with pytest.raises(asyncio.CancelledError):
                item.throw(asyncio.CancelledError)
        else:
            item.close()
        await asyncio.to_thread(wait_until, lambda: calls(record, "rkllm_abort"), "the abort")
        with pytest.raises(RuntimeError):
            item.send(None)

    asyncio.run(main())


def test_one_that_is_not_awaited_takes_nothing(open_model):
    async def main():
        stream = all_at_hand(open_model(["a", "b", "c"]).stream("x"))
        late, early = anext(stream), anext(stream)
        anext(stream).close()
        assert [(await early).text, (await late).text] == ["a", "b"]
        return [chunk.text async for chunk in stream]

    assert asyncio.run(main()) == ["c"]


def test_it_is_awaited_once(open_model):
    async def main():
        stream = all_at_hand(open_model(["a", "b", "c"]).stream("x"))
        item = anext(stream)
        assert (await item).text == "a"
        for again in (item.__await__().__next__, lambda: item.send(None), lambda: item.throw(KeyError)):
            with pytest.raises(RuntimeError):
                again()
        following = anext(stream)
        with pytest.raises(RuntimeError):
            await item
        assert (await following).text == "b"

    asyncio.run(main())


def test_a_stream_that_was_read_has_nothing_that_keeps_it(open_model, record):
    async def main():
        stream = open_model(ENDLESS).stream("x")
        for _ in range(3):
            await anext(stream)
        del stream
        await asyncio.to_thread(wait_until, lambda: calls(record, "rkllm_abort"), "the abort")

    asyncio.run(main())


def test_the_reader_is_the_task_that_read_last(open_model, record):
    """Whoever read before has ended well; whoever reads items that are at hand waits for nothing."""
    kept = []

    async def first(stream):
        return (await anext(stream)).text

    async def second(stream):
        kept.append(stream)
        assert (await anext(stream)).text == "x"
        raise ZeroDivisionError

    async def main():
        steps = [*"xxx", {"text": "x", "repeat": 100_000, "delay_ms": 2}]
        stream = open_model(steps).stream("x")
        assert await asyncio.create_task(first(stream)) == "x"
        failing = asyncio.create_task(second(stream))
        with pytest.raises(ZeroDivisionError):
            await failing
        await asyncio.to_thread(wait_until, lambda: calls(record, "rkllm_abort"), "the abort")
        assert stream.result().finish_reason == "cancelled"

    asyncio.run(main())
