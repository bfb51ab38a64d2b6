"""Options of calls (``seed``, ``timeout``) and of opening (CPUs, rows)."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls
from rkllm_rs import (
    RKLLM,
    GenerationTimeout,
    InvalidArgumentError,
    InvalidTypeError,
    SamplingParams,
    Tokens,
    UnsupportedFeatureError,
)
from support import HELD, PATIENCE, began, newest
from surface import aio, generate_batch, stepwise, stream_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from conftest import Opener

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")


@pytest.fixture
def cpu() -> Iterator[RKLLM]:
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    with RKLLM(MODEL, max_context_len=512, max_new_tokens=32) as model:
        yield model


# ---- seed


def test_the_c_api_has_no_seed(open_model: Opener, record: Path) -> None:
    model = open_model(["a"], strict=True)
    for use in (
        lambda: model.generate("x", seed=1),
        lambda: model.stream("x", seed=0),
        lambda: asyncio.run(aio(model).generate("x", seed=1)),
    ):
        with pytest.raises(UnsupportedFeatureError, match=r"\Aseed .*cpu"):
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

    texts = {seed: text(seed) for seed in (0, 7, 2**64 - 1)}
    assert {seed: text(seed) for seed in texts} == texts
    assert len(set(map(tuple, texts.values()))) > 1
    # A seed is of its own call only.
    assert len({tuple(text(None)) for _ in range(4)}) > 1


# ---- timeout


def test_a_deadline_covers_the_waiting(open_model: Opener, record: Path, gate: Path) -> None:
    model = open_model({"runs": [{"prefill_ms": HELD, "steps": ["a"]}]})
    first = model.stream("x")
    began(record)
    with pytest.raises(GenerationTimeout) as caught:
        model.generate("y", timeout=0.1)
    assert not calls(record, "run_end")
    assert caught.value.partial is not None
    assert caught.value.partial.token_ids == []
    gate.touch()
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
    "steps": lambda model: next(stepwise(model, "x", timeout=0.1)),
    "alogits": lambda model: asyncio.run(aio(model).logits("x", timeout=0.1)),
    "aembed": lambda model: asyncio.run(aio(model).embed(["x", "y"], timeout=0.1)),
    "agenerate": lambda model: asyncio.run(aio(model).generate("x", timeout=0.1)),
}


@newest
@pytest.mark.parametrize("call", MEASURES)
def test_a_deadline_covers_the_prompt(open_model: Opener, record: Path, call: str) -> None:
    model = open_model({"runs": [{"prefill_ms": HELD, "steps": ["a"]}]})
    with pytest.raises(GenerationTimeout, match=r"0\.1 s"):
        MEASURES[call](model)
    assert not calls(record, "run_end")


@newest
def test_a_deadline_between_steps(open_model: Opener, record: Path) -> None:
    model = open_model({"runs": [{"steps": ["a"]}, {"steps": ["fine"]}]})
    steps = stepwise(model, "x", timeout=1)
    assert next(steps).text == "a"
    # The caller thinks for too long: others need not wait for him.
    began(record, "rkllm_clear_kv_cache")
    with pytest.raises(GenerationTimeout):
        next(steps)
    assert model.generate("y").text == "fine"


@newest
@pytest.mark.parametrize(
    ("call", "given"),
    [
        (RKLLM.logits, ("x",)),
        (RKLLM.embed, ("x",)),
        (RKLLM.score, (Tokens([1]), Tokens([2]))),
        (stepwise, ("x",)),
        (stream_batch, (["x"],)),
    ],
    ids=["logits", "embed", "score", "steps", "stream_batch"],
)
def test_bad_deadlines(
    open_model: Opener, record: Path, call: Callable[..., object], given: tuple[Any, ...]
) -> None:
    model = open_model(["a"])
    for bad, kind in (
        (0, InvalidArgumentError),
        (float("nan"), InvalidArgumentError),
        ("1", InvalidTypeError),
    ):
        with pytest.raises(kind, match="timeout"):
            call(model, *given, timeout=bad)
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


@pytest.mark.parametrize("abi_version", ["v1_2_0", "v1_2_1", "v1_3_1"])
@pytest.mark.parametrize(("cpus", "mask"), MASKS, ids=str)
def test_cpus(
    open_model: Opener, record: Path, abi_version: str, cpus: Iterable[int] | int, mask: int
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
    with pytest.raises(InvalidArgumentError, match=r"enabled_cpus_mask.*3.*2") as caught:
        open_model(["a"], enabled_cpus_mask={1, 2, 3}, enabled_cpus_num=2)
    assert caught.value.hint
    assert not calls(record, "rkllm_init")
    open_model(["a"], enabled_cpus_mask={1, 2, 3}, enabled_cpus_num=3)


@pytest.mark.parametrize("abi_version", ["v1_1_0"])
def test_cpus_before_1_2_0(open_model: Opener, record: Path, abi_version: str) -> None:
    for keywords in ({"enabled_cpus_mask": {1}}, {"enabled_cpus_num": 1}):
        with pytest.raises(UnsupportedFeatureError, match=r"1\.2\.0"):
            open_model(["a"], **keywords)
    assert not calls(record, "rkllm_init")


def test_rows(open_model: Opener, record: Path, abi_version: str) -> None:
    # One row is what every release runs.
    assert open_model(["a"], n_batch=1).n_batch == 1
    if abi_version in {"v1_1_0", "v1_2_0"}:
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


@pytest.mark.hazard("G6")
@newest
def test_rows_and_inputs_must_agree(open_model: Opener, record: Path) -> None:
    model = open_model(["a"], n_batch=2)
    for use in (
        lambda: stepwise(model, "x"),
        lambda: generate_batch(model, ["x"]),
        lambda: generate_batch(model, ["x"] * 3),
        lambda: generate_batch(model, []),
    ):
        with pytest.raises(InvalidArgumentError, match="n_batch"):
            use()
    assert not calls(record, "rkllm_run")
    assert [answer.text for answer in generate_batch(model, ["x", "y"], timeout=PATIENCE)] == ["a", "a"]
