"""What waits for the end of somebody's steps, and what ends all rows of a run together."""

from __future__ import annotations

import asyncio
import gc
import weakref
from functools import partial
from typing import TYPE_CHECKING

import pytest

from fakes import calls
from rkllm_rs import BusyError, InvalidArgumentError, InvalidTypeError, PromptCacheError
from support import PATIENCE, began, in_thread
from surface import (
    aio,
    generate_batch,
    load_prompt_cache,
    release_prompt_cache,
    set_chat_template,
    set_function_tools,
    stepwise,
    stream_batch,
)

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Opener

since_1_2_1 = pytest.mark.parametrize("abi_version", ["v1_2_1", "v1_3_1"])
PAUSED = {"runs": [{"steps": ["a", "b", "c"]}]}


def test_what_does_not_fit_a_pause_waits_for_its_end(open_model: Opener, record: Path) -> None:
    model = open_model(PAUSED)
    with stepwise(model, "x") as steps:
        next(steps)
        wait = in_thread(lambda: set_chat_template(model, "s", "<", ">"))
        assert model.kv_cache_size() == 0
        next(steps)
        assert not calls(record, "rkllm_set_chat_template")
    wait()
    began(record, "rkllm_set_chat_template")


def test_whoever_is_in_the_middle_of_steps_would_wait_for_himself(open_model: Opener, tmp_path: Path) -> None:
    model = open_model(PAUSED)
    path = tmp_path / "cache"
    path.write_bytes(b"x")
    with stepwise(model, "x") as steps:
        next(steps)
        for call in (
            lambda: set_chat_template(model, "s", "<", ">"),
            lambda: set_function_tools(model, [{"name": "f"}]),
            lambda: load_prompt_cache(model, path, verify=False),
            partial(release_prompt_cache, model),
        ):
            with pytest.raises(BusyError):
                call()
        assert next(steps).text == "a"


def test_another_task_waits_and_the_same_one_is_refused(open_model: Opener, record: Path) -> None:
    model = open_model(PAUSED)

    async def main() -> None:
        with stepwise(model, "x") as steps:
            await steps.__anext__()
            other = asyncio.create_task(aio(model).set_chat_template("s", "<", ">"))
            with pytest.raises(BusyError):
                await aio(model).release_prompt_cache()
            await asyncio.sleep(0)
            assert not other.done()
        await asyncio.wait_for(other, PATIENCE)

    asyncio.run(main())
    assert calls(record, "rkllm_set_chat_template")


def test_what_one_row_raises_ends_the_others(open_model: Opener, record: Path) -> None:
    model = open_model({"runs": [{"steps": ["a"], "repeat": 100_000, "delay_ms": 5}]}, n_batch=2)

    def fail(_: object) -> None:
        raise KeyError

    with pytest.raises(KeyError) as kept:
        generate_batch(model, ["x", "y"], on_token=fail)
    # The exception, and with it the streams, is still held: the model is free all the same.
    batch = stream_batch(model, ["x", "y"])
    assert next(batch[1]).text == "a"
    assert kept.value is not None
    batch.cancel()
    assert calls(record, "rkllm_abort")


def test_ranges_that_cannot_be_meant(open_model: Opener) -> None:
    model = open_model({**PAUSED, "kv_cache_size": [8]})
    with stepwise(model, "x") as steps:
        next(steps)
        with pytest.raises(InvalidArgumentError, match="got"):
            model.clear_kv_cache(ranges=[(0, 2**40)])
        with pytest.raises(InvalidArgumentError, match="got 1"):
            model.clear_kv_cache(ranges=[(0,)])  # type: ignore[list-item]
        with pytest.raises(InvalidTypeError, match="float"):
            model.clear_kv_cache(ranges=[(1.0, 2)])  # type: ignore[list-item]
        with pytest.raises(InvalidArgumentError, match="keep_system_prompt"):
            model.clear_kv_cache(ranges=[(0, 1)], keep_system_prompt=True)
        model.clear_kv_cache(ranges=[(0, 1)])


@pytest.mark.parametrize("texts", [None, 5])
def test_what_cannot_be_embedded(open_model: Opener, texts: object) -> None:
    with pytest.raises(InvalidTypeError, match="texts"):
        open_model(["a"]).embed(texts)  # type: ignore[arg-type]


def test_two_tasks_share_a_stream(open_model: Opener) -> None:
    model = open_model({"runs": [{"steps": [str(at) for at in range(20)], "delay_ms": 2}]})

    async def main() -> list[str]:
        stream = model.stream("x")

        async def read() -> list[str]:
            return [chunk.text async for chunk in stream]

        both = await asyncio.wait_for(asyncio.gather(read(), read()), PATIENCE)
        return sorted(both[0] + both[1], key=int)

    assert asyncio.run(main()) == [str(at) for at in range(20)]


def test_steps_go_on_after_a_refusal_in_an_event_loop(open_model: Opener) -> None:
    model = open_model({"runs": [*PAUSED["runs"] * 2]})

    async def main() -> str:
        first, second = stepwise(model, "x"), stepwise(model, "y")
        await first.__anext__()
        with pytest.raises(BusyError):
            await second.__anext__()
        first.close()
        chunk = await asyncio.wait_for(second.__anext__(), PATIENCE)
        second.close()
        return chunk.text

    assert asyncio.run(main()) == "a"


def test_a_cache_that_was_not_saved_is_told_at_the_limit_too(open_model: Opener, tmp_path: Path) -> None:
    run = {"steps": ["a", "b"], "obey_max_new_tokens": True}
    model = open_model({"no_cache_file": True, "runs": [run]})
    with pytest.raises(PromptCacheError, match="cache"):
        model.generate("x", max_new_tokens=1, save_prompt_cache=tmp_path / "cache")
    assert model.generate("x", max_new_tokens=1).finish_reason == "length"


def test_what_is_raised_for_a_dropped_run_is_not_kept(open_model: Opener) -> None:
    class OwnError(Exception):
        pass

    raised: list[weakref.ref[OwnError]] = []

    def fail(_: str) -> list[int]:
        error = OwnError()
        raised.append(weakref.ref(error))
        raise error

    ask = {"steps": ["a"], "ask": [{"tokenize": "t", "capacity": 4}]}
    model = open_model({"runs": [ask, {"steps": ["b"]}]}, tokenizer=fail)
    unread = model.stream("x")
    assert model.generate("y").text == "b"
    del unread
    gc.collect()
    assert len(raised) == 1
    assert raised[0]() is None
