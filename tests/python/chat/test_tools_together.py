"""Several calls of one answer: those of asynchronous tools run at the same time."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from chat.test_chat import ASK, call, prompts, runs
from conversations import TEMPLATE
from surface import aio

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Opener

BOTH = call("first", "{}") + call("second", "{}")


def meeting() -> list[Callable[..., Any]]:
    """Two tools of which the one called first ends only once the other has begun."""
    has_begun = asyncio.Event()

    async def first() -> str:
        """Waits for the second."""
        await asyncio.wait_for(has_begun.wait(), 30)
        return "one"

    async def second() -> str:
        """Begins."""
        has_begun.set()
        return "two"

    return [first, second]


def results_of(record: Path) -> list[str]:
    return [part.split("<|im_end|>")[0] for part in prompts(record)[1].split("<|im_start|>tool\n")[1:]]


def test_asynchronous_calls_of_an_answer_run_at_the_same_time(open_model: Opener, record: Path) -> None:
    llm = open_model(runs(BOTH, "Done."), chat_template=TEMPLATE)
    assert llm.run_tools(ASK, tools=meeting()).content == "Done."
    assert results_of(record) == ["one", "two"]


def test_likewise_in_an_event_loop(open_model: Opener, record: Path) -> None:
    llm = aio(open_model(runs(BOTH, "Done."), chat_template=TEMPLATE))
    assert asyncio.run(llm.run_tools(ASK, tools=meeting())).content == "Done."
    assert results_of(record) == ["one", "two"]


def test_likewise_in_a_conversation(open_model: Opener, record: Path) -> None:
    llm = open_model(runs(BOTH, "Done."), chat_template=TEMPLATE)
    assert llm.conversation(tools=meeting()).send("Hi").content == "Done."
    assert results_of(record) == ["one", "two"]


def plain() -> tuple[list[Callable[..., Any]], list[str]]:
    """Two functions without async, and what they do in turn."""
    order: list[str] = []

    def first() -> str:
        """Works."""
        order.append("first begins")
        threading.Event().wait(0.02)
        order.append("first ends")
        return "one"

    def second() -> str:
        """Works."""
        order.append("second begins")
        return "two"

    return [first, second], order


@pytest.mark.parametrize("in_loop", [False, True])
def test_functions_without_async_run_one_after_another(
    open_model: Opener, record: Path, *, in_loop: bool
) -> None:
    llm = open_model(runs(BOTH, "Done."), chat_template=TEMPLATE)
    tools, order = plain()
    if in_loop:
        asyncio.run(aio(llm).run_tools(ASK, tools=tools))
    else:
        llm.run_tools(ASK, tools=tools)
    assert order == ["first begins", "first ends", "second begins"]
    assert results_of(record) == ["one", "two"]


def test_one_that_raises_is_told_of_and_the_other_goes_on(open_model: Opener, record: Path) -> None:
    async def first() -> str:
        """Fails."""
        message = "no such town"
        raise ValueError(message)

    async def second() -> str:
        """Works."""
        await asyncio.sleep(0)
        return "two"

    llm = open_model(runs(BOTH, "Done."), chat_template=TEMPLATE)
    assert llm.run_tools(ASK, tools=[first, second]).content == "Done."
    one, two = results_of(record)
    assert "no such town" in one
    assert two == "two"


def test_cancelling_ends_all_of_them(open_model: Opener) -> None:
    ended: list[str] = []

    async def program() -> None:
        begun: list[asyncio.Event] = [asyncio.Event(), asyncio.Event()]

        async def wait(at: int, name: str) -> str:
            begun[at].set()
            try:
                await asyncio.sleep(3600)
            finally:
                ended.append(name)
            return ""

        async def first() -> str:
            """Waits."""
            return await wait(0, "first")

        async def second() -> str:
            """Waits."""
            return await wait(1, "second")

        task = asyncio.create_task(llm.run_tools(ASK, tools=[first, second]))
        for event in begun:
            await asyncio.wait_for(event.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    llm = aio(open_model(runs(BOTH, "Done."), chat_template=TEMPLATE))
    asyncio.run(program())
    assert sorted(ended) == ["first", "second"]


def test_an_interrupt_in_one_ends_the_others(open_model: Opener) -> None:
    ended: list[str] = []

    async def first() -> str:
        """Waits."""
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("first")
        return ""

    def second() -> str:
        """Is interrupted."""
        raise KeyboardInterrupt

    async def third() -> str:
        """Is interrupted while others run."""
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    llm = open_model(runs(BOTH), chat_template=TEMPLATE)
    with pytest.raises(KeyboardInterrupt):
        llm.run_tools(ASK, tools=[first, second])
    assert not ended  # it had not begun
    third.__name__ = "second"
    llm = open_model(runs(BOTH), chat_template=TEMPLATE)
    with pytest.raises(asyncio.CancelledError):
        llm.run_tools(ASK, tools=[first, third])
    assert ended == ["first"]
