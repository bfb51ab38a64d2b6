"""Drives each fake through ctypes, with the layouts compiled from the vendor's headers."""

from __future__ import annotations

import ctypes
import faulthandler
import math
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fake_driver import CANARY, HIDDEN_IS_FIRST, WIDE, Fake, opened
from fakes import BANNERS, GENERATIONS, calls, fake_library, fake_model

if TYPE_CHECKING:
    from collections.abc import Callable

FLOATS = {"top_p": 0.9, "temperature": 0.8, "repeat_penalty": 1.1, "mirostat_tau": 5.0}
MARKERS = ("img_start", "img_end", "img_content")


def death(action: Callable[[], object]) -> int:
    """How a child that does this ends: an exit status, or the number of a signal, negated."""
    pid = os.fork()
    if pid == 0:
        faulthandler.disable()
        action()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


every_generation = pytest.mark.parametrize("generation", GENERATIONS)
since_1_2_1 = pytest.mark.parametrize("generation", GENERATIONS[2:])


@every_generation
def test_defaults_lie_at_the_offsets_of_the_headers(tmp_path: Path, generation: str) -> None:
    fake = Fake(fake_library(tmp_path, generation), generation)
    param = fake.defaults()
    for field, value in FLOATS.items():
        (found,) = struct.unpack_from("<f", param, fake.at("RKLLMParam", field))
        assert found == pytest.approx(value)
    word = "<Q" if WIDE else "<I"
    for marker in MARKERS:
        if marker in fake.layouts["RKLLMParam"]["fields"]:
            (pointer,) = struct.unpack_from(word, param, fake.at("RKLLMParam", marker))
            assert ctypes.string_at(pointer) == b""
    extend = fake.at("RKLLMParam", "extend_param")
    if generation != "v1_1_0":
        assert param[extend + 5] == 4
    if generation >= "v1_2_1":
        assert param[extend + 12] == 1
    if HIDDEN_IS_FIRST:
        reserved = extend + fake.at("RKLLMExtendParam", "reserved")
        assert set(param[reserved:]) == {CANARY}
        if generation != "v1_1_0":
            assert set(param[extend + 8 : extend + 12]) == {CANARY}


def test_defaults_can_be_garbage_foreign_or_overridden(tmp_path: Path) -> None:
    garbage = Fake(fake_library(tmp_path / "a", "v1_3_0", defaults="garbage"), "v1_3_0")
    (top_p,) = struct.unpack_from("<f", garbage.defaults(), 24)
    assert top_p == 12345.5
    foreign = Fake(fake_library(tmp_path / "b", "v1_3_0", defaults={"as": "v1_2_1"}), "v1_2_1")
    param = foreign.defaults()
    assert param[foreign.at("RKLLMParam", "extend_param") + 12] == 1
    changed = fake_library(tmp_path / "c", "v1_2_1", defaults={"top_k": 7, "img_start": "<img>"})
    fake = Fake(changed, "v1_2_1")
    param = fake.defaults()
    assert struct.unpack_from("<i", param, fake.at("RKLLMParam", "top_k")) == (7,)
    (start,) = struct.unpack_from("<Q" if WIDE else "<I", param, fake.at("RKLLMParam", "img_start"))
    assert ctypes.string_at(start) == b"<img>"


@every_generation
def test_a_run_gives_its_tokens_then_finishes(tmp_path: Path, generation: str) -> None:
    fake = opened(tmp_path, generation, runs=[{"steps": ["a", {"echo": True}, "c"]}])
    assert fake.run(b"prompt") == 0
    assert fake.seen == [(0, b"a", 1), (0, b"prompt", 2), (0, b"c", 3), (2, None, 0)]
    assert set(fake.threads) == {threading.get_native_id()}
    assert set(fake.users) == {5}
    if fake.perf:
        assert (fake.perf[1], fake.perf[3]) == (1, 3)
    assert fake.call("rkllm_is_running") == 0
    assert fake.call("rkllm_destroy") == 0


