"""Deadlines are kept whatever the library does."""

from __future__ import annotations

import time

import pytest

from fakes import calls
from rkllm_rs import BusyError, ClosedError, GenerationTimeout
from support import SLOW, both_ends, in_thread, newest, wait_until


def seconds(work):
    """What ``work`` raised, and how long it took."""
    start = time.monotonic()
    with pytest.raises(GenerationTimeout) as caught:
        work()
    return caught.value, time.monotonic() - start


@newest
def test_a_slow_abort_holds_no_deadline_up(open_model, record):
    """One run's abort takes far longer than another's deadline."""
    script = {
        "runs": [{"prefill_ms": 1500, "ignore_abort": True, "steps": ["a"]}],
        "abort": {"delay_ms": round(4000 * SLOW)},
    }
    model = open_model(script)
    first = in_thread(lambda: seconds(lambda: model.generate("a", timeout=0.2)))
    wait_until(lambda: calls(record, "rkllm_run"), "the run")
    second = in_thread(lambda: seconds(lambda: model.generate("b", timeout=0.6)))
    assert first()[1] < 0.2 + 1.5 * SLOW
    assert second()[1] < 0.6 + 1.5 * SLOW


@newest
def test_an_abort_that_does_nothing_is_asked_for_less_and_less(open_model, record):
    model = open_model([{"text": "a", "delay_ms": round(1500 * SLOW)}])
    with pytest.raises(GenerationTimeout):
        model.generate("a", timeout=0.1)
    # The run before has to come back first.
    model.close()
    wait_until(lambda: calls(record, "rkllm_destroy"), "destroy")
    asked = len(calls(record, "rkllm_abort"))
    # Every 20 ms it would be 70 times.
    assert 2 <= asked <= 20


@pytest.mark.hazard("N4")
@both_ends
def test_no_second_model_beside_a_run_of_a_closed_one(open_model, record):
    slow = {"runs": [{"prefill_ms": round(1500 * SLOW), "steps": ["a"]}]}
    closed = open_model(slow)
    stream = closed.stream("x")
    wait_until(lambda: calls(record, "rkllm_run"), "the run")
    closed.close()
    assert not calls(record, "rkllm_destroy")
    with pytest.raises(BusyError) as caught:
        open_model(["b"], open_timeout=0.1)
    assert caught.value.hint
    assert len(calls(record, "rkllm_init")) == 1
    # With time to wait it opens, once the other has gone.
    assert open_model(["b"]).generate("y").text == "b"
    order = [line["fn"] for line in calls(record) if line["fn"] in ("rkllm_init", "run_end", "rkllm_destroy")]
    with pytest.raises(ClosedError):
        stream.result()
    assert order == ["rkllm_init", "run_end", "rkllm_destroy", "rkllm_init", "run_end"]


@newest
@pytest.mark.parametrize("wrong", [0, -1, float("nan"), "soon"])
def test_an_open_timeout_that_cannot_be_meant(open_model, wrong, record):
    with pytest.raises((ValueError, TypeError), match="open_timeout"):
        open_model(["a"], open_timeout=wrong)
    assert not calls(record, "rkllm_init")
