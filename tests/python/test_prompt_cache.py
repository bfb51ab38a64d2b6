"""Prompt caches: saved in a run, with a side file that says what they are of.

Long because each thing that may be wrong with a file is a test of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls, fake_library
from rkllm_rs import (
    FileMissingError,
    GenerationError,
    GenerationTimeout,
    InvalidArgumentError,
    InvalidTypeError,
    PromptCacheError,
    RkllmError,
    UnsupportedFeatureError,
)
from support import began, newest, wait_until
from surface import aio, generate_batch, load_prompt_cache, release_prompt_cache, stepwise

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Opener
    from rkllm_rs import RKLLM

PROMPT = "You are a poet."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "caches"
    path.mkdir()
    return path


def side_file(cache: Path) -> Path:
    return Path(f"{cache}.json")


def saved(model: RKLLM, cache: Path) -> Path:
    """A cache that ``model`` has saved."""
    model.generate(PROMPT, save_prompt_cache=cache)
    return cache


def loads(record: Path) -> list[Any]:
    return [call["path"] for call in calls(record, "rkllm_load_prompt_cache")]


def refused(model: RKLLM, cache: Path, *words: str) -> None:
    """The cache is refused before the library sees it; ``verify=False`` lets it pass."""
    with pytest.raises(PromptCacheError) as caught:
        load_prompt_cache(model, cache)
    error = caught.value
    assert isinstance(error, ValueError)
    assert isinstance(error, RkllmError)
    assert error.hint
    for word in (str(cache), *words):
        assert word in str(error)


def test_saved_loaded_released(open_model: Opener, record: Path, folder: Path) -> None:
    model = open_model(["a"])
    cache = folder / "cäche.bin"
    assert model.generate(PROMPT, save_prompt_cache=cache).text == "a"
    assert cache.read_bytes().endswith(PROMPT.encode())
    assert sorted(os.listdir(folder)) == [cache.name, side_file(cache).name]
    load_prompt_cache(model, cache)
    load_prompt_cache(model, str(cache))
    load_prompt_cache(model, os.fsencode(cache))
    release_prompt_cache(model)
    assert model.generate(PROMPT).text == "a"
    asked = [run["infer"]["prompt_cache_params"] for run in calls(record, "rkllm_run")]
    assert asked[0]["save_prompt_cache"] == 1
    # Beside it: what lies at its place stays whole until there is a new one.
    assert Path(asked[0]["prompt_cache_path"]).parent == folder
    assert asked[0]["prompt_cache_path"] != str(cache)
    assert asked[1] is None
    assert loads(record) == [str(cache)] * 3
    assert len(calls(record, "rkllm_release_prompt_cache")) == 1


def test_what_the_side_file_says(open_model: Opener, folder: Path) -> None:
    model = open_model(["a"])
    cache = saved(model, folder / "c")
    note = json.loads(side_file(cache).read_text())
    assert note["cache"]["size"] == cache.stat().st_size
    assert note["model"]["size"] == Path(model.model_path).stat().st_size
    assert note["library"] == {"backend": "npu", "abi": "v1_3_1", "version": "1.3.1"}
    assert note["lora"] is None


def test_every_way_to_run_saves(open_model: Opener, folder: Path) -> None:
    model = open_model(["a", "b"])

    async def awaited(cache: Path) -> None:
        await aio(model).generate(PROMPT, save_prompt_cache=cache)

    ways: dict[str, Callable[[Path], object]] = {
        "generate": lambda cache: model.generate(PROMPT, save_prompt_cache=cache),
        "stream": lambda cache: list(model.stream(PROMPT, save_prompt_cache=cache)),
        "agenerate": lambda cache: asyncio.run(awaited(cache)),
        "steps": lambda cache: list(stepwise(model, PROMPT, max_new_tokens=2, save_prompt_cache=cache)),
    }
    for name, way in ways.items():
        way(folder / name)
        load_prompt_cache(model, folder / name)


@pytest.mark.parametrize("abi_version", ["v1_2_1", "v1_3_1"])
def test_a_batch_saves(open_model: Opener, folder: Path, abi_version: str) -> None:
    model = open_model(["a"], n_batch=2)
    generate_batch(model, [PROMPT, "x"], save_prompt_cache=folder / "c")
    load_prompt_cache(model, folder / "c")


def test_without_a_side_file(open_model: Opener, record: Path, folder: Path) -> None:
    model = open_model(["a"])
    cache = folder / "of somebody"
    cache.write_bytes(b"x" * 100)
    refused(model, cache, "side file" if side_file(cache).exists() else str(side_file(cache)))
    assert not loads(record)
    load_prompt_cache(model, cache, verify=False)
    assert loads(record) == [str(cache)]


TEXTS = {
    "no JSON": b"not json",
    "empty": b"",
    "another JSON": b"{}",
    "a list": b"[1, 2]",
    "no UTF-8": b"\xff\xfe",
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_side_file_that_is_none(open_model: Opener, record: Path, folder: Path, text: str) -> None:
    model = open_model(["a"])
    cache = saved(model, folder / "c")
    side_file(cache).write_bytes(TEXTS[text])
    refused(model, cache, str(side_file(cache)))
    assert not loads(record)
    load_prompt_cache(model, cache, verify=False)


def test_a_side_file_of_a_later_format(open_model: Opener, folder: Path) -> None:
    model = open_model(["a"])
    cache = saved(model, folder / "c")
    note = json.loads(side_file(cache).read_text())
    note["format"] += 1
    side_file(cache).write_text(json.dumps(note))
    refused(model, cache)


def test_of_another_model(open_model: Opener, record: Path, folder: Path) -> None:
    first = open_model(["a"])
    cache = saved(first, folder / "c")
    first.close()
    second = open_model(["another"])
    refused(second, cache, second.model_path)
    assert not loads(record)
    load_prompt_cache(second, cache, verify=False)


def test_the_model_may_move(open_model: Opener, folder: Path, tmp_path: Path) -> None:
    first = open_model(["a"])
    cache = saved(first, folder / "c")
    moved = Path(first.model_path).rename(tmp_path / "moved.rkllm")
    second = open_model(moved)
    load_prompt_cache(second, cache)
    # The pair may move too.
    side_file(cache).rename(folder / "d.json")
    load_prompt_cache(second, cache.rename(folder / "d"))


@pytest.mark.parametrize("abi_version", ["v1_2_1"])
def test_of_another_library_release(
    open_model: Opener, tmp_path: Path, folder: Path, abi_version: str
) -> None:
    model = open_model(["a"])
    cache = saved(model, folder / "c")
    path = Path(model.model_path)
    model.close()
    banner = "RKLLM SDK (version: 1.2.2 | target: Linux | build: fake)"
    for other in (
        fake_library(tmp_path / "release", "v1_2_1", banner=banner, quiet=True),
        fake_library(tmp_path / "abi_version", "v1_3_1", quiet=True),
    ):
        with open_model(path, library=other) as second:
            refused(second, cache, "1.2.3", second.runtime.identity.version or "")
            load_prompt_cache(second, cache, verify=False)


@pytest.mark.parametrize("size", [0, 1, -1])
def test_truncated(open_model: Opener, record: Path, folder: Path, size: int) -> None:
    model = open_model(["a"])
    cache = saved(model, folder / "c")
    whole = cache.read_bytes()
    cache.write_bytes(whole[:size])
    refused(model, cache, "truncated", str(len(whole)))
    cache.write_bytes(whole)
    assert not loads(record)
    load_prompt_cache(model, cache)


def test_changed(open_model: Opener, record: Path, folder: Path) -> None:
    model = open_model(["a"])
    cache = saved(model, folder / "c")
    whole = cache.read_bytes()
    for other in (b"C" + whole[1:], whole[:-1] + b"!", whole + b"!"):
        cache.write_bytes(other)
        refused(model, cache, "changed")
    cache.write_bytes(whole)
    assert not loads(record)
    load_prompt_cache(model, cache)


def test_missing_files_and_folders(open_model: Opener, record: Path, folder: Path) -> None:
    model = open_model(["a"])
    with pytest.raises(FileMissingError) as caught:
        load_prompt_cache(model, folder / "none")
    assert isinstance(caught.value, FileNotFoundError)
    assert str(folder / "none") in str(caught.value)
    with pytest.raises(FileMissingError) as caught:
        model.generate(PROMPT, save_prompt_cache=folder / "no folder" / "c")
    assert "save_prompt_cache" in str(caught.value)
    assert str(folder / "no folder") in str(caught.value)
    (folder / "file").touch()
    with pytest.raises(FileMissingError, match="file"):
        model.generate(PROMPT, save_prompt_cache=folder / "file" / "c")
    for use in (
        lambda: model.generate(PROMPT, save_prompt_cache=folder),
        lambda: load_prompt_cache(model, folder),
    ):
        with pytest.raises(InvalidArgumentError, match=r"folder|path") as wrong:
            use()
        assert wrong.value.hint
    assert not calls(record, "rkllm_run")
    assert not loads(record)
    assert os.listdir(folder) == ["file"]
    assert model.generate(PROMPT).text == "a"


@pytest.mark.parametrize("bad", [5, True, ["c"], "", "a\0b"])
def test_bad_paths(open_model: Opener, record: Path, bad: Any) -> None:
    model = open_model(["a"])
    wrong = (InvalidArgumentError, InvalidTypeError)
    with pytest.raises(wrong, match="save_prompt_cache"):
        model.generate(PROMPT, save_prompt_cache=bad)
    with pytest.raises(wrong, match="path"):
        load_prompt_cache(model, bad)
    assert not calls(record, "rkllm_run")


@pytest.mark.parametrize("bad", [1, None, "yes"])
def test_verify_is_a_bool(open_model: Opener, folder: Path, bad: Any) -> None:
    model = open_model(["a"])
    cache = saved(model, folder / "c")
    with pytest.raises(InvalidTypeError, match="verify"):
        load_prompt_cache(model, cache, verify=bad)


def test_a_cancelled_run_leaves_nothing_half_written(open_model: Opener, record: Path, folder: Path) -> None:
    runs = [{"prefill_ms": 150, "steps": ["x"], "repeat": 100_000, "delay_ms": 2}]
    model = open_model({"runs": [*runs, {"steps": ["fine"]}]})
    stream = model.stream(PROMPT, save_prompt_cache=folder / "c")
    began(record)
    stream.cancel()
    assert stream.result().finish_reason == "cancelled"
    assert model.generate("y").text == "fine"
    whole_or_not_at_all(model, folder)


def test_a_deadline_leaves_nothing_half_written(open_model: Opener, folder: Path) -> None:
    model = open_model({"runs": [{"steps": ["x"], "repeat": 100_000, "delay_ms": 2}, {"steps": ["fine"]}]})
    with pytest.raises(GenerationTimeout):
        model.generate(PROMPT, save_prompt_cache=folder / "c", timeout=0.2)
    assert model.generate("y").text == "fine"
    whole_or_not_at_all(model, folder)


def test_a_run_that_never_began_writes_nothing(open_model: Opener, record: Path, folder: Path) -> None:
    model = open_model({"runs": [{"prefill_ms": 200, "steps": ["a"]}]})
    first = model.stream("x")
    began(record)
    second = model.stream(PROMPT, save_prompt_cache=folder / "c")
    second.cancel()
    assert first.result().text == "a"
    assert model.generate("y").text == "a"
    assert os.listdir(folder) == []


def whole_or_not_at_all(model: RKLLM, folder: Path) -> None:
    """Either no side file, or one with which the cache can be loaded; nothing else."""
    found = set(os.listdir(folder))
    assert found <= {"c", "c.json"}
    if "c.json" in found:
        load_prompt_cache(model, folder / "c")


@pytest.mark.parametrize("log", [[], [["stderr", "E rkllm: RWKV models have no prompt cache"]]])
def test_a_library_that_writes_none(open_model: Opener, folder: Path, log: list[list[str]]) -> None:
    run = {"steps": ["a"], "no_cache_file": True, "log_end": log}
    model = open_model({"runs": [run, {"steps": ["fine"]}]})
    with pytest.raises(PromptCacheError, match="cache") as caught:
        model.generate(PROMPT, save_prompt_cache=folder / "c")
    assert str(folder / "c") in str(caught.value)
    assert caught.value.hint
    assert os.listdir(folder) == []
    assert model.generate("y").text == "fine"


def test_a_library_that_writes_none_does_not_bless_an_old_one(open_model: Opener, folder: Path) -> None:
    first = open_model(["a"])
    cache = saved(first, folder / "c")
    second = open_model({"runs": [{"steps": ["b"], "no_cache_file": True}]})
    with pytest.raises(PromptCacheError, match="cache"):
        second.generate(PROMPT, save_prompt_cache=cache)
    # What is there is of the first model, if anything is.
    with pytest.raises((PromptCacheError, FileMissingError)):
        load_prompt_cache(second, cache)


@pytest.mark.parametrize("keywords", [{"stop": "b"}, {"max_new_tokens": 2}])
def test_a_run_that_ends_early_saves_too(open_model: Opener, folder: Path, keywords: dict[str, Any]) -> None:
    # The answer is there before the library has come back: loading waits for it.
    run = {"steps": ["a", "b"], "repeat": 50, "delay_ms": 1, "ignore_abort_ms": 150}
    model = open_model({"runs": [run]})
    model.generate(PROMPT, save_prompt_cache=folder / "c", **keywords)
    load_prompt_cache(model, folder / "c")


@pytest.mark.parametrize("abi_version", ["v1_1_0"])
def test_a_run_of_fewer_tokens_than_at_init_saves_too(
    open_model: Opener, folder: Path, abi_version: str
) -> None:
    model = open_model({"runs": [{"steps": ["a"], "repeat": 50, "ignore_abort_ms": 150, "delay_ms": 1}]})
    assert model.generate(PROMPT, save_prompt_cache=folder / "c", max_new_tokens=2).text == "aa"
    load_prompt_cache(model, folder / "c")


def test_a_run_that_saves_none_leaves_the_old_one(open_model: Opener, record: Path, folder: Path) -> None:
    none = {"no_cache_file": True}
    slow = {"prefill_ms": 150, "steps": ["x"], "repeat": 100_000, "delay_ms": 2, **none}
    runs = [
        {"steps": ["a"]},
        {"steps": ["a"], "return": -1},
        {"steps": ["a"], **none},
        slow,
        {"steps": ["fine"]},
    ]
    model = open_model({"runs": runs})
    cache = saved(model, folder / "c")

    def content() -> tuple[bytes, bytes, int]:
        return cache.read_bytes(), side_file(cache).read_bytes(), cache.stat().st_mtime_ns

    was = content()
    with pytest.raises(GenerationError):
        model.generate(PROMPT, save_prompt_cache=cache)
    with pytest.raises(PromptCacheError, match="cache"):
        model.generate(PROMPT, save_prompt_cache=cache)
    stream = model.stream(PROMPT, save_prompt_cache=cache)
    wait_until(lambda: len(calls(record, "rkllm_run")) == len(runs) - 1)
    stream.cancel()
    assert stream.result().finish_reason == "cancelled"
    assert model.generate("y").text == "fine"
    assert content() == was
    assert sorted(os.listdir(folder)) == ["c", "c.json"]
    load_prompt_cache(model, cache)


def test_remains_of_a_process_that_died_are_not_taken_for_a_cache(
    open_model: Opener, record: Path, folder: Path
) -> None:
    model = open_model({"runs": [{"steps": ["a"]}, {"steps": ["a"], "no_cache_file": True}]})
    model.generate(PROMPT, save_prompt_cache=folder / "c")
    written = Path(calls(record, "rkllm_run")[0]["infer"]["prompt_cache_params"]["prompt_cache_path"])
    written.write_bytes(b"half a ca")
    with pytest.raises(PromptCacheError, match="cache"):
        model.generate(PROMPT, save_prompt_cache=folder / "c")
    assert sorted(os.listdir(folder)) == ["c", "c.json"]
    load_prompt_cache(model, folder / "c")


def test_a_link_stays_a_link(open_model: Opener, folder: Path, tmp_path: Path) -> None:
    model = open_model(["a"])
    (tmp_path / "disk").mkdir()
    real = tmp_path / "disk" / "real"
    real.write_bytes(b"old")
    link = folder / "c"
    link.symlink_to(real)
    load_prompt_cache(model, saved(model, link))
    assert link.is_symlink()
    assert real.read_bytes().endswith(PROMPT.encode())


def test_saving_over_an_old_one(open_model: Opener, folder: Path) -> None:
    model = open_model(["a"])
    cache = saved(model, folder / "c")
    model.generate("Another prompt, which is longer.", save_prompt_cache=cache)
    assert cache.read_bytes().endswith(b"longer.")
    load_prompt_cache(model, cache)


def test_relative_paths_are_of_the_time_of_the_call(
    open_model: Opener, record: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_model({"runs": [{"prefill_ms": 200, "steps": ["a"]}, {"steps": ["a"]}]})
    first = model.stream("x")
    began(record)
    monkeypatch.chdir(folder)
    second = model.stream(PROMPT, save_prompt_cache="c")
    monkeypatch.chdir("/")
    assert first.result().text == second.result().text == "a"
    assert sorted(os.listdir(folder)) == ["c", "c.json"]
    monkeypatch.chdir(folder.parent)
    load_prompt_cache(model, "caches/c")
    assert loads(record) == [str(folder / "c")]


def test_a_folder_that_goes_away(open_model: Opener, record: Path, folder: Path) -> None:
    model = open_model({"runs": [{"prefill_ms": 200, "steps": ["a"]}, {"steps": ["fine"]}]})
    stream = model.stream(PROMPT, save_prompt_cache=folder / "c")
    began(record)
    folder.rmdir()
    with pytest.raises(PromptCacheError, match="cache"):
        stream.result()
    assert model.generate("y").text == "fine"


def test_a_side_file_that_cannot_be_written(open_model: Opener, folder: Path) -> None:
    model = open_model(["a"])
    side_file(folder / "c").mkdir()
    with pytest.raises(PromptCacheError, match="metadata") as caught:
        model.generate(PROMPT, save_prompt_cache=folder / "c")
    assert caught.value.hint
    # Nothing of the attempt is left beside it.
    assert set(os.listdir(folder)) <= {"c", "c.json"}
    with pytest.raises(PromptCacheError):
        load_prompt_cache(model, folder / "c")


def test_a_library_that_refuses(open_model: Opener, folder: Path) -> None:
    log = [["stderr", "E rkllm: prompt cache does not fit"]]
    refuses = {"return": -1, "log": log}
    model = open_model(
        {"load_prompt_cache": refuses, "release_prompt_cache": refuses, "runs": [{"steps": ["a"]}]}
    )
    cache = saved(model, folder / "c")
    for use in (lambda: load_prompt_cache(model, cache), partial(release_prompt_cache, model)):
        with pytest.raises(GenerationError, match="prompt_cache failed") as caught:
            use()
        assert caught.value.log == [log[0][1]]
    assert model.generate("x").text == "a"


@newest
def test_a_library_without_it(open_model: Opener, tmp_path: Path, folder: Path, abi_version: str) -> None:
    bare = fake_library(tmp_path / "bare", abi_version, drop_symbols=["rkllm_load_prompt_cache"], quiet=True)
    model = open_model(["a"], library=bare)
    for use in (
        lambda: model.generate(PROMPT, save_prompt_cache=folder / "c"),
        lambda: load_prompt_cache(model, folder / "c"),
        partial(release_prompt_cache, model),
    ):
        with pytest.raises(UnsupportedFeatureError, match="rkllm_load_prompt_cache"):
            use()
    assert os.listdir(folder) == []