@every_generation
def test_bytes_are_passed_as_they_are(tmp_path: Path, generation: str) -> None:
    steps = [{"bytes": [0xE2, 0x82], "state": 1}, {"bytes": [0xAC, 0xFF]}, {"null_text": True}]
    more: list[Any] = [{"null_result": True}, {"text": "x", "id": -1, "thread": True, "repeat": 2}]
    finish = {"null_result": True}
    fake = opened(tmp_path, generation, runs=[{"steps": steps + more, "finish": finish}])
    assert fake.run([7, 8, 9]) == 0
    assert fake.seen == [
        (1, b"\xe2\x82", 1),
        (0, b"\xac\xff", 2),
        (0, None, 3),
        (0, None, -1),
        (0, b"x", -1),
        (0, b"x", -1),
        (2, None, -1),
    ]
    assert fake.threads[4] != threading.get_native_id()


def test_runs_repeat_the_last_entry(tmp_path: Path) -> None:
    fake = opened(tmp_path, "v1_3_0", runs=[{"steps": ["1"]}, {"steps": ["2"], "repeat": 2}])
    for _ in range(3):
        assert fake.run() == 0
    assert fake.texts() == [b"1", b"2", b"2", b"2", b"2"]


@every_generation
def test_abort_ends_the_current_run_only(tmp_path: Path, generation: str) -> None:
    run = {"steps": ["x"], "repeat": 10000, "delay_ms": 1}
    fake = opened(tmp_path, generation, runs=[run, {"steps": ["y"]}])
    assert fake.call("rkllm_abort") == -1
    fake.answer = lambda count: fake.call("rkllm_abort") if count == 3 else 0
    assert fake.run() == 0
    assert len(fake.seen) == 4
    assert fake.seen[-1][0] == 2
    assert fake.run() == 0
    assert fake.texts()[-1] == b"y"
    ends = [line["end"] for line in calls(tmp_path / "record.jsonl", "run_end")]
    assert ends == ["aborted", "played"]


def test_abort_may_be_late_or_ignored(tmp_path: Path) -> None:
    steps = {"steps": ["x"], "repeat": 200, "delay_ms": 1}
    late, never = steps | {"ignore_abort_ms": 50}, steps | {"ignore_abort": True}
    fake = opened(tmp_path, "v1_2_1", runs=[late, never, {"prefill_ms": 120, "steps": ["x"]}])
    fake.answer = lambda count: fake.call("rkllm_abort") if count == 1 else 0
    begun = time.monotonic()
    assert fake.run() == 0
    assert time.monotonic() - begun >= 0.05
    assert len(fake.seen) < 200
    fake.seen.clear()
    assert fake.run() == 0
    assert len(fake.seen) == 201
    timer = threading.Timer(0.02, lambda: fake.call("rkllm_abort"))
    timer.start()
    fake.seen.clear()
    begun = time.monotonic()
    assert fake.run() == 0
    assert time.monotonic() - begun >= 0.12
    assert [state for state, _, _ in fake.seen] == [2]


@since_1_2_1
def test_returning_one_pauses(tmp_path: Path, generation: str) -> None:
    fake = opened(tmp_path, generation, runs=[{"steps": ["a", "b", "c"]}], kv_cache_size=[42])
    fake.answer = lambda count: int(count == 2)
    assert fake.run() == 0
    assert fake.texts() == [b"a", b"b"]
    assert fake.texts(2) == []
    size = ctypes.c_int()
    assert fake.call("rkllm_get_kv_cache_size", ctypes.byref(size)) == 0
    assert size.value == 42
    (end,) = calls(tmp_path / "record.jsonl", "run_end")
    assert (end["end"], end["callback_returns"]) == ("paused", [1])


def test_older_generations_have_no_pause(tmp_path: Path) -> None:
    fake = opened(tmp_path, "v1_2_0", runs=[{"steps": ["a", "b"]}])
    fake.answer = lambda _count: 1
    assert fake.run() == 0
    assert len(fake.seen) == 3


