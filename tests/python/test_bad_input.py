"""What can never be right is told before the library is asked, with what to write instead."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fakes import calls, fake_library
from rkllm_rs import (
    RKLLM,
    ContextLengthError,
    InvalidArgumentError,
    InvalidTypeError,
    LibraryNotFoundError,
    ModelError,
    ModelFormatError,
    ModelNotFoundError,
    RkllmError,
    SamplingParams,
    Tokens,
)

NAN, INF = float("nan"), float("inf")


def refused(kind, use, *words):
    """Something is refused as ``kind``, with a hint, naming ``words``."""
    with pytest.raises(kind) as caught:
        use()
    error = caught.value
    assert isinstance(error, RkllmError)
    assert error.hint, f"no hint: {error!r}"
    for word in words:
        assert word in str(error)
    return error


MODELS = {
    "empty": (b"", ModelFormatError, "empty"),
    "text": (b"just a note\n", ModelFormatError, "text"),
    "html": (b"<!doctype html><title>404</title>", ModelFormatError, "web page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", ModelFormatError, "LFS"),
    "gguf": (b"GGUF" + bytes(5000), ModelFormatError, "GGUF"),
}


@pytest.mark.hazard("N2")
@pytest.mark.parametrize("case", MODELS)
def test_model_files(tmp_path, open_model, record, case):
    content, kind, words = MODELS[case]
    path = tmp_path / "model.rkllm"
    path.write_bytes(content)
    refused(kind, lambda: open_model(path), words, str(path))
    assert not calls(record, "rkllm_init")


def test_model_paths(tmp_path, open_model, record):
    folder = tmp_path / "folder.rkllm"
    folder.mkdir()
    link = tmp_path / "link.rkllm"
    link.symlink_to("gone.rkllm")
    pipe = tmp_path / "pipe.rkllm"
    os.mkfifo(pipe)
    other = tmp_path / "model.bin"
    other.write_bytes(b"\xe5" * 5000)
    refused(ModelNotFoundError, lambda: open_model(tmp_path / "none.rkllm"), "none.rkllm")
    refused(ModelNotFoundError, lambda: open_model(link), "gone.rkllm")
    refused(ModelFormatError, lambda: open_model(folder), "folder")
    refused(ModelFormatError, lambda: open_model(pipe), "regular file")
    refused(ModelFormatError, lambda: RKLLM(other), ".rkllm", ".gguf")
    assert not calls(record, "rkllm_init")
    # A library that was named is obeyed, whatever the file is called: it is the one to judge.
    with pytest.raises(ModelFormatError, match="invalid rkllm model"):
        open_model(other)
    assert len(calls(record, "rkllm_init")) == 1
    assert open_model(["a"]).generate("x").text == "a"


UNREADABLE = """
import os, sys
os.setgid(65534); os.setuid(65534)
sys.path[:0] = {paths!r}
from rkllm_rs import RKLLM, Runtime, RkllmError
for use in (lambda: RKLLM({model!r}, library={library!r}), lambda: Runtime.load({secret!r})):
    try:
        use()
    except RkllmError as error:
        print(type(error).__name__, "cannot be read" in str(error), bool(error.hint))
