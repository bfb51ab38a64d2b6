"""How ``steps()`` end, and how they are used in event loops."""

from __future__ import annotations

import asyncio
import gc
import signal
import time

import pytest

from fakes import ABI_VERSIONS, calls
from rkllm_rs import BusyError, GenerationTimeout, InvalidArgumentError, Tokens
from support import HELD, PATIENCE, SOON, began, in_thread
from surface import aio, stepwise, stream_logits

SINCE_1_2_1 = ABI_VERSIONS[2:]

since_1_2_1 = pytest.mark.parametrize("abi_version", SINCE_1_2_1)
newest = pytest.mark.parametrize("abi_version", SINCE_1_2_1[-1:])

#: Goes on as long as it is asked to.
ENDLESS = {"runs": [{"steps": ["x"]}], "kv_cache_size": [8]}


def two_then_fine(**more):
    """Two tokens, taken one at a time, and then whatever comes."""
    return {"runs": [{"steps": ["a"]}, {"steps": ["b"], **more}, {"steps": ["fine"]}], "kv_cache_size": [8]}


def by_close(steps):
    steps.close()
    # Again, it does nothing.
    steps.close()
    steps.cancel()


def by_leaving(steps):
    with steps:
        pass


def by_an_exception(steps):
    with pytest.raises(ZeroDivisionError), steps:
        1 / 0  # noqa: B018 - for what it raises


def by_another_thread(steps):
    in_thread(steps.close)()


@pytest.mark.parametrize("end", [by_close, by_leaving, by_an_exception, by_another_thread])
def test_ended_by_the_caller(open_model, record, end):
    model = open_model(two_then_fine())
    steps = stepwise(model, "x")
    assert [next(steps).text, next(steps).text] == ["a", "b"]
    with pytest.raises(InvalidArgumentError, match=r"\Aresult ") as caught:
        steps.result()
    assert caught.value.hint
    end(steps)
    answer = steps.result()
    assert (answer.text, answer.token_ids, answer.finish_reason) == ("ab", [1, 1], "cancelled")
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(steps)
    with pytest.raises(StopIteration):
        steps.send(Tokens([1]))
    assert model.generate("y").text == "fine"
    assert len(calls(record, "rkllm_run")) == 3
    # Of the paused run nothing is left for the next one.
    (cleared,) = calls(record, "rkllm_clear_kv_cache")
    assert (cleared["start_pos"], cleared["keep_system_prompt"]) == (None, 0)
    assert calls(record, "rkllm_run")[2]["paused"] is False


def test_ended_by_nobody_wanting_them(open_model, record):
    model = open_model(two_then_fine())
    steps = stepwise(model, "x")
    next(steps)
    waiting = in_thread(lambda: model.generate("y").text)
    began(record, "run_end")
    del steps
    gc.collect()
    assert waiting() == "b"
    assert [run["paused"] for run in calls(record, "rkllm_run")] == [False, False]


def test_steps_that_nobody_began(open_model, record):
    model = open_model(ENDLESS)
    steps = stepwise(model, "x")
    assert model.generate("y").text == "x"
    steps.close()
    assert list(steps) == []
    del steps
    assert len(calls(record, "rkllm_run")) == 1


@since_1_2_1
def test_ended_by_the_limit(open_model, record, abi_version):
    model = open_model(ENDLESS, max_new_tokens=50)
    with stepwise(model, "x", max_new_tokens=3) as steps:
        assert [step.token_id for step in steps] == [1, 1, 1]
        answer = steps.result()
    assert (answer.text, answer.token_ids, answer.finish_reason) == ("xxx", [1] * 3, "length")
    if abi_version >= "v1_3_0":
        # The library counts anew in each run: it is told how many are left, at least one.
        given = [run["infer"]["max_new_tokens"] for run in calls(record, "rkllm_run")]
        assert given[:3] == [3, 2, 1]
        assert set(given[3:]) <= {1}
    assert model.generate("y", max_new_tokens=1).text == "x"


