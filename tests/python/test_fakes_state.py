"""What each fake keeps between calls: pauses, caches, adapters; and what it asks."""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest

from fake_driver import Fake, opened, opened_batch, recorded
from fakes import GENERATIONS, calls, fake_model

if TYPE_CHECKING:
    from pathlib import Path

every_generation = pytest.mark.parametrize("generation", GENERATIONS)
since_1_2_1 = pytest.mark.parametrize("generation", GENERATIONS[2:])


class Answers:
    """Tokenizer and embedding callbacks that note how they were called."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.threads: list[int] = []
        self.fail = False

    def tokenize(self, user: int, text: int, length: int, tokens: Any, capacity: int) -> int:
        self.threads.append(threading.get_native_id())
        content = ctypes.string_at(text, length)
        self.told.append((user, content, capacity))
        for at, byte in enumerate(content[:capacity]):
            tokens[at] = byte
        return len(content)

    def embed(self, user: int, tokens: Any, count: int, out: Any, length: int) -> int:
        self.threads.append(threading.get_native_id())
        ids = tokens[:count]
        self.told.append((user, ids, length))
        for at in range(length // 4):
            out[at] = ids[0] + at
        return 3 if self.fail else 0

    def serve(self, fake: Fake) -> None:
        fake.tokenizer = self.tokenize
        fake.embedder = self.embed


def test_callbacks_are_asked_before_prefill(tmp_path: Path) -> None:
    fake = recorded(tmp_path, "v1_3_0")
    answers = Answers()
    answers.serve(fake)
    questions: list[dict[str, Any]] = [
        {"tokenize": "hé", "capacity": 3},
        {"embed": [5, 6], "width": 2, "thread": True},
    ]
    model = fake_model(tmp_path, init={"ask": questions[:1]}, runs=[{"ask": questions, "steps": ["a"]}])
    assert fake.init(model) == 0
    assert fake.run() == 0
    told = (78, "hé".encode(), 3)
    assert answers.told == [told, told, (79, [5, 6], 16)]
    here = threading.get_native_id()
    assert [thread == here for thread in answers.threads] == [True, True, False]
    assert fake.seen == [(0, b"a", 1), (2, None, 0)]
    lines = calls(tmp_path / "record.jsonl")
    names = ["rkllm_createDefaultParam", "rkllm_init", "tokenizer", "rkllm_run", "tokenizer"]
    assert [line["fn"] for line in lines] == [*names, "embedding", "run_end"]
    del lines[4]["thread"]
    assert lines[4] == {
        "fn": "tokenizer", "text": "hé", "capacity": 3, "return": 3,
        "tokens": list("hé".encode()), "overrun": False,
    }  # fmt: skip
    assert lines[5].pop("thread") == answers.threads[2]
    assert lines[5] == {
        "fn": "embedding", "ids": [5, 6], "bytes": 16, "return": 0,
        "floats": [5.0, 6.0, 7.0, 8.0], "sum": 26.0, "overrun": False,
    }  # fmt: skip


@pytest.mark.parametrize("thread", [False, True])
def test_a_failed_answer_ends_the_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], *, thread: bool
) -> None:
    fake = recorded(tmp_path, "v1_3_0")
    answers = Answers()
    answers.serve(fake)
    answers.fail = True
    runs: list[dict[str, Any]] = [
        {"ask": [{"tokenize": "long", "capacity": 3, "thread": thread}], "steps": ["a"]},
        {"ask": [{"embed": [1], "width": 1, "thread": thread}], "steps": ["a"]},
        {"steps": ["b"]},
    ]
    assert fake.init(fake_model(tmp_path, runs=runs)) == 0
    assert [fake.run() for _ in runs] == [-1, -1, 0]
    assert [state for state, _, _ in fake.seen] == [3, 3, 0, 2]
    errors = capfd.readouterr().err
    assert "E rkllm: tokenizer_callback failed: 4 for a capacity of 3\n" in errors
    assert "E rkllm: embed_callback failed: 3\n" in errors
    record = tmp_path / "record.jsonl"
    assert (calls(record, "tokenizer")[0]["return"], calls(record, "tokenizer")[0]["tokens"]) == (4, None)
    assert calls(record, "embedding")[0]["return"] == 3
    assert [line["end"] for line in calls(record, "run_end")] == ["failed", "failed", "played"]


@every_generation
def test_nobody_to_ask_is_a_failure(
    tmp_path: Path, generation: str, capfd: pytest.CaptureFixture[str]
) -> None:
    question = {"tokenize": "x", "capacity": 1}
    fake = opened(tmp_path, generation, runs=[{"ask": [question]}, {"ask": [{"embed": [1], "width": 1}]}])
    assert [fake.run(), fake.run()] == [-1, -1]
    assert [state for state, _, _ in fake.seen] == [3, 3]
    assert fake.init(fake_model(tmp_path, "other", init={"ask": [question]})) == -1
    errors = capfd.readouterr().err
    assert errors.count("E rkllm: tokenizer_callback is NULL\n") == 2
    assert errors.count("E rkllm: embed_callback is NULL\n") == 1


@since_1_2_1
def test_ranges_are_cleared_in_a_pause_only(
    tmp_path: Path, generation: str, capfd: pytest.CaptureFixture[str]
) -> None:
    runs = [{"steps": ["a"], "repeat": 3}]
    fake = opened_batch(tmp_path, 2, generation=generation, runs=runs, kv_cache_size=[4, 5])
    start, end = (ctypes.c_int * 2)(1, 2), (ctypes.c_int * 2)(3, 4)
    assert fake.call("rkllm_clear_kv_cache", 0, start, end) == -1
    assert "E rkllm: ranges of the KV cache are cleared in a paused run only" in capfd.readouterr().err
    fake.answer = lambda _count: 1
    assert fake.run([b"x", b"y"]) == 0
    assert fake.call("rkllm_clear_kv_cache", 0, start, None) == -1
    assert fake.call("rkllm_clear_kv_cache", 0, start, end) == 0
    sizes = (ctypes.c_int * 2)()
    assert fake.call("rkllm_get_kv_cache_size", sizes) == 0
    assert list(sizes) == [4, 5]
    assert fake.run([b"x", b"y"]) == 0
    fake.answer = lambda _count: 0
    assert fake.run([b"x", b"y"]) == 0
    assert fake.run([b"x", b"y"]) == 0
    assert fake.call("rkllm_clear_kv_cache", 0, start, end) == -1
    fake.answer = lambda _count: 1
    assert fake.run([b"x", b"y"]) == 0
    assert fake.call("rkllm_clear_kv_cache", 0, None, None) == 0
    assert fake.call("rkllm_clear_kv_cache", 0, start, end) == -1
    assert fake.run([b"x", b"y"]) == 0
    record = tmp_path / "record.jsonl"
    paused = [line["paused"] for line in calls(record, "rkllm_run")]
    assert paused == [False, True, True, False, False, False]
    cleared = calls(record, "rkllm_clear_kv_cache")
    assert [line["paused"] for line in cleared] == [False, True, True, False, True, False]
    assert (cleared[2]["start_pos"], cleared[2]["end_pos"]) == ([1, 2], [3, 4])


def test_a_scripted_return_wins(tmp_path: Path) -> None:
    script: dict[str, Any] = {
        name: {"return": 0} for name in ("clear_kv_cache", "load_lora", "load_prompt_cache")
    }
    fake = opened(tmp_path, "v1_2_1", **script)
    range_of = (ctypes.c_int * 1)(1)
    assert fake.call("rkllm_clear_kv_cache", 0, range_of, range_of) == 0
    assert fake.call("rkllm_load_prompt_cache", b"/missing") == 0
    assert load_adapter(fake, b"/missing", b"style") == 0
    assert fake.run(infer=adapter(fake, b"style")) == 0
    fake = opened(tmp_path / "other", "v1_2_1", **{name: {"return": -7} for name in script})
    assert fake.call("rkllm_clear_kv_cache", 0, None, None) == -7
    assert fake.call("rkllm_load_prompt_cache", os.fsencode(tmp_path)) == -7
    assert load_adapter(fake, b"/missing", b"style") == -7
    assert fake.run(infer=adapter(fake, b"style")) == -1


def load_adapter(fake: Fake, path: bytes, name: bytes) -> int:
    given = fake.text(path) + fake.text(name) + struct.pack("<ff", 1.0, 0)
    return fake.call("rkllm_load_lora", ctypes.create_string_buffer(given))


def adapter(fake: Fake, name: bytes) -> dict[str, bytes]:
    buffer = ctypes.create_string_buffer(fake.text(name))
    fake.keep.append(buffer)
    return {"lora_params": fake.pointer(ctypes.addressof(buffer))}


@every_generation
def test_adapters_are_known_by_name(
    tmp_path: Path, generation: str, capfd: pytest.CaptureFixture[str]
) -> None:
    fake = opened(tmp_path, generation, runs=[{"steps": ["1"]}, {"steps": ["2"]}])
    file = tmp_path / "style.rkllm"
    assert load_adapter(fake, os.fsencode(file), b"style") == -1
    assert fake.run(infer=adapter(fake, b"style")) == -1
    assert fake.seen == []
    file.touch()
    assert load_adapter(fake, os.fsencode(file), b"style") == 0
    assert load_adapter(fake, os.fsencode(file), b"style") == -1
    assert load_adapter(fake, os.fsencode(file), b"other") == 0
    # A refused run plays no entry.
    assert fake.run(infer=adapter(fake, b"style")) == 0
    assert fake.run(infer=adapter(fake, b"other")) == 0
    assert fake.run() == 0
    assert fake.texts() == [b"1", b"2", b"2"]
    errors = capfd.readouterr().err.splitlines()
    assert errors == [
        f"E rkllm: lora adapter file {file} does not exist",
        "E rkllm: lora adapter style is not loaded",
        "E rkllm: lora adapter style is loaded already",
    ]


@every_generation
def test_a_prompt_cache_is_a_file(tmp_path: Path, generation: str, capfd: pytest.CaptureFixture[str]) -> None:
    runs: list[dict[str, Any]] = [{"steps": ["a"]}, {"no_cache_file": True}, {}]
    fake = opened(tmp_path, generation, runs=runs)
    cache = tmp_path / "prompt.cache"

    def save(path: Path, wanted: int = 1) -> int:
        word = fake.pointer(wanted)
        buffer = ctypes.create_string_buffer(word + fake.text(os.fsencode(path)))
        fake.keep.append(buffer)
        return fake.run(b"a prompt", infer={"prompt_cache_params": fake.pointer(ctypes.addressof(buffer))})

    assert fake.call("rkllm_load_prompt_cache", os.fsencode(cache)) == -1
    assert fake.call("rkllm_load_prompt_cache", None) == -1
    assert f"E rkllm: prompt cache file {cache} does not exist\n" in capfd.readouterr().err
    assert save(cache) == 0
    assert cache.read_bytes() == b"cache:" + os.fsencode(tmp_path / "model.rkllm") + b"a prompt"
    assert fake.call("rkllm_load_prompt_cache", os.fsencode(cache)) == 0
    assert save(tmp_path / "none") == 0
    assert save(tmp_path / "unwanted", 0) == 0
    assert save(tmp_path / "no folder" / "none") == 0
    assert "E rkllm: failed to save prompt cache to" in capfd.readouterr().err
    assert not (tmp_path / "none").exists()
    assert not (tmp_path / "unwanted").exists()
    fake = opened(tmp_path / "other", generation, no_cache_file=True)
    assert save(tmp_path / "none") == 0
    assert not (tmp_path / "none").exists()
