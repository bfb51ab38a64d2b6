"""Faults of a worker that runs the real model, on the CPU runtime."""

from __future__ import annotations

import os
import signal
import stat
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rkllm_rs import RKLLM, RkllmWarning, WorkerCrashed
from support import wait_until
from workers import alive, pid_of

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")

#: A Python whose worker exits with the signal's number when it gets SIGUSR1.
PYTHON = f"""#!{sys.executable} -SE
import ctypes, runpy, signal, sys
libc = ctypes.CDLL(None)
libc.signal(signal.SIGUSR1, ctypes.cast(libc._exit, ctypes.c_void_p))
sys.argv = sys.argv[-2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

pytestmark = [pytest.mark.model, pytest.mark.hazard("N5")]


@pytest.fixture
def model(private: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RKLLM]:
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    python = private / "python"
    python.write_text(PYTHON)
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("RKLLM_RS_WORKER_PYTHON", str(python))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RkllmWarning)
        opened = RKLLM(MODEL, max_context_len=256, isolate=True)
    with opened:
        yield opened


def test_a_worker_that_runs_a_real_model_dies(model: RKLLM) -> None:
    expected = model.generate("Say hello.", max_new_tokens=6, top_k=1).token_ids
    exits = int(signal.SIGUSR1)
    for number, end in (
        (signal.SIGKILL, (signal.SIGKILL, None)),
        (signal.SIGSEGV, (signal.SIGSEGV, None)),
        (signal.SIGABRT, (signal.SIGABRT, None)),
        (signal.SIGUSR1, (None, exits)),
    ):
        stream = model.stream("Tell a long story.", max_new_tokens=200)
        next(stream)
        os.kill(pid_of(model), number)
        with pytest.raises(WorkerCrashed) as caught:
            stream.result()
        assert (caught.value.signal, caught.value.exit_code) == end
        assert model.generate("Say hello.", max_new_tokens=6, top_k=1).token_ids == expected


def test_a_worker_that_runs_a_real_model_does_not_come_back(model: RKLLM) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RkllmWarning)
        other = RKLLM(MODEL, max_context_len=256, isolate=True, kill_after=0.2)
    with other:
        stream = other.stream("Tell a long story.", max_new_tokens=200)
        next(stream)
        pid = pid_of(other)
        os.kill(pid, signal.SIGSTOP)
        stream.cancel()
        wait_until(lambda: not alive(pid), "the end of the worker")
        asked = {"max_new_tokens": 4, "top_k": 1}
        assert other.generate("Say hello.", **asked).text == model.generate("Say hello.", **asked).text


def test_its_runs_take_no_lock_of_the_npu(model: RKLLM) -> None:
    lock = Path(os.environ["RKLLM_RS_NPU_LOCK"])
    model.generate("Say hello.", max_new_tokens=2)
    assert not lock.exists()


def resident(pid: int) -> float:
    """Megabytes of a process that are in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_the_memory_of_a_closed_model_is_back(model: RKLLM) -> None:
    def shared() -> int:
        return Path("/proc/self/maps").read_bytes().count(b"rkllm-rows")

    model.logits("Hello")
    before, others = resident(os.getpid()), shared()
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RkllmWarning)
            other = RKLLM(MODEL, max_context_len=256, isolate=True)
        other.generate("Say hello.", max_new_tokens=2)
        rows = other.logits("Hello")
        pid = pid_of(other)
        assert resident(pid) > 50
        other.close()
        wait_until(lambda pid=pid: not alive(pid), "the end of the worker")
        # What the program still has of it stays good.
        assert rows.shape[0] > 0
        del rows
    # All of the model was the worker's; the shared memory went with the last array.
    assert resident(os.getpid()) - before < 20
    del other
    wait_until(lambda: shared() <= others, "the end of the shared memory")
