"""Batches: several inputs in one run, each with a stream of its own.

Long because what one input promises is shown for several once more.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from functools import partial

import pytest

from fakes import ABI_VERSIONS, calls
from rkllm_rs import (
    ClosedError,
    GenerationError,
    GenerationTimeout,
    InvalidArgumentError,
    InvalidTypeError,
    Tokens,
    UnsupportedFeatureError,
)
from support import PATIENCE, began, in_thread, wait_until
from surface import aio, generate_batch, hidden_states_batch, logits_batch, stream_batch

SINCE_1_2_1 = ABI_VERSIONS[2:]

since_1_2_1 = pytest.mark.parametrize("abi_version", SINCE_1_2_1)
newest = pytest.mark.parametrize("abi_version", SINCE_1_2_1[-1:])

#: Goes on until it is aborted.
ENDLESS = {"text": "x", "repeat": 100_000, "delay_ms": 2}
FINE = {"rows": [["fine"], ["good"], ["well"]]}
INPUTS = ["one", "two", "three"]


def texts(answers):
    return [answer.text for answer in answers]


def ends(record):
    return [line["end"] for line in calls(record, "run_end")]


@pytest.fixture
def opened(open_model):
    """Opens a model of three rows, whose second run is a short one."""

    def opener(*rows, **more):
        return open_model({"runs": [{"rows": list(rows), **more}, FINE]}, n_batch=3)

    return opener


@since_1_2_1
def test_an_answer_for_each(opened, record):
    model = opened(["a", "b"], ["c"], [{"text": "d", "id": 70}, {"echo": True}, "!"])
    answers = generate_batch(model, INPUTS)
    assert texts(answers) == ["ab", "c", "dthree!"]
    assert [answer.token_ids for answer in answers] == [[1, 2], [1], [70, 2, 3]]
    assert [answer.finish_reason for answer in answers] == ["stop"] * 3
    # Measured for each row: the library's figures are those of the run.
    assert [answer.perf.generate_tokens for answer in answers] == [2, 1, 3]
    assert model.n_batch == 3
    (run,) = calls(record, "rkllm_run")
    assert [one["prompt_input"] for one in run["inputs"]] == INPUTS
    assert texts(generate_batch(model, [Tokens([1]), "x", Tokens([2, 3])])) == ["fine", "good", "well"]


def test_a_sequence_of_streams(opened):
    streams = stream_batch(opened(["a"], ["b", "c"], []), INPUTS)
    assert len(streams) == 3
    assert list(streams) == [streams[0], streams[1], streams[-1]]
    with pytest.raises(IndexError):
        streams[3]
    assert "3" in repr(streams)
    # In any order, and each as any other stream.
    assert [chunk.text for chunk in streams[2]] == []
    assert list(streams[1].texts()) == ["b", "c"]
    assert [(chunk.text, chunk.token_id) for chunk in streams[0]] == [("a", 1)]
    assert texts(streams.results()) == ["a", "bc", ""]


def test_rows_end_at_their_own_time(opened, record):
    streams = stream_batch(opened(["a"], ["b", "c"], ["d", ENDLESS]), INPUTS)
    assert streams[0].result().text == "a"
    assert [chunk.text for chunk in streams[1]] == ["b", "c"]
    assert (streams[1].result().finish_reason, streams[1].result().token_ids) == ("stop", [1, 2])
    # The library goes on with the third.
    for _ in range(5):
        assert next(streams[2]).text in "dx"
    assert ends(record) == []
    assert not calls(record, "rkllm_abort")
    streams[2].cancel()
    began(record, "run_end")
    assert ends(record) == ["aborted"]


def test_stop_strings_are_each_rows_own(opened, record):
    streams = stream_batch(
        opened(["a ST", "OP", ENDLESS], ["b ST", "x", "y"], ["STOP", ENDLESS]), INPUTS, stop="STOP"
    )
    answers = streams.results()
    assert texts(answers) == ["a ", "b STxy", ""]
    assert [answer.token_ids for answer in answers] == [[1, 2], [1, 2, 3], [1]]
    assert [answer.finish_reason for answer in answers] == ["stop"] * 3
    # All have ended, so nobody wants more of it.
    began(record, "run_end")
    assert ends(record) == ["aborted"]


def test_limits_are_each_rows_own(opened, record):
    model = opened(["a"], [ENDLESS], ["b", ENDLESS])
    answers = generate_batch(model, INPUTS, max_new_tokens=3)
    assert texts(answers) == ["a", "xxx", "bxx"]
    assert [answer.finish_reason for answer in answers] == ["stop", "length", "length"]
    assert [len(answer.token_ids) for answer in answers] == [1, 3, 3]
    assert texts(generate_batch(model, INPUTS)) == ["fine", "good", "well"]
    assert ends(record) == ["aborted", "played"]


def test_one_row_cancelled(opened, record):
    streams = stream_batch(opened([ENDLESS], ["a", *["b"] * 40], ["c"], delay_ms=2), INPUTS)
    next(streams[0])
    streams[0].cancel()
    assert streams[0].result().finish_reason == "cancelled"
    # The others are whole.
    assert streams[1].result().text == "a" + "b" * 40
    assert streams[2].result().text == "c"
    began(record, "run_end")
    assert ends(record) == ["aborted"]


@pytest.mark.parametrize("way", ["cancel", "each", "drop"])
def test_all_rows_given_up(opened, record, way):
    model = opened([ENDLESS], ["a", ENDLESS], ["b"])
    streams = stream_batch(model, INPUTS)
    for stream in streams:
        next(stream)
    del stream
    if way == "cancel":
        streams.cancel()
        streams.cancel()
        assert [stream.result().finish_reason for stream in streams][:2] == ["cancelled"] * 2
    elif way == "each":
        for row in range(3):
            streams[row].cancel()
    else:
        kept = streams[1]
        del streams
        gc.collect()
        # Who holds on to one row keeps the run going.
        for _ in range(20):
            next(kept)
        assert ends(record) == []
        del kept
        gc.collect()
    began(record, "run_end")
    assert ends(record) == ["aborted"]
    assert texts(generate_batch(model, INPUTS)) == ["fine", "good", "well"]


def test_a_row_that_nobody_reads_holds_up_nothing(open_model):
    count = 20_000
    rows = [[{"text": "a", "repeat": count}], [{"text": "b", "repeat": count}]]
    model = open_model({"runs": [{"rows": rows}]}, n_batch=2, max_new_tokens=2 * count)
    streams = stream_batch(model, ["x", "y"])
    assert streams[1].result().text == "b" * count
    assert "".join(chunk.text for chunk in streams[0]) == "a" * count


def test_rows_read_by_threads(opened):
    streams = stream_batch(opened(["a"] * 300, ["b"] * 200, ["c"] * 100), INPUTS)
    readers = [in_thread(lambda row=row: [chunk.text for chunk in streams[row]]) for row in range(3)]
    assert [reader() for reader in readers] == [["a"] * 300, ["b"] * 200, ["c"] * 100]


def test_as_many_as_there_can_be(open_model, record):
    count = 100
    rows = [[f"{row}", *["."] * (row % 7)] for row in range(count)]
    model = open_model({"runs": [{"rows": rows}], "kv_cache_size": list(range(count))}, n_batch=count)
    answers = generate_batch(model, [f"p{row}" for row in range(count)])
    assert texts(answers) == ["".join(row) for row in rows]
    assert model.kv_cache_size() == list(range(count))


def test_characters_are_each_rows_own(opened):
    first = [{"bytes": [0xE2]}, {"bytes": [0x82]}, {"bytes": [0xAC]}]
    second = [{"bytes": [0xF0, 0x9F]}, {"bytes": [0x98, 0x80]}, {"bytes": [0xC3]}]
    assert texts(generate_batch(opened(first, second, ["é"]), INPUTS)) == ["€", "😀\ufffd", "é"]


@pytest.mark.parametrize(
    ("failing", "word"),
    [({"return": -5}, "-5"), ({"error": True}, "reported an error"), ({"no_finish": True}, "final")],
)
def test_errors_reach_all_rows(opened, failing, word):
    log = [["stderr", "E rkllm: it broke"]]
    model = opened(["a", "b"], ["c", "d"], ["e", "f"], log=log, **failing)
    streams = stream_batch(model, INPUTS)
    for stream, text in zip(streams, ["ab", "cd", "ef"], strict=True):
        got = []
        with pytest.raises(GenerationError, match=word) as caught:
            got.extend(iter(lambda stream=stream: next(stream).text, None))
        assert "E rkllm: it broke" in caught.value.log
        assert text.startswith("".join(got))
    with pytest.raises(GenerationError, match=word):
        streams.results()
    assert texts(generate_batch(model, INPUTS)) == ["fine", "good", "well"]


def test_a_deadline_for_all(opened, record):
    model = opened([ENDLESS], ["a", ENDLESS], ["b"])
    begin = time.monotonic()
    streams = stream_batch(model, INPUTS, timeout=0.2)
    for row in (1, 0):
        with pytest.raises(GenerationTimeout, match=r"0\.2 s") as caught:
            streams[row].result()
        assert caught.value.partial.text.startswith("ax" if row else "xx")
    assert time.monotonic() - begin >= 0.2
    # This one was over before.
    assert streams[2].result().text == "b"
    assert texts(generate_batch(model, INPUTS, timeout=PATIENCE)) == ["fine", "good", "well"]
    assert ends(record) == ["aborted", "played"]


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_another_number_of_inputs(opened, record, count):
    model = opened(["a"], ["b"], ["c"])
    inputs = ["x"] * count
    for call in (
        partial(generate_batch, model),
        partial(stream_batch, model),
        partial(logits_batch, model),
        partial(hidden_states_batch, model),
    )[: 2 if count == 1 else 4]:  # One input of rows is served.
        with pytest.raises(InvalidArgumentError, match=rf"n_batch=3.*got {count}") as caught:
            call(inputs)
        assert caught.value.hint
    assert not calls(record, "rkllm_run")


@pytest.mark.parametrize("inputs", ["abc", Tokens([1, 2, 3]), None, 3, [1, 2, 3], ["a", None, "c"]], ids=repr)
def test_what_are_no_inputs(opened, inputs):
    model = opened(["a"], ["b"], ["c"])
    with pytest.raises(InvalidTypeError, match="input"):
        generate_batch(model, inputs)


def test_one_wrong_input_among_right_ones(opened, record):
    model = opened(["a"], ["b"], ["c"])
    with pytest.raises(InvalidArgumentError, match="empty"):
        generate_batch(model, ["x", "", "y"])
    assert not calls(record, "rkllm_run")
    # Any iterable will do.
    assert texts(generate_batch(model, (text for text in INPUTS))) == ["a", "b", "c"]


def test_a_batch_of_one(open_model, abi_version):
    model = open_model(["a"])
    assert texts(generate_batch(model, ["x"])) == ["a"]
    assert [rows.shape for rows in hidden_states_batch(model, ["x"])] == [(1, 4)]
    with pytest.raises(InvalidArgumentError, match=r"n_batch=1.*got 2") as caught:
        generate_batch(model, ["x", "y"])
    assert "n_batch" in caught.value.hint
    if abi_version not in SINCE_1_2_1:
        model.close()
        with pytest.raises(UnsupportedFeatureError, match=r"RKLLM 1\.2\.1 or later"):
            open_model(["a"], n_batch=2)


@since_1_2_1
def test_role_and_thinking(opened, record):
    model = opened(["a"], ["b"], ["c"])
    generate_batch(model, INPUTS, role=["user", "tool", "user"], thinking=(True, False, True))
    generate_batch(model, INPUTS, role="tool", thinking=True)
    hidden_states_batch(model, INPUTS, role=["tool", "user", "user"], thinking=[False, True, False])
    logits_batch(model, INPUTS)
    seen = [
        [(one["role"], one["enable_thinking"]) for one in run["inputs"]] for run in calls(record, "rkllm_run")
    ]
    assert seen == [
        [("user", True), ("tool", False), ("user", True)],
        [("tool", True)] * 3,
        [("tool", False), ("user", True), ("user", False)],
        [("user", False)] * 3,
    ]


@pytest.mark.parametrize("keyword", ["role", "thinking"])
def test_role_and_thinking_for_another_number_of_rows(opened, record, keyword):
    model = opened(["a"], ["b"], ["c"])
    value = "user" if keyword == "role" else True
    for count in (0, 2, 4):
        for call in (partial(generate_batch, model), partial(logits_batch, model)):
            with pytest.raises(InvalidArgumentError, match=rf"\A{keyword} .*3.*got {count}") as caught:
                call(INPUTS, **{keyword: [value] * count})
            assert caught.value.hint
    for wrong in (5, [5] * 3):
        with pytest.raises(InvalidTypeError, match=keyword):
            generate_batch(model, INPUTS, **{keyword: wrong})
    assert not calls(record, "rkllm_run")


@since_1_2_1
@pytest.mark.parametrize(
    ("kind", "batch"), [("logits", logits_batch), ("hidden_states", hidden_states_batch)]
)
def test_rows_of_floats(open_model, record, abi_version, kind, batch):
    parts = [{"width": 2, "start": 1}, {"rows": 1, "width": 2, "start": 50}]
    script = {"runs": [{"logits": parts, "hidden": parts}, FINE]}
    model = open_model(script, n_batch=3)
    arrays = batch(model, [Tokens([5, 6]), "x", Tokens([7, 8, 9])])
    assert [array.tolist() for array in arrays] == [
        [[1, 2], [3, 4], [50, 51]],
        [[1001, 1002], [1050, 1051]],
        [[2001, 2002], [2003, 2004], [2005, 2006], [2050, 2051]],
    ]
    release = 2 if abi_version >= "v1_3_0" else 0
    assert [line["return"] for line in calls(record, "callback")] == [release] * 2
    assert texts(generate_batch(model, INPUTS)) == ["fine", "good", "well"]
    asked = getattr(aio(model), batch.__name__)
    assert [array.shape for array in asyncio.run(asked(INPUTS))] == [(1, 4)] * 3


def test_no_rows_of_floats(open_model):
    model = open_model({"runs": [{"hidden": []}, FINE]}, n_batch=3)
    with pytest.raises(GenerationError, match="hidden_states"):
        hidden_states_batch(model, INPUTS)
    assert texts(generate_batch(model, INPUTS)) == ["fine", "good", "well"]


def test_on_token(opened, record):
    model = opened(["a", "b"], ["c"], ["d", "e", "f"])
    told = []
    answers = generate_batch(model, INPUTS, on_token=lambda chunk: told.append(chunk.text))
    assert texts(answers) == ["ab", "c", "def"]
    assert sorted(told) == list("abcdef")


@pytest.mark.parametrize("calling", ["generate", "agenerate"])
def test_an_exception_in_on_token_ends_all_rows(opened, record, calling):
    model = opened([ENDLESS], ["a", ENDLESS], [ENDLESS])

    def fail(_chunk):
        raise ZeroDivisionError

    def call():
        if calling == "generate":
            generate_batch(model, INPUTS, on_token=fail)
        else:
            asyncio.run(aio(model).generate_batch(INPUTS, on_token=fail))

    # As long as the exception is held, so is what it passed through.
    with pytest.raises(ZeroDivisionError) as caught:
        call()
    began(record, "run_end")
    assert ends(record) == ["aborted"]
    assert texts(in_thread(lambda: generate_batch(model, INPUTS))()) == ["fine", "good", "well"]
    assert caught.tb


@pytest.mark.parametrize(
    "call",
    ["generate_batch(llm, inputs)", "logits_batch(llm, inputs)", "stream_batch(llm, inputs).results()"],
)
def test_ctrl_c_ends_all_rows(child, library, make_model, record, call):
    floats = [{"rows": 1, "width": 1}] * 10_000
    model = make_model({"runs": [{"rows": [[ENDLESS]] * 3, "logits": floats, "delay_ms": 2}, FINE]})
    code = f"""
    from surface import generate_batch, logits_batch, stream_batch
    record = sys.argv[3]
    llm = RKLLM(model, library=library, n_batch=3, max_new_tokens=10_000)
    inputs = ["one", "two", "three"]
    tell_when_waiting(record)
    try:
        {call}
    except KeyboardInterrupt:
        # In here the interrupt still holds what it came through.
        say("interrupted")
        say("answers", *[answer.text for answer in generate_batch(llm, inputs)])
    """
    running = child(code, library, model, record)
    running.expect("running")
    running.signal(signal.SIGINT)
    running.expect("interrupted")
    assert running.expect("answers") == ["answers", "fine", "good", "well"]
    assert running.end()[0] == 0
    # The run was ended; nobody waited for the rest of it.
    assert ends(record) == ["aborted", "played"]


def test_in_an_event_loop(opened, record):
    model = opened(["a", "b"], ["c"], ["d", "e", "f"])

    async def row(stream):
        return [chunk.text async for chunk in stream]

    async def main():
        rows = await asyncio.gather(*[row(stream) for stream in stream_batch(model, INPUTS)])
        return rows, await aio(model).generate_batch(INPUTS, max_new_tokens=5)

    rows, answers = asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert rows == [["a", "b"], ["c"], ["d", "e", "f"]]
    assert texts(answers) == ["fine", "good", "well"]


def test_a_task_that_is_cancelled(opened, record):
    model = opened(["a"], [ENDLESS], [ENDLESS])

    async def main():
        task = asyncio.ensure_future(aio(model).generate_batch(INPUTS))
        await asyncio.to_thread(began, record)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await aio(model).generate_batch(INPUTS)

    assert texts(asyncio.run(asyncio.wait_for(main(), PATIENCE))) == ["fine", "good", "well"]
    assert ends(record) == ["aborted", "played"]


def test_a_model_that_is_closed(opened, record):
    model = opened(["a"], [ENDLESS], ["b", ENDLESS])
    streams, waiting = stream_batch(model, INPUTS), stream_batch(model, INPUTS)
    next(streams[1])
    assert streams[0].result().text == "a"
    model.close()
    assert streams[0].result().finish_reason == "stop"
    for stream in [*streams[1:], *waiting]:
        with pytest.raises(ClosedError):
            stream.result()
    wait_until(lambda: calls(record, "rkllm_destroy"), "the end of the model")
