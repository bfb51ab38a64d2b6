"""Tasks of an event loop: cancelled, waiting for each other, in the middle of steps."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls
from rkllm_rs import BusyError, ModelError, RkllmWarning, Tokens
from support import HELD, PATIENCE, began, wait_until
from surface import aio, aopen, stepwise

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path
    from typing import TypeVar

    from conftest import Opener

    T = TypeVar("T")

ENDLESS = {"steps": ["x"], "repeat": 100_000, "delay_ms": 2}


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs it to its end, or fails; nothing here may hang."""
    return asyncio.run(asyncio.wait_for(main, PATIENCE))


# ---- cancelling


def test_cancelling_a_task_cancels_its_run(open_model: Opener, record: Path) -> None:
    model = open_model({"runs": [ENDLESS, {"steps": ["fine"]}]})

    async def main() -> str:
        task = asyncio.ensure_future(aio(model).generate("x"))
        await asyncio.to_thread(began, record)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return (await aio(model).generate("y")).text

    assert run(main()) == "fine"
    assert [end["end"] for end in calls(record, "run_end")] == ["aborted", "played"]


@pytest.mark.parametrize("call", ["logits", "hidden_states", "embed"])
def test_cancelling_rows(open_model: Opener, record: Path, call: str) -> None:
    blocks = [{"width": 4}] * 1000
    model = open_model({"runs": [{"logits": blocks, "hidden": blocks, "delay_ms": 20}, {"steps": ["fine"]}]})

    async def main() -> str:
        task = asyncio.ensure_future(getattr(aio(model), call)("x"))
        await asyncio.to_thread(began, record, "callback")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return (await aio(model).generate("y")).text

    assert run(main()) == "fine"
    assert calls(record, "run_end")[0]["end"] == "aborted"


@pytest.mark.parametrize("abi_version", ["v1_2_1", "v1_3_1"])
def test_cancelling_a_batch(open_model: Opener, record: Path, abi_version: str) -> None:
    model = open_model({"runs": [ENDLESS, {"steps": ["fine"]}]}, n_batch=2)

    async def main() -> list[str]:
        task = asyncio.ensure_future(aio(model).generate_batch(["x", "y"]))
        await asyncio.to_thread(began, record)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return [answer.text for answer in await aio(model).generate_batch(["x", "y"])]

    assert run(main()) == ["fine"] * 2
    assert [end["end"] for end in calls(record, "run_end")] == ["aborted", "played"]


def test_wait_for_cancels(open_model: Opener, record: Path) -> None:
    model = open_model({"runs": [ENDLESS, {"steps": ["fine"]}]})

    async def main() -> str:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(aio(model).generate("x"), 0.1)
        return (await aio(model).generate("y")).text

    assert run(main()) == "fine"


def test_cancelling_a_request_leaves_the_model_usable(open_model: Opener, record: Path) -> None:
    model = open_model({"clear_kv_cache": {"delay_ms": 200}, "runs": [{"steps": ["fine"]}]})

    async def main() -> str:
        task = asyncio.ensure_future(aio(model).clear_kv_cache())
        await asyncio.to_thread(began, record, "rkllm_clear_kv_cache")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return (await aio(model).generate("y")).text

    assert run(main()) == "fine"


def test_cancelling_aopen_gives_the_model_back(
    library: Path, make_model: Callable[..., Path], open_model: Opener, record: Path, gate: Path, mode: str
) -> None:
    path = make_model({"init": {"delay_ms": HELD}})

    async def main() -> None:
        task = asyncio.ensure_future(aopen(path, library=library))
        await asyncio.to_thread(began, record, "rkllm_init")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # The model is still being opened.
        assert not calls(record, "rkllm_destroy")

    with pytest.warns(RkllmWarning):
        run(main())
    gate.touch()
    if mode == "here":
        # In a worker there is nothing to be kept of it: that is killed.
        began(record, "rkllm_destroy")
    assert open_model(["fine"]).generate("x").text == "fine"


def test_aopen_of_what_does_not_open(library: Path, make_model: Callable[..., Path], record: Path) -> None:
    async def main(path: Path) -> None:
        with pytest.raises(ModelError):
            await aopen(path, library=library)

    with pytest.warns(RkllmWarning):
        run(main(make_model({"init": {"return": -1}})))
    run(main(make_model(["a"]).with_name("none.rkllm")))
    assert not calls(record, "rkllm_destroy")


def test_two_models_are_opened_at_once(library: Path, make_model: Callable[..., Path]) -> None:
    path = make_model({"init": {"delay_ms": 50}, "runs": [{"steps": ["a"]}]})

    async def main() -> None:
        models = await asyncio.gather(*(aopen(path, library=library) for _ in range(3)))
        answers = await asyncio.gather(*(aio(model).generate("x") for model in models))
        assert [answer.text for answer in answers] == ["a"] * 3
        await asyncio.gather(*(aio(model).close() for model in models))

    with pytest.warns(RkllmWarning):
        run(main())


