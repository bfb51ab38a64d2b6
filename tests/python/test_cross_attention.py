"""An encoder's output: shapes against each other, and memory that stays until the library is done."""

from __future__ import annotations

import array
import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls, fake_library
from rkllm_rs import (
    CrossAttention,
    GenerationError,
    InvalidArgumentError,
    InvalidTypeError,
    RkllmError,
    UnsupportedFeatureError,
)
from support import began, newest
from surface import aio, set_cross_attention

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from conftest import Opener

LAYERS, TOKENS, HEADS, WIDTH = 2, 3, 4, 5
COUNT = LAYERS * TOKENS * HEADS * WIDTH
K_SHAPE = (LAYERS, TOKENS, HEADS, WIDTH)
V_SHAPE = (LAYERS, HEADS, WIDTH, TOKENS)

since_1_2_1 = pytest.mark.parametrize("abi_version", ["v1_2_1", "v1_3_1"])


def floats(values: Sequence[float], *shape: int, kind: str = "f") -> Any:
    """An array with a shape, without NumPy."""
    return memoryview(array.array(kind, values)).cast("B").cast(kind, shape or (len(values),))  # type: ignore[call-overload]


def parts(start: float = 0.0) -> dict[str, Any]:
    """What fits together; no float occurs twice."""
    return {
        "k_cache": floats([start + at for at in range(COUNT)], *K_SHAPE),
        "v_cache": floats([start + 1000 + at for at in range(COUNT)], *V_SHAPE),
        "mask": floats([start + 0.5] * TOKENS),
        "positions": [3, 1, 2],
    }


def sums(start: float = 0.0) -> dict[str, float]:
    """What the fake finds in :func:`parts`."""
    return {
        "k": sum(start + at for at in range(COUNT)),
        "v": sum(start + 1000 + at for at in range(COUNT)),
        "mask": (start + 0.5) * TOKENS,
        "positions": 6.0,
    }


def found(line: dict[str, Any]) -> dict[str, float]:
    return {name: line[name]["sum"] for name in ("k", "v", "mask", "positions")}


def script(*runs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"cross": {"k": COUNT, "v": COUNT}, "runs": list(runs) or [{"steps": ["a"]}], **more}


def test_what_it_is_made_of() -> None:
    encoder = CrossAttention(**parts())
    assert encoder.num_tokens == TOKENS
    assert "3 tokens" in repr(encoder)
    given = parts()
    assert (
        CrossAttention(*(given[name] for name in ("k_cache", "v_cache", "mask", "positions"))).num_tokens == 3
    )


def test_numpy_arrays() -> None:
    numpy = pytest.importorskip("numpy")
    f32 = {"dtype": numpy.float32}
    positions = (numpy.arange(TOKENS, dtype=kind) for kind in (numpy.int32, numpy.int64))
    for one in (*positions, range(TOKENS), tuple(range(TOKENS))):
        encoder = CrossAttention(
            numpy.zeros(K_SHAPE, **f32), numpy.zeros(V_SHAPE, **f32), numpy.zeros(TOKENS, **f32), one
        )
        assert encoder.num_tokens == TOKENS


@since_1_2_1
def test_each_array_arrives(open_model: Opener, record: Path, abi_version: str) -> None:
    model = open_model(script(), use_cross_attn=True)
    set_cross_attention(model, CrossAttention(**parts()))
    (call,) = calls(record, "rkllm_set_cross_attn_params")
    assert call["params"]["num_tokens"] == TOKENS
    assert found(call) == sums()
    # The orders in memory are the caller's: nothing is turned round.
    assert call["k"]["first"] == [0, 1, 2, 3]
    assert call["v"]["last"] == [1000 + at for at in range(COUNT - 4, COUNT)]
    assert call["positions"]["first"] == [3, 1, 2]
    assert calls(record, "rkllm_init")[0]["param"]["extend_param"]["use_cross_attn"] == 1


def churn() -> None:
    """Gives freed memory a reason to look otherwise."""
    gc.collect()
    for _ in range(50):
        floats([float("nan")] * COUNT)


