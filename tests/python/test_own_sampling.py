"""What cannot be meant of sampling beside the library, and what a vendor's library lacks for it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from rkllm_rs import InvalidArgumentError, InvalidTypeError, SamplingParams, UnsupportedFeatureError

if TYPE_CHECKING:
    from conftest import Opener

ASK = "Name a colour."


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"min_p": -0.1}, InvalidArgumentError),
        ({"min_p": 1.1}, InvalidArgumentError),
        ({"typical_p": math.nan}, InvalidArgumentError),
        ({"typical_p": "1"}, InvalidTypeError),
        ({"logit_bias": [1]}, InvalidTypeError),
        ({"logit_bias": {"1": 1.0}}, InvalidTypeError),
        ({"logit_bias": {1: "a"}}, InvalidTypeError),
        ({"logit_bias": {1: math.inf}}, InvalidArgumentError),
        ({"logit_bias": {1: math.nan}}, InvalidArgumentError),
        ({"logit_bias": {-1: 1.0}}, InvalidArgumentError),
        ({"logprobs": -1}, InvalidArgumentError),
        ({"logprobs": 101}, InvalidArgumentError),
        ({"logprobs": True}, InvalidTypeError),
        ({"logprobs": 1.0}, InvalidTypeError),
        ({"sampler": "mine"}, InvalidArgumentError),
        ({"sampler": 1}, InvalidTypeError),
        ({"logits_processor": 1}, InvalidTypeError),
    ],
)
def test_nonsense_is_refused(open_model: Opener, keywords: dict[str, Any], error: type[Exception]) -> None:
    model = open_model()
    (name,) = keywords
    with pytest.raises(error, match=name):
        model.generate(ASK, **keywords)


@pytest.mark.parametrize(
    "keywords",
    [
        {"min_p": 0.1},
        {"typical_p": 0.9},
        {"logit_bias": {1: 1.0}},
        {"logprobs": 0},
        {"logits_processor": print},
        {"sampler": "own"},
    ],
    ids=lambda keywords: next(iter(keywords)),
)
def test_a_vendors_library_cannot(open_model: Opener, keywords: dict[str, Any]) -> None:
    model = open_model()
    with pytest.raises(UnsupportedFeatureError, match=next(iter(keywords))):
        model.generate(ASK, **keywords)
    # What changes nothing is no demand.
    assert model.generate(ASK, min_p=0, typical_p=1, logit_bias={}, sampler="library").finish_reason


def test_params_can_be_compared_and_shown() -> None:
    params = SamplingParams(min_p=0.25, typical_p=0.5, logit_bias={3: -math.inf})
    assert params == SamplingParams(min_p=0.25, typical_p=0.5, logit_bias={3: -math.inf})
    assert params != SamplingParams(min_p=0.25, typical_p=0.5)
    assert repr(params) == "SamplingParams(min_p=0.25, typical_p=0.5, logit_bias={3: -inf})"