"""


@pytest.mark.only_here("root's interpreter is nobody else's to start")
def test_unreadable_files(tmp_path, library, make_model):
    model = make_model(["a"])
    secret = Path(shutil.copy(library, tmp_path / "secret.so"))
    for path in (model, secret):
        path.chmod(0)
    if os.getuid():
        refused(ModelError, lambda: RKLLM(model, library=library), "cannot be read")
        refused(LibraryNotFoundError, lambda: RKLLM(model, library=secret), "cannot be read")
        return
    # Root reads everything, so nobody tries; the modules are loaded while they still can be.
    code = "import rkllm_rs, rkllm_rs.errors, warnings\nwarnings.simplefilter('ignore')\n"
    code += UNREADABLE.format(paths=[], model=str(model), library=str(library), secret=str(secret))
    for folder in [*tmp_path.parents]:
        if folder.stat().st_uid == 0 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30
    )
    lines = done.stdout.splitlines()
    assert lines == ["ModelError True True", "LibraryNotFoundError True True"], done.stderr


def test_paths_that_are_no_utf_8(tmp_path, make_model, record, library):
    raw = os.path.join(os.fsencode(tmp_path), b"m\xffdel.rkllm")
    # The fake reads its script through text, which such a name does not survive; ours must.
    for name in (raw, raw.decode(errors="replace")):
        shutil.copy(make_model(["a"]), name)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in (raw, os.fsdecode(raw), Path(os.fsdecode(raw)), [raw]):
            with RKLLM(path, library=library) as model:
                assert model.generate("x").text == "a"
                assert model.model_path == os.fsdecode(raw)
                assert "del.rkllm" in repr(model)
    assert len(calls(record, "rkllm_init")) == 4
    missing = raw + b".rkllm"
    refused(ModelNotFoundError, lambda: RKLLM(missing, library=library))


@pytest.mark.parametrize("bad", ["mo\0del.rkllm", b"mo\0del.rkllm"])
def test_nul_in_paths(open_model, library, make_model, bad):
    refused(InvalidArgumentError, lambda: RKLLM(bad, library=library), "NUL")
    refused(InvalidArgumentError, lambda: RKLLM([bad], library=library), "NUL")
    refused(InvalidArgumentError, lambda: RKLLM(make_model(["a"]), library=bad), "NUL")


@pytest.mark.parametrize("bad", [None, 5, 1.5, object(), [3], [None]])
def test_paths_of_wrong_types(library, bad):
    refused(InvalidTypeError, lambda: RKLLM(bad, library=library))


@pytest.mark.parametrize("keyword", ["library", "backend", "abi"])
@pytest.mark.parametrize("bad", [5, 1.5, object(), ["x"]])
def test_options_of_wrong_types(library, make_model, keyword, bad):
    keywords = {"library": library, keyword: bad}
    refused(InvalidTypeError, lambda: RKLLM(make_model(["a"]), **keywords), keyword)


# What each call may be given wrongly; the model must be as good as new behind each of them.
CALLS = {
    "empty prompt": (InvalidArgumentError, ("",), {}, "input"),
    "NUL": (InvalidArgumentError, ("a\0b",), {}, "NUL"),
    "surrogates": (InvalidArgumentError, ("a\ud800",), {}, "surrogates"),
    "no input": (InvalidTypeError, (None,), {}, "input"),
    "bytes": (InvalidTypeError, (b"x",), {}, "input"),
    "list": (InvalidTypeError, ([1, 2],), {}, "input"),
    "zero": (InvalidArgumentError, ("x",), {"max_new_tokens": 0}, "max_new_tokens"),
    "negative": (InvalidArgumentError, ("x",), {"max_new_tokens": -1}, "max_new_tokens"),
    "beyond C": (InvalidArgumentError, ("x",), {"max_new_tokens": 2**31}, "max_new_tokens"),
    "far beyond C": (InvalidArgumentError, ("x",), {"max_new_tokens": 10**30}, "max_new_tokens"),
    "float": (InvalidTypeError, ("x",), {"max_new_tokens": 3.0}, "max_new_tokens"),
    "bool": (InvalidTypeError, ("x",), {"max_new_tokens": True}, "max_new_tokens"),
    "text": (InvalidTypeError, ("x",), {"max_new_tokens": "3"}, "max_new_tokens"),
    "sampling": (InvalidTypeError, ("x",), {"sampling": {"top_k": 1}}, "sampling"),
    "no time": (InvalidArgumentError, ("x",), {"timeout": 0}, "timeout"),
    "negative time": (InvalidArgumentError, ("x",), {"timeout": -1.5}, "timeout"),
    "nan time": (InvalidArgumentError, ("x",), {"timeout": NAN}, "timeout"),
    "text time": (InvalidTypeError, ("x",), {"timeout": "5"}, "timeout"),
    "bool time": (InvalidTypeError, ("x",), {"timeout": True}, "timeout"),
    "history": (InvalidTypeError, ("x",), {"keep_history": "yes"}, "keep_history"),
    "role": (InvalidTypeError, ("x",), {"role": 5}, "role"),
    "role with NUL": (InvalidArgumentError, ("x",), {"role": "us\0er"}, "role"),
    "thinking": (InvalidTypeError, ("x",), {"thinking": "no"}, "thinking"),
}


@pytest.mark.parametrize("method", ["generate", "stream"])
@pytest.mark.parametrize("case", CALLS)
def test_calls(open_model, record, method, case):
    kind, arguments, keywords, word = CALLS[case]
    model = open_model(["fine"])
    refused(kind, lambda: getattr(model, method)(*arguments, **keywords), word)
    assert not calls(record, "rkllm_run")
    assert model.generate("x").text == "fine"


@pytest.mark.hazard("G1")
def test_tokens_beyond_the_context(open_model, record):
    model = open_model(["fine"], max_context_len=64)
    error = refused(ContextLengthError, lambda: model.generate(Tokens([1] * 65)), "65", "64")
    assert isinstance(error, ValueError)
    assert not calls(record, "rkllm_run")
    assert model.generate(Tokens([1] * 64)).text == "fine"


TOKENS = [
    ([], InvalidArgumentError),
    ([-1], InvalidArgumentError),
    ([2**31], InvalidArgumentError),
    ([1.0], InvalidTypeError),
    ([True], InvalidTypeError),
    (["1"], InvalidTypeError),
    ("123", InvalidTypeError),
    (b"123", InvalidTypeError),
    (5, InvalidTypeError),
    (None, InvalidTypeError),
]


@pytest.mark.parametrize(("ids", "kind"), TOKENS, ids=lambda value: repr(value)[:12])
def test_tokens(ids, kind):
    refused(kind, lambda: Tokens(ids), "ids")


SAMPLINGS = [
    *[
        ({name: value}, InvalidArgumentError)
        for name in ("temperature", "top_p")
        for value in (NAN, INF, -INF, -0.1)
    ],
    ({"temperature": 1e39}, InvalidArgumentError),
    ({"temperature": 10**400}, InvalidArgumentError),
    ({"top_p": 1.5}, InvalidArgumentError),
    ({"top_k": -1}, InvalidArgumentError),
    ({"top_k": 2**31}, InvalidArgumentError),
    ({"repeat_penalty": 0}, InvalidArgumentError),
    ({"frequency_penalty": 2.5}, InvalidArgumentError),
    ({"presence_penalty": -2.5}, InvalidArgumentError),
    ({"mirostat": 3}, InvalidArgumentError),
    ({"mirostat_tau": NAN}, InvalidArgumentError),
    ({"mirostat_eta": -1}, InvalidArgumentError),
    ({"top_k": 1.0}, InvalidTypeError),
    ({"top_k": "1"}, InvalidTypeError),
    ({"temperature": "1"}, InvalidTypeError),
    ({"temperature": True}, InvalidTypeError),
    ({"top_p": [1]}, InvalidTypeError),
    ({"mirostat": None.__class__}, InvalidTypeError),
]


@pytest.mark.parametrize(("keywords", "kind"), SAMPLINGS, ids=str)
def test_sampling(keywords, kind):
    refused(kind, lambda: SamplingParams(**keywords), *keywords)


SETTINGS = [
    ("max_context_len", (0, -1, 2**31), ("1", 1.5, True)),
    ("max_new_tokens", (0, -1, 2**31), ("1", 1.5, True)),
    ("n_keep", (-2, 10**10), ("1", 1.5)),
    ("base_domain_id", (-1, 2**31), ("1",)),
    ("enabled_cpus_num", (0, -1, 33, 128, 1000), ("1", 2.0)),
    ("enabled_cpus_mask", (0, -1, 2**32), ("1",)),
    ("n_batch", (0, 101, -1, 256), ("1", True)),
    ("skip_special_token", (), (1, "yes")),
    ("ignore_eos_token", (), (1, "yes")),
    ("embed_flash", (), (0, "yes")),
    ("use_cross_attn", (), (1, "yes")),
    ("sampling", (), ({}, 5)),
]


@pytest.mark.parametrize(("name", "values", "types"), SETTINGS, ids=[one[0] for one in SETTINGS])
def test_settings(open_model, record, name, values, types):
    for value in values:
        refused(InvalidArgumentError, lambda value=value: open_model(["a"], **{name: value}), name)
    for value in types:
        refused(InvalidTypeError, lambda value=value: open_model(["a"], **{name: value}), name)
    assert not calls(record, "rkllm_init")


def test_settings_that_disagree(open_model, record):
    refused(InvalidArgumentError, lambda: open_model(["a"], n_keep=64, max_context_len=64), "n_keep")
    cpus = {"enabled_cpus_num": 3, "enabled_cpus_mask": 0b11}
    refused(InvalidArgumentError, lambda: open_model(["a"], **cpus), "enabled_cpus_mask")
    assert not calls(record, "rkllm_init")


@pytest.mark.parametrize("abi_version", ["v1_1_0"])
@pytest.mark.parametrize("name", ["img_start", "img_end", "img_content"])
def test_markers(open_model, record, abi_version, name):
    refused(InvalidArgumentError, lambda: open_model(["a"], **{name: "a\0b"}), name)
    refused(InvalidTypeError, lambda: open_model(["a"], **{name: 5}), name)
    assert not calls(record, "rkllm_init")


def test_unknown_keywords(open_model, record):
    with pytest.raises(TypeError, match="topk"):
        open_model(["a"], topk=1)
    with pytest.raises(TypeError, match="temprature"):
        SamplingParams(temprature=1)
    assert not calls(record, "rkllm_init")


def test_a_bad_library_keeps_good_ones_usable(tmp_path, library, make_model, open_model):
    model = make_model(["a"])
    for content in (
        b"",
        b"<html>",
        b"version https://git-lfs.github.com/spec/v1\n",
        library.read_bytes()[:5000],
    ):
        bad = tmp_path / "bad.so"
        bad.write_bytes(content)
        refused(LibraryNotFoundError, lambda bad=bad: open_model(model, library=bad))
    bare = fake_library(tmp_path / "bare", "v1_3_0", drop_symbols=["rkllm_run"])
    refused(LibraryNotFoundError, lambda: open_model(model, library=bare), "rkllm_run")
    assert open_model(model).generate("x").text == "a"