@every_generation
def test_a_record_holds_every_argument(tmp_path: Path, generation: str) -> None:  # noqa: PLR0915
    fake = opened(tmp_path, generation, runs=[{"steps": ["a"]}])
    cache = bytes(fake.layouts["RKLLMPromptCacheParam"]["size"])
    buffer = ctypes.create_string_buffer(b"\x01" + cache[1:])
    infer = {"prompt_cache_params": fake.pointer(ctypes.addressof(buffer))}
    if generation >= "v1_3_0":
        sampling = ctypes.create_string_buffer(struct.pack("<ifffffiff", 3, 0.5, 1, 1, 0, 0, 0, 5, 1))
        infer["sampling_params"] = fake.pointer(ctypes.addressof(sampling))
        infer["max_new_tokens"] = struct.pack("<i", 9)
    assert fake.run([4, 5], infer=infer, user=0) == 0
    for name in ("lora.rkllm", "cache.bin"):
        (tmp_path / name).touch()
    adapter = (
        fake.text(os.fsencode(tmp_path / "lora.rkllm")) + fake.text(b"style") + struct.pack("<ff", 0.8, 0)
    )
    assert fake.call("rkllm_load_lora", ctypes.create_string_buffer(adapter)) == 0
    assert fake.call("rkllm_load_prompt_cache", os.fsencode(tmp_path / "cache.bin")) == 0
    assert fake.call("rkllm_release_prompt_cache") == 0
    if generation != "v1_1_0":
        assert fake.call("rkllm_set_chat_template", b"s", b"\xff", None) == 0
        assert fake.call("rkllm_clear_kv_cache", 1, None, None) == 0
    assert fake.call("rkllm_destroy") == 0

    lines = calls(tmp_path / "record.jsonl")
    assert lines[0]["fn"] == "rkllm_createDefaultParam"
    by_name = {line["fn"]: line for line in lines}
    init = by_name["rkllm_init"]
    assert init["generation"] == generation
    param = init["param"]
    assert param["model_path"] == os.fspath(tmp_path / "model.rkllm")
    assert (param["top_p"], param["max_context_len"]) == (0.9, 512)
    assert param["extend_param"]["base_domain_id"] == 0
    assert len(param["raw_hex"]) == 2 * fake.layouts["RKLLMParam"]["size"]
    missing = set(fake.layouts["RKLLMParam"]["fields"]) - set(param)
    assert missing == set()
    run = by_name["rkllm_run"]
    assert run["input"]["token_input"] == {"input_ids": [4, 5], "n_tokens": 2}
    assert "prompt_input" not in run["input"]
    assert run["infer"]["prompt_cache_params"]["save_prompt_cache"] == 1
    assert run["infer"]["lora_params"] is None
    assert run["userdata"] is False
    if generation >= "v1_3_0":
        assert init["callback"]["result_userdata"] is True
        assert init["callback"]["tokenizer_callback"] is False
        assert run["infer"]["sampling_params"]["top_k"] == 3
        assert run["infer"]["max_new_tokens"] == 9
        assert set(fake.users) == {77}
    if generation >= "v1_2_1":
        assert run["input"]["role"] == "user"
    assert by_name["rkllm_load_lora"]["adapter"]["lora_adapter_name"] == "style"
    assert by_name["rkllm_load_lora"]["adapter"]["scale"] == 0.8
    assert by_name["rkllm_load_prompt_cache"]["path"] == os.fspath(tmp_path / "cache.bin")
    if generation != "v1_1_0":
        template = by_name["rkllm_set_chat_template"]
        assert (template["prompt_prefix"], template["prompt_postfix"]) == ("\ufffd", None)
        assert by_name["rkllm_clear_kv_cache"]["keep_system_prompt"] == 1
    assert lines[-1]["fn"] == "rkllm_destroy"
    assert lines[-1]["thread"] == threading.get_native_id()


