"""Logits and hidden states: rows of floats in place of an answer."""

from __future__ import annotations

import asyncio
import gc
import time
from functools import partial

import pytest

from fakes import ABI_VERSIONS, calls
from rkllm_rs import (
    ClosedError,
    FloatArray,
    GenerationError,
    GenerationTimeout,
    InvalidArgumentError,
    Tokens,
    UnsupportedFeatureError,
)
from support import HELD, PATIENCE, began, in_thread, newest, wait_until
from surface import aio, stream_hidden_states, stream_logits

SINCE_1_2_0 = ABI_VERSIONS[1:]
SINCE_1_2_1 = ABI_VERSIONS[2:]

#: Each kind with the layouts that have it.
KINDS = {"hidden_states": ABI_VERSIONS, "logits": SINCE_1_2_0}
SCRIPT_KEY = {"hidden_states": "hidden", "logits": "logits"}

kinds = pytest.mark.parametrize("kind", KINDS)

PARTS = [{"rows": 2, "width": 3}, {"rows": 1, "width": 3, "start": 6}, {"rows": 1, "width": 3, "start": 9}]
WHOLE = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]


@pytest.fixture
def able(abi_version, kind):
    """Leaves out what the layout does not have: that it is refused is shown below."""
    if abi_version not in KINDS[kind]:
        pytest.skip(f"{abi_version} has no {kind}")


def run_of(kind, rows=PARTS, **more):
    return {SCRIPT_KEY[kind]: rows, **more}


def script(kind, rows=PARTS, **more):
    return {"runs": [run_of(kind, rows, **more), {"steps": ["fine"]}]}


def stream(model, kind, given="x", **keywords):
    call = {"logits": stream_logits, "hidden_states": stream_hidden_states}[kind]
    return call(model, given, **keywords)


def whole(model, kind, given="x", **keywords):
    return getattr(model, kind)(given, **keywords)


@kinds
@pytest.mark.usefixtures("able")
def test_a_row_for_each_position(open_model, kind):
    model = open_model({SCRIPT_KEY[kind]: {"width": 5, "start": 0.5}})
    array = whole(model, kind, Tokens([7, 8, 9]))
    assert isinstance(array, FloatArray)
    # The fake has overwritten its own rows by now.
    assert array.tolist() == [[row * 5 + at + 0.5 for at in range(5)] for row in range(3)]
    assert whole(model, kind, "one").shape == (1, 5)


@kinds
@pytest.mark.usefixtures("able")
@pytest.mark.parametrize("normal_first", [False, True])
def test_rows_of_several_callbacks(open_model, record, abi_version, kind, normal_first):
    model = open_model(script(kind, normal_first=normal_first))
    assert whole(model, kind).tolist() == WHOLE
    assert model.generate("y").text == "fine"
    # What was copied may go, where the library asks (hazard M2); what brought nothing goes on.
    release = 2 if abi_version >= "v1_3_0" else 0
    shown = [(line["rows"], line["return"]) for line in calls(record, "callback")]
    assert shown == [([], 0)] * normal_first + [([part["rows"]], release) for part in PARTS]
    returns = [line["callback_returns"] for line in calls(record, "run_end")]
    assert returns == [[2] * len(PARTS) if release else [], []]


@kinds
@pytest.mark.usefixtures("able")
def test_one_array_for_each_callback(open_model, kind):
    model = open_model({"runs": [run_of(kind, normal_first=True)]})
    assert [array.shape for array in stream(model, kind)] == [(2, 3), (1, 3), (1, 3)]

    async def main():
        return [array.tolist() async for array in stream(model, kind)]

    assert asyncio.run(main()) == [WHOLE[:2], WHOLE[2:3], WHOLE[3:]]


@kinds
@newest
def test_arrays_come_before_the_run_is_over(open_model, record, kind):
    model = open_model({"runs": [run_of(kind, PARTS * 200, delay_ms=20)]})
    arrays = stream(model, kind)
    assert iter(arrays) is arrays
    assert next(arrays).tolist() == WHOLE[:2]
    assert not calls(record, "run_end")
    assert next(arrays).tolist() == WHOLE[2:3]
    assert not calls(record, "run_end")


@kinds
@newest
def test_the_result_is_the_rest(open_model, kind):
    model = open_model({"runs": [run_of(kind)]})
    arrays = stream(model, kind)
    assert next(arrays).shape == (2, 3)
    assert arrays.result().tolist() == WHOLE[2:]
    assert list(arrays) == []


@kinds
@newest
def test_a_rest_of_nothing(open_model, kind):
    arrays = stream(open_model({"runs": [run_of(kind)]}), kind)
    assert len(list(arrays)) == 3
    # Rows did come, and all of them were read: the error must not say that none came.
    with pytest.raises(GenerationError, match=r"^(?!.*before any)") as caught:
        arrays.result()
    assert kind.split("_")[0] in str(caught.value)


