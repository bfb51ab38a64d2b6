"""The program that has a worker: killed in each state, forked, and at its end."""

from __future__ import annotations

import gc
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from fakes import fake_library
from rkllm_rs import RkllmError
from support import SOON, Child, newest, succeed, wait_until
from workers import ENDLESS, HANGS, alive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Opener

pytestmark = [pytest.mark.filterwarnings("ignore::rkllm_rs.RkllmWarning")]


#: What the program is in when it is killed: the script, and what it has done by then.
STATES: dict[str, tuple[dict[str, Any], str]] = {
    "loading": ({}, ""),
    "opening": ({"init": HANGS}, ""),
    "idle": ({}, "llm = opened()"),
    "prefill": ({"runs": [{"prefill_ms": 600_000}]}, "llm = opened(); stream = llm.stream('x')"),
    "queue": (
        {"runs": [{"prefill_ms": 600_000}]},
        "llm = opened(); streams = [llm.stream('x') for _ in range(3)]",
    ),
    "tokens": ({"runs": [ENDLESS]}, "llm = opened(); stream = llm.stream('x'); next(stream)"),
    "pause": ({"runs": [ENDLESS]}, "llm = opened(); steps = llm.steps('x'); next(steps)"),
    "request": (
        {"get_kv_cache_size": HANGS},
        "llm = opened(); threading.Thread(target=llm.kv_cache_size, daemon=True).start()",
    ),
    "close": ({"destroy": HANGS}, "opened().close()"),
}
#: The call of the library that it is in then.
CALLS = {
    "opening": "rkllm_init",
    "prefill": "rkllm_run",
    "queue": "rkllm_run",
    "request": "rkllm_get_kv_cache_size",
    "close": "rkllm_destroy",
}


@newest
def test_no_worker_outlives_its_parent(
    child: Callable[..., Child],
    library: Path,
    make_model: Callable[..., Path],
    tmp_path: Path,
    abi_version: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Each of them is in its own run at the same time.
    monkeypatch.setenv("RKLLM_RS_NPU_LOCK", "off")
    code = """
    record, loading, todo = sys.argv[3:6]
    def opened():
        return RKLLM(model, library=library, isolate=True)
    def find():
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/stat") as stat:
                        if int(stat.read().rpartition(")")[2].split()[1]) == os.getpid():
                            return name
                except OSError:
                    pass
    if todo:
        exec(todo)
    else:
        threading.Thread(target=opened, daemon=True).start()
    if loading:
        while not os.path.exists(loading):
            time.sleep(0.01)
    elif record:
        began(record, sys.argv[6])
    say("pid", find())
    time.sleep(600)
    """
    made: dict[str, Child] = {}
    for state, (script, todo) in STATES.items():
        folder = tmp_path / state
        record, begun = folder / "record", folder / "begun"
        waits = (
            {"constructor_touch": begun, "constructor_wait": folder / "never"} if state == "loading" else {}
        )
        own = fake_library(folder, abi_version, record=record, quiet=True, **waits)
        function = CALLS.get(state, "")
        words = (record if function else "", begun if waits else "", todo, function)
        made[state] = child(code, own, make_model(script), *words)
    pids = {state: int(program.expect("pid")[1]) for state, program in made.items()}
    assert [state for state, pid in pids.items() if not alive(pid)] == []
    for program in made.values():
        program.process.kill()
    wait_until(lambda: not any(map(alive, pids.values())), "the end of all workers")


def test_a_parent_that_forks(open_model: Opener) -> None:
    model = open_model({"runs": [{"steps": ["a"]}]}, isolate=True)
    assert model.generate("x").text == "a"
    pid = os.fork()
    if not pid:
        status = 1
        try:
            model.generate("x")
        except RkllmError as error:
            status = 0 if type(error).__name__ == "ForkedProcessError" else 2
            model.close()
            del model
            gc.collect()
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert model.generate("x").text == "a"


def test_the_end_of_the_program(library: Path, make_model: Callable[..., Path]) -> None:
    code = """
llm = RKLLM(model, library=library, isolate=True)
stream = llm.stream("x")
next(stream)
print(llm.worker_pid)
"""
    begin = time.monotonic()
    run = {"steps": ["a", {"text": "b", "delay_ms": 600_000}], "ignore_abort": True}
    (pid,) = succeed(code, library, make_model({"runs": [run]}))
    assert not alive(int(pid))
    assert time.monotonic() - begin < 4 * SOON
