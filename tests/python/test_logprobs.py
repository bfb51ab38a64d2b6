"""Sampling beside the library, and how likely tokens were, with the real small model."""

from __future__ import annotations

import asyncio
import copy
import math
import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from rkllm_rs import (
    RKLLM,
    AsyncRKLLM,
    GenerationError,
    InvalidArgumentError,
    SamplingParams,
    TokenLogprob,
    Tokens,
    TopLogprob,
)
from surface import generate_batch, stream_batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rkllm_rs import Generation

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")
ASK = "Name a colour."
TALK = [{"role": "user", "content": ASK}]
GREEDY: dict[str, Any] = {"temperature": 0, "max_new_tokens": 8}

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", params=[False, True], ids=["here", "worker"])
def llm(request: pytest.FixtureRequest) -> Iterator[RKLLM]:
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    with RKLLM(MODEL, backend="cpu", max_context_len=512, isolate=request.param) as llm:
        yield llm


@pytest.fixture(autouse=True)
def nothing_open(llm: RKLLM) -> None:
    """The model of this module stays open."""


def text_of(answer: Generation) -> list[TokenLogprob]:
    assert answer.logprobs is not None
    assert [one.token_id for one in answer.logprobs] == answer.token_ids
    joined = b"".join(one.bytes for one in answer.logprobs)
    assert joined.decode(errors="replace") == answer.text
    return answer.logprobs


def test_they_are_those_of_the_logits(llm: RKLLM) -> None:
    prompt = llm.tokenize("The capital of France is")
    ids, told = [], []
    for _ in range(3):
        answer = llm.generate(Tokens([*prompt, *ids]), **{**GREEDY, "max_new_tokens": 1}, logprobs=4)
        (one,) = text_of(answer)
        row = list(llm.logits(Tokens([*prompt, *ids]))[-1])
        top = max(row)
        total = top + math.log(math.fsum(math.exp(logit - top) for logit in row))
        best = sorted(range(len(row)), key=lambda at: -row[at])[:4]
        assert [entry.token_id for entry in one.top] == best
        assert [entry.logprob for entry in one.top] == pytest.approx(
            [row[at] - total for at in best], abs=1e-4
        )
        assert one.logprob == one.top[0].logprob
        ids.append(one.token_id)
        told.append(one)
    whole = text_of(llm.generate(Tokens(prompt), **{**GREEDY, "max_new_tokens": 3}, logprobs=4))
    assert [one.token_id for one in whole] == ids


def test_they_are_before_bias_and_temperature(llm: RKLLM) -> None:
    plain = text_of(llm.generate(ASK, **GREEDY, logprobs=1))[0]
    banned = {plain.token_id: -math.inf}
    answer = llm.generate(ASK, max_new_tokens=1, top_k=1, temperature=3, logit_bias=banned, logprobs=1)
    (one,) = text_of(answer)
    assert one.token_id != plain.token_id
    assert one.top == plain.top
    assert one.logprob < plain.logprob


def test_only_the_chosen_with_zero_and_none_without(llm: RKLLM) -> None:
    answer = llm.generate(ASK, **GREEDY, logprobs=0)
    assert [one.top for one in text_of(answer)] == [[]] * 8
    without = llm.generate(ASK, **GREEDY)
    assert without.logprobs is None
    assert without.token_ids == answer.token_ids
    assert all(chunk.logprobs is None for chunk in llm.stream(ASK, **GREEDY))


def test_chunks_and_deltas_tell_them_as_they_come(llm: RKLLM) -> None:
    stream = llm.stream(ASK, **GREEDY, logprobs=2)
    told = [one for chunk in stream for one in chunk.logprobs or []]
    assert told == text_of(stream.result())
    answers = llm.chat_stream(TALK, **GREEDY, logprobs=2)
    told = [one for delta in answers for one in delta.logprobs or []]
    answer = answers.result()
    assert answer.logprobs is not None
    assert [one.token_id for one in answer.logprobs] == answer.token_ids
    assert told == answer.logprobs[: len(told)]
    assert told
    seen: list[Any] = []
    llm.generate(ASK, **GREEDY, logprobs=0, on_token=seen.append)
    assert sum(len(chunk.logprobs) for chunk in seen) == 8


def test_a_stop_string_leaves_one_for_each_token(llm: RKLLM) -> None:
    text = llm.generate(ASK, **GREEDY).text
    answer = llm.generate(ASK, **GREEDY, stop=text[6:10], logprobs=0)
    assert answer.finish_reason == "stop"
    assert answer.logprobs is not None
    assert [one.token_id for one in answer.logprobs] == answer.token_ids


def pickled(one: Any) -> Any:
    return pickle.loads(pickle.dumps(one))  # noqa: S301 - made here


def test_they_can_be_copied(llm: RKLLM) -> None:
    stream = llm.stream(ASK, **GREEDY, logprobs=1)
    chunk = next(stream)
    answer = stream.result()
    for again in (copy.copy, copy.deepcopy, pickled):
        assert again(chunk).logprobs == chunk.logprobs
        assert again(answer).logprobs == answer.logprobs
    assert isinstance(answer.logprobs, list)
    assert isinstance(answer.logprobs[0].top[0], TopLogprob)


