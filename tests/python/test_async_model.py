"""``AsyncRKLLM``: when it opens, how often, and what it does before and after."""

from __future__ import annotations

import asyncio
import os
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls
from rkllm_rs import (
    AsyncRKLLM,
    ClosedError,
    GenerationError,
    InvalidArgumentError,
    ModelError,
    ModelNotFoundError,
    RkllmWarning,
)
from support import HELD, PATIENCE, began, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")

RUNS = {"runs": [{"steps": ["a", "b"], "logits": {"width": 4}, "hidden": {"width": 4}}], "kv_cache_size": [5]}


@pytest.fixture(autouse=True)
def no_npu() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RkllmWarning)
        yield


@pytest.fixture
def model(make_model: Callable[..., Path], library: Path) -> AsyncRKLLM:
    """A model that nobody has used yet."""
    return AsyncRKLLM(make_model(RUNS), library=library)


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Runs it to its end, or fails; nothing here may hang."""
    return asyncio.run(asyncio.wait_for(main, PATIENCE))


def test_the_first_call_opens(model: AsyncRKLLM, record: Path) -> None:
    async def main() -> None:
        assert not calls(record, "rkllm_init")
        assert (await model.generate("x")).text == "ab"
        assert await model.kv_cache_size() == 5
        assert model.max_context_len > 0
        await model.close()

    run(main())
    assert len(calls(record, "rkllm_init")) == 1
    began(record, "rkllm_destroy")


def test_async_with_and_open(make_model: Callable[..., Path], library: Path, record: Path) -> None:
    async def main() -> None:
        async with AsyncRKLLM(make_model(RUNS), library=library) as llm:
            assert await llm.open() is llm
            assert not llm.closed
        assert llm.closed

    run(main())
    assert len(calls(record, "rkllm_init")) == 1


def test_concurrent_first_calls_open_once(
    make_model: Callable[..., Path], library: Path, record: Path
) -> None:
    llm = AsyncRKLLM(make_model({**RUNS, "init": {"delay_ms": 100}}), library=library)

    async def ask(number: int) -> list[str]:
        return [(await llm.generate(f"{number}")).text for _ in range(2)]

    async def main() -> list[list[str]]:
        return await asyncio.gather(*(ask(number) for number in range(5)))

    others = in_thread(lambda: run(main()))
    assert run(main()) == [["ab", "ab"]] * 5
    assert others() == [["ab", "ab"]] * 5
    assert len(calls(record, "rkllm_init")) == 1
    run(llm.close())


def test_a_failed_opening_can_be_tried_again(
    make_model: Callable[..., Path], library: Path, record: Path
) -> None:
    path = make_model(RUNS)
    hidden = path.with_suffix(".hidden")
    path.rename(hidden)
    llm = AsyncRKLLM(path, library=library)

    async def main() -> None:
        found = await asyncio.gather(*(llm.generate("x") for _ in range(3)), return_exceptions=True)
        assert [type(error) for error in found] == [ModelNotFoundError] * 3
        hidden.rename(path)
        assert (await llm.generate("x")).text == "ab"
        await llm.close()

    run(main())


def test_what_the_library_refuses(make_model: Callable[..., Path], library: Path) -> None:
    llm = AsyncRKLLM(make_model({"init": {"return": -1}}), library=library)

    async def main() -> None:
        for _ in range(2):
            found = await asyncio.gather(llm.open(), llm.generate("x"), return_exceptions=True)
            assert [isinstance(error, ModelError) for error in found] == [True, True]

    run(main())


def test_what_is_noticed_is_told_before_it_opens(model: AsyncRKLLM, record: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RkllmWarning)
        with pytest.raises(RkllmWarning):
            run(model.open())
    assert not calls(record, "rkllm_init")
    # And it can be tried again.
    assert run(model.generate("x")).text == "ab"


def test_one_of_two_that_wait_may_leave(
    make_model: Callable[..., Path], library: Path, record: Path, gate: Path
) -> None:
    llm = AsyncRKLLM(make_model({**RUNS, "init": {"delay_ms": HELD}}), library=library)

    async def main() -> None:
        leaving = asyncio.ensure_future(llm.generate("x"))
        staying = asyncio.ensure_future(llm.generate("y"))
        await asyncio.to_thread(began, record, "rkllm_init")
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        gate.touch()
        assert (await staying).text == "ab"
        await llm.close()

    run(main())
    assert len(calls(record, "rkllm_init")) == 1


def test_when_all_have_left_the_next_one_opens_again(
    make_model: Callable[..., Path], library: Path, record: Path, gate: Path
) -> None:
    llm = AsyncRKLLM(make_model({**RUNS, "init": {"delay_ms": HELD}}), library=library)

    async def main() -> None:
        task = asyncio.ensure_future(llm.open())
        await asyncio.to_thread(began, record, "rkllm_init")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.touch()
        assert (await llm.generate("y")).text == "ab"
        await llm.close()

    run(main())
    assert len(calls(record, "rkllm_init")) == 2


def test_closed_before_and_while_it_opens(
    make_model: Callable[..., Path], library: Path, record: Path, gate: Path, mode: str
) -> None:
    async def main() -> None:
        never = AsyncRKLLM(make_model(RUNS), library=library)
        await never.close()
        await never.close()
        for use in (never.open(), never.generate("x")):
            with pytest.raises(ClosedError):
                await use
        with pytest.raises(ClosedError):
            never.stream("x")
        opening = AsyncRKLLM(make_model({**RUNS, "init": {"delay_ms": HELD}}), library=library)
        task = asyncio.ensure_future(opening.open())
        await asyncio.to_thread(began, record, "rkllm_init")
        await opening.close()
        assert not task.done()
        gate.touch()
        with pytest.raises(ClosedError):
            await task

    run(main())
    gate.touch()
    if mode == "here":
        # In a worker there is nothing to be kept of it: that is killed.
        began(record, "rkllm_destroy")


def test_what_needs_an_open_model_says_so(model: AsyncRKLLM) -> None:
    for name in (
        "info",
        "runtime",
        "max_context_len",
        "backend",
        "model_path",
        "sampling",
        "n_batch",
        "loras",
    ):
        with pytest.raises(ClosedError, match="not open yet"):
            getattr(model, name)


# ---- streams of a model that is not open yet


def test_async_for(model: AsyncRKLLM) -> None:
    async def main() -> None:
        stream = model.stream("x")
        assert [chunk.text async for chunk in stream] == ["a", "b"]
        assert stream.result().text == "ab"
        await model.close()

    run(main())


@pytest.mark.parametrize("begin", ["stream", "stream_logits", "stream_hidden_states", "steps"])
def test_every_stream_opens(model: AsyncRKLLM, begin: str) -> None:
    async def main() -> None:
        async with getattr(model, begin)("x") as stream:
            assert await anext(stream)
        await model.close()

    run(main())


def test_texts_and_plain_for(make_model: Callable[..., Path], library: Path) -> None:
    async def main() -> None:
        llm = AsyncRKLLM(make_model(RUNS), library=library)
        assert [text async for text in llm.stream("x").texts()] == ["a", "b"]
        await llm.close()

    run(main())
    llm = AsyncRKLLM(make_model(RUNS), library=library)
    with llm.stream("x") as stream:
        assert [chunk.text for chunk in stream] == ["a", "b"]
    run(llm.close())


def test_batches(make_model: Callable[..., Path], library: Path) -> None:
    async def main() -> None:
        script = {"runs": [{"rows": [["a"], ["b"]]}], "kv_cache_size": [1, 2]}
        llm = AsyncRKLLM(make_model(script), library=library, n_batch=2)
        rows = llm.stream_batch(["x", "y"])
        for row, text in zip(rows, "ab", strict=True):
            assert [chunk.text async for chunk in row] == [text]
        assert await llm.kv_cache_size() == [1, 2]
        await llm.close()

    run(main())


def test_cancelled_before_it_is_open(make_model: Callable[..., Path], library: Path, record: Path) -> None:
    model = AsyncRKLLM(
        make_model({"runs": [{"steps": ["x"], "repeat": 100_000, "delay_ms": 2}]}), library=library
    )

    async def main() -> None:
        stream = model.stream("x")
        stream.cancel()
        assert [chunk async for chunk in stream] == []
        async with model.stream("x"):
            pass
        assert stream.result().finish_reason == "cancelled"
        steps = model.steps("x")
        steps.close()
        with pytest.raises(StopAsyncIteration):
            await steps.asend(None)
        assert (steps.result().text, steps.result().token_ids) == ("", [])
        rows = model.stream_logits("x")
        rows.cancel()
        with pytest.raises(GenerationError):
            rows.result()
        assert not calls(record, "rkllm_init")
        await model.close()

    run(main())


def test_bad_arguments_are_told_on_first_use(model: AsyncRKLLM) -> None:
    async def main() -> None:
        with pytest.raises(InvalidArgumentError):
            await anext(model.stream("x", temperature=-1))
        await model.close()

    run(main())


@pytest.mark.model
def test_on_the_cpu_runtime() -> None:
    async def main() -> None:
        async with AsyncRKLLM(MODEL, max_context_len=512, temperature=0) as llm:
            answer = await llm.generate("Name a colour.", max_new_tokens=6)
            texts = [text async for text in llm.stream("Name a colour.", max_new_tokens=6).texts()]
            assert "".join(texts) == answer.text
            assert await llm.kv_cache_size() > 0

    run(main())
