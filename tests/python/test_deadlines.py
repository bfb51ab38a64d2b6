"""Deadlines are kept whatever the library does."""

from __future__ import annotations

import time

import pytest

from fakes import calls
from rkllm_rs import BusyError, ClosedError, GenerationTimeout
from support import HELD, began, both_ends, in_thread, newest


def overdue(work):
    with pytest.raises(GenerationTimeout):
        work()


@newest
def test_a_slow_abort_holds_no_deadline_up(open_model, record):
    """Both deadlines pass while the first run's abort, and its prompt, take their time."""
    script = {
        "runs": [{"prefill_ms": HELD, "ignore_abort": True, "steps": ["a"]}],
        "abort": {"delay_ms": HELD},
    }
    model = open_model(script)
    first = in_thread(lambda: overdue(lambda: model.generate("a", timeout=0.2)))
    began(record)
    second = in_thread(lambda: overdue(lambda: model.generate("b", timeout=0.4)))
    first()
    second()
    assert not calls(record, "run_end")


@newest
def test_an_abort_that_does_nothing_is_asked_for_less_and_less(open_model, record, gate):
    model = open_model([{"text": "a", "delay_ms": HELD}])
    begin = time.monotonic()
    with pytest.raises(GenerationTimeout):
        model.generate("a", timeout=0.1)
    began(record, "rkllm_abort", 7)
    # Every 20 ms, the seventh would come after 120.
    assert time.monotonic() - begin > 0.1 + 0.6
    gate.touch()
    # The run before has to come back first.
    model.close()
    began(record, "rkllm_destroy")


@pytest.mark.hazard("N4")
@both_ends
def test_no_second_model_beside_a_run_of_a_closed_one(open_model, record, gate):
    slow = {"runs": [{"prefill_ms": HELD, "steps": ["a"]}]}
    closed = open_model(slow)
    stream = closed.stream("x")
    began(record)
    closed.close()
    assert not calls(record, "rkllm_destroy")
    with pytest.raises(BusyError) as caught:
        open_model(["b"], open_timeout=0.1)
    assert caught.value.hint
    assert len(calls(record, "rkllm_init")) == 1
    # With time to wait it opens, once the other has gone.
    gate.touch()
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