def test_conversations_and_event_loops_have_them(llm: RKLLM) -> None:
    talk = llm.conversation()
    assert len(talk.send(ASK, **GREEDY, logprobs=1).logprobs or []) == 8

    async def ask() -> list[TokenLogprob]:
        async with AsyncRKLLM(MODEL, backend="cpu", max_context_len=512) as aio:
            answer = await aio.generate(ASK, **GREEDY, logprobs=1)
            chunks = [chunk async for chunk in aio.stream(ASK, **GREEDY, logprobs=1)]
            assert [one for chunk in chunks for one in chunk.logprobs or []] == answer.logprobs
            return text_of(answer)

    assert asyncio.run(ask()) == text_of(llm.generate(ASK, **GREEDY, logprobs=1))


def test_own_sampler_draws_what_the_library_draws(llm: RKLLM) -> None:
    assert llm.generate(ASK, **GREEDY, sampler="own").token_ids == llm.generate(ASK, **GREEDY).token_ids
    for seed, more in enumerate(({}, {"top_k": 0}, {"repeat_penalty": 1.5}, {"mirostat": 2})):
        given: dict[str, Any] = {"seed": seed, "temperature": 1.3, "max_new_tokens": 16, **more}
        own = llm.generate(ASK, sampler="own", **given)
        assert own.token_ids == llm.generate(ASK, sampler="library", **given).token_ids


def test_steps_count_what_was_sent(llm: RKLLM) -> None:
    given: dict[str, Any] = {"max_new_tokens": 6, "temperature": 0, "repeat_penalty": 2.0}

    def stepped(**more: Any) -> list[int]:
        with llm.steps(ASK, **given, **more) as steps:
            ids = [next(steps).token_id]
            ids.append(steps.send(Tokens([ids[0] + 1])).token_id)
            return ids + [step.token_id for step in steps]

    assert stepped(sampler="own") == stepped()


def test_min_p_and_typical_p_leave_the_likeliest(llm: RKLLM) -> None:
    greedy = llm.generate(ASK, **GREEDY).token_ids
    assert llm.generate(ASK, max_new_tokens=8, temperature=2, top_k=0, min_p=1).token_ids == greedy
    answer = llm.generate(
        ASK, max_new_tokens=16, temperature=2, top_k=0, top_p=1, min_p=0.3, logprobs=1, repeat_penalty=1
    )
    for one in text_of(answer):
        assert one.logprob >= one.top[0].logprob + math.log(0.3) - 1e-4
    # The most typical token alone.
    alone = llm.generate(ASK, max_new_tokens=8, seed=1, typical_p=0)
    assert alone.token_ids == llm.generate(ASK, max_new_tokens=8, seed=2, typical_p=0).token_ids


def test_a_large_bias_forces_a_token(llm: RKLLM) -> None:
    (token,) = llm.tokenize(" blue")
    answer = llm.generate(ASK, max_new_tokens=3, logit_bias={token: 100.0}, repeat_penalty=1)
    assert answer.token_ids == [token] * 3
    params = SamplingParams(logit_bias={token: 100.0}, repeat_penalty=1)
    assert llm.generate(ASK, max_new_tokens=1, sampling=params).token_ids == [token]


def test_all_banned_is_an_error(llm: RKLLM) -> None:
    size = llm.info.vocab_size
    assert size is not None
    with pytest.raises(GenerationError, match="no token"):
        llm.generate(ASK, **GREEDY, logit_bias=dict.fromkeys(range(size), -math.inf))
    assert llm.generate(ASK, **GREEDY).token_ids


def test_an_unknown_id_names_itself_and_the_size(llm: RKLLM) -> None:
    size = llm.info.vocab_size
    with pytest.raises(InvalidArgumentError) as caught:
        llm.generate(ASK, logit_bias={10**7: 1.0})
    assert str(10**7) in str(caught.value)
    assert str(size) in str(caught.value)


def test_a_constraint_and_logprobs_go_together(llm: RKLLM) -> None:
    answer = llm.generate("Yes or no?", choices=["yes", "no"], logprobs=3, temperature=0)
    assert answer.text in {"yes", "no"}
    assert answer.constraint is not None
    # What the model would have liked better is told.
    assert text_of(answer)[0].top[0].token_id != answer.token_ids[0]


def test_a_batch_has_them_for_each_prompt() -> None:
    with RKLLM(MODEL, backend="cpu", max_context_len=512, n_batch=2) as pair:
        answers = generate_batch(pair, [ASK, "Count."], **GREEDY, logprobs=1)
        for answer in answers:
            assert len(text_of(answer)) == 8
        given: dict[str, Any] = {"seed": 3, "temperature": 1.5, "max_new_tokens": 8}
        own = [one.token_ids for one in generate_batch(pair, [ASK, ASK], sampler="own", **given)]
        assert own == [one.token_ids for one in generate_batch(pair, [ASK, ASK], **given)]
        assert stream_batch(pair, [ASK, ASK], **GREEDY, logprobs=0).results()[0].logprobs


def test_the_model_has_its_own_settings(llm: RKLLM) -> None:
    (token,) = llm.tokenize(" blue")
    with RKLLM(
        MODEL, backend="cpu", max_context_len=512, min_p=0.5, repeat_penalty=1, logit_bias={token: 100.0}
    ) as biased:
        assert biased.sampling.min_p == 0.5
        assert biased.sampling.logit_bias == {token: 100.0}
        assert biased.generate(ASK, max_new_tokens=2).token_ids == [token] * 2
        assert biased.generate(ASK, max_new_tokens=2, logit_bias={}).token_ids != [token] * 2
