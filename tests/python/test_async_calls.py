"""Every call that can wait, in an event loop: same results. That the loop goes on: test_loop.py."""

from __future__ import annotations

import asyncio
import os
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
    SamplingParams,
    Tokens,
    UnsupportedFeatureError,
)
from support import PATIENCE, newest
from surface import aio, aopen

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
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
        assert (await aio(cpu).generate(PROMPT)).token_ids == cpu.generate(PROMPT).token_ids
        assert (await aio(cpu).logits(tokens)).tolist() == cpu.logits(tokens).tolist()
        assert (await aio(cpu).hidden_states(tokens)).tolist() == cpu.hidden_states(tokens).tolist()
        for texts in ("one", ["one", "two"]):
            for pooling in ("last", "mean"):
                awaited = await aio(cpu).embed(texts, pooling=pooling)
                assert awaited.tolist() == cpu.embed(texts, pooling=pooling).tolist()
        assert await aio(cpu).score("The sky is", " blue") == cpu.score("The sky is", " blue")
        assert await aio(cpu).score(tokens, tokens) == cpu.score(tokens, tokens)
        assert await aio(cpu).kv_cache_size() == cpu.kv_cache_size()
        await aio(cpu).clear_kv_cache()
        assert await aio(cpu).kv_cache_size() == 0

    run(main())


@pytest.mark.model
def test_state_on_the_cpu_runtime(cpu: RKLLM, tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    async def main() -> None:
        await aio(cpu).generate(PROMPT, save_prompt_cache=cache)
        await aio(cpu).clear_kv_cache()
        await aio(cpu).load_prompt_cache(cache)
        await aio(cpu).release_prompt_cache()
        await aio(cpu).set_function_tools([{"name": "f"}])
        await aio(cpu).set_chat_template("", "", "")
        with pytest.raises(InvalidArgumentError):
            await aio(cpu).set_function_tools([{"name": "f"}])
        with pytest.raises(FileMissingError):
            await aio(cpu).load_lora(tmp_path / "none.gguf")
        async with aio(cpu):
            assert (await aio(cpu).generate(PROMPT, max_new_tokens=1)).token_ids
        assert cpu.closed

    run(main())


@pytest.mark.model
def test_opening_and_batches_on_the_cpu_runtime() -> None:
    async def main() -> None:
        async with await aopen(MODEL, max_context_len=512, n_batch=2, sampling=GREEDY) as model:
            answers = await aio(model).generate_batch([PROMPT, "Say hi."], max_new_tokens=6)
            assert [len(answer.token_ids) for answer in answers] == [6, 6]
            logits = await aio(model).logits_batch([Tokens([1, 2]), Tokens([3, 4, 5])])
            assert [array.shape for array in logits] == [(2, 49152), (3, 49152)]
            hidden = await aio(model).hidden_states_batch([Tokens([1, 2]), Tokens([3, 4, 5])])
            assert [array.shape for array in hidden] == [(2, 576), (3, 576)]
            assert (await aio(model).embed(["a", "b", "c"])).shape == (3, 576)
        assert model.closed

    run(main())


@pytest.mark.parametrize("abi_version", ["v1_2_1", "v1_3_1"])
def test_on_the_fake(open_model: Opener, record: Path, tmp_path: Path, abi_version: str) -> None:
    adapter = tmp_path / "style.rkllm"
    adapter.write_bytes(b"\xe5" * 5000)
    four = memoryview(bytes(16)).cast("f", (1, 1, 2, 2))
    encoder = CrossAttention(
        four, memoryview(bytes(16)).cast("f", (1, 2, 2, 1)), memoryview(bytes(4)).cast("f"), [0]
    )
    rows = {"logits": {"width": 8}, "hidden": {"width": 6}}
    model = open_model({"runs": [{"steps": ["a", "b"], **rows}], "kv_cache_size": [5]}, use_cross_attn=True)

    async def main() -> None:
        assert (await aio(model).generate("x", stop="b")).text == "a"
        assert (await aio(model).logits(Tokens([1, 2]))).shape == (2, 8)
        assert (await aio(model).hidden_states(Tokens([1, 2]))).shape == (2, 6)
        assert (await aio(model).embed(["x", "y"])).shape == (2, 6)
        assert (await aio(model).score(Tokens([1]), Tokens([2, 3]))).token_ids == [2, 3]
        assert await aio(model).kv_cache_size() == 5
        await aio(model).clear_kv_cache(keep_system_prompt=True)
        await aio(model).load_lora(adapter, name="s", scale=0.5)
        assert (await aio(model).generate("x", lora="s", save_prompt_cache=tmp_path / "c")).text == "ab"
        await aio(model).load_prompt_cache(tmp_path / "c")
        await aio(model).release_prompt_cache()
        await aio(model).set_function_tools('[{"name": "f"}]', system_prompt="S", tool_response_str="t")
        await aio(model).set_cross_attention(encoder)
        await aio(model).set_chat_template("S", "P", "Q")
        await aio(model).close()

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


def test_what_a_release_lacks(open_model: Opener, abi_version: str) -> None:
    model = open_model(["a"], strict=True)
    lacking: dict[str, list[Coroutine[Any, Any, object]]] = {
        "v1_1_0": [aio(model).logits("x"), aio(model).kv_cache_size(), aio(model).clear_kv_cache()],
        "v1_2_0": [aio(model).set_function_tools([{"name": "f"}]), aio(model).kv_cache_size()],
        "v1_2_1": [aio(model).generate("x", sampling=SamplingParams(top_k=77))],
        "v1_3_1": [aio(model).generate("x", seed=1)],
    }

    async def main() -> None:
        for one in lacking.pop(abi_version):
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
            aio(model).kv_cache_size(),
            aio(model).clear_kv_cache(),
            aio(model).generate("x"),
            aio(model).logits("x"),
        ):
            with pytest.raises(GenerationError, match="broken") as caught:
                await one
            assert caught.value.log == ["E rkllm: broken"]
        await aio(model).close()
        await aio(model).close()
        for one in (aio(model).kv_cache_size(), aio(model).generate("x")):
            with pytest.raises(ClosedError):
                await one

    run(main())
