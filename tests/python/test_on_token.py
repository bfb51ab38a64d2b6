"""``on_token``: told of each chunk by whoever reads; what it raises ends the run."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls
from rkllm_rs import RKLLM, BusyError, Chunk, ClosedError, InvalidTypeError, Tokens
from support import began, wait_until
from surface import aio, generate_batch, load_prompt_cache, set_chat_template, stepwise, stream_batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Opener

ENDLESS = {"steps": ["x"], "repeat": 100_000, "delay_ms": 2}


async def joined(stream: Any) -> str:
    return "".join([str(piece) async for piece in stream])


WAYS: dict[str, Callable[[RKLLM, Any], str]] = {
    "generate": lambda model, told: model.generate("x", on_token=told).text,
    "stream": lambda model, told: "".join(chunk.text for chunk in model.stream("x", on_token=told)),
    "texts": lambda model, told: "".join(model.stream("x", on_token=told).texts()),
    "result": lambda model, told: model.stream("x", on_token=told).result().text,
    "agenerate": lambda model, told: asyncio.run(aio(model).generate("x", on_token=told)).text,
    "async for": lambda model, told: asyncio.run(joined(model.stream("x", on_token=told))),
    "async texts": lambda model, told: asyncio.run(joined(model.stream("x", on_token=told).texts())),
}


@pytest.mark.parametrize("way", WAYS)
def test_it_is_told_of_each_chunk(open_model: Opener, way: str) -> None:
    told: list[Chunk] = []
    threads = set()

    def on_token(chunk: Chunk) -> None:
        told.append(chunk)
        threads.add(threading.get_native_id())

    steps = ["The", " sky", {"bytes": [0xF0, 0x9F]}, {"bytes": [0x90, 0x9F]}, "", "!"]
    model = open_model({"runs": [{"steps": steps, "delay_ms": 1}]})
    assert WAYS[way](model, on_token) == "The sky🐟!"
    assert [(type(chunk), chunk.text, chunk.token_id) for chunk in told] == [
        (Chunk, "The", 1), (Chunk, " sky", 2), (Chunk, "🐟", 4), (Chunk, "!", 6),
    ]  # fmt: skip
    assert threads == {threading.get_native_id()}


def test_what_was_read_before_is_not_told_again(open_model: Opener) -> None:
    told: list[str] = []
    stream = open_model(["a", "b", "c"]).stream("x", on_token=lambda chunk: told.append(chunk.text))
    assert next(stream).text == "a"
    assert stream.result().text == "abc"
    assert told == ["a", "b", "c"]
    assert stream.result().text == "abc"
    assert told == ["a", "b", "c"]


def test_stop_strings_are_held_back_from_it_too(open_model: Opener) -> None:
    told: list[str] = []
    model = open_model(["one", " <e", "nd> ", "two"])
    assert model.generate("x", stop="<end>", on_token=lambda chunk: told.append(chunk.text)).text == "one "
    assert "".join(told) == "one "


class OwnError(Exception):
    """What no library raises."""


@pytest.mark.hazard("A6")
@pytest.mark.parametrize("way", WAYS)
def test_an_exception_ends_the_run_and_is_raised(open_model: Opener, record: Path, way: str) -> None:
    raised = OwnError("mine")
    told = []

    def on_token(chunk: Chunk) -> None:
        told.append(chunk)
        if len(told) == 3:
            raise raised

    model = open_model({"runs": [ENDLESS, {"steps": ["fine"]}]})
    with pytest.raises(OwnError) as caught:
        WAYS[way](model, on_token)
    assert caught.value is raised
    assert len(told) == 3
    assert model.generate("y").text == "fine"
    assert [end["end"] for end in calls(record, "run_end")] == ["aborted", "played"]


def test_after_the_exception(open_model: Opener) -> None:
    def on_token(_: Chunk) -> None:
        raise OwnError

    stream = open_model({"runs": [ENDLESS]}).stream("x", on_token=on_token)
    with pytest.raises(OwnError):
        next(stream)
    wait_until(lambda: repr(stream).endswith("characters>"), "the end")


CALLS: dict[str, Callable[[Any], object]] = {
    "generate": lambda model: model.generate("y"),
    "stream": lambda model: model.stream("y"),
    "steps": lambda model: stepwise(model, "y"),
    "hidden_states": lambda model: model.hidden_states("y"),
    "generate_batch": lambda model: generate_batch(model, ["y"]),
    "score": lambda model: model.score(Tokens([1]), Tokens([2])),
    "kv_cache_size": lambda model: model.kv_cache_size(),
    "clear_kv_cache": lambda model: model.clear_kv_cache(),
    "set_chat_template": set_chat_template,
    "load_prompt_cache": lambda model: load_prompt_cache(model, "/none"),
}


@pytest.mark.parametrize("call", CALLS)
def test_calls_from_inside_are_refused(open_model: Opener, record: Path, call: str) -> None:
    errors: list[BusyError] = []

    def on_token(_: Chunk) -> None:
        with pytest.raises(BusyError, match="callback") as caught:
            CALLS[call](model)
        errors.append(caught.value)

    model = open_model(["a", "b"])
    assert model.generate("x", on_token=on_token).text == "ab"
    assert len(errors) == 2
    assert errors[0].hint
    assert [line["fn"] for line in calls(record)][-2:] == ["rkllm_run", "run_end"]
    # From outside they go on being served.
    assert model.generate("x").text == "ab"


def test_a_call_from_inside_ends_the_run_where_it_is_not_caught(open_model: Opener) -> None:
    model = open_model({"runs": [ENDLESS, {"steps": ["fine"]}]})
    with pytest.raises(BusyError):
        model.generate("x", on_token=lambda _: model.generate("y"))
    assert model.generate("x").text == "fine"


def test_other_models_and_streams_may_be_used_inside(open_model: Opener) -> None:
    other = open_model(["other"])
    told: list[str] = []

    # The NPU is free for the other one when this run has ended: the answer then waits to be read.
    stream = open_model(["a", "b"]).stream("x", on_token=lambda _: told.append(other.generate("y").text))
    assert stream.result().text == "ab"
    assert told == ["other", "other"]


def test_closing_from_inside(open_model: Opener, record: Path) -> None:
    model = open_model({"runs": [ENDLESS]})
    with pytest.raises(ClosedError):
        model.generate("x", on_token=lambda _: model.close())
    began(record, "rkllm_destroy")


@pytest.mark.parametrize("abi_version", ["v1_2_1", "v1_3_1"])
def test_of_a_batch(open_model: Opener, abi_version: str) -> None:
    told: list[str] = []
    rows = [["a", "b"], ["c"]]
    model = open_model({"runs": [{"rows": rows}]}, n_batch=2)
    answers = generate_batch(model, ["x", "y"], on_token=lambda chunk: told.append(chunk.text))
    assert [answer.text for answer in answers] == ["ab", "c"]
    assert sorted(told) == ["a", "b", "c"]
    streams = stream_batch(model, ["x", "y"], on_token=lambda chunk: told.append(chunk.text.upper()))
    assert [chunk.text for chunk in streams[1]] == ["c"]
    assert told[3:] == ["C"]
    answering = aio(model).generate_batch(["x", "y"], on_token=lambda chunk: told.append(chunk.text))
    assert asyncio.run(answering)[0].text == "ab"


@pytest.mark.parametrize("abi_version", ["v1_2_1", "v1_3_1"])
def test_an_exception_in_a_batch(open_model: Opener, abi_version: str) -> None:
    def on_token(chunk: Chunk) -> None:
        raise OwnError(chunk.text)

    model = open_model({"runs": [{"rows": [["a"], ["b"]], "repeat": 20, "delay_ms": 1}]}, n_batch=2)
    with pytest.raises(OwnError, match="a"):
        generate_batch(model, ["x", "y"], on_token=on_token)
    with pytest.raises(OwnError, match="a"):
        asyncio.run(aio(model).generate_batch(["x", "y"], on_token=on_token))
    assert generate_batch(model, ["x", "y"])[1].text == "b" * 20


@pytest.mark.parametrize("abi_version", ["v1_2_1", "v1_3_1"])
def test_of_steps(open_model: Opener, abi_version: str) -> None:
    told: list[int] = []
    model = open_model({"runs": [{"steps": [{"text": "", "id": 5}]}, {"steps": [{"text": "b", "id": 6}]}]})
    with stepwise(model, "x", on_token=lambda chunk: told.append(chunk.token_id)) as steps:
        assert [next(steps).token_id for _ in range(2)] == [5, 6]
    assert told == [5, 6]

    def fail(_: Chunk) -> None:
        raise OwnError

    with stepwise(model, "x", on_token=fail) as steps, pytest.raises(OwnError):
        next(steps)
    assert list(steps) == []
    assert model.generate("y").text == "b"


@pytest.mark.parametrize("bad", [5, "print", [print], object()])
def test_only_callables(open_model: Opener, record: Path, bad: Any) -> None:
    with pytest.raises(InvalidTypeError, match="on_token"):
        open_model(["a"]).generate("x", on_token=bad)
    assert not calls(record, "rkllm_run")