@since_1_2_1
def test_the_arrays_stay_until_the_run(open_model: Opener, record: Path, abi_version: str) -> None:
    model = open_model(script(), use_cross_attn=True)
    given = parts()
    encoder = CrossAttention(**given)
    set_cross_attention(model, encoder)
    # What the caller does with his own afterwards, is not the library's.
    given["k_cache"].cast("B")[:] = bytes(given["k_cache"].nbytes)
    given["positions"].clear()
    del given, encoder
    churn()
    for _ in range(2):
        assert model.generate("x").text == "a"
        churn()
    assert [found(line) for line in calls(record, "cross_attention")] == [sums()] * 2


@pytest.mark.both_modes
def test_the_next_takes_its_place(open_model: Opener, record: Path) -> None:
    model = open_model(script({"prefill_ms": 100, "steps": ["a"]}), use_cross_attn=True)
    set_cross_attention(model, CrossAttention(**parts()))
    stream = model.stream("x")
    began(record)
    # It waits for the run, which still reads the one before.
    set_cross_attention(model, CrossAttention(**parts(7)))
    churn()
    assert stream.result().text == "a"
    model.generate("y")
    asyncio.run(aio(model).set_cross_attention(CrossAttention(**parts(9))))
    churn()
    model.generate("z")
    assert [found(line) for line in calls(record, "cross_attention")] == [sums(), sums(7), sums(9)]


def test_a_refused_one_leaves_the_one_before(open_model: Opener, record: Path) -> None:
    model = open_model(script(), use_cross_attn=True)
    set_cross_attention(model, CrossAttention(**parts()))
    given = parts()
    given["mask"] = floats([1.0])
    with pytest.raises(InvalidArgumentError):
        set_cross_attention(model, CrossAttention(**given))
    churn()
    model.generate("x")
    assert found(calls(record, "cross_attention")[0]) == sums()


@pytest.mark.both_modes
def test_a_library_that_refuses(open_model: Opener) -> None:
    log = [["stderr", "E rkllm: cross attention does not fit the model"]]
    model = open_model(script(set_cross_attn_params={"return": -1, "log": log}), use_cross_attn=True)
    with pytest.raises(GenerationError, match="rkllm_set_cross_attn_params") as caught:
        set_cross_attention(model, CrossAttention(**parts()))
    assert caught.value.log == [log[0][1]]
    assert model.generate("x").text == "a"


def test_one_encoder_for_two_models(open_model: Opener, record: Path) -> None:
    encoder = CrossAttention(**parts())
    first, second = (open_model(script(), use_cross_attn=True) for _ in range(2))
    for model in (first, second):
        set_cross_attention(model, encoder)
    del encoder
    first.close()
    churn()
    second.generate("x")
    assert found(calls(record, "cross_attention")[-1]) == sums()


