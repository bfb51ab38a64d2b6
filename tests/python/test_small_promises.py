"""Small things that a user stumbles over: paths with ``~``, seeds, lists with a bad item, copies."""

from __future__ import annotations

import copy
import pickle
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls
from rkllm_rs import (
    RKLLM,
    InvalidArgumentError,
    InvalidTypeError,
    RkllmWarning,
    Runtime,
    Tokens,
    runtimes,
)
from support import newest
from surface import load_prompt_cache, loras

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Opener


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "somewhere"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@newest
@pytest.mark.parametrize("kind", [str, Path, str.encode])
def test_a_model_and_a_library_below_the_home_folder(
    make_model: Callable[..., Path], library: Path, home: Path, kind: Callable[[str], Any]
) -> None:
    shutil.copy(make_model(["a"]), home / "mine.rkllm")
    shutil.copytree(library.parent, home / "lib")
    with warnings.catch_warnings():
        # No machine that runs these tests has the NPU.
        warnings.simplefilter("ignore", RkllmWarning)
        model = RKLLM(kind("~/mine.rkllm"), library=kind(f"~/lib/{library.name}"))
    with model:
        assert model.model_path == str(home / "mine.rkllm")
        assert model.generate("x").text == "a"
    assert Runtime.load(kind(f"~/lib/{library.name}")).path == str(home / "lib" / library.name)


@newest
def test_adapters_and_caches_below_the_home_folder(open_model: Opener, record: Path, home: Path) -> None:
    (home / "style.rkllm").write_bytes(bytes(range(256)) * 32)
    model = open_model(["a"])
    model.load_lora("~/style.rkllm")
    assert [lora.path for lora in loras(model)] == [str(home / "style.rkllm")]
    model.generate("x", save_prompt_cache="~/said.cache")
    assert (home / "said.cache").exists()
    load_prompt_cache(model, "~/said.cache")
    assert len(calls(record, "rkllm_load_prompt_cache")) == 1


@newest
@pytest.mark.both_modes
def test_a_relative_model_stays_the_same_file(
    make_model: Callable[..., Path], library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, elsewhere = make_model(["a"]), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (path.parent / "chat_template.jinja").write_text("{{ messages[0].content }}!")
    monkeypatch.chdir(path.parent)
    with warnings.catch_warnings():
        # No machine that runs these tests has the NPU.
        warnings.simplefilter("ignore", RkllmWarning)
        model = RKLLM(path.name, library=library)
    with model:
        monkeypatch.chdir(elsewhere)
        assert model.render_chat([{"role": "user", "content": "x"}]) == "x!"
        model.generate("x", save_prompt_cache="said")
        load_prompt_cache(model, "said")
        assert sorted(at.name for at in elsewhere.iterdir()) == ["said", "said.json"]
        assert model.model_path == path.name


def test_runtimes_below_the_home_folder(home: Path) -> None:
    (home / "librkllmrt.so").write_bytes(b"x")
    assert runtimes.verify("~/librkllmrt.so").path == str(home / "librkllmrt.so")
    assert runtimes.verify("~").path == str(home / "librkllmrt.so")
    (home / ".rkllm-runtime").write_text("1.2.3\n")
    assert runtimes.chosen(project="~") == "1.2.3"


@newest
def test_a_negative_seed_tells_how_to_get_a_random_one(open_model: Opener, record: Path) -> None:
    model = open_model(["a"])
    for seed in (-1, -(2**70)):
        with pytest.raises(InvalidArgumentError, match="seed") as caught:
            model.generate("x", seed=seed)
        assert "None" in str(caught.value.hint)
    assert not calls(record, "rkllm_run")
    assert model.generate("x", seed=None).text == "a"


@newest
@pytest.mark.parametrize(
    ("texts", "place", "kind"),
    [
        (["a", ""], "texts[1]", InvalidArgumentError),
        (["a", "b", "c\0"], "texts[2]", InvalidArgumentError),
        ((5, "b"), "texts[0]", InvalidTypeError),
        (iter([Tokens([1]), None]), "texts[1]", InvalidTypeError),
    ],
    ids=["empty", "NUL", "number", "None"],
)
def test_the_item_that_cannot_be_embedded_is_named(
    open_model: Opener, record: Path, texts: Any, place: str, kind: type[Exception]
) -> None:
    model = open_model(["a"])
    with pytest.raises(kind) as caught:
        model.embed(texts)
    assert place in str(caught.value)
    assert not calls(record, "rkllm_run"), "nothing is computed for nothing"
    assert model.generate("x").text == "a"


@newest
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_an_open_model_is_not_copied(open_model: Opener, duplicate: Callable[[object], object]) -> None:
    model = open_model(["a"])
    with pytest.raises(InvalidTypeError) as caught:
        duplicate(model)
    assert caught.value.hint
    assert model.generate("x").text == "a"
