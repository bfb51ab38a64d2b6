"""Every call that can wait, in an event loop: same results, and the loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls
from rkllm_rs import (
    RKLLM,
    ClosedError,
    CrossAttention,
    FileMissingError,
    GenerationError,
    InvalidArgumentError,
    RkllmWarning,
    SamplingParams,
    Tokens,
    UnsupportedFeatureError,
)
from support import PATIENCE, SLOW, SOON, newest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator
    from pathlib import Path
    from typing import TypeVar

    from conftest import Opener

    T = TypeVar("T")

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")
GREEDY = SamplingParams(top_k=1)
PROMPT = "Name three colours."


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs it to its end, or fails; nothing here may hang."""
    return asyncio.run(asyncio.wait_for(main, PATIENCE))


@pytest.fixture
def cpu() -> Iterator[RKLLM]:
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    with RKLLM(MODEL, max_context_len=512, max_new_tokens=16, sampling=GREEDY) as model:
        yield model


# ---- the same as without a loop


@pytest.mark.model
def test_on_the_cpu_runtime(cpu: RKLLM) -> None:
    tokens = Tokens([1, 2, 3, 4])

    async def main() -> None:
        assert (await cpu.agenerate(PROMPT)).token_ids == cpu.generate(PROMPT).token_ids
        assert (await cpu.alogits(tokens)).tolist() == cpu.logits(tokens).tolist()
        assert (await cpu.ahidden_states(tokens)).tolist() == cpu.hidden_states(tokens).tolist()
        for texts in ("one", ["one", "two"]):
            for pooling in ("last", "mean"):
                awaited = await cpu.aembed(texts, pooling=pooling)
                assert awaited.tolist() == cpu.embed(texts, pooling=pooling).tolist()
        assert await cpu.ascore("The sky is", " blue") == cpu.score("The sky is", " blue")
        assert await cpu.ascore(tokens, tokens) == cpu.score(tokens, tokens)
        assert await cpu.akv_cache_size() == cpu.kv_cache_size()
        await cpu.aclear_kv_cache()
        assert await cpu.akv_cache_size() == [0]

    run(main())


@pytest.mark.model
def test_state_on_the_cpu_runtime(cpu: RKLLM, tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    async def main() -> None:
        await cpu.agenerate(PROMPT, save_prompt_cache=cache)
        await cpu.aclear_kv_cache()
        await cpu.aload_prompt_cache(cache)
        await cpu.arelease_prompt_cache()
        await cpu.aset_function_tools([{"name": "f"}])
        await cpu.aset_chat_template("", "", "")
        with pytest.raises(InvalidArgumentError):
            await cpu.aset_function_tools([{"name": "f"}])
        with pytest.raises(FileMissingError):
            await cpu.aload_lora(tmp_path / "none.gguf")
        async with cpu:
            assert (await cpu.agenerate(PROMPT, max_new_tokens=1)).token_ids
        assert cpu.closed

    run(main())


@pytest.mark.model
def test_opening_and_batches_on_the_cpu_runtime() -> None:
    async def main() -> None:
        async with await RKLLM.aopen(MODEL, max_context_len=512, n_batch=2, sampling=GREEDY) as model:
            answers = await model.agenerate_batch([PROMPT, "Say hi."], max_new_tokens=6)
            assert [len(answer.token_ids) for answer in answers] == [6, 6]
            logits = await model.alogits_batch([Tokens([1, 2]), Tokens([3, 4, 5])])
            assert [array.shape for array in logits] == [(2, 49152), (3, 49152)]
            hidden = await model.ahidden_states_batch([Tokens([1, 2]), Tokens([3, 4, 5])])
            assert [array.shape for array in hidden] == [(2, 576), (3, 576)]
            assert (await model.aembed(["a", "b", "c"])).shape == (3, 576)
        assert model.closed

    run(main())


@pytest.mark.parametrize("generation", ["v1_2_1", "v1_3_1"])
def test_on_the_fake(open_model: Opener, record: Path, tmp_path: Path, generation: str) -> None:
    adapter = tmp_path / "style.rkllm"
    adapter.write_bytes(b"\xe5" * 5000)
    four = memoryview(bytes(16)).cast("f", (1, 1, 2, 2))
    encoder = CrossAttention(
        four, memoryview(bytes(16)).cast("f", (1, 2, 2, 1)), memoryview(bytes(4)).cast("f"), [0]
    )
    rows = {"logits": {"width": 8}, "hidden": {"width": 6}}
    model = open_model({"runs": [{"steps": ["a", "b"], **rows}], "kv_cache_size": [5]}, use_cross_attn=True)

    async def main() -> None:
        assert (await model.agenerate("x", stop="b")).text == "a"
        assert (await model.alogits(Tokens([1, 2]))).shape == (2, 8)
        assert (await model.ahidden_states(Tokens([1, 2]))).shape == (2, 6)
        assert (await model.aembed(["x", "y"])).shape == (2, 6)
        assert (await model.ascore(Tokens([1]), Tokens([2, 3]))).token_ids == [2, 3]
        assert await model.akv_cache_size() == [5]
        await model.aclear_kv_cache(keep_system_prompt=True)
        await model.aload_lora(adapter, name="s", scale=0.5)
        assert (await model.agenerate("x", lora="s", save_prompt_cache=tmp_path / "c")).text == "ab"
        await model.aload_prompt_cache(tmp_path / "c")
        await model.arelease_prompt_cache()
        await model.aset_function_tools('[{"name": "f"}]', system_prompt="S", tool_response_str="t")
        await model.aset_cross_attention(encoder)
        await model.aset_chat_template("S", "P", "Q")
        await model.aclose()

    run(main())
    assert model.closed
    # The stop string may have needed an abort.
    names = [call["fn"] for call in calls(record) if call["fn"].startswith("rkllm_")]
    assert [name for name in names if name != "rkllm_abort"] == [
        "rkllm_createDefaultParam", "rkllm_init", *["rkllm_run"] * 6, "rkllm_get_kv_cache_size",
        "rkllm_clear_kv_cache", "rkllm_load_lora", "rkllm_run", "rkllm_load_prompt_cache",
        "rkllm_release_prompt_cache", "rkllm_set_function_tools", "rkllm_set_cross_attn_params",
        "rkllm_set_chat_template", "rkllm_destroy",
    ]  # fmt: skip


def test_what_a_release_lacks(open_model: Opener, generation: str) -> None:
    model = open_model(["a"])
    lacking: dict[str, list[Coroutine[Any, Any, object]]] = {
        "v1_1_0": [model.alogits("x"), model.akv_cache_size(), model.aclear_kv_cache()],
        "v1_2_0": [model.aset_function_tools([{"name": "f"}]), model.akv_cache_size()],
        "v1_2_1": [model.agenerate("x", sampling=SamplingParams(top_k=77))],
        "v1_3_1": [model.agenerate("x", seed=1)],
    }

    async def main() -> None:
        for one in lacking.pop(generation):
            with pytest.raises(UnsupportedFeatureError):
                await one
        for others in lacking.values():
            for other in others:
                other.close()

    run(main())


@newest
def test_errors_are_the_same(open_model: Opener) -> None:
    log = [["stderr", "E rkllm: broken"]]
    refuses = {"return": -1, "log": log}
    model = open_model({"get_kv_cache_size": refuses, "clear_kv_cache": refuses, "runs": [refuses]})

    async def main() -> None:
        for one in (
            model.akv_cache_size(),
            model.aclear_kv_cache(),
            model.agenerate("x"),
            model.alogits("x"),
        ):
            with pytest.raises(GenerationError, match="broken") as caught:
                await one
            assert caught.value.log == ["E rkllm: broken"]
        await model.aclose()
        await model.aclose()
        for one in (model.akv_cache_size(), model.agenerate("x")):
            with pytest.raises(ClosedError):
                await one

    run(main())


# ---- the loop goes on


async def beat(work: Awaitable[T], longest: list[float]) -> T:
    """Awaits ``work`` and notes the longest time that the loop was held up."""

    async def heart() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.005)
            now = time.monotonic()
            longest.append(now - last - 0.005)
            last = now

    beating = asyncio.ensure_future(heart())
    await asyncio.sleep(0)
    try:
        return await work
    finally:
        beating.cancel()


