"""``strict=``: what the library lacks, as a warning or as an error."""

from __future__ import annotations

import asyncio
import os
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls
from rkllm_rs import (
    RKLLM,
    AsyncRKLLM,
    InvalidArgumentError,
    InvalidTypeError,
    RkllmWarning,
    UnsupportedFeatureError,
)
from support import began
from surface import aio, stepwise, stream_batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Opener

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")

#: What a library says of a model that takes less than the tests ask for.
SMALL = {"init": {"log": [["stderr", "I rkllm: loaded a: max_context_limit: 256"]]}}


def later(call: Callable[..., Any], *given: Any, **keywords: Any) -> Any:
    """Calls something of an event loop."""

    async def main() -> Any:
        return await call(*given, **keywords)

    return asyncio.run(main())


async def open_async(path: Path, **keywords: Any) -> AsyncRKLLM:
    return await AsyncRKLLM(path, **keywords).open()


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.generate("x", seed=1).text,
        lambda model: model.stream("x", seed=1).result().text,
        lambda model: "".join(chunk.text for chunk in stepwise(model, "x", seed=1, max_new_tokens=1)),
        lambda model: later(aio(model).generate, "x", seed=1).text,
    ],
    ids=["generate", "stream", "steps", "async"],
)
def test_a_seed_that_cannot_be_set(open_model: Opener, use: Callable[[RKLLM], str]) -> None:
    model = open_model({"runs": [{"steps": ["a"]}, {"steps": ["b"]}]})
    with pytest.warns(RkllmWarning, match="seed") as caught:
        assert use(model) == "a"
    # The line of the program is named, not one of this package.
    assert [os.path.dirname(warning.filename) for warning in caught] == [os.path.dirname(__file__)]
    # Once for a model: another one would be an error here.
    assert use(model)


def test_each_model_warns(open_model: Opener) -> None:
    for _ in range(2):
        with pytest.warns(RkllmWarning, match="seed"):
            open_model(["a"]).generate("x", seed=1)


def test_a_seed_for_a_batch(open_model: Opener) -> None:
    model = open_model({"runs": [{"rows": [["a"], ["b"]]}]}, n_batch=2)
    with pytest.warns(RkllmWarning, match="seed") as caught:
        assert len(stream_batch(model, ["x", "y"], seed=1)) == 2
    assert len(caught) == 1


def test_a_warning_that_is_an_error_starts_nothing(open_model: Opener, record: Path) -> None:
    model = open_model(["a"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            with pytest.raises(RkllmWarning, match="seed"):
                model.generate("x", seed=1)
    assert not calls(record, "rkllm_run")


@pytest.mark.parametrize(
    ("seed", "error"),
    [
        (-1, InvalidArgumentError),
        (2**64, InvalidArgumentError),
        ("1", InvalidTypeError),
        (True, InvalidTypeError),
    ],
)
def test_a_seed_that_can_never_be_right(open_model: Opener, seed: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="seed"):
        open_model(["a"]).generate("x", seed=seed)


def test_strict_refuses_a_seed(open_model: Opener, record: Path) -> None:
    model = open_model(["a"], strict=True)
    for use in (
        lambda: model.generate("x", seed=1),
        lambda: model.stream("x", seed=1),
        lambda: stepwise(model, "x", seed=1),
        lambda: later(aio(model).generate, "x", seed=1),
    ):
        with pytest.raises(UnsupportedFeatureError, match="seed"):
            use()
    assert not calls(record, "rkllm_run")
    assert model.generate("x").text == "a"


def test_strict_refuses_what_is_known_to_give_wrong_text(
    make_model: Callable[..., Path], library: Path, record: Path
) -> None:
    """And leaves nothing open, whoever keeps the error."""
    path = make_model(SMALL)
    settings: dict[str, Any] = {"library": library, "backend": "npu", "max_context_len": 4096}
    with warnings.catch_warnings():
        # What is said of the machine is no matter of the model.
        warnings.simplefilter("ignore", RkllmWarning)
        RKLLM(path, **settings).close()
        with pytest.raises(UnsupportedFeatureError, match="256") as caught:
            RKLLM(path, strict=True, **settings)
        assert caught.value.hint
        began(record, "rkllm_destroy", 2)
        with pytest.raises(UnsupportedFeatureError, match="256") as again:
            asyncio.run(open_async(path, strict=True, **settings))
        assert again.value.hint
        began(record, "rkllm_destroy", 3)


@pytest.mark.parametrize("strict", [1, "yes", None])
def test_neither_true_nor_false(make_model: Callable[..., Path], library: Path, strict: Any) -> None:
    for kind in (RKLLM, AsyncRKLLM):
        with pytest.raises(InvalidTypeError, match=r"^strict "):
            kind(make_model(), library=library, strict=strict)


@pytest.mark.model
def test_strict_refuses_the_second_choice(tmp_path: Path) -> None:
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    (tmp_path / "model.rkllm").write_bytes(bytes(2048))
    (tmp_path / "model.gguf").symlink_to(MODEL)
    with pytest.raises(UnsupportedFeatureError, match="no NPU"):
        RKLLM(tmp_path / "model", strict=True)
    with pytest.raises(UnsupportedFeatureError, match="no NPU"):
        asyncio.run(open_async(tmp_path / "model", strict=True))


@pytest.mark.model
def test_strict_keeps_what_the_library_has() -> None:
    with RKLLM(MODEL, strict=True, max_context_len=256) as model:
        assert model.generate("Hi", seed=1, max_new_tokens=1).token_ids
