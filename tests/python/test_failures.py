"""Runs and models that the library fails, and what it says of them."""

from __future__ import annotations

import pytest

import rkllm_rs
from fakes import calls
from rkllm_rs import GenerationError

FAILURES = {
    "no last callback": ({"no_finish": True}, "final callback"),
    "error callback": ({"error": True}, "reported an error"),
    "-1": ({"return": -1}, "returned -1"),
    "-1 and error callback": ({"return": -1, "error": True}, "returned -1"),
    "-1 after a finish": ({"return": -1, "finish": {}}, "returned -1"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_failures(open_model, failure):
    script, words = FAILURES[failure]
    log = [
        ["stderr", "E rkllm: matmul failed"],
        ["stdout", "W rkllm: too hot"],
        ["stderr", "I rkllm: secret"],
    ]
    model = open_model({"runs": [{"steps": ["a"], "log_end": log, **script}, {"steps": ["b"]}]})
    with pytest.raises(GenerationError, match=words) as caught:
        model.generate("x")
    assert sorted(caught.value.log) == ["E rkllm: matmul failed", "W rkllm: too hot"]
    assert "E rkllm: matmul failed" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.hint
    assert model.generate("x").text == "b"


def test_lines_of_other_runs_are_not_attached(open_model):
    runs = [{"log": [["stderr", "E rkllm: old"]]}, {"return": -1, "log": [["stderr", "E rkllm: new"]]}]
    model = open_model({"runs": runs})
    model.generate("x")
    with pytest.raises(GenerationError) as caught:
        model.generate("x")
    assert caught.value.log == ["E rkllm: new"]


def test_a_prompt_that_the_library_finds_too_long(open_model):
    log = [["stderr", "E rkllm: prompt is too long: 600 tokens exceed max_context_len 512"]]
    with pytest.raises(rkllm_rs.ContextLengthError) as caught:
        open_model({"runs": [{"return": -1, "log": log}]}).generate("x")
    assert isinstance(caught.value, ValueError)
    assert caught.value.hint


INITS = {
    "-1": ({"return": -1}, rkllm_rs.ModelError),
    "0 without a handle": ({"null_handle": True}, rkllm_rs.ModelError),
    "no memory": (
        {"null_handle": True, "log": [["stderr", "E rkllm: failed to malloc npu memory"]]},
        rkllm_rs.NpuMemoryError,
    ),
    "other chip": (
        {"return": -1, "log": [["stderr", "E rkllm: model target_platform is rk3576"]]},
        rkllm_rs.ModelPlatformError,
    ),
    "newer toolkit": (
        {"return": -1, "log": [["stdout", "E rkllm: toolkit version is newer"]]},
        rkllm_rs.ModelVersionError,
    ),
    "no model": (
        {"return": -1, "log": [["stdout", "E rkllm: invalid rkllm model!"]]},
        rkllm_rs.ModelFormatError,
    ),
}


@pytest.mark.hazard("N2", "N3")
@pytest.mark.parametrize("case", INITS)
def test_a_model_that_does_not_open(open_model, record, case):
    init, kind = INITS[case]
    with pytest.raises(kind) as caught:
        open_model({"init": init})
    assert type(caught.value) is kind
    assert caught.value.log == [line for _, line in init.get("log", [])]
    assert caught.value.hint
    assert not calls(record, "rkllm_destroy")
    assert open_model(["fine"]).generate("x").text == "fine"
