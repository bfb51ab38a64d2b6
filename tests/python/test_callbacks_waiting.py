"""Questions of the library while nobody, somebody else or nobody any more reads: no deadlock."""

from __future__ import annotations

import asyncio
import select
import threading
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls
from rkllm_rs import ClosedError, GenerationTimeout, TokenStream
from support import PATIENCE, began, in_thread, wait_until
from surface import aio, armed, release_prompt_cache, stepwise
from test_callbacks import ROWS, TEXT, WORD, OwnError, Served, asking

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Opener


def asked(stream: TokenStream) -> None:
    """Waits until the library has asked something, and waits for the answer, which nobody gives yet."""
    descriptor = armed(stream)
    if descriptor is not None:
        assert select.select([descriptor], [], [], PATIENCE)[0], "no question came"


#: Calls that wait for the runs before them.
WAITING: dict[str, Callable[[Any], object]] = {
    "generate": lambda model: model.generate("y", timeout=PATIENCE / 2),
    "iterate": lambda model: list(model.stream("y", timeout=PATIENCE / 2)),
    "logits": lambda model: model.logits("y", timeout=PATIENCE / 2),
    "steps": lambda model: stepwise(model, "y", timeout=PATIENCE / 2).__next__(),
    "kv_cache_size": lambda model: model.kv_cache_size(),
    "release_prompt_cache": release_prompt_cache,
}


def test_a_stream_that_is_read_late(open_model: Opener, record: Path) -> None:
    served = Served()
    model = open_model(asking(WORD, ROWS), **served.keywords())
    stream = model.stream("x")
    asked(stream)
    assert served.told == []
    assert stream.result().text == "ab"
    assert served.told == [TEXT, [7, 8, 9]]


@pytest.mark.parametrize("call", WAITING)
def test_an_unread_stream_that_asks_holds_nobody_up(open_model: Opener, call: str) -> None:
    served = Served()
    model = open_model(asking(WORD, ROWS), **served.keywords())
    unread = model.stream("x")
    asked(unread)
    in_thread(lambda: WAITING[call](model))()
    assert unread.result().text == "ab"
    assert served.told == [TEXT, [7, 8, 9]]


@pytest.mark.parametrize("call", WAITING)
def test_who_answers_for_another_run_is_not_blamed(open_model: Opener, call: str) -> None:
    raised = OwnError("mine")

    def fail(_: str) -> list[int]:
        raise raised

    model = open_model(asking(WORD), tokenizer=fail)
    unread = model.stream("x")
    asked(unread)
    # The callable runs on this thread, for the other run: that one ends by it, and its reader is told.
    in_thread(lambda: WAITING[call](model))()
    with pytest.raises(OwnError) as caught:
        unread.result()
    assert caught.value is raised
    assert model.generate("z").text == "fine"


@pytest.mark.parametrize("call", ["agenerate", "akv_cache_size"])
def test_an_unread_stream_that_asks_does_not_hold_up_a_loop(open_model: Opener, call: str) -> None:
    model = open_model(asking(WORD, prefill_ms=50), **Served().keywords())

    async def main() -> None:
        unread = model.stream("x")
        waiting = aio(model).generate("y") if call == "agenerate" else aio(model).kv_cache_size()
        await asyncio.wait_for(waiting, PATIENCE / 2)
        assert unread.result().text == "ab"

    asyncio.run(main())


def test_leaving_while_it_asks(open_model: Opener, record: Path) -> None:
    model = open_model(asking(WORD), **Served().keywords())
    stream = model.stream("x")
    asked(stream)
    stream.cancel()
    assert in_thread(stream.result)().finish_reason == "cancelled"
    assert model.generate("y", timeout=PATIENCE).text == "fine"


def test_dropping_a_stream_while_it_asks(open_model: Opener, record: Path) -> None:
    model = open_model(asking(WORD), **Served().keywords())
    stream = model.stream("x")
    asked(stream)
    del stream
    assert model.generate("y", timeout=PATIENCE).text == "fine"


def test_a_deadline_while_it_asks(open_model: Opener, record: Path) -> None:
    model = open_model(asking(WORD), **Served().keywords())
    stream = model.stream("x", timeout=0.1)
    asked(stream)
    # Nobody reads, so nobody answers; the deadline frees the model by itself.
    wait_until(lambda: calls(record, "run_end"), "the end of the run")
    with pytest.raises(GenerationTimeout):
        stream.result()
    assert model.generate("y").text == "fine"


def test_a_deadline_that_passes_in_the_callable(open_model: Opener) -> None:
    def slow(_: str) -> list[int]:
        wait_until(stream_ended.is_set, "the deadline")
        return [1]

    stream_ended = threading.Event()
    model = open_model(asking(WORD), tokenizer=slow)
    stream = model.stream("x", timeout=0.1)
    reading = in_thread(stream.result)
    threading.Timer(0.3, stream_ended.set).start()
    with pytest.raises(GenerationTimeout):
        reading()
    assert model.generate("y").text == "fine"


def test_closing_while_it_asks(make_model: Callable[..., Path], open_model: Opener, record: Path) -> None:
    model = open_model(asking(WORD), **Served().keywords())
    stream = model.stream("x")
    asked(stream)
    model.close()
    with pytest.raises(ClosedError):
        in_thread(stream.result)()
    began(record, "rkllm_destroy")
    assert open_model(["fine"]).generate("x").text == "fine"


def test_closing_and_cancelling_from_inside(open_model: Opener, record: Path) -> None:
    def tokenizer(_: str) -> list[int]:
        stream.cancel()
        model.close()
        return [1]

    model = open_model(asking(WORD), tokenizer=tokenizer)
    stream = model.stream("x")
    assert stream.result().finish_reason == "cancelled"
    began(record, "rkllm_destroy")
