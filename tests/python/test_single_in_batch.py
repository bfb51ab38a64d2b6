"""One prompt on a model that was opened for several at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fakes import calls
from rkllm_rs import InvalidArgumentError
from support import began
from surface import generate_batch, logits_batch, stepwise, stream_logits

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Opener

ENDLESS = {"text": "x", "repeat": 100_000, "delay_ms": 2}
since_1_2_1 = pytest.mark.parametrize("abi_version", ["v1_2_1", "v1_3_1"])


@since_1_2_1
def test_one_prompt_is_served_and_nobody_waits_for_the_rest(open_model: Opener, record: Path) -> None:
    rows = {"rows": [["a", "b"], [ENDLESS], [ENDLESS]]}
    model = open_model({"runs": [rows, rows, {"rows": [["fine"], ["c"], ["d"]]}]}, n_batch=3)
    answer = model.generate("one")
    assert (answer.text, answer.token_ids, answer.finish_reason) == ("ab", [1, 2], "stop")
    # The library is asked to stop when the one lane has ended.
    began(record, "run_end")
    assert [line["end"] for line in calls(record, "run_end")] == ["aborted"]
    assert [chunk.text for chunk in model.stream("two")] == ["a", "b"]
    assert model.generate("three").text == "fine"
    for run, prompt in zip(calls(record, "rkllm_run"), ("one", "two", "three"), strict=True):
        assert [one["prompt_input"] for one in run["inputs"]] == [prompt] * 3


@since_1_2_1
def test_one_prompt_goes_on_until_it_ends(open_model: Opener) -> None:
    """The lanes that nobody wants end first, or bring an end of their own."""
    model = open_model({"runs": [{"rows": [["a", *["b"] * 50], ["c"], []]}]}, n_batch=3)
    assert model.generate("one").token_ids == list(range(1, 52))


def test_rows_of_one_prompt(open_model: Opener) -> None:
    model = open_model({"runs": [{"rows": [["a"], ["b"]]}] * 3}, n_batch=2)
    expected = logits_batch(model, ["one", "one"])[0].shape
    assert model.logits("one").shape == expected
    assert [block.shape for block in stream_logits(model, "one")] == [expected]


def test_lists_and_steps_are_what_they_were(open_model: Opener) -> None:
    model = open_model({"runs": [{"rows": [["a"], ["b"]]}]}, n_batch=2)
    for call in (lambda: generate_batch(model, ["one"]), lambda: stepwise(model, "one")):
        with pytest.raises(InvalidArgumentError) as caught:
            call()
        assert caught.value.hint
    assert [answer.text for answer in generate_batch(model, ["one", "two"])] == ["a", "b"]