def test_ended_by_a_stop_string(open_model, record):
    runs = [{"steps": [text]} for text in ("a", " ST", "O", "P!", "fine")]
    model = open_model({"runs": runs})
    steps = stepwise(model, "x", stop="STOP")
    # A token for each step, text or not; what might begin the stop string is held back.
    assert [(next(steps).text) for _ in range(3)] == ["a", " ", ""]
    rest = [step.text for step in steps]
    assert "".join(rest) == ""
    answer = steps.result()
    assert (answer.text, answer.token_ids, answer.finish_reason) == ("a ", [1] * 4, "stop")
    assert model.generate("y").text == "fine"


def test_what_a_stop_string_held_back_is_given_at_the_end(open_model):
    model = open_model({"runs": [{"steps": ["a"]}, {"steps": [" ST"]}, {}]})
    steps = stepwise(model, "x", stop="STOP")
    assert "".join(step.text for step in steps) == "a ST"
    assert (steps.result().text, steps.result().token_ids) == ("a ST", [1, 1])


def test_ended_by_a_deadline_in_the_middle(open_model, record):
    model = open_model(two_then_fine())
    begin = time.monotonic()
    steps = stepwise(model, "x", timeout=1)
    assert next(steps).text == "a"
    # The caller dawdles, and others need not wait any longer.
    assert in_thread(lambda: model.generate("y").text)() == "b"
    assert 1 <= time.monotonic() - begin < 1 + SOON
    for _ in range(2):
        with pytest.raises(GenerationTimeout, match=r"\b1 s") as caught:
            next(steps)
        assert (caught.value.partial.text, caught.value.partial.token_ids) == ("a", [1])
    with pytest.raises(GenerationTimeout):
        steps.result()
    assert model.generate("z").text == "fine"


def test_ended_by_a_deadline_while_computing(open_model, record, gate):
    model = open_model(two_then_fine(prefill_ms=HELD))
    steps = stepwise(model, "x", timeout=1)
    next(steps)
    with pytest.raises(GenerationTimeout):
        next(steps)
    # The second step is still being computed.
    assert len(calls(record, "run_end")) == 1
    gate.touch()
    assert model.generate("y").text == "fine"


def test_closed_from_another_thread_while_computing(open_model, record, gate):
    model = open_model(two_then_fine(prefill_ms=HELD))
    steps = stepwise(model, "x")
    next(steps)
    reading = in_thread(lambda: [step.text for step in steps])
    began(record, count=2)
    steps.close()
    assert reading() == []
    gate.touch()
    assert steps.result().finish_reason == "cancelled"
    assert model.generate("y").text == "fine"


def test_one_reader_at_a_time(open_model, record, gate):
    model = open_model(two_then_fine(prefill_ms=HELD))
    steps = stepwise(model, "x")
    next(steps)
    reading = in_thread(lambda: next(steps).text)
    began(record, count=2)
    with pytest.raises(InvalidArgumentError, match=r"\Ainput ") as caught:
        next(steps)
    assert caught.value.hint
    gate.touch()
    assert reading() == "b"
    steps.close()


def test_characters_that_are_not_whole_yet(open_model, record):
    parts = [[0xE2], [0x82], [0xAC]]
    runs = [{"steps": [{"bytes": part, "id": 40 + at}]} for at, part in enumerate(parts)]
    model = open_model({"runs": [*runs, {"steps": [{"text": "", "id": 50}]}, {"steps": ["!"]}, {}]})
    steps = stepwise(model, "x")
    seen = [(step.text, step.token_id) for step in steps]
    assert seen == [("", 40), ("", 41), ("€", 42), ("", 50), ("!", 1)]
    assert steps.result().text == "€!"


def test_on_token(open_model, record):
    model = open_model(two_then_fine())
    told = []

    def tell(chunk):
        told.append((chunk.text, chunk.token_id))
        with pytest.raises(BusyError):
            model.generate("y")
        if len(told) == 2:
            raise ZeroDivisionError

    steps = stepwise(model, "x", on_token=tell)
    assert next(steps).text == "a"
    with pytest.raises(ZeroDivisionError):
        next(steps)
    assert told == [("a", 1), ("b", 1)]
    assert steps.result().finish_reason == "cancelled"
    assert list(steps) == []
    assert model.generate("z").text == "fine"


