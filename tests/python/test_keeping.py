"""Who keeps whom: streams keep their model, and a model that is closed cuts its streams off."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import warnings

import pytest

from fakes import calls
from rkllm_rs import RKLLM, ClosedError, RkllmWarning
from support import HELD, began, newest, wait_until
from surface import stepwise, stream_batch, stream_logits

pytestmark = newest

WORDS = ["The", " sky", " is", " blue"]
TEXT = "".join(WORDS)
#: Slow enough that a model which nobody keeps is gone before its answer is.
SLOWLY = {"runs": [{"steps": WORDS, "delay_ms": 20}], "kv_cache_size": [8]}
ENDLESS = {"runs": [{"steps": ["x"], "repeat": 100_000, "delay_ms": 2}]}


@pytest.fixture
def opened(library, make_model):
    """Opens a model that nothing but its caller refers to."""

    def open_it(script, **keywords):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RkllmWarning)
            return RKLLM(make_model(script), library=library, **keywords)

    return open_it


def test_a_stream_keeps_its_model(opened, record):
    def answer():
        return opened(SLOWLY).stream("Hi")

    stream = answer()
    gc.collect()
    assert "".join(chunk.text for chunk in stream) == TEXT
    # Once it is read to its end, it lets go of the model, although the stream is still there.
    wait_until(lambda: calls(record, "rkllm_destroy"), "destroy")
    assert stream.result().text == TEXT


def test_texts_keep_it_too(opened):
    assert "".join(opened(SLOWLY).stream("Hi").texts()) == TEXT


def test_so_do_steps(opened):
    def steps():
        runs = [{"steps": [word]} for word in WORDS]
        return stepwise(opened({"runs": [*runs, {}]}), "Hi")

    found = steps()
    gc.collect()
    assert "".join(step.text for step in found) == TEXT


def test_and_batches(opened):
    rows = stream_batch(
        opened({"runs": [{"rows": [WORDS, WORDS[:2]], "delay_ms": 20}]}, n_batch=2), ["a", "b"]
    )
    gc.collect()
    assert ["".join(stream.texts()) for stream in rows] == [TEXT, "The sky"]


def test_and_rows(opened):
    shown = [{"rows": 1, "width": 4}, {"rows": 2, "width": 4}]
    arrays = stream_logits(opened({"runs": [{"logits": shown, "delay_ms": 20}]}), "Hi")
    gc.collect()
    assert [array.shape for array in arrays] == [(1, 4), (2, 4)]


def test_in_an_event_loop(opened):
    async def read():
        return [chunk.text async for chunk in opened(SLOWLY).stream("Hi")]

    assert asyncio.run(read()) == WORDS


def test_a_stream_that_is_dropped_lets_its_model_go(opened, record):
    stream = opened(ENDLESS).stream("Hi")
    next(stream)
    del stream
    gc.collect()
    wait_until(lambda: calls(record, "rkllm_destroy"), "destroy")


def closed(stream):
    next(stream)
    stream.close()


def left(stream):
    with stream:
        next(stream)


def complete(stream):
    wait_until(lambda: "so far" not in repr(stream), "the end of the run")


@pytest.mark.parametrize(("end", "script"), [(closed, ENDLESS), (left, ENDLESS), (complete, SLOWLY)])
def test_a_run_that_has_ended_needs_no_model(opened, record, end, script):
    stream = opened(script).stream("Hi")
    end(stream)
    wait_until(lambda: calls(record, "rkllm_destroy"), "destroy")
    assert stream.result().finish_reason in ("stop", "cancelled")


def explicit(model):
    model.close()


def leaving(model):
    with model:
        pass


@pytest.mark.parametrize("close", [explicit, leaving])
def test_a_closed_model_cuts_its_streams_off(open_model, close, record):
    model = open_model(ENDLESS)
    running, waiting = model.stream("Hi"), model.stream("later")
    texts = [next(running).text]
    close(model)
    with pytest.raises(ClosedError):
        texts.extend(chunk.text for chunk in running)
    assert set(texts) == {"x"}
    for stream in (running, waiting):
        with pytest.raises(ClosedError):
            next(stream)
        with pytest.raises(ClosedError):
            stream.result()


def test_it_cuts_off_rows_batches_and_steps(open_model):
    model = open_model({"runs": [{"logits": [{"rows": 1, "width": 4}] * 1000, "delay_ms": 2}]})
    arrays = stream_logits(model, "Hi")
    next(arrays)
    model.close()
    with pytest.raises(ClosedError):
        list(arrays)

    batch = open_model({"runs": [{"rows": [["x"] * 10_000] * 2, "delay_ms": 2}]}, n_batch=2)
    rows = stream_batch(batch, ["a", "b"])
    next(rows[0])
    batch.close()
    for row in rows:
        with pytest.raises(ClosedError):
            list(row)

    model = open_model({"runs": [{"steps": ["x"]}]})
    steps = stepwise(model, "Hi")
    next(steps)
    model.close()
    with pytest.raises(ClosedError):
        list(steps)


def test_it_cuts_off_whoever_waits_in_an_event_loop(open_model):
    async def read():
        model = open_model({"runs": [{"prefill_ms": HELD, "steps": ["x"]}]})
        stream = model.stream("Hi")
        reader = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        model.close()
        with pytest.raises(ClosedError):
            await reader

    asyncio.run(read())


def test_an_answer_that_was_complete_is_whole(open_model, record):
    model = open_model(WORDS)
    stream = model.stream("Hi")
    # The run after it waits for its end.
    assert model.generate("next").text == TEXT
    model.close()
    assert "".join(chunk.text for chunk in stream) == TEXT
    assert stream.result().finish_reason == "stop"


@pytest.mark.parametrize("pause", [0, 1, 2, 5])
def test_an_answer_is_whole_or_an_error(open_model, record, pause):
    """Whenever the model is closed: never a part, and never nothing, without an error."""
    for round_ in range(20):
        model = open_model([{"text": word, "delay_ms": pause} for word in WORDS])
        stream = model.stream("Hi")
        began(record, count=round_ + 1)
        model.close()
        with contextlib.suppress(ClosedError):
            assert stream.result().text == TEXT
