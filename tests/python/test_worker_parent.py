"""The program that has a worker: killed in each state, forked, and at its end."""

from __future__ import annotations

import gc
import os
import time
from typing import TYPE_CHECKING

import pytest

from rkllm_rs import RkllmError
from support import SOON, Child, succeed, wait_until
from workers import ENDLESS, alive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Opener

pytestmark = [pytest.mark.filterwarnings("ignore::rkllm_rs.RkllmWarning")]


@pytest.mark.parametrize("state", ["idle", "running", "opening"])
def test_no_worker_outlives_its_parent(
    child: Callable[..., Child], library: Path, make_model: Callable[..., Path], state: str
) -> None:
    code = """
    import subprocess
    def find():
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/stat") as stat:
                        if int(stat.read().rpartition(")")[2].split()[1]) == os.getpid():
                            return name
                except OSError:
                    pass
    if sys.argv[3] == "opening":
        threading.Thread(target=lambda: RKLLM(model, library=library, isolate=True)).start()
        while not find():
            time.sleep(0.01)
        time.sleep(0.2)
    else:
        llm = RKLLM(model, library=library, isolate=True)
        if sys.argv[3] == "running":
            stream = llm.stream("x")
            next(stream)
    say("pid", find())
    time.sleep(600)
    """
    init = {"delay_ms": 600_000} if state == "opening" else {}
    made = child(code, library, make_model({"runs": [ENDLESS], "init": init}), state)
    pid = int(made.expect("pid")[1])
    assert alive(pid)
    made.process.kill()
    wait_until(lambda: not alive(pid), "the worker's end")


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
