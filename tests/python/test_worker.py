"""``isolate=True``: crashes, restarts, and what a worker leaves behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls
from rkllm_rs import (
    RKLLM,
    AsyncRKLLM,
    BusyError,
    ClosedError,
    InvalidArgumentError,
    InvalidTypeError,
    ModelError,
    RkllmError,
    WorkerCrashed,
    npu_lock,
)
from support import HELD, Child, began, in_thread, said, succeed, wait_until
from surface import load_prompt_cache, loras, stepwise
from workers import ENDLESS, kill, pid_of, processes

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Opener

pytestmark = [pytest.mark.filterwarnings("ignore::rkllm_rs.RkllmWarning")]

# ---- whether there is a worker


@pytest.mark.only_here("the variable has decided already")
def test_who_decides(open_model: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_model(["a"]).worker_pid is None
    isolated = open_model(["a"], isolate=True)
    assert isolated.worker_pid not in (None, os.getpid())
    monkeypatch.setenv("RKLLM_RS_ISOLATE", "1")
    assert open_model(["a"]).worker_pid is not None
    assert open_model(["a"], isolate=False).worker_pid is None
    monkeypatch.setenv("RKLLM_RS_ISOLATE", "perhaps")
    with pytest.raises(InvalidArgumentError, match=r"\ARKLLM_RS_ISOLATE "):
        open_model(["a"])


@pytest.mark.only_here("in a worker they make sense")
@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"restart": False}, InvalidArgumentError),
        ({"kill_after": 1.0}, InvalidArgumentError),
        ({"isolate": "yes"}, InvalidTypeError),
        ({"isolate": True, "restart": "no"}, InvalidTypeError),
        ({"isolate": True, "kill_after": -1}, InvalidArgumentError),
    ],
    ids=str,
)
def test_what_makes_no_sense(
    make_model: Callable[..., Path], library: Path, given: dict[str, Any], error: type[RkllmError]
) -> None:
    for opened in (RKLLM, AsyncRKLLM):
        with pytest.raises(error, match=rf"\A{list(given)[-1]} "):
            opened(make_model(["a"]), library=library, **given)


def test_the_library_is_loaded_in_the_worker_alone(open_model: Opener, library: Path) -> None:
    model = open_model(["a"], isolate=True)
    mapped = {"here": os.getpid(), "worker": pid_of(model)}
    path = str(library).encode()
    found = {name: path in Path(f"/proc/{pid}/maps").read_bytes() for name, pid in mapped.items()}
    assert found == {"here": False, "worker": True}
    assert model.runtime.path == str(library)
    assert model.runtime.identity.abi == "v1_3_1"


@pytest.mark.parametrize("python", ["/bin/false", "/bin/true", "/nowhere/python", "/bin/echo"])
def test_a_program_that_is_no_worker(
    open_model: Opener, monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    monkeypatch.setenv("RKLLM_RS_WORKER_PYTHON", python)
    with pytest.raises((WorkerCrashed, ModelError)) as caught:
        open_model(["a"], isolate=True)
    assert "RKLLM_RS_WORKER_PYTHON" in str(caught.value.hint)
    assert python in str(caught.value)


@pytest.mark.parametrize(
    "change", ["sys.executable = ''", "sys.executable = '/bin/cat'", "sys.frozen = True"]
)
def test_an_embedding_program(library: Path, make_model: Callable[..., Path], change: str) -> None:
    code = f"""
{change}
if not getattr(sys, "frozen", False):
    print(RKLLM(model, library=library, isolate=True).generate("x").text)
sys._base_executable = None
sys.base_exec_prefix = "/nowhere"
try:
    RKLLM(model, library=library, isolate=True)
except UnsupportedFeatureError as error:
    print("RKLLM_RS_WORKER_PYTHON" in error.hint)