STEPPING = """
from fakes import calls
from surface import stepwise
record = sys.argv[3]
llm = RKLLM(model, library=library)
steps = stepwise(llm, "1")
try:
    say("first", next(steps).text)
    threading.Thread(target=lambda: (began(record, count={count}), say("ready")), daemon=True).start()
    {work}
except KeyboardInterrupt:
    say("interrupted", len(calls(record, "run_end")))
say("then", {then})
say("answer", llm.generate("2").text)
"""


@pytest.mark.parametrize("given", ["next(steps)", "steps.send('y')", "list(steps)"])
def test_interrupted_while_computing(child, library, make_model, record, gate, given):
    model = make_model(two_then_fine(prefill_ms=HELD))
    code = STEPPING.format(count=2, work=given, then="list(steps), steps.result().finish_reason")
    running = child(code, library, model, record)
    running.expect("ready")
    running.signal(signal.SIGINT)
    # The second step is still being computed.
    assert running.expect("interrupted")[1] == "1"
    gate.touch()
    assert running.expect("then") == ["then", "[]", "cancelled"]
    assert running.expect("answer")[1] == "fine"
    assert running.end()[0] == 0


def test_interrupted_between_two_tokens(child, library, make_model, record):
    model = make_model(two_then_fine())
    code = STEPPING.format(count=1, work="time.sleep(60)", then="next(steps).text, steps.close()")
    running = child(code, library, model, record)
    running.expect("ready")
    running.signal(signal.SIGINT)
    running.expect("interrupted")
    # The interrupt was not theirs: they go on.
    assert running.expect("then")[1] == "b"
    assert running.expect("answer")[1] == "fine"
    assert running.end()[0] == 0


async def joined(steps) -> str:
    return "".join([step.text async for step in steps])


def test_in_an_event_loop(open_model, record):
    model = open_model(two_then_fine())

    async def main():
        steps = stepwise(model, "x")
        with pytest.raises(InvalidArgumentError, match=r"\Ainput "):
            await steps.asend("y")
        async for step in steps:
            if step.text == "a":
                assert await aio(model).kv_cache_size() == 8
                await aio(model).clear_kv_cache(ranges=[(0, 2)])
                continue
            assert step.text == "b"
            assert (await steps.asend(Tokens([7, 8]))).text == "fine"
            break
        steps.close()
        return steps.result().text, await aio(model).generate("z")

    text, answer = asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert (text, answer.text) == ("abfine", "fine")
    given = [run["input"] for run in calls(record, "rkllm_run")]
    assert [one.get("token_input", {}).get("input_ids") for one in given] == [None, [1], [7, 8], None]


def test_tasks_wait_for_each_other_and_not_for_themselves(open_model):
    model = open_model({"runs": [{"steps": ["x"]}] * 3 + [{"steps": ["fine"]}]})

    async def other():
        return (await aio(model).generate("other")).text

    async def main():
        steps = stepwise(model, "x")
        waiting = None
        count = 0
        async for _step in steps:
            waiting = waiting or asyncio.ensure_future(other())
            with pytest.raises(BusyError, match="steps"):
                await aio(model).generate("mine")
            with pytest.raises(BusyError, match="steps"):
                stream_logits(model, "mine")
            count += 1
            if count == 3:
                break
            assert not waiting.done()
        steps.close()
        assert waiting is not None
        return await waiting

    assert asyncio.run(asyncio.wait_for(main(), PATIENCE)) == "fine"


def test_steps_made_outside_of_the_loop(open_model):
    model = open_model(ENDLESS)
    steps = stepwise(model, "x")

    async def main():
        async for _step in steps:
            with pytest.raises(BusyError, match="steps"):
                model.stream("mine")
            break
        steps.close()
        return (await aio(model).generate("y")).text

    assert asyncio.run(asyncio.wait_for(main(), PATIENCE)) == "x"


def test_a_task_that_is_cancelled(open_model, record, gate):
    model = open_model(two_then_fine(prefill_ms=HELD))

    async def read():
        # Nothing but this loop refers to them, so that they end with it.
        async for step in stepwise(model, "x"):
            assert step.text == "a"

    async def main():
        task = asyncio.ensure_future(read())
        await asyncio.to_thread(began, record, count=2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.touch()
        return await aio(model).generate("y")

    assert asyncio.run(asyncio.wait_for(main(), PATIENCE)).text == "fine"
    assert [run["paused"] for run in calls(record, "rkllm_run")] == [False, True, False]
