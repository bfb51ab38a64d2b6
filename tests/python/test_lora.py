"""Adapters: loaded under a name, listed, selected by it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls, fake_library
from rkllm_rs import (
    FileMissingError,
    InvalidArgumentError,
    InvalidTypeError,
    LoraAdapter,
    ModelFormatError,
    RkllmError,
    UnsupportedFeatureError,
)
from support import began, in_thread, newest, wait_until
from surface import ask_for_lora, loras

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Opener

WEIGHTS = b"\xe5" * 5000


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    path = tmp_path / "style.rkllm"
    path.write_bytes(WEIGHTS)
    return path


def selected(record: Path) -> list[Any]:
    """The adapter of each run."""
    given = [run["infer"]["lora_params"] for run in calls(record, "rkllm_run")]
    return [lora and lora["lora_adapter_name"] for lora in given]


def test_loaded_listed_and_selected(open_model: Opener, record: Path, adapter: Path) -> None:
    model = open_model(["a"])
    assert not loras(model)
    model.load_lora(adapter)
    model.load_lora(str(adapter), name="Ünïcode name", scale=0.25)
    first, second = loras(model)
    assert isinstance(first, LoraAdapter)
    assert (first.name, first.path, first.scale) == ("style", str(adapter), 1.0)
    assert (second.name, second.path, second.scale) == ("Ünïcode name", str(adapter), 0.25)
    assert "style" in repr(first)
    for lora in ("style", None, "Ünïcode name"):
        assert model.generate("x", lora=lora).text == "a"
    given = [call["adapter"] for call in calls(record, "rkllm_load_lora")]
    assert [(one["lora_adapter_path"], one["lora_adapter_name"], one["scale"]) for one in given] == [
        (str(adapter), "style", 1.0),
        (str(adapter), "Ünïcode name", 0.25),
    ]
    assert selected(record) == ["style", None, "Ünïcode name"]


@newest
def test_the_name_is_the_file_less_its_suffix(open_model: Opener, tmp_path: Path) -> None:
    model = open_model(["a"])
    for file, name in (("v1.2.style.rkllm", "v1.2.style"), ("bare", "bare"), ("ümlaut.rkllm", "ümlaut")):
        path = tmp_path / file
        path.write_bytes(WEIGHTS)
        model.load_lora(path)
        assert loras(model)[-1].name == name


@newest
def test_a_relative_path_is_of_the_time_of_the_call(
    open_model: Opener, record: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_model({"runs": [{"prefill_ms": 200, "steps": ["a"]}]})
    stream = model.stream("x")
    began(record)
    monkeypatch.chdir(adapter.parent)
    loading = in_thread(lambda: model.load_lora(adapter.name))
    # It waits for the run; the name is taken from the moment of the call.
    wait_until(lambda: taken(model, adapter), "the call")
    monkeypatch.chdir("/")
    loading()
    assert stream.result().text == "a"
    assert calls(record, "rkllm_load_lora")[0]["adapter"]["lora_adapter_path"] == str(adapter)
    assert loras(model)[0].path == str(adapter)


def taken(model: Any, adapter: Path) -> bool:
    """Whether an adapter of that name is loaded or being loaded, told without waiting for the model."""
    try:
        ask_for_lora(model, adapter, adapter.stem)
    except InvalidArgumentError:
        return True
    message = "the name was free: this has loaded it"
    raise AssertionError(message)


@newest
def test_an_adapter_is_there_for_the_runs_behind_its_loading(
    open_model: Opener, record: Path, adapter: Path
) -> None:
    model = open_model({"load_lora": {"delay_ms": 200}, "runs": [{"steps": ["a"]}]})
    loading = in_thread(lambda: model.load_lora(adapter))
    began(record, "rkllm_load_lora")
    assert not loras(model)
    assert model.generate("x", lora="style").text == "a"
    loading()
    assert [lora.name for lora in loras(model)] == ["style"]
    assert selected(record) == ["style"]


def test_a_name_is_loaded_once(open_model: Opener, record: Path, adapter: Path) -> None:
    model = open_model(["a"])
    model.load_lora(adapter)
    with pytest.raises(InvalidArgumentError, match='"style"') as caught:
        model.load_lora(adapter, scale=0.5)
    assert caught.value.hint
    assert [lora.scale for lora in loras(model)] == [1.0]
    assert len(calls(record, "rkllm_load_lora")) == 1
    assert model.generate("x", lora="style").text == "a"


@newest
def test_a_name_from_two_threads_at_once(open_model: Opener, record: Path, adapter: Path) -> None:
    model = open_model({"load_lora": {"delay_ms": 30}, "runs": [{"steps": ["a"]}]})
    gate = threading.Barrier(4)

    def load() -> bool:
        gate.wait()
        try:
            model.load_lora(adapter)
        except InvalidArgumentError:
            return False
        return True

    threads = [in_thread(load) for _ in range(4)]
    assert sorted(thread() for thread in threads) == [False, False, False, True]
    assert len(calls(record, "rkllm_load_lora")) == 1
    assert len(loras(model)) == 1


def test_a_missing_file(open_model: Opener, record: Path, tmp_path: Path) -> None:
    model = open_model(["a"])
    with pytest.raises(FileMissingError) as caught:
        model.load_lora(tmp_path / "none.rkllm")
    assert isinstance(caught.value, FileNotFoundError)
    assert isinstance(caught.value, RkllmError)
    assert str(tmp_path / "none.rkllm") in str(caught.value)
    assert not calls(record, "rkllm_load_lora")
    assert model.generate("x").text == "a"


FILES = {
    "empty": b"",
    "gguf": b"GGUF" + bytes(5000),
    "text": b"just a note\n",
    "web page": b"<!doctype html><title>404</title>",
    "lfs": b"version https://git-lfs.github.com/spec/v1\n",
}


@newest
@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_another_kind(open_model: Opener, record: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "style.rkllm"
    path.write_bytes(FILES[kind])
    model = open_model(["a"])
    with pytest.raises(ModelFormatError) as caught:
        model.load_lora(path)
    assert str(path) in str(caught.value)
    assert ".rkllm" in str(caught.value.hint)
    with pytest.raises(ModelFormatError, match="folder"):
        model.load_lora(tmp_path)
    assert not calls(record, "rkllm_load_lora")
    path.write_bytes(WEIGHTS)
    model.load_lora(path)
    assert len(loras(model)) == 1


def test_a_library_that_refuses_leaves_the_name_free(
    open_model: Opener, record: Path, adapter: Path, tmp_path: Path
) -> None:
    log = [["stderr", "E rkllm: lora adapter does not fit the model"]]
    model = open_model({"load_lora": {"return": -1, "log": log}, "runs": [{"steps": ["a"]}]})
    for _ in range(2):
        with pytest.raises(ModelFormatError, match="rkllm_load_lora") as caught:
            model.load_lora(adapter)
        assert "adapter" in str(caught.value.hint)
        assert caught.value.log == [log[0][1]]
        assert not loras(model)
    assert len(calls(record, "rkllm_load_lora")) == 2
    with pytest.raises(InvalidArgumentError, match="lora"):
        model.generate("x", lora="style")
    assert model.generate("x").text == "a"


@pytest.mark.parametrize("method", ["generate", "stream", "logits", "hidden_states", "embed"])
@newest
def test_an_unknown_name_lists_the_loaded_ones(
    open_model: Opener, record: Path, adapter: Path, method: str
) -> None:
    model = open_model(["a"])
    with pytest.raises(InvalidArgumentError, match='"other"') as caught:
        getattr(model, method)("x", lora="other")
    assert "style" not in str(caught.value)
    model.load_lora(adapter)
    model.load_lora(adapter, name="poems")
    with pytest.raises(InvalidArgumentError, match="style, poems"):
        getattr(model, method)("x", lora="other")
    assert not calls(record, "rkllm_run")


@newest
@pytest.mark.parametrize("method", ["logits", "hidden_states", "embed"])
def test_rows_are_computed_with_it(open_model: Opener, record: Path, adapter: Path, method: str) -> None:
    model = open_model([])
    model.load_lora(adapter)
    getattr(model, method)("x", lora="style")
    getattr(model, method)("x")
    assert selected(record) == ["style", None]


BAD: list[tuple[dict[str, Any], type[RkllmError], str]] = [
    ({"name": ""}, InvalidArgumentError, "name"),
    ({"name": "a\0b"}, InvalidArgumentError, "name"),
    ({"name": 5}, InvalidTypeError, "name"),
    ({"scale": float("nan")}, InvalidArgumentError, "scale"),
    ({"scale": float("inf")}, InvalidArgumentError, "scale"),
    ({"scale": 1e39}, InvalidArgumentError, "scale"),
    ({"scale": "1"}, InvalidTypeError, "scale"),
    ({"scale": True}, InvalidTypeError, "scale"),
    ({"path": 5}, InvalidTypeError, "path"),
    ({"path": None}, InvalidTypeError, "path"),
    ({"path": ""}, InvalidArgumentError, "path"),
    ({"path": "a\0b"}, InvalidArgumentError, "path"),
]


@newest
@pytest.mark.parametrize(("given", "kind", "word"), BAD, ids=str)
def test_bad_arguments(
    open_model: Opener, record: Path, adapter: Path, given: dict[str, Any], kind: type[RkllmError], word: str
) -> None:
    model = open_model(["a"])
    with pytest.raises(kind, match=word) as caught:
        model.load_lora(**{"path": adapter, **given})
    assert caught.value.hint
    assert not calls(record, "rkllm_load_lora")
    model.load_lora(adapter, scale=-0.5)
    model.load_lora(adapter, name="off", scale=0)
    assert [lora.scale for lora in loras(model)] == [-0.5, 0.0]


@newest
@pytest.mark.parametrize("name", [5, b"style", "a\0b", ""])
def test_bad_names_in_calls(open_model: Opener, record: Path, name: Any) -> None:
    with pytest.raises((InvalidArgumentError, InvalidTypeError), match="lora"):
        open_model(["a"]).generate("x", lora=name)
    assert not calls(record, "rkllm_run")


def test_a_library_without_it(open_model: Opener, tmp_path: Path, abi_version: str, adapter: Path) -> None:
    bare = fake_library(tmp_path / "bare", abi_version, drop_symbols=["rkllm_load_lora"], quiet=True)
    model = open_model(["a"], library=bare)
    for use in (lambda: model.load_lora(adapter), lambda: model.generate("x", lora="style")):
        with pytest.raises(UnsupportedFeatureError, match="rkllm_load_lora"):
            use()
    assert model.generate("x").text == "a"


@newest
def test_a_closed_model(open_model: Opener, record: Path, adapter: Path) -> None:
    model = open_model(["a"])
    model.load_lora(adapter)
    model.close()
    with pytest.raises(RkllmError, match="closed"):
        model.load_lora(adapter, name="other")
    assert len(calls(record, "rkllm_load_lora")) == 1
