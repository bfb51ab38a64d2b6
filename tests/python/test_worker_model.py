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
from workers import pid_of

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


def test_its_runs_take_no_lock_of_the_npu(model: RKLLM) -> None:
    lock = Path(os.environ["RKLLM_RS_NPU_LOCK"])
    model.generate("Say hello.", max_new_tokens=2)
    assert not lock.exists()