"""
    answer = [] if "frozen" in change else ["a"]
    assert succeed(code, library, make_model(["a"])) == [*answer, "True"]


@pytest.mark.parametrize("home", ["", "os.environ['PYTHONHOME'] = sys.base_prefix"])
def test_the_worker_runs_the_same_package(
    library: Path, make_model: Callable[..., Path], tmp_path: Path, home: str
) -> None:
    for name in ("rkllm_rs", "os", "types", "errors"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    code = f"""
import os; os.chdir(sys.argv[3])
os.environ["PYTHONPATH"] = sys.argv[3]
{home}
sys.path.insert(0, sys.argv[3])
print(RKLLM(model, library=library, isolate=True).generate("x").text)
"""
    assert succeed(code, library, make_model(["a"]), tmp_path) == ["a"]


# ---- crashes


CRASHES = {
    "SIGSEGV": ({"crash": True}, signal.SIGSEGV, None),
    "abort": ({"abort": True}, signal.SIGABRT, None),
    "exit 0": ({"exit": 0}, None, 0),
    "exit 7": ({"exit": 7}, None, 7),
}


@pytest.mark.hazard("N5")
@pytest.mark.parametrize("how", CRASHES)
def test_a_run_that_takes_the_library_with_it(open_model: Opener, how: str) -> None:
    death, number, status = CRASHES[how]
    line = ["stderr", "E rkllm: what it said last"]
    runs = [{"steps": ["a"]}, {"steps": ["b", "c"], "log": [line], **death}]
    model = open_model({"runs": runs}, isolate=True)
    assert model.generate("x").text == "a"
    stream = model.stream("x")
    waiting = [model.stream("y") for _ in range(2)]
    with pytest.raises(WorkerCrashed) as caught:
        list(stream)
    assert (caught.value.signal, caught.value.exit_code) == (number, status)
    assert said(caught.value) == [line[1]]
    # What waited is served by the next one, from the beginning of the script: its second run dies again.
    assert waiting[0].result().text == "a"
    with pytest.raises(WorkerCrashed):
        waiting[1].result()
    assert model.generate("x").text == "a"


@pytest.mark.hazard("N4", "N5")
@pytest.mark.parametrize("how", CRASHES)
def test_a_library_that_dies_while_it_opens_the_model(open_model: Opener, how: str) -> None:
    death, number, status = CRASHES[how]
    line = ["stderr", "E rkllm: no memory"]
    with pytest.raises(WorkerCrashed) as caught:
        open_model({"init": {"log": [line], **death}}, isolate=True)
    assert (caught.value.signal, caught.value.exit_code) == (number, status)
    assert said(caught.value) == [line[1]]


def test_killed_in_each_state(open_model: Opener, record: Path) -> None:
    runs = [{"steps": ["a"]}, {"prefill_ms": 60_000, "steps": ["never"]}]
    model = open_model({"runs": runs}, isolate=True)
    # Idle: costs nothing but the start of the next one.
    first = kill(model)
    assert model.generate("x").text == "a"
    assert pid_of(model) != first
    # In prefill, while another run waits.
    stream, other = model.stream("x"), model.stream("y")
    began(record, "rkllm_run", 2)
    kill(model)
    with pytest.raises(WorkerCrashed) as caught:
        stream.result()
    assert caught.value.signal == signal.SIGKILL
    assert other.result().text == "a"
    # While it closes.
    stream = model.stream("x")
    began(record, "rkllm_run", 4)
    model.close()
    kill(model)
    with pytest.raises(ClosedError):
        stream.result()
    wait_until(lambda: model.worker_pid is None)


def test_a_worker_takes_signals(open_model: Opener) -> None:
    model = open_model({"runs": [ENDLESS]}, isolate=True)
    stream = model.stream("x")
    assert next(stream).text == "x"
    kill(model, signal.SIGTERM)
    with pytest.raises(WorkerCrashed) as caught:
        stream.result()
    assert caught.value.signal == signal.SIGTERM


def test_killed_between_two_tokens_and_in_a_pause(open_model: Opener) -> None:
    model = open_model({"runs": [ENDLESS]}, isolate=True)
    stream = model.stream("x")
    assert next(stream).text == "x"
    kill(model)
    with pytest.raises(WorkerCrashed):
        list(stream)
    steps = stepwise(model, "x")
    assert next(steps).text == "x"
    waiting = in_thread(lambda: model.stream("y", max_new_tokens=2).result().text)
    kill(model)
    with pytest.raises(WorkerCrashed):
        next(steps)
    assert waiting() == "xx"


def test_killed_while_it_opens_the_model_again(open_model: Opener, record: Path, gate: Path) -> None:
    gate.touch()
    model = open_model({"runs": [{"steps": ["a"]}], "init": {"delay_ms": HELD}}, isolate=True)
    gate.unlink()
    kill(model)
    stream = model.stream("x")
    began(record, "rkllm_init", 2)
    kill(model)
    with pytest.raises(WorkerCrashed):
        stream.result()
    gate.touch()
    assert model.generate("x").text == "a"


def test_without_restart(open_model: Opener) -> None:
    model = open_model({"runs": [{"steps": ["a"]}, {"crash": True}]}, isolate=True, restart=False)
    assert model.generate("x").text == "a"
    first, waiting = model.stream("x"), model.stream("y")
    for stream in (first, waiting):
        with pytest.raises(WorkerCrashed):
            stream.result()
    with pytest.raises(WorkerCrashed):
        model.generate("z")
    model.close()
    with pytest.raises(ClosedError):
        model.generate("z")


def test_a_library_that_always_dies_is_given_up(open_model: Opener, record: Path) -> None:
    model = open_model({"runs": [{"crash": True}]}, isolate=True)
    begin = time.monotonic()
    for _ in range(8):
        with pytest.raises(WorkerCrashed):
            model.generate("x")
    starts = len(calls(record, "rkllm_init"))
    assert starts < 8
    assert time.monotonic() - begin > 0.5, "there is no pause"
    with pytest.raises(WorkerCrashed):
        model.generate("x")
    assert len(calls(record, "rkllm_init")) == starts


def test_a_request_that_takes_the_library_with_it(open_model: Opener) -> None:
    model = open_model({"kv_cache_size": [5], "get_kv_cache_size": {"crash": True}}, isolate=True)
    with pytest.raises(WorkerCrashed):
        model.kv_cache_size()
    assert model.generate("x").text == ""


def test_what_was_asked_of_the_model_is_asked_again(
    open_model: Opener, make_model: Any, record: Path, tmp_path: Path
) -> None:
    adapter = tmp_path / "style.rkllm"
    adapter.write_bytes(bytes(64))
    model = open_model({"runs": [{"steps": ["a"]}]}, isolate=True)
    model.load_lora(adapter, name="style")
    model.set_chat_template("one", "", "")
    model.set_chat_template("two", "<", ">")
    kill(model)
    assert model.generate("x", lora="style").text == "a"
    assert [lora.name for lora in loras(model)] == ["style"]
    texts = [call["system_prompt"] for call in calls(record, "rkllm_set_chat_template")]
    assert texts == ["one", "two", "two"]
    assert len(calls(record, "rkllm_load_lora")) == 2
    # What cannot be had again is told, and tried again.
    cache = tmp_path / "cache"
    model.generate("x", save_prompt_cache=cache)
    load_prompt_cache(model, cache)
    cache.rename(tmp_path / "elsewhere")
    kill(model)
    with pytest.raises(RkllmError):
        model.generate("x")
    (tmp_path / "elsewhere").rename(cache)
    assert model.generate("x").text == "a"


# ---- the log


def test_the_workers_lines_are_the_librarys(
    library: Path, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    code = """