@every_generation
def test_hidden_states_are_gone_after_the_callback(tmp_path: Path, generation: str) -> None:
    fake = opened(tmp_path, generation, hidden={"rows": 2, "width": 3, "start": 1})
    fake.answer = lambda _count: 2 if generation >= "v1_3_0" else 0
    assert fake.run(mode=1) == 0
    ((name, values, base),) = fake.matrices
    assert (name, values) == ("last_hidden_layer", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert fake.seen[0][0] == (4 if generation == "v1_1_0" else 0)
    late = list((ctypes.c_float * 6).from_address(base))
    assert all(math.isnan(value) for value in late)
    (shown,) = calls(tmp_path / "record.jsonl", "callback")
    assert shown["return"] == fake.answer(1)


def test_logits_have_a_row_for_each_token(tmp_path: Path) -> None:
    fake = opened(tmp_path, "v1_2_1", runs=[{"logits": {"width": 2}}])
    assert fake.run([1, 2, 3], mode=2) == 0
    assert [values for _, values, _ in fake.matrices] == [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]


def test_errors_and_returns_are_as_scripted(tmp_path: Path) -> None:
    runs: list[dict[str, Any]] = [
        {"error": True},
        {"return": -1},
        {"no_finish": True},
        {"steps": []},
    ]
    fake = opened(tmp_path, "v1_3_0", runs=runs, load_lora={"return": -5}, abort={"return": -2})
    assert [fake.run() for _ in runs] == [0, -1, 0, 0]
    assert [state for state, _, _ in fake.seen] == [3, 2]
    assert fake.call("rkllm_load_lora", ctypes.create_string_buffer(64)) == -5
    assert fake.call("rkllm_abort") == -2


def test_callbacks_may_follow_the_return(tmp_path: Path) -> None:
    late = {"steps": ["a"], "late": ["stray"], "late_ms": 30}
    behind = {"steps": ["b"], "prefill_ms": 30, "return_before_callbacks": True}
    fake = opened(tmp_path, "v1_2_1", runs=[late, behind, {"steps": ["c"], "prefill_ms": 20}])
    assert fake.run() == 0
    assert fake.texts() == [b"a"]
    time.sleep(0.15)
    assert fake.texts() == [b"a", b"stray"]
    assert fake.threads[-1] != threading.get_native_id()
    for function in ("rkllm_run", "rkllm_run_async"):
        before = len(fake.seen)
        assert fake.run(function=function) == 0
        assert len(fake.seen) == before
        assert fake.call("rkllm_is_running") == 1
        while fake.call("rkllm_is_running"):
            time.sleep(0.005)
        assert fake.seen[-1][0] == 2
    assert fake.texts() == [b"a", b"stray", b"b", b"c"]


def test_misuse_is_recorded(tmp_path: Path) -> None:
    fake = opened(tmp_path, "v1_2_1", runs=[{"steps": ["a"], "prefill_ms": 100}])
    run = threading.Thread(target=fake.run)
    run.start()
    time.sleep(0.03)
    assert fake.run() == -1
    assert fake.call("rkllm_release_prompt_cache") == 0
    destroyed = death(lambda: fake.call("rkllm_destroy"))
    run.join()
    assert destroyed == -signal.SIGABRT
    assert fake.call("rkllm_destroy") == 0
    assert death(fake.run) == -signal.SIGABRT
    names = [line["fn"] for line in calls(tmp_path / "record.jsonl")]
    for event in ("overlap", "concurrent", "destroy_during_run", "use_after_destroy"):
        assert names.count(event) == 1


def test_init_fails_as_scripted(tmp_path: Path) -> None:
    fake = Fake(fake_library(tmp_path, "v1_2_1", quiet=True), "v1_2_1")
    assert fake.init(tmp_path / "missing.rkllm") == -1
    (tmp_path / "text.rkllm").write_text("not a script")
    assert fake.init(tmp_path / "text.rkllm") == -1
    assert fake.init(fake_model(tmp_path, "m", init={"return": -1})) == -1
    assert fake.init(fake_model(tmp_path, "m", init={"null_handle": True})) == 0
    assert fake.handle.value is None
    for script, status in (({"abort": True}, -signal.SIGABRT), ({"crash": True}, -signal.SIGSEGV)):
        model = fake_model(tmp_path, "m", init=script)
        assert death(lambda model=model: fake.init(model)) == status  # type: ignore[misc]
    model = fake_model(tmp_path, "m", init={"exit": 3})
    assert death(lambda: fake.init(model)) == 3


def test_parameters_are_checked_like_the_vendor_does(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fake = Fake(fake_library(tmp_path, "v1_2_1"), "v1_2_1")
    model = fake_model(tmp_path)
    param = fake.param(model)
    param[fake.at("RKLLMParam", "extend_param") + 12] = 0
    assert fake.init(model, param) == -1
    logged = capfd.readouterr().err
    assert "I rkllm: rkllm-runtime version: 1.2.3, rknpu driver version: 0.9.8" in logged
    assert "E rkllm: n_batch must be between 1 and 100, but got 0" in logged
    param = fake.param(model)
    start = fake.at("RKLLMParam", "img_end")
    param[start : start + 8] = bytes(8)
    assert death(lambda: fake.init(model, param)) == -signal.SIGABRT


def test_log_lines_go_where_the_script_says(tmp_path: Path) -> None:
    log = [["stdout", "out"], ["stderr", "W rkllm: err"], ["stdio_stdout", "buffered"]]
    model = fake_model(tmp_path, init={"log": log}, runs=[{"log_end": [["stderr", "end"]]}])
    library = fake_library(tmp_path, "v1_3_0", constructor_log="loaded")
    code = (
        "import ctypes, sys; from pathlib import Path;"
        "sys.path.insert(0, sys.argv[1]); import fake_driver as t;"
        "f = t.Fake(Path(sys.argv[2]), 'v1_3_0'); f.init(sys.argv[3]); f.run();"
        "ctypes.CDLL(None).fflush(None)"
    )
    here = os.fspath(Path(__file__).parent)
    command = [sys.executable, "-c", code, here, os.fspath(library), os.fspath(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "out\nbuffered\n"
    version = "I rkllm: rkllm-runtime version: 1.3.0, rknpu driver version: 0.9.8, platform: FAKE"
    assert done.stderr == f"loaded\n{version}\nW rkllm: err\nend\n"


@every_generation
def test_the_banner_stands_in_the_file(tmp_path: Path, generation: str) -> None:
    banner = BANNERS[generation]
    assert banner
    assert fake_library(tmp_path, generation).read_bytes().count(banner.encode()) == 1
    other = banner.replace("version: 1", "version: 9")
    changed = fake_library(tmp_path, generation, banner=other).read_bytes()
    assert changed.count(b"RKLLM SDK (version: ") == changed.count(other.encode()) == 1
    without = fake_library(tmp_path, generation, banner=None).read_bytes()
    assert b"RKLLM SDK" not in without


def test_a_dropped_symbol_cannot_be_found(tmp_path: Path) -> None:
    library = fake_library(tmp_path, "v1_2_1", drop_symbols=["rkllm_get_kv_cache_size", "rkllm_run"])
    lib = ctypes.CDLL(os.fspath(library))
    for symbol in ("rkllm_get_kv_cache_size", "rkllm_run"):
        assert not hasattr(lib, symbol)
    for symbol in ("rkllm_run_async", "rkllm_init", "rkllm_clear_kv_cache"):
        assert hasattr(lib, symbol)
    with pytest.raises(ValueError, match="does not export"):
        fake_library(tmp_path, "v1_1_0", drop_symbols=["rkllm_clear_kv_cache"])


def test_the_constructor_leaves_its_traces(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    touched = tmp_path / "touched"
    library = fake_library(tmp_path, "v1_0_1", constructor_touch=touched, constructor_log="hello")
    assert not touched.exists()
    lib = ctypes.CDLL(os.fspath(library))
    assert touched.exists()
    assert capfd.readouterr().err == "hello\n"
    assert not hasattr(lib, "rkllm_run_async")


def test_copies_are_libraries_of_their_own(tmp_path: Path) -> None:
    first = opened(tmp_path / "a", "v1_3_0", runs=[{"steps": ["a"]}])
    second = opened(tmp_path / "b", "v1_2_1", runs=[{"steps": ["b"]}])
    assert (first.run(), second.run()) == (0, 0)
    assert (first.texts(), second.texts()) == ([b"a"], [b"b"])
    assert len(calls(tmp_path / "a" / "record.jsonl", "rkllm_run")) == 1