SLOWLY = 600
WAITING: dict[str, Callable[[RKLLM], Awaitable[object]]] = {
    "agenerate": lambda model: model.agenerate("x"),
    "alogits": lambda model: model.alogits("x"),
    "ahidden_states": lambda model: model.ahidden_states("x"),
    "aembed": lambda model: model.aembed("x"),
    "ascore": lambda model: model.ascore(Tokens([1]), Tokens([2])),
    "akv_cache_size": lambda model: model.akv_cache_size(),
    "aclear_kv_cache": lambda model: model.aclear_kv_cache(),
    "aset_chat_template": lambda model: model.aset_chat_template(),
    "aset_function_tools": lambda model: model.aset_function_tools([{"name": "f"}]),
    "arelease_prompt_cache": lambda model: model.arelease_prompt_cache(),
    "steps": lambda model: anext(model.steps("x")),
    "stream_logits": lambda model: anext(model.stream_logits("x")),
}


@newest
@pytest.mark.parametrize("call", WAITING)
def test_nothing_blocks_the_loop(open_model: Opener, call: str) -> None:
    slow = {"delay_ms": SLOWLY}
    names = (
        "get_kv_cache_size",
        "clear_kv_cache",
        "set_chat_template",
        "set_function_tools",
        "release_prompt_cache",
    )
    model = open_model({"runs": [{"prefill_ms": SLOWLY, "steps": ["a"]}], **dict.fromkeys(names, slow)})
    held: list[float] = []

    async def main() -> None:
        await beat(WAITING[call](model), held)

    begin = time.monotonic()
    run(main())
    assert time.monotonic() - begin >= SLOWLY / 1000
    assert len(held) > 10
    assert max(held) < SLOWLY / 2000 * SLOW


@newest
def test_opening_and_closing_do_not_block_it(library: Path, make_model: Callable[..., Path]) -> None:
    path = make_model({"init": {"delay_ms": SLOWLY}, "destroy": {"delay_ms": SLOWLY}})
    held: list[float] = []

    async def main() -> None:
        model = await beat(RKLLM.aopen(path, library=library), held)
        await beat(model.aclose(), held)

    with pytest.warns(RkllmWarning):
        run(main())
    assert len(held) > 10
    assert max(held) < SLOWLY / 2000 * SLOW


@pytest.mark.model
def test_the_cpu_runtime_does_not_block_it(cpu: RKLLM) -> None:
    held: list[float] = []

    async def main() -> None:
        await beat(cpu.agenerate("word " * 300, max_new_tokens=16), held)

    run(main())
    assert len(held) > 5
    # The machine has few cores, all of which compute.
    assert max(held) < SOON