@kinds
def test_releases_that_have_none(open_model, record, abi_version, kind):
    model = open_model(["a"])
    if abi_version in KINDS[kind]:
        assert whole(model, kind).shape == (1, 4)
        return
    for call in (whole, stream):
        with pytest.raises(UnsupportedFeatureError, match=r"logits.*RKLLM 1\.2\.0 or later") as caught:
            call(model, kind)
        assert caught.value.hint
    assert not calls(record, "rkllm_run")


@pytest.mark.parametrize("abi_version", SINCE_1_2_0)
def test_tokens_with_history(open_model, record, abi_version):
    # Before 1.3.0 this ends the process by an assertion of the library (hazard G5).
    model = open_model({"runs": [{"steps": ["a"]}]})
    assert model.hidden_states(Tokens([1, 2]), keep_history=True).shape == (2, 4)
    assert model.logits("text", keep_history=True).shape == (1, 4)
    assert model.logits(Tokens([1, 2])).shape == (2, 4)
    before = len(calls(record, "rkllm_run"))
    if abi_version >= "v1_3_0":
        assert model.logits(Tokens([1, 2]), keep_history=True).shape == (2, 4)
        assert calls(record, "rkllm_run")[-1]["infer"]["keep_history"] == 1
        return
    for call in (model.logits, partial(stream_logits, model)):
        with pytest.raises(UnsupportedFeatureError, match=r"keep_history.*RKLLM 1\.3\.0 or later") as caught:
            call(Tokens([1, 2]), keep_history=True)
        assert caught.value.hint
    assert len(calls(record, "rkllm_run")) == before
    assert model.generate(Tokens([1]), keep_history=True).text == "a"


@kinds
@pytest.mark.usefixtures("able")
@pytest.mark.parametrize("rows", [[], {"rows": 0, "width": 4}, {"rows": 3, "width": 0}], ids=repr)
def test_a_library_that_gives_none(open_model, kind, rows):
    model = open_model({"runs": [run_of(kind, rows), run_of(kind, rows), {"steps": ["fine"]}]})
    with pytest.raises(GenerationError, match=kind):
        whole(model, kind)
    with pytest.raises(GenerationError, match=kind):
        list(stream(model, kind))
    assert model.generate("y").text == "fine"


@kinds
@newest
def test_rows_of_different_widths(open_model, kind):
    rows = [{"rows": 2, "width": 3}, {"rows": 1, "width": 2}]
    model = open_model({"runs": [run_of(kind, rows)]})
    assert [array.shape for array in stream(model, kind)] == [(2, 3), (1, 2)]
    with pytest.raises(GenerationError, match=f"2.*{kind}"):
        whole(model, kind)


@kinds
@pytest.mark.usefixtures("able")
def test_a_run_that_fails(open_model, kind):
    log = [["stderr", "E rkllm: no memory for it"]]
    failing = [{"log": log, "return": -1}, run_of(kind, error=True), {"steps": ["fine"]}]
    model = open_model({"runs": failing})
    with pytest.raises(GenerationError, match="-1") as caught:
        whole(model, kind)
    assert caught.value.log == ["E rkllm: no memory for it"]
    arrays = stream(model, kind)
    with pytest.raises(GenerationError, match="rkllm_run"):
        list(arrays)
    assert model.generate("y").text == "fine"


@kinds
@newest
def test_a_failed_run_keeps_what_was_read(open_model, kind):
    arrays = stream(open_model({"runs": [run_of(kind, error=True)]}), kind)
    assert [next(arrays).shape for _ in PARTS] == [(2, 3), (1, 3), (1, 3)]
    for _ in range(2):
        with pytest.raises(GenerationError, match="rkllm_run"):
            next(arrays)
    with pytest.raises(GenerationError, match="rkllm_run"):
        arrays.result()


@kinds
@pytest.mark.usefixtures("able")
def test_cancel(open_model, record, kind):
    model = open_model(script(kind, PARTS * 1000, delay_ms=5))
    arrays = stream(model, kind)
    next(arrays)
    arrays.cancel()
    arrays.cancel()
    # What had come may still be read; then it ends without an error.
    assert len(list(arrays)) < 3000
    assert model.generate("y").text == "fine"
    assert [line["end"] for line in calls(record, "run_end")] == ["aborted", "played"]


@kinds
@newest
def test_cancelled_before_any_rows(open_model, record, gate, kind):
    model = open_model(script(kind, prefill_ms=HELD))
    arrays = stream(model, kind)
    began(record)
    arrays.cancel()
    assert list(arrays) == []
    with pytest.raises(GenerationError, match="before any"):
        arrays.result()
    gate.touch()
    assert model.generate("y").text == "fine"


@kinds
@newest
def test_cancelled_from_another_thread(open_model, record, kind):
    model = open_model(script(kind, prefill_ms=100, delay_ms=5, rows=PARTS * 1000))
    arrays = stream(model, kind)
    reading = in_thread(lambda: len(list(arrays)))
    began(record)
    arrays.cancel()
    assert reading() < 3000


