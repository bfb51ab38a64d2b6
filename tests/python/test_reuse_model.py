"""``reuse=`` on the CPU runtime with the real small model: the same answers, for less work."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from rkllm_rs import RKLLM, Tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

MARK = 2


@pytest.fixture(scope="module")
def llm() -> Iterator[RKLLM]:
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    with RKLLM(MODEL, backend="cpu", max_context_len=640, max_new_tokens=8) as llm:
        yield llm


@pytest.fixture(autouse=True)
def nothing_open(llm: RKLLM) -> None:
    """The model of this module stays open."""


def test_greedy_answers_are_those_without_reuse(llm: RKLLM) -> None:
    draw = random.Random(3)  # noqa: S311 - no secret
    prompt: list[int] = []
    reused = 0
    for _ in range(12):
        # A talk that goes on, is edited, or is asked again.
        if prompt and draw.random() < 0.5:
            prompt = prompt[: draw.randrange(1, len(prompt) + 1)]
        if prompt and draw.random() < 0.3:
            prompt[draw.randrange(len(prompt))] = draw.randrange(300, 40_000)
        turn = [draw.randrange(300, 40_000) for _ in range(draw.randrange(5, 20))]
        prompt = [*prompt, *turn, MARK][-36:]
        expected = llm.generate(Tokens(prompt), top_k=1, max_new_tokens=2, reuse=False)
        assert expected.perf.cached_tokens == 0
        # What others have left, other than what was just computed.
        llm.generate(Tokens([*prompt, *turn[:2]]), max_new_tokens=2, temperature=1.0)
        answer = llm.generate(Tokens(prompt), top_k=1, max_new_tokens=2)
        assert answer.token_ids == expected.token_ids
        reused += answer.perf.cached_tokens or 0
        prompt += answer.token_ids
    assert reused > 30


def test_the_second_turn_does_not_pay_for_the_first(llm: RKLLM) -> None:
    def ids(text: str) -> list[int]:
        return llm.tokenize(text, add_special_tokens=False)

    story = ids("Once upon a time there was a small dog who lived by the sea with his friends. " * 40)[:400]
    prompt = [*ids("<|im_start|>user\n"), *story, *ids("<|im_end|>\n<|im_start|>assistant\n")]
    turn = ids("<|im_end|>\n<|im_start|>user\nAnd then?<|im_end|>\n<|im_start|>assistant\n")
    first = llm.generate(Tokens(prompt), temperature=1.0)
    assert first.perf.prompt_tokens == first.perf.prefill_tokens == len(prompt)
    # Greedy: the blocks of the prompt before the answer.
    second = [*prompt, *first.token_ids, *turn]
    greedy = llm.generate(Tokens(second), top_k=1).perf
    assert greedy.prefill_tokens <= len(turn) + len(first.token_ids) + 32
    # All that is held.
    for keywords in ({"temperature": 1.0}, {"top_k": 1, "reuse": "fast"}):
        answer = llm.generate(Tokens(second), **keywords)
        third = [*second, *answer.token_ids, *turn]
        perf = llm.generate(Tokens(third), **keywords).perf
        assert perf.prompt_tokens == len(third)
        assert perf.prefill_tokens <= len(turn) + 16
        assert perf.cached_tokens == len(third) - perf.prefill_tokens


def test_a_run_that_ends_early_is_counted(llm: RKLLM) -> None:
    prompt = [300 + at for at in range(30)]
    with llm.stream(Tokens(prompt), reuse=False) as stream:
        next(iter(stream))
        stream.cancel()
    perf = stream.result().perf
    assert (perf.source, perf.prompt_tokens, perf.prefill_tokens) == ("measured", 30, 30)
    kept = llm.generate("Hello", keep_history=True, max_new_tokens=4).perf
    more = llm.generate("Hello", keep_history=True, max_new_tokens=4).perf
    assert more.cached_tokens >= kept.prompt_tokens
    assert more.prompt_tokens == more.cached_tokens + more.prefill_tokens
