"""Values of the real model beside those of an independent program.

What llama-cpp-python 0.3.36 gives for the same file and tokens was written down here; `benches/witness.py`
compares afresh, with more, where that program is installed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rkllm_rs import RKLLM, Tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")
#: "The capital of France is Paris, ..." and on.
IDS = [504, 3575, 282, 4649, 314, 7042, 28, 527, 260, 28313, 30]
#: Natural logarithms of the probability of each token after the first.
LOGPROBS = [-11.4496, -0.3111, -2.5252, -0.4711, -0.2486, -1.5801, -1.5644, -6.0749, -21.6561, -6.2295]
#: The most likely token after each.
BEST = [29, 282, 260, 314, 7042, 30, 284, 314, 3432, 260, 824]
#: Lengths of the last layer's states, and how the last of them begins.
LENGTHS = [46.73, 38.73, 42.3, 46.36, 43.61, 49.59, 45.01, 44.79, 40.26, 45.77, 56.53]
BEGINNING = [-1.795, -0.716, -0.72, 0.499, 0.419, -1.018, 0.407, -0.755]
#: Processors round activations to eight bits in different orders.
TOLERANCE = 0.15

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def llm() -> Iterator[RKLLM]:
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    with RKLLM(MODEL, max_context_len=128) as model:
        yield model


@pytest.fixture(autouse=True)
def nothing_open() -> None:
    """The model stays open over the tests of this module."""


def test_probabilities(llm: RKLLM) -> None:
    score = llm.score(Tokens(IDS[:1]), Tokens(IDS[1:]))
    np.testing.assert_allclose(score.logprobs, LOGPROBS, rtol=0, atol=TOLERANCE)
    assert score.logprob == pytest.approx(sum(LOGPROBS), abs=TOLERANCE * 3)


def test_most_likely_tokens(llm: RKLLM) -> None:
    logits = llm.logits(Tokens(IDS)).to_numpy()
    same = sum(int(row.argmax()) == best for row, best in zip(logits, BEST, strict=True))
    # One may be a near tie, which another processor decides the other way.
    assert same >= len(BEST) - 1


def test_hidden_states(llm: RKLLM) -> None:
    states = llm.hidden_states(Tokens(IDS)).to_numpy()
    np.testing.assert_allclose(np.linalg.norm(states, axis=1), LENGTHS, rtol=0.02)
    np.testing.assert_allclose(states[-1, :8], BEGINNING, rtol=0, atol=TOLERANCE)
