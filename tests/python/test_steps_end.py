"""Where ``steps()`` end: where ``generate()`` does."""

from __future__ import annotations

import asyncio

import pytest

from fakes import ABI_VERSIONS, calls
from rkllm_rs import BusyError, InvalidArgumentError, Tokens
from support import HELD, PATIENCE, let_through, newest
from surface import aio, stepwise

#: What the library would make of a run that is begun after the answer's end.
EXTRA = {"steps": ["EXTRA"]}


def both(model):
    """The answer of ``generate`` and of ``steps``, text and reason."""
    whole = model.generate("x")
    steps = stepwise(model, "x")
    taken = [step.token_id for step in steps]
    stepped = steps.result()
    assert taken == stepped.token_ids
    return (whole.text, whole.finish_reason), (stepped.text, stepped.finish_reason)


@pytest.mark.parametrize("abi_version", ABI_VERSIONS[2:])
@pytest.mark.parametrize(
    "says", [True, False], ids=["finish at the last pause", "finish in a run of its own"]
)
def test_a_library_that_says_finish_after_the_last_token(open_model, says, record):
    end = [{"steps": ["b"], "finish_paused": True}] if says else [{"steps": ["b"]}, {}]
    model = open_model({"runs": [{"steps": ["a", "b"]}, {"steps": ["a"]}, *end, EXTRA]})
    assert both(model) == (("ab", "stop"), ("ab", "stop"))
    assert model.generate("y").text == "EXTRA"


@newest
def test_an_answer_of_one_token(open_model, record):
    model = open_model({"runs": [{"steps": ["only"], "finish_paused": True}, EXTRA]})
    steps = stepwise(model, "x")
    assert [step.text for step in steps] == ["only"]
    assert steps.result().finish_reason == "stop"
    assert len(calls(record, "rkllm_run")) == 1
    assert model.generate("y").text == "EXTRA"
    assert calls(record, "rkllm_run")[-1]["paused"] is False


@newest
def test_a_step_is_there_when_the_library_has_paused(open_model, record, gate):
    """Between its callback and its return the library is not paused yet: nobody blocks meanwhile."""

    async def main():
        runs = [{"steps": ["x"], "end_ms": HELD}] * 3
        model = open_model({"record_tokens": True, "runs": [*runs, {}], "kv_cache_size": [8]})
        steps = stepwise(model, "x")
        for count in range(1, 4):
            gate.unlink(missing_ok=True)
            opening = asyncio.ensure_future(let_through(gate, record, "token", count))
            await anext(steps)
            assert len(calls(record, "run_end")) == count
            assert await aio(model).kv_cache_size() == 8
            await opening

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


@newest
def test_a_token_that_was_not_taken_is_not_overtaken(open_model, record):
    """A reader may give up before it has the token that it has asked for."""

    async def main():
        runs = [{"steps": [{"text": "abc"[at], "id": 40 + at}]} for at in range(3)]
        model = open_model({"runs": [*runs, {}], "kv_cache_size": [8]})
        steps = stepwise(model, "x")
        taken = [(await anext(steps)).token_id]
        steps.asend(None).close()
        # Served when the library has paused again.
        await aio(model).kv_cache_size()
        with pytest.raises(InvalidArgumentError):
            steps.send(Tokens([55]))
        taken += [step.token_id for step in steps]
        assert taken == steps.result().token_ids == [40, 41, 42]

    asyncio.run(main())
    sent = [run["input"].get("token_input", {}).get("input_ids") for run in calls(record, "rkllm_run")]
    assert sent == [None, [40], [41], [42]]


@newest
def test_steps_belong_to_the_task_that_asks(open_model):
    """Also through ``wait_for``, which asks in a task of its own before Python 3.12."""

    async def main():
        model = open_model({"runs": [{"steps": ["x"]}]})
        steps = stepwise(model, "x")
        await asyncio.wait_for(anext(steps), PATIENCE)
        with pytest.raises(BusyError):
            await aio(model).generate("y")
        other = asyncio.ensure_future(aio(model).generate("y"))
        await asyncio.sleep(0.05)
        assert not other.done()
        steps.close()
        assert (await other).text == "x"

    asyncio.run(main())
