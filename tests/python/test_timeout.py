"""Deadlines: over waiting, prompt and tokens."""

from __future__ import annotations

import time

import pytest

from fakes import calls
from rkllm_rs import GenerationError, GenerationTimeout
from support import HELD, SOON, began, newest, wait_until

ENDLESS = {"steps": ["x"], "repeat": 100_000, "delay_ms": 2}


def test_over_the_tokens(open_model):
    model = open_model({"runs": [ENDLESS, {"steps": ["fine"]}]})
    begin = time.monotonic()
    with pytest.raises(GenerationTimeout, match=r"\b1 s") as caught:
        model.generate("x", timeout=1)
    assert 1 <= time.monotonic() - begin < 1 + SOON
    partial = caught.value.partial
    assert partial.text == "x" * len(partial.token_ids) != ""
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, GenerationError)
    assert caught.value.hint
    assert model.generate("y").text == "fine"


@pytest.mark.hazard("A2")
def test_over_the_prompt(open_model, record, gate):
    # The library's prefill cannot be interrupted: control comes back, the model waits (hazard A2).
    model = open_model({"runs": [{"prefill_ms": HELD, **ENDLESS}, {"steps": ["fine"]}]})
    with pytest.raises(GenerationTimeout) as caught:
        model.generate("x", timeout=0.1)
    assert not calls(record, "run_end")
    assert caught.value.partial.text == ""
    assert caught.value.partial.token_ids == []
    gate.touch()
    assert model.generate("y").text == "fine"
    assert len(calls(record, "run_end")) == 2


def test_over_the_waiting(open_model, record):
    model = open_model({"runs": [ENDLESS, {"steps": ["fine"]}]})
    first = model.stream("1")
    next(first)
    with pytest.raises(GenerationTimeout) as caught:
        model.generate("2", timeout=0.1)
    assert caught.value.partial.text == ""
    assert next(first).text == "x"
    first.cancel()
    assert model.generate("3").text == "fine"
    assert [run["input"]["prompt_input"] for run in calls(record, "rkllm_run")] == ["1", "3"]


def test_a_library_that_ignores_the_abort(open_model, record, gate):
    model = open_model({"runs": [{**ENDLESS, "ignore_abort": True, "delay_ms": HELD}, {"steps": ["fine"]}]})
    with pytest.raises(GenerationTimeout):
        model.generate("x", timeout=0.1)
    assert not calls(record, "run_end")
    gate.touch()
    assert model.generate("y").text == "fine"
    assert [end["end"] for end in calls(record, "run_end")] == ["played", "played"]


def test_an_unread_stream_stops_too(open_model, record):
    stream = open_model({"runs": [ENDLESS]}).stream("x", timeout=1)
    began(record, "run_end")
    assert calls(record, "run_end")[0]["end"] == "aborted"
    got = []
    with pytest.raises(GenerationTimeout) as caught:
        got.extend(iter(lambda: next(stream).text, None))
    assert "".join(got) == caught.value.partial.text != ""
    with pytest.raises(GenerationTimeout):
        stream.result()


def test_in_time(open_model):
    model = open_model({"runs": [{"steps": ["a"]}]})
    for timeout in (5, 5.5, 1e9, 1e300, float("inf"), None):
        assert model.generate("x", timeout=timeout).text == "a"


@newest
def test_the_earlier_of_two_deadlines(open_model):
    model = open_model({"runs": [ENDLESS]})
    late, early = model.stream("1", timeout=30), model.stream("2", timeout=0.1)
    with pytest.raises(GenerationTimeout):
        early.result()
    assert next(late).text == "x"


@newest
def test_a_deadline_that_is_over_does_not_count_later(open_model):
    model = open_model({"runs": [{"steps": ["a"]}, {"steps": ["b"], "delay_ms": 1100}]})
    assert model.generate("1", timeout=1).text == "a"
    assert model.generate("2").text == "b"


@newest
def test_many_deadlines(open_model):
    model = open_model({"runs": [{"steps": ["a"]}]})
    streams = [model.stream("x", timeout=30) for _ in range(200)]
    wait_until(lambda: [stream.result().text for stream in streams] == ["a"] * 200)
