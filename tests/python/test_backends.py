"""Which backend takes which model, and what is said about it."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

import pytest

import rkllm_rs
from fakes import fake_library
from rkllm_rs import (
    RKLLM,
    BackendFallbackWarning,
    InvalidArgumentError,
    LibraryNotFoundError,
    ModelError,
    ModelFormatError,
    ModelNotFoundError,
    RkllmWarning,
    Runtime,
)

pytestmark = pytest.mark.skipif(os.path.exists("/dev/rknpu"), reason="there is an NPU")

GGUF = b"GGUF" + b"\x03\0\0\0" + bytes(2048)


@pytest.fixture
def library(tmp_path):
    return fake_library(tmp_path / "lib", "v1_3_0", quiet=True)


@pytest.fixture
def npu_model(make_model):
    return make_model(["a"])


@pytest.fixture
def gguf(tmp_path):
    path = tmp_path / "models" / "other.gguf"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(GGUF)
    return path


def quietly(*arguments, **keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RkllmWarning)
        return RKLLM(*arguments, **keywords)


@pytest.mark.parametrize("keywords", [{}, {"backend": "npu"}, {"backend": "auto"}])
def test_a_missing_npu_only_warns_when_the_library_is_named(npu_model, library, keywords):
    with pytest.warns(RkllmWarning, match="NPU") as caught:
        model = RKLLM(npu_model, library=library, **keywords)
    with model:
        assert model.backend == "npu"
        assert model.model_path == str(npu_model)
        assert model.generate("x").text == "a"
    (warning,) = caught
    assert warning.filename == __file__


def test_a_variable_is_obeyed_too(npu_model, library, monkeypatch):
    monkeypatch.setenv("RKLLM_RS_LIB", str(library))
    with pytest.warns(RkllmWarning, match="NPU"), RKLLM(npu_model) as model:
        assert model.runtime == Runtime.load(library)


def test_without_npu_and_library_both_are_told(npu_model):
    with pytest.raises((LibraryNotFoundError, ModelError)) as caught:
        RKLLM(npu_model)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("models", "found"),
    [
        ("one/model.rkllm", "one/model.rkllm"),
        ("one/model", "one/model.rkllm"),
        ("one", "one/model.rkllm"),
        (["none.rkllm", "one/model"], "one/model.rkllm"),
        (("one", "two"), "one/model.rkllm"),
    ],
)
def test_ways_to_name_a_model(tmp_path, npu_model, library, monkeypatch, models, found):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        shutil.copy(npu_model, tmp_path / folder / "model.rkllm")
    monkeypatch.chdir(tmp_path)
    with quietly(models, library=library) as model:
        assert model.model_path == found
        assert model.generate("x").text == "a"


@pytest.mark.parametrize("form", [str, os.fsencode, Path])
def test_path_types(npu_model, library, form):
    with quietly(form(npu_model), library=form(library)) as model:
        assert model.model_path == str(npu_model)


def test_a_folder_with_both_kinds(npu_model, gguf, library):
    with quietly(gguf.parent, library=library) as model:
        assert model.model_path == str(npu_model)


def test_a_folder_with_several_models(make_model, library):
    first, second = make_model(["a"]), make_model(["b"])
    with pytest.raises(ModelError, match="several") as caught:
        RKLLM(first.parent, library=library)
    assert first.name in str(caught.value)
    assert second.name in str(caught.value)
    assert caught.value.hint


def test_a_folder_without_models(tmp_path, library):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="rkllm") as caught:
        RKLLM(tmp_path / "empty", library=library)
    assert caught.value.hint


def test_no_model_at_all(library):
    with pytest.raises(InvalidArgumentError, match=r"\Amodel ") as caught:
        RKLLM([], library=library)
    assert caught.value.hint


def test_a_missing_model_is_a_missing_file(tmp_path, library):
    for name in ("none.rkllm", "none.gguf", "none"):
        with pytest.raises(FileNotFoundError, match="model") as caught:
            RKLLM(tmp_path / name, library=library)
        assert isinstance(caught.value, ModelNotFoundError)
        assert caught.value.hint


def test_the_kind_decides(npu_model, gguf, library):
    with pytest.raises(ModelFormatError, match=r'"cpu".*"npu"') as caught:
        RKLLM(gguf, backend="npu", library=library)
    assert caught.value.hint
    with pytest.raises(ModelFormatError, match='"cpu"'):
        RKLLM(gguf, library=library)
    with pytest.raises(ModelFormatError, match=r'"npu".*"cpu"'):
        RKLLM(npu_model, backend="cpu")


def test_the_variable_stands_for_auto(npu_model, library, monkeypatch):
    monkeypatch.setenv("RKLLM_RS_BACKEND", "cpu")
    with pytest.raises(ModelFormatError, match=r'"npu".*"cpu"'):
        RKLLM(npu_model, library=library)
    # An explicit backend is obeyed.
    with quietly(npu_model, library=library, backend="npu") as model:
        assert model.backend == "npu"
    monkeypatch.setenv("RKLLM_RS_BACKEND", "tpu")
    with pytest.raises(InvalidArgumentError, match="RKLLM_RS_BACKEND") as caught:
        RKLLM(npu_model, library=library)
    assert caught.value.hint


@pytest.mark.parametrize("backend", ["gpu", "", "NPU2"])
def test_unknown_backends(npu_model, library, backend):
    for use in (
        lambda: RKLLM(npu_model, library=library, backend=backend),
        lambda: Runtime.load(backend=backend),
    ):
        with pytest.raises(InvalidArgumentError, match="backend") as caught:
            use()
        assert '"npu"' in str(caught.value)
        assert caught.value.hint


def test_a_library_of_the_other_kind(library):
    with pytest.raises(rkllm_rs.UnsupportedRuntimeError, match="not the CPU runtime") as caught:
        Runtime.load(library, backend="cpu")
    assert caught.value.hint


def cpu_runtime():
    return next((status.library for status in rkllm_rs.backends() if status.name == "cpu"), None)


def test_falling_back_says_why(npu_model, gguf):
    if cpu_runtime() is None:
        with pytest.raises(LibraryNotFoundError) as caught:
            RKLLM([npu_model, gguf])
        assert "make build" in caught.value.hint
        return
    with pytest.warns(BackendFallbackWarning, match="NPU") as caught, pytest.raises(ModelError):
        RKLLM([npu_model, gguf])
    assert str(npu_model) in str(caught[0].message)


def test_backends():
    npu, cpu = rkllm_rs.backends()
    assert (npu.name, cpu.name) == ("npu", "cpu")
    for status in (npu, cpu):
        assert status.library is None or isinstance(status.library, str)
        assert status.available or (status.reason and status.hint)
        assert status.name in repr(status)
    assert not npu.available


def test_backends_with_a_library(library, monkeypatch, tmp_path):
    monkeypatch.setenv("RKLLM_RS_LIB", str(library))
    npu, _ = rkllm_rs.backends()
    assert (npu.library, npu.available) == (str(library), False)
    assert "1.3.0" in npu.reason
    assert "no NPU" in npu.reason
    assert npu.hint
    # Nothing is loaded for this.
    touched = tmp_path / "touched"
    monkeypatch.setenv("RKLLM_RS_LIB", str(fake_library(tmp_path / "o", "v1_3_0", constructor_touch=touched)))
    rkllm_rs.backends()
    assert not touched.exists()
