"""Different ways to the same truth, on a real model: what one call says must agree with what others say."""

from __future__ import annotations

import asyncio
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rkllm_rs import (
    RKLLM,
    ContextLengthError,
    CrossAttention,
    Embeddings,
    InvalidArgumentError,
    SamplingParams,
    Tokens,
)
from surface import (
    aio,
    generate_batch,
    hidden_states_batch,
    load_prompt_cache,
    loras,
    release_prompt_cache,
    set_cross_attention,
    set_function_tools,
    stepwise,
    stream_logits,
)
from tiny_lora import make_lora

if TYPE_CHECKING:
    from collections.abc import Iterator

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")
GREEDY = SamplingParams(top_k=1, repeat_penalty=1.0)
QUESTION = "The capital of France is the city of"
#: Prompt and answer stay below this many positions: from there on a quantised model sums differently
#: for one token and for many at once.
SHORT = 64

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def llm() -> Iterator[RKLLM]:
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    with RKLLM(MODEL, max_context_len=512, max_new_tokens=24, sampling=GREEDY, template="raw") as model:
        yield model


@pytest.fixture(autouse=True)
def nothing_open() -> None:
    """The model stays open over the tests of this module."""


def ids_of(llm: RKLLM, text: str) -> list[int]:
    """The tokens of a text, by way of a score of it."""
    return llm.score(Tokens([1]), text).token_ids


def test_generate_steps_and_the_most_likely_logits_agree(llm: RKLLM) -> None:
    prompt = ids_of(llm, QUESTION)
    whole = llm.generate(Tokens(prompt), max_new_tokens=16)
    assert 10 < len(prompt) + len(whole.token_ids) < SHORT
    assert len(whole.token_ids) == 16
    with stepwise(llm, Tokens(prompt), max_new_tokens=16) as steps:
        assert [step.token_id for step in steps] == whole.token_ids
    assert steps.result().text == whole.text
    logits = llm.logits(Tokens(prompt + whole.token_ids)).to_numpy()
    guessed = logits.argmax(axis=1)[len(prompt) - 1 : -1]
    assert guessed.tolist() == whole.token_ids


def test_what_is_sent_takes_the_place_of_a_token(llm: RKLLM) -> None:
    prompt = ids_of(llm, QUESTION)
    with stepwise(llm, Tokens(prompt), max_new_tokens=8) as steps:
        first = next(steps)
        size = llm.kv_cache_size()
        sent = steps.send(Tokens([first.token_id + 1]))
        assert llm.kv_cache_size() == size + 1
    expected = llm.logits(Tokens([*prompt, first.token_id + 1])).to_numpy()[-1].argmax()
    assert sent.token_id == expected


def test_a_range_of_the_cache_can_be_taken_out(llm: RKLLM) -> None:
    prompt = ids_of(llm, "One two three four five six seven")
    with stepwise(llm, Tokens(prompt), max_new_tokens=4) as steps:
        next(steps)
        assert llm.kv_cache_size() == len(prompt)
        llm.clear_kv_cache(ranges=[(2, 5)])
        assert llm.kv_cache_size() == len(prompt) - 3
        next(steps)
        with pytest.raises(InvalidArgumentError, match=r"\Aranges "):
            llm.clear_kv_cache(ranges=[(0, 10_000)])


def test_probabilities_agree_with_an_independent_computation(llm: RKLLM) -> None:
    prompt, continuation = ids_of(llm, "The capital of France is"), ids_of(llm, " Paris, on the Seine.")
    score = llm.score(Tokens(prompt), Tokens(continuation))
    logits = llm.logits(Tokens(prompt + continuation)).to_numpy().astype(np.float64)
    rows = logits[len(prompt) - 1 : -1]
    top = rows.max(axis=1, keepdims=True)
    logs = rows - top - np.log(np.exp(rows - top).sum(axis=1, keepdims=True))
    expected = logs[np.arange(len(continuation)), continuation]
    np.testing.assert_allclose(score.logprobs, expected, rtol=0, atol=1e-9)
    assert score.logprob == pytest.approx(expected.sum())
    assert score.perplexity == pytest.approx(math.exp(-expected.mean()))
    worse = llm.score(Tokens(prompt), Tokens(ids_of(llm, " purple elephants dancing")))
    assert worse.perplexity > 5 * score.perplexity


def test_hidden_states_lead_to_the_same_tokens(llm: RKLLM) -> None:
    ids = ids_of(llm, QUESTION)
    states = llm.hidden_states(Tokens(ids))
    assert states.shape == (len(ids), llm.info.hidden_size)
    # Causal: what follows changes nothing of what is before, but for the last bits.
    longer = llm.hidden_states(Tokens([*ids, *ids])).to_numpy()
    np.testing.assert_allclose(longer[: len(ids)], states.to_numpy(), rtol=0, atol=0.2)
    assert not np.allclose(states.to_numpy()[0], states.to_numpy()[-1])


def test_similar_texts_have_similar_embeddings(llm: RKLLM) -> None:
    texts = ["The cat sat on the mat.", "A cat is sitting on a mat.", "Interest rates rose by two percent."]
    vectors = llm.embed(texts, pooling="mean").to_numpy()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > likeness[0, 2]
    single = llm.embed(texts[0], pooling="mean").to_numpy()
    np.testing.assert_array_equal(single, vectors[0])


