"""``steps()`` on the real model: the tokens of ``generate()``, and the same end."""

from __future__ import annotations

import os

import pytest

from rkllm_rs import RKLLM, SamplingParams
from surface import stepwise

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")
QUESTION = "What is the capital of France? Answer in one short sentence."

SAMPLINGS = {
    "greedy": SamplingParams(top_k=1),
    "drawn": SamplingParams(temperature=0.9, top_k=40, repeat_penalty=1.2, presence_penalty=0.3),
}

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("skipped", [True, False], ids=["special tokens hidden", "special tokens shown"])
def test_steps_are_the_tokens_of_generate_and_end_where_it_ends(*, skipped: bool, sampling: str) -> None:
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    with RKLLM(MODEL, max_context_len=256, sampling=SAMPLINGS[sampling], skip_special_token=skipped) as llm:
        whole = llm.generate(QUESTION, max_new_tokens=80, seed=5)
        assert whole.finish_reason == "stop", "the answer is too long to show its end: ask something else"
        assert whole.text.endswith("<|im_end|>") is not skipped
        llm.clear_kv_cache()
        steps = stepwise(llm, QUESTION, max_new_tokens=80, seed=5)
        assert [step.token_id for step in steps] == whole.token_ids
        answer = steps.result()
        assert (answer.text, answer.token_ids, answer.finish_reason) == (whole.text, whole.token_ids, "stop")
        # Of the shown end mark, too, nothing is left for the next run.
        llm.clear_kv_cache()
        assert llm.generate(QUESTION, max_new_tokens=80, seed=5).token_ids == whole.token_ids


@pytest.mark.parametrize("skipped", [True, False], ids=["special tokens hidden", "special tokens shown"])
def test_both_end_at_the_token_limit(*, skipped: bool) -> None:
    with RKLLM(MODEL, max_context_len=256, sampling=SAMPLINGS["greedy"], skip_special_token=skipped) as llm:
        whole = llm.generate(QUESTION, max_new_tokens=5)
        llm.clear_kv_cache()
        steps = stepwise(llm, QUESTION, max_new_tokens=5)
        assert [step.token_id for step in steps] == whole.token_ids
        assert steps.result().finish_reason == whole.finish_reason == "length"


def test_what_steps_have_left_is_reused() -> None:
    """A prompt that begins alike is not computed again, on a runtime that can end a pause."""
    long = "The quick brown fox jumps over the lazy dog. " * 12
    with RKLLM(MODEL, sampling=SamplingParams(top_k=1), template="raw") as llm:
        assert llm.info.chosen == {"max_context_len": 4096}
        expected = llm.generate(long + "Why", max_new_tokens=4)
        llm.clear_kv_cache()
        with stepwise(llm, long + "How", max_new_tokens=8) as steps:
            next(steps)
        again = llm.generate(long + "Why", max_new_tokens=4)
        assert again.token_ids == expected.token_ids
        assert again.perf.prefill_tokens < expected.perf.prefill_tokens // 2
