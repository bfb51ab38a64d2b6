"""The vendor library's hazards, injected; many are in the tests of what they endanger.

The marker ``hazard`` tells which a test injects.
"""

from __future__ import annotations

import gc
import importlib
import re
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls, fake_library
from rkllm_rs import (
    ContextLengthError,
    Embeddings,
    ModelError,
    Tokens,
    UnsupportedFeatureError,
)
from support import HELD, PATIENCE, began, in_thread, newest, succeed, wait_until
from surface import load_prompt_cache, set_chat_template, set_function_tools, stepwise

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Opener


ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "developing" / "hazards.md"
sys.path.insert(0, str(ROOT / "scripts"))
hazard_table = importlib.import_module("hazard_table")

#: Those that no code of ours can avoid or notice.
DEFENCELESS = {"G4", "G8", "G9"}


# ---- the page


def test_every_hazard_has_a_row_and_a_test() -> None:
    rows = re.findall(r"^\| ([A-Z]\d+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == len(set(rows)), "an id has two rows"
    assert set(rows) == set(hazard_table.table()) | DEFENCELESS
    assert hazard_table.page() == hazard_table.PAGE.read_text(encoding="utf-8")


# ---- V: versions


@pytest.mark.hazard("V3")
@pytest.mark.parametrize("abi_version", ["v1_2_1", "v1_3_1"])
def test_v3_a_library_whose_defaults_have_no_rows(
    tmp_path: Path, open_model: Opener, record: Path, abi_version: str
) -> None:
    library = fake_library(
        tmp_path / "zero",
        abi_version,
        defaults={"n_batch": 0, "max_new_tokens": -1},
        record=record,
        quiet=True,
    )
    # Such defaults fit no known release, so that 1.3.0 has to be vouched for.
    assert open_model(["a"], library=library, abi=abi_version).generate("x").text == "a"
    param = calls(record, "rkllm_init")[0]["param"]
    assert param["extend_param"]["n_batch"] == 1
    assert param["max_new_tokens"] == param["max_context_len"]


# ---- N: init


def strings(value: Any) -> list[str]:
    """The names of all strings in what the library was given that are NULL."""
    found = []
    if isinstance(value, dict):
        for name, one in value.items():
            textual = name in {"role", "model_path", "img_start", "img_end", "img_content", "prompt_input"}
            if one is None and (
                textual or name.endswith(("_prompt", "_prefix", "_postfix", "_str", "_path", "_name"))
            ):
                found.append(name)
            found += strings(one)
    return found


@pytest.mark.hazard("N1")
def test_n1_no_string_is_null(tmp_path: Path, open_model: Opener, record: Path, abi_version: str) -> None:
    adapter = tmp_path / "style.rkllm"
    adapter.write_bytes(b"\xe5" * 5000)
    model = open_model(["a"])
    model.load_lora(adapter)
    model.generate("x", lora="style", save_prompt_cache=tmp_path / "c")
    load_prompt_cache(model, tmp_path / "c")
    if abi_version > "v1_2_0":
        set_function_tools(model, [{"name": "f"}])
    set_chat_template(model)
    assert [(call["fn"], strings(call)) for call in calls(record) if strings(call)] == []


OPEN_FILES = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 512))
RKLLM(os.fsdecode(model), library=os.fsdecode(library)).close()
say(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.hazard("N6")
@newest
def test_n6_the_limits_of_the_process_stay(library: Path, make_model: Callable[..., Path]) -> None:
    assert succeed(OPEN_FILES, library, make_model(["a"])) == ["256 512"]


HANDLERS = """
def caught():
    for line in open("/proc/self/status"):
        if line.startswith("SigCgt"):
            mask = int(line.split()[1], 16)
    return [int(bool(mask >> int(number) - 1 & 1)) for number in sys.argv[3:]]
before = caught()
RKLLM(os.fsdecode(model), library=os.fsdecode(library)).close()
say(*before)
say(*caught())
"""


@pytest.mark.hazard("N7")
@newest
def test_n7_sigill_is_left_alone(library: Path, make_model: Callable[..., Path]) -> None:
    numbers = [int(number) for number in (signal.SIGILL, signal.SIGABRT, signal.SIGSEGV)]
    before, after = (line.split() for line in succeed(HANDLERS, library, make_model(["a"]), *numbers))
    # As it was: an emulator catches signals of its own.
    assert after[0] == before[0]
    # The others are caught for a moment, so that the library's last words reach the terminal.
    assert after[1:] == ["1", "1"]


# ---- A: asynchrony


@pytest.mark.hazard("A1")
def test_a1_never_asynchronous(tmp_path: Path, open_model: Opener, record: Path, abi_version: str) -> None:
    library = fake_library(
        tmp_path / "other", abi_version, defaults={"is_async": 1}, record=record, quiet=True
    )
    assert open_model(["a"], library=library).generate("x").text == "a"
    assert calls(record, "rkllm_init")[0]["param"]["is_async"] in (0, False)
    assert not calls(record, "rkllm_run_async")


@pytest.mark.hazard("A4")
def test_a4_is_running_is_never_asked(open_model: Opener, record: Path) -> None:
    model = open_model({"runs": [{"steps": ["x"], "repeat": 100_000, "delay_ms": 1}, {"steps": ["a"]}]})
    stream = model.stream("x")
    next(stream)
    stream.cancel()
    assert model.generate("y").text == "a"
    model.close()
    wait_until(lambda: calls(record, "rkllm_destroy"), "destroy")
    assert not calls(record, "rkllm_is_running")


@pytest.mark.hazard("A5")
@pytest.mark.parametrize("abi_version", ["v1_2_1", "v1_3_1"])
def test_a5_callbacks_return_what_is_meant(open_model: Opener, record: Path, abi_version: str) -> None:
    steps = [
        {"text": "a"},
        {"null_text": True},
        {"null_result": True},
        {"text": "", "state": 7},
        {"bytes": [0xF0], "state": 1},
    ]
    model = open_model({"runs": [{"steps": steps, "hidden": {"width": 4}, "logits": {"width": 4}}]})
    model.generate("x")
    model.generate("x", max_new_tokens=1)
    list(model.stream("x", stop="a"))
    wait_until(lambda: len(calls(record, "run_end")) == 3, "the end of the runs")
    # Only what is not 0 is noted.
    assert [end["callback_returns"] for end in calls(record, "run_end")] == [[], [], []]
    with stepwise(model, "x") as paused:
        next(paused)
    assert calls(record, "run_end")[-1]["callback_returns"] == [1]


@pytest.mark.hazard("A5", "M2")
def test_m2_rows_are_given_back(open_model: Opener, record: Path, abi_version: str) -> None:
    model = open_model(
        {"runs": [{"hidden": [{"width": 4}] * 3, "logits": {"width": 4}, "normal_first": True}]}
    )
    model.hidden_states("x")
    if abi_version != "v1_1_0":
        model.logits("x")
    shown = [call for call in calls(record, "callback") if call["rows"]]
    assert len(shown) >= 3
    # Before 1.3.0 nobody knows what 2 would do.
    wanted = 2 if abi_version >= "v1_3_0" else 0
    assert {call["return"] for call in shown} <= ({wanted} if abi_version > "v1_2_0" else {0, None})


@pytest.mark.hazard("A8")
def test_a8_other_threads_go_on(open_model: Opener, record: Path, gate: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "style.rkllm"
    adapter.write_bytes(b"\xe5" * 5000)

    def during(function: str, call: Callable[[], Any]) -> Any:
        """The library takes its time until another thread opens the gate."""
        gate.unlink(missing_ok=True)
        count = len(calls(record, function)) + 1

        def go_on() -> None:
            began(record, function, count)
            gate.touch()

        begin = time.monotonic()
        opened, result = in_thread(go_on), call()
        opened()
        # Had the call kept the interpreter's lock, it would have taken all of its time.
        assert time.monotonic() - begin < PATIENCE, function
        return result

    slow = ("init", "destroy", "load_lora", "clear_kv_cache", "get_kv_cache_size", "set_chat_template")
    script: dict[str, Any] = {name: {"delay_ms": HELD} for name in slow}
    script["runs"] = [{"prefill_ms": HELD, "steps": ["a"]}]
    model = during("rkllm_init", lambda: open_model(script))
    during("rkllm_load_lora", lambda: model.load_lora(adapter))
    during("rkllm_run", lambda: model.generate("x"))
    during("rkllm_clear_kv_cache", model.clear_kv_cache)
    during("rkllm_get_kv_cache_size", model.kv_cache_size)
    during("rkllm_set_chat_template", lambda: set_chat_template(model))


@pytest.mark.hazard("A7")
@newest
def test_a7_what_the_library_holds_outlives_its_owner(open_model: Opener, record: Path) -> None:
    runs = [{"steps": ["a"], "late": ["late"] * 3, "late_ms": 50}, {"steps": ["b"], "delay_ms": 100}]
    model = open_model({"runs": runs, "record_tokens": True})
    stream = model.stream("x", on_token=lambda _: None)
    assert stream.result().text == "a"
    del stream
    gc.collect()
    # Nobody is left of the first run when the library calls for it again.
    assert model.generate("y").text == "b"
    wait_until(lambda: len(calls(record, "token")) == 5, "the late calls")


@pytest.mark.only_here("each worker has one model, and what it was given goes with it")
@pytest.mark.hazard("A7")
@pytest.mark.parametrize("abi_version", ["v1_2_1", "v1_3_1"])
def test_a7_what_init_was_given_is_never_freed(open_model: Opener, record: Path, abi_version: str) -> None:
    for _ in range(5):
        open_model(["a"]).close()
    wait_until(lambda: len(calls(record, "rkllm_destroy")) == 5, "destroy")
    open_model({"look_back": True})
    (seen,) = calls(record, "look_back")
    assert seen["param"] == [True] * 5
    assert seen["callback"] == ([True] * 5 if abi_version >= "v1_3_0" else [])


# ---- M: memory and instances


@pytest.mark.hazard("M4")
def test_m4_the_domain_is_the_librarys_own(open_model: Opener, record: Path) -> None:
    open_model(["a"])
    assert calls(record, "rkllm_init")[0]["param"]["extend_param"]["base_domain_id"] == 0


@pytest.mark.hazard("M3")
@newest
def test_m3_domains_of_several_models(open_model: Opener, record: Path) -> None:
    for domain in (1, 2):
        open_model(["a"], base_domain_id=domain)
    inits = calls(record, "rkllm_init")
    assert [init["param"]["extend_param"]["base_domain_id"] for init in inits] == [1, 2]


@pytest.mark.hazard("M1")
def test_m1_the_way_around_the_leak(open_model: Opener, record: Path, abi_version: str) -> None:
    model = open_model(["a"])
    if abi_version == "v1_1_0":
        with pytest.raises(UnsupportedFeatureError, match=r"1\.2\.0"):
            model.clear_kv_cache()
        return
    for prompt in ("x", "y"):
        model.clear_kv_cache()
        assert model.generate(prompt, keep_history=True).text == "a"
    names = [call["fn"] for call in calls(record) if call["fn"] in {"rkllm_run", "rkllm_clear_kv_cache"}]
    assert names == ["rkllm_clear_kv_cache", "rkllm_run"] * 2
    assert [run["infer"]["keep_history"] for run in calls(record, "rkllm_run")] == [1, 1]


# ---- G: generation


@pytest.mark.hazard("G1")
def test_g1_what_is_longer_than_the_context(open_model: Opener, record: Path) -> None:
    model = open_model(["a"], max_context_len=64)
    wide = memoryview(bytes(65 * 4 * 4)).cast("f", (65, 4))
    for given in (Tokens([1] * 65), Embeddings(wide)):
        with pytest.raises(ContextLengthError, match=r"65.*64"):
            model.generate(given)
    assert not calls(record, "rkllm_run")
    assert model.generate(Embeddings(wide[:64])).text == "a"


@pytest.mark.hazard("G5")
def test_g5_logits_of_tokens_with_history(open_model: Opener, record: Path, abi_version: str) -> None:
    model = open_model({"runs": [{"logits": {"width": 4}, "hidden": {"width": 4}}]})
    if abi_version >= "v1_3_0":
        assert model.logits(Tokens([1, 2]), keep_history=True).shape == (2, 4)
        return
    with pytest.raises(UnsupportedFeatureError):
        model.logits(Tokens([1, 2]), keep_history=True)
    assert not calls(record, "rkllm_run")
    if abi_version != "v1_1_0":
        # Each of the three is fine without the others.
        assert model.logits(Tokens([1, 2])).shape == (2, 4)
        assert model.logits("x", keep_history=True).shape == (1, 4)
        assert model.hidden_states(Tokens([1, 2]), keep_history=True).shape == (2, 4)


# ---- L: linker and process


SYMBOLS = """
import ctypes
from pathlib import Path
with RKLLM(os.fsdecode(model), library=os.fsdecode(library)) as llm:
    say(any(os.fsdecode(library) in line for line in open("/proc/self/maps")))
    for name in ("rkllm_run", "rkllm_init"):
        say(hasattr(ctypes.CDLL(None), name))
"""


@pytest.mark.only_here("the library is not in this process at all")
@pytest.mark.hazard("L1")
@newest
def test_l1_symbols_stay_apart(library: Path, make_model: Callable[..., Path]) -> None:
    assert succeed(SYMBOLS, library, make_model(["a"])) == ["True", "False", "False"]


@pytest.mark.hazard("L4")
@newest
def test_l4_a_library_that_never_comes_back(
    open_model: Opener, library: Path, make_model: Callable[..., Path], record: Path
) -> None:
    stuck = make_model(
        {"runs": [{"steps": ["x"], "repeat": 2_000_000, "delay_ms": 10, "ignore_abort": True}]}
    )
    lines = succeed(
        """
        llm = RKLLM(os.fsdecode(model), library=os.fsdecode(library))
        stream = llm.stream("x")
        next(stream)
        begin = time.monotonic()
        llm.close()
        try:
            stream.result()
        except ClosedError:
            say("closed")
        say(time.monotonic() - begin < 1)
        # The end of the program is bounded as well, and takes the library with it.
        """,
        library,
        stuck,
    )
    assert lines == ["closed", "True"]
    assert not calls(record, "rkllm_destroy")


@pytest.mark.hazard("N4")
@newest
def test_n4_memory_is_given_back_before_the_next_model_is_opened(open_model: Opener, record: Path) -> None:
    first = open_model({"destroy": {"delay_ms": 200}, "runs": [{"steps": ["a"]}]})
    first.close()
    open_model(["b"])
    order = [call["fn"] for call in calls(record) if call["fn"] in {"rkllm_init", "rkllm_destroy"}]
    assert order == ["rkllm_init", "rkllm_destroy", "rkllm_init"]


@pytest.mark.hazard("N2")
@newest
def test_n2_a_model_that_failed_is_not_used(open_model: Opener, record: Path) -> None:
    with pytest.raises(ModelError, match="returned 0"):
        open_model({"init": {"null_handle": True}})
    assert not calls(record, "rkllm_destroy")
    assert not calls(record, "rkllm_run")