def test_a_seed_gives_the_same_text_twice(llm: RKLLM) -> None:
    hot = SamplingParams(temperature=1.5, top_k=50)
    first, again = (llm.generate(QUESTION, sampling=hot, seed=11).text for _ in range(2))
    others = {llm.generate(QUESTION, sampling=hot, seed=seed).text for seed in range(4)}
    assert first == again
    assert len(others) > 1


def test_a_prompt_cache_shortens_the_prefill_and_changes_nothing(llm: RKLLM, tmp_path: Path) -> None:
    prompt = "Once upon a time there was a miller who had three sons, a mill, a donkey and a cat. " * 12
    cache = tmp_path / "prompt.cache"
    cold = llm.generate(prompt, save_prompt_cache=cache)
    llm.clear_kv_cache()
    llm.generate("Something else altogether.", max_new_tokens=2)
    load_prompt_cache(llm, cache)
    warm = llm.generate(prompt)
    release_prompt_cache(llm)
    assert warm.token_ids == cold.token_ids
    assert warm.perf.prefill_tokens is not None
    assert cold.perf.prefill_tokens is not None
    assert warm.perf.prefill_tokens < cold.perf.prefill_tokens / 2


def test_an_adapter_works_by_its_scale(tmp_path: Path) -> None:
    adapter = make_lora(Path(MODEL), tmp_path / "tiny.gguf")
    with RKLLM(MODEL, max_context_len=256, max_new_tokens=16, sampling=GREEDY) as llm:
        base = llm.generate(QUESTION).token_ids
        llm.load_lora(adapter, name="off", scale=0)
        llm.load_lora(adapter, name="on")
        assert [lora.name for lora in loras(llm)] == ["off", "on"]
        assert llm.generate(QUESTION, lora="off").token_ids == base
        assert llm.generate(QUESTION, lora="on").token_ids != base
        assert llm.generate(QUESTION).token_ids == base


def test_rows_of_a_batch_say_what_single_runs_say() -> None:
    prompts = ["The sun is", "Two plus two is", "My favourite colour is"]
    keywords = {"max_context_len": 128, "sampling": GREEDY, "template": "raw"}
    with RKLLM(MODEL, **keywords) as llm:
        single = [llm.generate(prompt, max_new_tokens=10).token_ids for prompt in prompts]
        states = [llm.hidden_states(prompt).to_numpy() for prompt in prompts]
    with RKLLM(MODEL, n_batch=3, **keywords) as llm:
        together = generate_batch(llm, prompts, max_new_tokens=10)
        assert [answer.token_ids for answer in together] == single
        for alone, row in zip(states, hidden_states_batch(llm, prompts), strict=True):
            np.testing.assert_allclose(row.to_numpy(), alone, rtol=0, atol=0.2)
        # Two texts fill up a run of three.
        assert llm.embed(prompts[:2]).shape == (2, llm.info.hidden_size)


def test_what_the_model_cannot_take_is_refused_before_it_is_asked(llm: RKLLM) -> None:
    width, size = llm.info.hidden_size, llm.info.vocab_size
    assert width is not None
    assert size is not None
    with pytest.raises(InvalidArgumentError, match=str(width)):
        llm.generate(Embeddings(np.zeros((2, width + 1), np.float32)))
    with pytest.raises(InvalidArgumentError, match=r"\Aids\[\d+\] "):
        llm.logits(Tokens([size]))
    with pytest.raises(ContextLengthError):
        llm.hidden_states(Embeddings(np.zeros((600, width), np.float32)))
    with pytest.raises(InvalidArgumentError, match="use_cross_attn"):
        set_cross_attention(llm, encoder())
    assert llm.generate("Still there?", max_new_tokens=2).token_ids


def encoder() -> CrossAttention:
    """The smallest encoder output there can be."""
    one = np.ones((1, 1, 1, 1), np.float32)
    return CrossAttention(one, one, np.ones(1, np.float32), [0])


def test_tools_and_roles_reach_the_template() -> None:
    # This model's template leaves the tools out, and writes their system prompt.
    tool = {"type": "function", "function": {"name": "get_weather", "description": "Weather of a city"}}
    with RKLLM(MODEL, max_context_len=512, max_new_tokens=4, sampling=GREEDY) as llm:
        llm.generate(QUESTION)
        without = llm.kv_cache_size()
        set_function_tools(llm, [tool], system_prompt="You may call functions. " * 8)
        llm.generate(QUESTION)
        size = llm.kv_cache_size()
        assert size > without
        llm.generate('{"temperature": 20}', role="tool", keep_history=True)
        assert llm.kv_cache_size() > 0


def test_the_event_loop_gives_the_same(llm: RKLLM) -> None:
    prompt = Tokens(ids_of(llm, QUESTION))

    async def ask() -> tuple[list[int], list[int], np.ndarray, float]:
        answer = await aio(llm).generate(prompt, max_new_tokens=6)
        steps = [step.token_id async for step in stepwise(llm, prompt, max_new_tokens=6)]
        rows = [rows.to_numpy() async for rows in stream_logits(llm, prompt)]
        score = await aio(llm).score(prompt, " Paris")
        return answer.token_ids, steps, np.concatenate(rows), score.logprob

    tokens, steps, rows, logprob = asyncio.run(ask())
    assert tokens == steps == llm.generate(prompt, max_new_tokens=6).token_ids
    np.testing.assert_array_equal(rows, llm.logits(prompt).to_numpy())
    assert logprob == pytest.approx(llm.score(prompt, " Paris").logprob)
