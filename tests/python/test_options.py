"""Options of calls (``on_token``, ``seed``, ``timeout``) and of opening (CPUs, rows)."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls
from rkllm_rs import (
    RKLLM,
    BusyError,
    Chunk,
    GenerationTimeout,
    InvalidArgumentError,
    InvalidTypeError,
    SamplingParams,
    Tokens,
    UnsupportedFeatureError,
)
from support import PATIENCE, SOON, began, newest, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from conftest import Opener

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")

ENDLESS = {"steps": ["x"], "repeat": 100_000, "delay_ms": 2}


@pytest.fixture
def cpu() -> Iterator[RKLLM]:
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    with RKLLM(MODEL, max_context_len=512, max_new_tokens=32) as model:
        yield model


# ---- on_token


async def joined(stream: Any) -> str:
    return "".join([str(piece) async for piece in stream])


WAYS: dict[str, Callable[[RKLLM, Any], str]] = {
    "generate": lambda model, told: model.generate("x", on_token=told).text,
    "stream": lambda model, told: "".join(chunk.text for chunk in model.stream("x", on_token=told)),
    "texts": lambda model, told: "".join(model.stream("x", on_token=told).texts()),
    "result": lambda model, told: model.stream("x", on_token=told).result().text,
    "agenerate": lambda model, told: asyncio.run(model.agenerate("x", on_token=told)).text,
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


@newest
def test_what_was_read_before_is_not_told_again(open_model: Opener) -> None:
    told: list[str] = []
    stream = open_model(["a", "b", "c"]).stream("x", on_token=lambda chunk: told.append(chunk.text))
    assert next(stream).text == "a"
    assert stream.result().text == "abc"
    assert told == ["a", "b", "c"]
    assert stream.result().text == "abc"
    assert told == ["a", "b", "c"]


@newest
def test_stop_strings_are_held_back_from_it_too(open_model: Opener) -> None:
    told: list[str] = []
    model = open_model(["one", " <e", "nd> ", "two"])
    assert model.generate("x", stop="<end>", on_token=lambda chunk: told.append(chunk.text)).text == "one "
    assert "".join(told) == "one "


class OwnError(Exception):
    """What no library raises."""


@pytest.mark.parametrize("way", WAYS)
@newest
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


@newest
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
    "steps": lambda model: model.steps("y"),
    "hidden_states": lambda model: model.hidden_states("y"),
    "generate_batch": lambda model: model.generate_batch(["y"]),
    "score": lambda model: model.score(Tokens([1]), Tokens([2])),
    "kv_cache_size": lambda model: model.kv_cache_size(),
    "clear_kv_cache": lambda model: model.clear_kv_cache(),
    "set_chat_template": lambda model: model.set_chat_template(),
    "load_prompt_cache": lambda model: model.load_prompt_cache("/none"),
}


@newest
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


@newest
def test_a_call_from_inside_ends_the_run_where_it_is_not_caught(open_model: Opener) -> None:
    model = open_model({"runs": [ENDLESS, {"steps": ["fine"]}]})
    with pytest.raises(BusyError):
        model.generate("x", on_token=lambda _: model.generate("y"))
    assert model.generate("x").text == "fine"


@newest
def test_other_models_and_streams_may_be_used_inside(open_model: Opener) -> None:
    other = open_model(["other"])
    told: list[str] = []

    def on_token(_: Chunk) -> None:
        told.append(other.generate("y").text)
        stream.cancel()

    stream = open_model({"runs": [ENDLESS]}).stream("x", on_token=on_token)
    assert stream.result().finish_reason == "cancelled"
    assert told
    assert set(told) == {"other"}


@newest
def test_closing_from_inside(open_model: Opener, record: Path) -> None:
    model = open_model({"runs": [ENDLESS]})
    assert model.generate("x", on_token=lambda _: model.close()).finish_reason == "cancelled"
    began(record, "rkllm_destroy")


@pytest.mark.parametrize("generation", ["v1_2_1", "v1_3_0"])
def test_of_a_batch(open_model: Opener, generation: str) -> None:
    told: list[str] = []
    rows = [["a", "b"], ["c"]]
    model = open_model({"runs": [{"rows": rows}]}, n_batch=2)
    answers = model.generate_batch(["x", "y"], on_token=lambda chunk: told.append(chunk.text))
    assert [answer.text for answer in answers] == ["ab", "c"]
    assert sorted(told) == ["a", "b", "c"]
    streams = model.stream_batch(["x", "y"], on_token=lambda chunk: told.append(chunk.text.upper()))
    assert [chunk.text for chunk in streams[1]] == ["c"]
    assert told[3:] == ["C"]
    assert (
        asyncio.run(model.agenerate_batch(["x", "y"], on_token=lambda chunk: told.append(chunk.text)))[0].text
        == "ab"
    )


@pytest.mark.parametrize("generation", ["v1_2_1", "v1_3_0"])
def test_an_exception_in_a_batch(open_model: Opener, generation: str) -> None:
    def on_token(chunk: Chunk) -> None:
        raise OwnError(chunk.text)

    model = open_model({"runs": [{"rows": [["a"], ["b"]], "repeat": 20, "delay_ms": 1}]}, n_batch=2)
    with pytest.raises(OwnError, match="a"):
        model.generate_batch(["x", "y"], on_token=on_token)
    with pytest.raises(OwnError, match="a"):
        asyncio.run(model.agenerate_batch(["x", "y"], on_token=on_token))
    assert model.generate_batch(["x", "y"])[1].text == "b" * 20


@pytest.mark.parametrize("generation", ["v1_2_1", "v1_3_0"])
def test_of_steps(open_model: Opener, generation: str) -> None:
    told: list[int] = []
    model = open_model({"runs": [{"steps": [{"text": "", "id": 5}]}, {"steps": [{"text": "b", "id": 6}]}]})
    with model.steps("x", on_token=lambda chunk: told.append(chunk.token_id)) as steps:
        assert [next(steps).token_id for _ in range(2)] == [5, 6]
    assert told == [5, 6]

    def fail(_: Chunk) -> None:
        raise OwnError

    with model.steps("x", on_token=fail) as steps, pytest.raises(OwnError):
        next(steps)
    assert list(steps) == []
    assert model.generate("y").text == "b"


@newest
@pytest.mark.parametrize("bad", [5, "print", [print], object()])
def test_only_callables(open_model: Opener, record: Path, bad: Any) -> None:
    with pytest.raises(InvalidTypeError, match="on_token"):
        open_model(["a"]).generate("x", on_token=bad)
    assert not calls(record, "rkllm_run")


# ---- seed


def test_the_c_api_has_no_seed(open_model: Opener, record: Path) -> None:
    model = open_model(["a"])
    for use in (
        lambda: model.generate("x", seed=1),
        lambda: model.stream("x", seed=0),
        lambda: asyncio.run(model.agenerate("x", seed=1)),
    ):
        with pytest.raises(UnsupportedFeatureError, match="seed needs the CPU runtime"):
            use()
    assert not calls(record, "rkllm_run")
    assert model.generate("x", seed=None).text == "a"


SEEDS = [
    (-1, InvalidArgumentError),
    (2**64, InvalidArgumentError),
    (1.0, InvalidTypeError),
    ("1", InvalidTypeError),
    (True, InvalidTypeError),
]


@newest
@pytest.mark.parametrize(("seed", "kind"), SEEDS, ids=str)
def test_bad_seeds(open_model: Opener, record: Path, seed: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="seed"):
        open_model(["a"]).generate("x", seed=seed)
    assert not calls(record, "rkllm_run")


@pytest.mark.model
def test_a_seed_gives_the_same_text_twice(cpu: RKLLM) -> None:
    hot = SamplingParams(top_k=100, top_p=1.0, temperature=1.5)

    def text(seed: int | None) -> list[int]:
        return cpu.generate("Invent a name for a cat.", seed=seed, sampling=hot, max_new_tokens=16).token_ids

    for seed in (0, 7, 2**64 - 1):
        assert text(seed) == text(seed)
    assert len({tuple(text(seed)) for seed in range(4)}) > 1
    # A seed is of its own call only.
    assert len({tuple(text(None)) for _ in range(4)}) > 1


# ---- timeout


def test_a_deadline_covers_the_waiting(open_model: Opener, record: Path) -> None:
    model = open_model({"runs": [{"prefill_ms": 500, "steps": ["a"]}]})
    first = model.stream("x")
    began(record)
    begin = time.monotonic()
    with pytest.raises(GenerationTimeout) as caught:
        model.generate("y", timeout=0.1)
    assert 0.1 <= time.monotonic() - begin < 0.4 + SOON
    assert caught.value.partial is not None
    assert caught.value.partial.token_ids == []
    assert first.result().text == "a"
    # The run that waited has never been started.
    assert model.generate("z").text == "a"
    assert len(calls(record, "rkllm_run")) == 2


MEASURES: dict[str, Callable[[RKLLM], object]] = {
    "generate": lambda model: model.generate("x", timeout=0.1),
    "logits": lambda model: model.logits("x", timeout=0.1),
    "hidden_states": lambda model: model.hidden_states("x", timeout=0.1),
    "embed": lambda model: model.embed("x", timeout=0.1),
    "score": lambda model: model.score(Tokens([1]), Tokens([2]), timeout=0.1),
    "steps": lambda model: next(model.steps("x", timeout=0.1)),
    "alogits": lambda model: asyncio.run(model.alogits("x", timeout=0.1)),
    "aembed": lambda model: asyncio.run(model.aembed(["x", "y"], timeout=0.1)),
    "agenerate": lambda model: asyncio.run(model.agenerate("x", timeout=0.1)),
}


@newest
@pytest.mark.parametrize("call", MEASURES)
def test_a_deadline_covers_the_prompt(open_model: Opener, call: str) -> None:
    model = open_model({"runs": [{"prefill_ms": 700, "steps": ["a"]}]})
    begin = time.monotonic()
    with pytest.raises(GenerationTimeout, match=r"0\.1 s"):
        MEASURES[call](model)
    assert time.monotonic() - begin < 0.6 + SOON


@newest
def test_a_deadline_between_steps(open_model: Opener, record: Path) -> None:
    model = open_model({"runs": [{"steps": ["a"]}, {"steps": ["fine"]}]})
    steps = model.steps("x", timeout=0.2)
    assert next(steps).text == "a"
    # The caller thinks for too long: others need not wait for him.
    assert model._model.in_steps
    began(record, "rkllm_clear_kv_cache")
    with pytest.raises(GenerationTimeout):
        next(steps)
    assert model.generate("y").text == "fine"


@newest
@pytest.mark.parametrize("call", ["logits", "embed", "score", "steps", "stream_batch"])
def test_bad_deadlines(open_model: Opener, record: Path, call: str) -> None:
    model = open_model(["a"])
    arguments: dict[str, Any] = {"score": (Tokens([1]), Tokens([2])), "stream_batch": (["x"],)}
    for bad, kind in (
        (0, InvalidArgumentError),
        (float("nan"), InvalidArgumentError),
        ("1", InvalidTypeError),
    ):
        with pytest.raises(kind, match="timeout"):
            getattr(model, call)(*arguments.get(call, ("x",)), timeout=bad)
    assert not calls(record, "rkllm_run")


# ---- opening


MASKS: list[tuple[Any, int]] = [
    ({4, 5, 6, 7}, 0xF0),
    ([0], 1),
    ((7, 0), 0x81),
    (range(4), 0x0F),
    ([1, 1, 2], 0b110),
    (0xF0, 0xF0),
    ({31}, 1 << 31),
    (1 << 31, 1 << 31),
]


@pytest.mark.parametrize("generation", ["v1_2_0", "v1_2_1", "v1_3_0"])
@pytest.mark.parametrize(("cpus", "mask"), MASKS, ids=str)
def test_cpus(
    open_model: Opener, record: Path, generation: str, cpus: Iterable[int] | int, mask: int
) -> None:
    once = cpus if isinstance(cpus, int) else iter(cpus)
    open_model(["a"], enabled_cpus_mask=once)
    extend = calls(record, "rkllm_init")[0]["param"]["extend_param"]
    assert (extend["enabled_cpus_mask"], extend["enabled_cpus_num"]) == (mask, mask.bit_count())


BAD_MASKS: list[tuple[Any, type[Exception]]] = [
    (set(), InvalidArgumentError),
    ([], InvalidArgumentError),
    (0, InvalidArgumentError),
    ({32}, InvalidArgumentError),
    ({255}, InvalidArgumentError),
    ({256}, InvalidArgumentError),
    ({-1}, InvalidArgumentError),
    (-1, InvalidArgumentError),
    (2**32, InvalidArgumentError),
    ("4567", InvalidTypeError),
    ({"4"}, InvalidTypeError),
    ([1.0], InvalidTypeError),
    ([True], InvalidTypeError),
    (True, InvalidTypeError),
    (15.0, InvalidTypeError),
]


@newest
@pytest.mark.parametrize(("cpus", "kind"), BAD_MASKS, ids=str)
def test_bad_cpus(open_model: Opener, record: Path, cpus: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="enabled_cpus_mask"):
        open_model(["a"], enabled_cpus_mask=cpus)
    assert not calls(record, "rkllm_init")


@newest
def test_number_and_mask_must_agree(open_model: Opener, record: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"3 CPUs.*says 2") as caught:
        open_model(["a"], enabled_cpus_mask={1, 2, 3}, enabled_cpus_num=2)
    assert caught.value.hint
    assert not calls(record, "rkllm_init")
    open_model(["a"], enabled_cpus_mask={1, 2, 3}, enabled_cpus_num=3)


@pytest.mark.parametrize("generation", ["v1_1_0"])
def test_cpus_before_1_2_0(open_model: Opener, record: Path, generation: str) -> None:
    for keywords in ({"enabled_cpus_mask": {1}}, {"enabled_cpus_num": 1}):
        with pytest.raises(UnsupportedFeatureError, match=r"1\.2\.0"):
            open_model(["a"], **keywords)
    assert not calls(record, "rkllm_init")


def test_rows(open_model: Opener, record: Path, generation: str) -> None:
    # One row is what every release runs.
    assert open_model(["a"], n_batch=1).n_batch == 1
    if generation in {"v1_1_0", "v1_2_0"}:
        with pytest.raises(UnsupportedFeatureError, match=r"1\.2\.1"):
            open_model(["a"], n_batch=2)
        assert len(calls(record, "rkllm_init")) == 1
        return
    for rows in (2, 100):
        assert open_model(["a"], n_batch=rows).n_batch == rows
        assert calls(record, "rkllm_init")[-1]["param"]["extend_param"]["n_batch"] == rows


@newest
@pytest.mark.parametrize("rows", [0, 101, -1, 256, 10**20, "2", 2.0, True])
def test_bad_rows(open_model: Opener, record: Path, rows: Any) -> None:
    with pytest.raises((InvalidArgumentError, InvalidTypeError), match="n_batch") as caught:
        open_model(["a"], n_batch=rows)
    assert caught.value.hint
    assert not calls(record, "rkllm_init")


@newest
def test_rows_and_inputs_must_agree(open_model: Opener, record: Path) -> None:
    model = open_model(["a"], n_batch=2)
    for use in (
        lambda: model.generate("x"),
        lambda: model.stream("x"),
        lambda: model.steps("x"),
        lambda: model.logits("x"),
        lambda: model.generate_batch(["x"]),
        lambda: model.generate_batch(["x"] * 3),
        lambda: model.generate_batch([]),
    ):
        with pytest.raises(InvalidArgumentError, match="n_batch"):
            use()
    assert not calls(record, "rkllm_run")
    assert [answer.text for answer in model.generate_batch(["x", "y"], timeout=PATIENCE)] == ["a", "a"]