WRONG: dict[str, tuple[str, Callable[[], Any], type[RkllmError], str]] = {
    "K of three dimensions": (
        "k_cache",
        lambda: floats([0] * COUNT, 2, 3, 20),
        InvalidArgumentError,
        "k_cache",
    ),
    "K flat": ("k_cache", lambda: floats([0] * COUNT), InvalidArgumentError, "k_cache"),
    "another K": ("k_cache", lambda: floats([0] * 60, 1, 3, 4, 5), InvalidArgumentError, "v_cache"),
    "V in K's order": (
        "v_cache",
        lambda: floats([0] * COUNT, *K_SHAPE),
        InvalidArgumentError,
        r"\[2, 4, 5, 3\]",
    ),
    "V of other tokens": ("v_cache", lambda: floats([0] * 160, 2, 4, 5, 4), InvalidArgumentError, "v_cache"),
    "mask too long": ("mask", lambda: floats([0] * 4), InvalidArgumentError, "3 .*got 4"),
    "mask of a batch": ("mask", lambda: floats([0] * 3, 1, 3), InvalidArgumentError, "mask"),
    "positions too few": ("positions", lambda: [1, 2], InvalidArgumentError, "3 .*got 2"),
    "no positions": ("positions", list, InvalidArgumentError, "positions"),
    "K of doubles": ("k_cache", lambda: floats([0] * COUNT, *K_SHAPE, kind="d"), InvalidTypeError, "float64"),
    "V of ints": ("v_cache", lambda: floats([0] * COUNT, *V_SHAPE, kind="i"), InvalidTypeError, "int32"),
    "mask of bytes": ("mask", lambda: bytes(3), InvalidTypeError, "uint8"),
    "mask a list": ("mask", lambda: [0.0] * 3, InvalidTypeError, "mask"),
    "K nothing": ("k_cache", lambda: None, InvalidTypeError, "k_cache"),
    "K text": ("k_cache", lambda: "k", InvalidTypeError, "k_cache"),
    "positions of floats": ("positions", lambda: [0.0, 1.0, 2.0], InvalidTypeError, "positions"),
    "positions of flags": ("positions", lambda: [True] * 3, InvalidTypeError, "positions"),
    "positions beyond C": ("positions", lambda: [0, 1, 2**31], InvalidArgumentError, "positions"),
    "positions text": ("positions", lambda: "012", InvalidTypeError, "positions"),
    "positions nothing": ("positions", lambda: None, InvalidTypeError, "positions"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit(case: str) -> None:
    name, value, kind, words = WRONG[case]
    with pytest.raises(kind, match=words) as caught:
        CrossAttention(**{**parts(), name: value()})
    assert isinstance(caught.value, RkllmError)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["k_cache", "v_cache", "mask"])
def test_what_is_not_contiguous(name: str) -> None:
    numpy = pytest.importorskip("numpy")
    shape = {"k_cache": K_SHAPE, "v_cache": V_SHAPE, "mask": (TOKENS,)}[name]
    wide = numpy.zeros((*shape[:-1], 2 * shape[-1]), dtype=numpy.float32)
    odd = [wide[..., ::2]]
    if name != "mask":
        odd.append(numpy.zeros(shape[::-1], dtype=numpy.float32).T)
    for array_ in odd:
        assert array_.shape == shape
        with pytest.raises(InvalidArgumentError, match=f"{name}.*contiguous") as caught:
            CrossAttention(**{**parts(), name: array_})
        assert "ascontiguousarray" in str(caught.value.hint)


def test_what_is_no_encoder(open_model: Opener, record: Path) -> None:
    model = open_model(script(), use_cross_attn=True)
    for bad in (None, parts(), (1, 2, 3, 4)):
        with pytest.raises(InvalidTypeError, match="CrossAttention"):
            set_cross_attention(model, bad)
    assert not calls(record, "rkllm_set_cross_attn_params")


@since_1_2_1
@pytest.mark.parametrize("keywords", [{}, {"use_cross_attn": False}])
def test_a_model_that_was_opened_without_it(
    open_model: Opener, record: Path, abi_version: str, keywords: dict[str, Any]
) -> None:
    model = open_model(script(), **keywords)
    with pytest.raises(InvalidArgumentError, match="use_cross_attn") as caught:
        set_cross_attention(model, CrossAttention(**parts()))
    assert "use_cross_attn=True" in str(caught.value.hint)
    assert not calls(record, "rkllm_set_cross_attn_params")


@pytest.mark.parametrize("abi_version", ["v1_1_0", "v1_2_0"])
def test_before_1_2_1(open_model: Opener, record: Path, abi_version: str) -> None:
    with pytest.raises(UnsupportedFeatureError, match=r"1\.2\.1"):
        open_model(["a"], use_cross_attn=True)
    assert not calls(record, "rkllm_init")
    with pytest.raises(UnsupportedFeatureError, match=r"1\.2\.1"):
        set_cross_attention(open_model(["a"]), CrossAttention(**parts()))


@newest
def test_a_library_without_it(open_model: Opener, tmp_path: Path, abi_version: str) -> None:
    bare = fake_library(
        tmp_path / "bare", abi_version, drop_symbols=["rkllm_set_cross_attn_params"], quiet=True
    )
    with pytest.raises(UnsupportedFeatureError, match="rkllm_set_cross_attn_params"):
        open_model(["a"], library=bare, use_cross_attn=True)