# ---- several tasks


def test_tasks_wait_in_order(open_model: Opener, record: Path) -> None:
    rows = {"logits": {"width": 2}}
    model = open_model({"runs": [{"steps": [{"echo": True}], "delay_ms": 5, **rows}]})

    async def main() -> None:
        tasks: list[Awaitable[Any]] = []
        for number in range(4):
            tasks += [
                asyncio.ensure_future(aio(model).generate(f"prompt {number}")),
                asyncio.ensure_future(aio(model).logits("x")),
                asyncio.ensure_future(aio(model).kv_cache_size()),
            ]
        found = await asyncio.gather(*tasks)
        assert [answer.text for answer in found[::3]] == [f"prompt {number}" for number in range(4)]

    run(main())
    names = [call["fn"] for call in calls(record) if call["fn"] in {"rkllm_run", "rkllm_get_kv_cache_size"}]
    assert names == ["rkllm_run", "rkllm_run", "rkllm_get_kv_cache_size"] * 4


STEPS = {"runs": [{"steps": [{"text": "a", "id": 1}]}] * 3 + [{"steps": ["fine"]}]}


@pytest.mark.parametrize("abi_version", ["v1_2_1", "v1_3_1"])
def test_another_task_waits_for_steps_and_the_same_is_told(open_model: Opener, abi_version: str) -> None:
    model = open_model(STEPS)
    done: list[str] = []

    async def other() -> None:
        done.append((await aio(model).generate("y")).text)

    async def main() -> None:
        steps = stepwise(model, "x")
        assert (await anext(steps)).text == "a"
        task = asyncio.ensure_future(other())
        for use in (
            lambda: aio(model).generate("z"),
            lambda: aio(model).logits("z"),
            lambda: aio(model).score(Tokens([1]), Tokens([2])),
            lambda: aio(model).embed("z"),
        ):
            with pytest.raises(BusyError, match="steps") as caught:
                await use()
            assert caught.value.hint
        with pytest.raises(BusyError):
            model.stream("z")
        # What looks at the pause, or changes it, is what it is for.
        assert await aio(model).kv_cache_size() == 0
        assert (await anext(steps)).text == "a"
        await asyncio.sleep(0.05)
        assert done == []
        done.append("steps end")
        steps.close()
        await task

    run(main())
    assert done[0] == "steps end"
    assert len(done) == 2


@pytest.mark.parametrize("abi_version", ["v1_3_1"])
def test_steps_of_two_tasks_take_turns(open_model: Opener, abi_version: str) -> None:
    model = open_model({"runs": [{"steps": [{"text": "a", "id": 1}]}]})
    order: list[str] = []

    async def walk(name: str) -> None:
        steps = stepwise(model, "x", max_new_tokens=3)
        async for _ in steps:
            order.append(name)  # noqa: PERF401 - as they come
        assert len(steps.result().token_ids) == 3

    async def main() -> None:
        await asyncio.gather(walk("1"), walk("2"))

    run(main())
    assert "".join(order) in {"111222", "222111"}


def test_a_task_that_ends_in_the_middle_of_steps(open_model: Opener) -> None:
    model = open_model(STEPS)

    async def leave() -> None:
        steps = stepwise(model, "x")
        await anext(steps)
        message = "left"
        raise LookupError(message)

    async def main() -> None:
        with pytest.raises(LookupError):
            await asyncio.ensure_future(leave())
        # Nothing refers to them any more.
        assert (await aio(model).generate("y")).text in {"a", "fine"}

    run(main())


def test_cancelling_a_task_in_the_middle_of_a_step(open_model: Opener, record: Path, gate: Path) -> None:
    model = open_model({"runs": [{"prefill_ms": HELD, "steps": ["a"]}, {"steps": ["fine"]}]})

    async def main() -> None:
        steps = stepwise(model, "x")
        task = asyncio.ensure_future(steps.__anext__())
        await asyncio.to_thread(began, record)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.touch()
        steps.close()
        assert (await aio(model).generate("y")).text == "fine"

    run(main())


def test_no_descriptor_is_left(open_model: Opener) -> None:
    model = open_model({"runs": [{"prefill_ms": 2, "steps": ["a"], "logits": {"width": 4}}]})

    async def main() -> None:
        await asyncio.gather(aio(model).generate("x"), aio(model).logits("x"), aio(model).kv_cache_size())

    run(main())
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        run(main())
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before, "the end of all descriptors")