import logging
llm = RKLLM(model, library=library, isolate=True)
handler = logging.Handler()
lines = []
handler.emit = lambda record: lines.append(record.getMessage())
logging.getLogger("rkllm_rs.vendor").addHandler(handler)
logging.getLogger("rkllm_rs.vendor").setLevel(1)
print(llm.generate("x").text, lines)
"""
    run = {"steps": ["a"], "log": [["stdout", "I rkllm: one"], ["stderr", "W rkllm: two"]]}
    out = succeed(code, library, make_model({"runs": [run]}))
    assert out == ["a ['I rkllm: one', 'W rkllm: two']"]


def test_a_flood_of_lines(library: Path, make_model: Callable[..., Path]) -> None:
    # A program of its own, since vendor_log= is for the whole process.
    code = """
from pathlib import Path
llm = RKLLM(model, library=library, isolate=True, vendor_log="quiet")
print(llm.generate("x").text)
print(Path(f"/proc/{llm.worker_pid}/statm").read_text().split()[1])
"""
    flood = [["stderr", f"W rkllm: {'x' * 200} {number}"] for number in range(20_000)]
    text, pages = succeed(code, library, make_model({"runs": [{"steps": ["a"], "log": flood}]}))
    assert text == "a"
    assert int(pages) * 4096 < 200 << 20


# ---- rounds


def test_fifty_rounds_of_kill_and_recover(open_model: Opener) -> None:
    before = processes()
    model = open_model({"runs": [ENDLESS], "logits": {"rows": 1, "width": 1000}}, isolate=True)
    descriptors = 0
    for number in range(50):
        stream = model.stream("x")
        assert next(stream).text == "x"
        os.kill(pid_of(model), signal.SIGKILL)
        with pytest.raises(WorkerCrashed):
            list(stream)
        if number == 5:
            descriptors = len(os.listdir("/proc/self/fd"))
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 2
    assert model.logits("x").shape == (1, 1000)
    model.close()
    wait_until(lambda: processes() == before, "the end of all workers")


def test_several_models_in_several_workers(open_model: Opener) -> None:
    models = [open_model([str(number)], isolate=True) for number in range(3)]
    assert len({model.worker_pid for model in models}) == 3
    kill(models[1])
    streams = [model.stream("x") for model in models]
    assert [stream.result().text for stream in streams] == ["0", "1", "2"]


@pytest.mark.hazard("N4")
def test_a_second_model_that_finds_no_memory_costs_the_first_nothing(open_model: Opener) -> None:
    first = open_model(["a", "b"], isolate=True)
    stream = first.stream("x")
    line = ["stderr", "E RKNN: failed to allocate handle, ret: -1, errno: 12, errstr: Cannot allocate memory"]
    with pytest.raises(WorkerCrashed) as caught:
        open_model({"init": {"log": [line], "crash": True}}, isolate=True)
    assert said(caught.value) == [line[1]]
    assert stream.result().text == first.generate("x").text == "ab"


# ---- the NPU


@pytest.mark.hazard("M5")
def test_a_run_in_a_worker_is_let_in_by_the_programs_own_lock(open_model: Opener) -> None:
    model = open_model({"runs": [{"steps": ["a"]}, {"steps": ["b"], "crash": True}]}, isolate=True)
    with npu_lock(timeout=10):
        assert model.generate("x").text == "a"
    # What a worker held goes back with it.
    with pytest.raises(WorkerCrashed):
        model.generate("x")
    with npu_lock(timeout=10):
        assert model.generate("x").text == "a"


def test_a_run_in_a_worker_waits_for_another_programs_lock(
    open_model: Opener, child: Callable[..., Child], library: Path, make_model: Callable[..., Path]
) -> None:
    model = open_model({"runs": [{"steps": ["a"]}]}, isolate=True, open_timeout=0.3)
    held = child("lock = npu_lock(); lock.__enter__(); say('held'); time.sleep(600)", library, make_model([]))
    held.expect("held")
    with pytest.raises(BusyError):
        model.generate("x")
    waiting = model.stream("x")
    held.process.kill()
    held.process.wait()
    assert waiting.result().text == "a"
