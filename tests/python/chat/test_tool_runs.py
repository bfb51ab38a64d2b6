"""Calls that are run: results as messages, errors as results, cancelling, synchronous and asynchronous."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import enum
import json
import threading
from typing import Any, NamedTuple

import pytest

from rkllm_rs import ToolError
from rkllm_rs.chat.tools import MAX_CHARACTERS, Tool, ToolLoop, ToolResult, Tools


@dataclasses.dataclass
class Person:
    name: str
    tags: frozenset[str] = frozenset({"x"})


class Point(NamedTuple):
    x: int


class Colour(enum.Enum):
    RED = "red"


class Word(str, enum.Enum):
    A = "a"


def returning(value: Any) -> Tools:
    def f():
        return value

    return Tools([f])


LOOP: list[Any] = []
LOOP.append(LOOP)

RESULTS: list[tuple[Any, str]] = [
    ("sunny ☀", "sunny ☀"),
    ("", ""),
    (Word.A, "a"),
    (None, "null"),
    (True, "true"),
    (21.5, "21.5"),
    ({"straße": [1, None]}, '{"straße": [1, null]}'),
    (Person("Ada"), '{"name": "Ada", "tags": ["x"]}'),
    ([Colour.RED, Point(1)], '["red", [1]]'),
    ({1}, "[1]"),
    (1 + 2j, '"(1+2j)"'),
    ({(1, 2): 3}, "{(1, 2): 3}"),
    (LOOP, "[[...]]"),
    ("a\ud800b", "a\ufffdb"),
]


def both(tools: Tools, *arguments: Any, **keywords: Any) -> list[ToolResult]:
    """The same call, synchronous and asynchronous."""
    return [tools.run(*arguments, **keywords), asyncio.run(tools.arun(*arguments, **keywords))]


@pytest.mark.parametrize(("value", "content"), RESULTS)
def test_results(value: Any, content: str) -> None:
    for result in both(returning(value), "f", "{}", id="call_1"):
        assert result.content == content
        assert result.value is value
        assert (result.error, result.exception) == (None, None)
        assert result.message == {"role": "tool", "tool_call_id": "call_1", "name": "f", "content": content}
        assert list(result.message) == ["role", "tool_call_id", "name", "content"]


def test_a_call_without_an_id() -> None:
    assert returning("x").run("f", {}).message == {"role": "tool", "name": "f", "content": "x"}


def test_long_results_are_cut_with_a_note() -> None:
    tools = returning("x" * (MAX_CHARACTERS + 1))
    (result, _) = both(tools, "f", "{}")
    assert result.content.startswith("x" * MAX_CHARACTERS + "\n[")
    assert str(MAX_CHARACTERS + 1) in result.content
    assert len(result.content) < MAX_CHARACTERS + 100
    for whole in both(tools, "f", "{}", max_characters=None):
        assert whole.content == whole.value
    assert tools.run("f", "{}", max_characters=10).content.startswith("x" * 10 + "\n[")


class BrokenError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("raised", "content"),
    [
        (ValueError("no such city"), "ValueError: no such city"),
        (KeyError("x"), "KeyError: 'x'"),
        (ValueError(), "ValueError"),
        (ToolError("not now"), "ToolError: not now"),
        (BrokenError(), "BrokenError"),
        (TimeoutError("late"), "TimeoutError: late"),
    ],
)
def test_what_a_tool_raises_is_its_result(raised: Exception, content: str) -> None:
    def f():
        raise raised

    async def g():
        raise raised

    for result in both(Tools([f, g]), "f", "{}") + both(Tools([f, g]), "g", "{}"):
        assert (result.content, result.error) == (content, content)
        assert result.exception is raised
        assert result.value is None


def test_calls_that_are_wrong_are_results() -> None:
    def f(x: int) -> int:
        return x

    tools = Tools([f, {"name": "by_hand"}])
    wrong = [("g", "{}"), ("f", "{}"), ("f", '{"x": '), ("f", '{"y": 1}'), ("by_hand", "{}")]
    for name, arguments in wrong:
        for result in both(tools, name, arguments, id="1"):
            assert result.error == result.content != ""
            assert "Error" not in result.content or name == "by_hand"
            assert name in result.content
            assert result.message["role"] == "tool"


def test_conversions_are_in_the_result() -> None:
    def f(x: int) -> int:
        return x + 1

    for result in both(Tools([f]), "f", '{"x": "3"}'):
        assert (result.value, len(result.conversions)) == (4, 1)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_what_ends_a_program_passes_through(stop: type[BaseException]) -> None:
    def f():
        raise stop

    async def g():
        raise stop

    tools = Tools([f, g])
    for name in ("f", "g"):
        with pytest.raises(stop):
            tools.run(name, "{}")
    with pytest.raises(stop):
        asyncio.run(tools.arun("f", "{}"))


def test_cancelling_in_the_middle_of_an_asynchronous_tool() -> None:
    ended: list[str] = []

    async def main() -> None:
        began = asyncio.Event()

        async def wait() -> None:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("wait")

        task = asyncio.create_task(Tools([wait]).arun("wait", "{}"))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert ended == ["wait"]


def test_asynchronous_tools_share_the_loop_of_their_caller() -> None:
    loops: list[Any] = []

    async def f() -> int:
        loops.append(asyncio.get_running_loop())
        return len(loops)

    tools = Tools([f])
    with ToolLoop() as loop:
        assert [tools.run("f", "{}", loop=loop).value for _ in range(2)] == [1, 2]
    assert loops[0] is loops[1]
    assert loops[0].is_closed()

    async def main() -> None:
        assert (await tools.arun("f", "{}")).value == 3
        assert loops[2] is asyncio.get_running_loop()

    asyncio.run(main())


def test_synchronous_calls_inside_a_running_loop() -> None:
    variable = contextvars.ContextVar("variable", default="no")

    async def f() -> str:
        await asyncio.sleep(0)
        return variable.get() + threading.current_thread().name

    def fails() -> None:
        async def inner() -> None:
            raise ValueError

        return inner()

    async def main() -> list[str]:
        variable.set("yes")
        tools = Tools([f, fails])
        with ToolLoop() as loop:
            return [tools.run(name, "{}", loop=loop).content for name in ("f", "f", "fails")]

    here = threading.current_thread().name
    first, second, third = asyncio.run(main())
    assert first.startswith("yes")
    assert here not in first
    assert second.startswith("yes")
    assert third == "ValueError"


def test_what_a_tool_leaves_behind_is_ended_with_the_loop() -> None:
    ended: list[str] = []
    tasks: list[Any] = []

    async def f() -> str:
        async def behind() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("behind")

        tasks.append(asyncio.ensure_future(behind()))
        await asyncio.sleep(0)
        return "done"

    assert Tools([f]).run("f", "{}").value == "done"
    assert ended == ["behind"]


def test_functions_run_where_they_are_called() -> None:
    def f() -> str:
        return threading.current_thread().name

    tools, here = Tools([f]), threading.current_thread().name
    assert [result.value for result in both(tools, "f", "{}")] == [here, here]
    assert asyncio.run(tools.arun("f", "{}", in_thread=True)).value != here


def test_objects_that_are_asynchronous() -> None:
    class Search:
        async def __call__(self, query: str) -> str:
            """Searches."""
            return query.upper()

        async def method(self, query: str) -> str:
            return query

    for result in both(Tools([Search()]), "Search", '{"query": "a"}'):
        assert result.value == "A"
    for result in both(Tools([Search().method]), "method", '{"query": "a"}'):
        assert result.value == "a"


def test_a_tool_without_a_function() -> None:
    tool = Tool({"name": "f"})
    assert tool.function is None
    with pytest.raises(ToolError, match="f") as caught:
        tool.call(tool.check("{}"))
    assert caught.value.hint


def test_threads_share_tools() -> None:
    def f(x: int) -> int:
        return x

    tools = Tools([f])
    found: list[Any] = []

    def work(i: int) -> None:
        found.extend(tools.run("f", json.dumps({"x": str(i)})).value for _ in range(50))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted([0, 1, 2, 3] * 50)