@kinds
@newest
def test_a_stream_that_is_dropped_cancels_its_run(open_model, record, kind):
    model = open_model(script(kind, PARTS * 1000, delay_ms=5))
    arrays = stream(model, kind)
    next(arrays)
    del arrays
    gc.collect()
    began(record, "run_end")
    assert calls(record, "run_end")[0]["end"] == "aborted"
    assert model.generate("y").text == "fine"


@kinds
@pytest.mark.usefixtures("able")
def test_deadlines(open_model, record, kind):
    model = open_model(script(kind, PARTS * 1000, delay_ms=5))
    begin = time.monotonic()
    with pytest.raises(GenerationTimeout, match=r"0\.2 s") as caught:
        whole(model, kind, timeout=0.2)
    assert time.monotonic() - begin >= 0.2
    assert isinstance(caught.value, TimeoutError)
    assert model.generate("y").text == "fine"
    assert [line["end"] for line in calls(record, "run_end")] == ["aborted", "played"]


@kinds
@newest
def test_a_deadline_over_the_prompt(open_model, record, gate, kind):
    model = open_model(script(kind, prefill_ms=HELD))
    with pytest.raises(GenerationTimeout):
        list(stream(model, kind, timeout=0.1))
    assert not calls(record, "run_end")
    gate.touch()
    assert model.generate("y").text == "fine"


@kinds
@pytest.mark.usefixtures("able")
def test_for_event_loops(open_model, record, kind):
    model = open_model({"runs": [run_of(kind), run_of(kind, PARTS * 1000, delay_ms=5), {"steps": ["fine"]}]})

    async def main():
        call = getattr(aio(model), f"{kind}")
        assert (await call("x")).tolist() == WHOLE
        task = asyncio.ensure_future(call("y"))
        await asyncio.to_thread(began, record, count=2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await aio(model).generate("z")

    assert asyncio.run(asyncio.wait_for(main(), PATIENCE)).text == "fine"
    assert [line["end"] for line in calls(record, "run_end")] == ["played", "aborted", "played"]


@newest
def test_role_and_thinking_go_along(open_model, record):
    model = open_model(["a"])
    model.logits("x", role="tool", thinking=True)
    model.hidden_states("x", thinking=False)
    seen = [(run["input"]["role"], run["input"]["enable_thinking"]) for run in calls(record, "rkllm_run")]
    assert seen == [("tool", True), ("user", False)]


@pytest.mark.parametrize("abi_version", ABI_VERSIONS[:2])
def test_role_and_thinking_of_older_releases(open_model, record):
    model = open_model(["a"])
    for keywords in ({"role": "tool"}, {"thinking": True}):
        with pytest.raises(UnsupportedFeatureError, match=r"RKLLM 1\.2\.1 or later"):
            model.hidden_states("x", **keywords)
    assert not calls(record, "rkllm_run")


@newest
def test_runs_of_all_kinds_in_turn(open_model, record):
    runs = [{"steps": ["a"]}, {"logits": {"width": 2}}, {"hidden": {"width": 3}}, {"steps": ["b"]}]
    model = open_model({"runs": runs})
    text, logits = model.stream("1"), stream_logits(model, "2")
    states, again = stream_hidden_states(model, "3"), model.stream("4")
    # Read in another order than they were asked for.
    assert again.result().text == "b"
    assert (states.result().shape, logits.result().shape, text.result().text) == ((1, 3), (1, 2), "a")
    modes = [(run["infer"]["mode"], run["input"]["prompt_input"]) for run in calls(record, "rkllm_run")]
    assert modes == [(0, "1"), (2, "2"), (1, "3"), (0, "4")]


@newest
def test_sizes_are_learned(open_model):
    model = open_model({"logits": {"width": 7}, "hidden": {"width": 3}})
    assert (model.info.vocab_size, model.info.hidden_size) == (None, None)
    model.logits("x")
    model.hidden_states("x")
    assert (model.info.vocab_size, model.info.hidden_size) == (7, 3)
    assert {model.info.sources[name] for name in ("vocab_size", "hidden_size")} == {"results"}
    # From now on what cannot be right is refused.
    with pytest.raises(InvalidArgumentError, match=r"\Aids\[\d+\] .*7"):
        model.generate(Tokens([7]))


@newest
def test_closing(open_model, record):
    model = open_model({"runs": [run_of("logits", PARTS * 1000, delay_ms=5)]})
    arrays, waiting = stream_logits(model, "x"), stream_hidden_states(model, "y")
    next(arrays)
    model.close()
    for stream in (arrays, waiting):
        with pytest.raises(ClosedError):
            stream.result()
    with pytest.raises(ClosedError):
        model.logits("x")
    wait_until(lambda: calls(record, "rkllm_destroy"), "the end of the model")


@kinds
@newest
def test_a_library_need_not_say_that_rows_are_all(open_model, kind):
    runs = [run_of(kind, {"width": 3}, no_finish=True), {"steps": ["next"]}]
    model = open_model({"runs": runs})
    assert whole(model, kind).shape == (1, 3)
    assert model.generate("y").text == "next"
