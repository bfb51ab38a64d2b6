"""One NPU for all programs: who holds it, who waits, in which order, and what ends a wait.

Programs tell what they do through lines of their output and through the calls that a fake records.

Long because each way to hold the lock and to lose it is a test of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import rkllm_rs
from fakes import calls
from rkllm_rs import BusyError, ClosedError, GenerationTimeout, InvalidArgumentError, npu_lock
from support import PATIENCE, in_thread, newest, succeed, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Opener
    from support import Child

RUN = {"runs": [{"steps": ["a", "b"]}]}
#: Holds the lock until it is told to go on.
HOLDER = """
with npu_lock():
    say("held")
    sys.stdin.readline()
say("left")
"""
#: Waits for the lock, tells its name when it has it, and goes.
WAITER = """
say("asks")
with npu_lock(timeout=60):
    say("had")
"""
pytestmark = newest


def ps() -> dict[str, Any]:
    words = [sys.executable, "-m", "rkllm_rs", "ps", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    found: dict[str, Any] = json.loads(done.stdout)["npu_lock"]
    return found


def waiting(count: int) -> None:
    wait_until(lambda: len(rkllm_rs._native.npu_line()[2]) == count + 1, f"{count} that wait")


def held(child: Callable[..., Child], library: Path, model: Path) -> Child:
    made = child(HOLDER, library, model, stdin=subprocess.PIPE)
    made.expect("held")
    return made


def go_on(holder: Child) -> None:
    assert holder.process.stdin is not None
    holder.process.stdin.write("\n")
    holder.process.stdin.flush()


@pytest.fixture(autouse=True)
def release(abi_version: str) -> str:
    """All tests are of one release, also those that open no model."""
    return abi_version


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that everybody can reach and write to, as /tmp is."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o1777)
        yield Path(folder)


@pytest.fixture
def model(make_model: Callable[..., Path]) -> Path:
    return make_model(RUN)


# ---- in the order of arrival


@pytest.mark.hazard("M5")
def test_the_order_of_arrival_is_the_order_of_service(
    child: Callable[..., Child], library: Path, model: Path, tmp_path: Path
) -> None:
    holder, log = held(child, library, model), tmp_path / "order"
    waiter = f"""
    with npu_lock(timeout=60), open({os.fspath(log)!r}, "a") as log:
        log.write(sys.argv[3] + "\\n")
    """
    waiters = []
    for number in range(5):
        waiters.append(child(waiter, library, model, number))
        waiting(number + 1)
    # One in the middle dies: it is nobody's turn.
    waiters[2].signal(signal.SIGKILL)
    waiting(4)
    go_on(holder)
    for waiter_ in waiters:
        waiter_.end()
    assert log.read_text().split() == ["0", "1", "3", "4"]


def test_the_death_of_the_holder_lets_the_next_one_in(
    child: Callable[..., Child], library: Path, model: Path
) -> None:
    holder = held(child, library, model)
    waiter = child(WAITER, library, model)
    waiter.expect("asks")
    waiting(1)
    holder.signal(signal.SIGKILL)
    waiter.expect("had")


@pytest.mark.hazard("M5")
def test_a_run_waits_for_another_program_and_is_served(
    child: Callable[..., Child], library: Path, model: Path, open_model: Opener, record: Path
) -> None:
    llm, holder = open_model(RUN), held(child, library, model)
    answer = in_thread(lambda: llm.generate("x"))
    waiting(1)
    assert not calls(record, "rkllm_run")
    go_on(holder)
    done = answer()
    assert done.text == "ab"
    assert done.perf.queued_time_ms > 0
    with npu_lock(timeout=0):
        pass


# ---- what ends a wait


def test_a_wait_that_is_over_names_the_holder(
    child: Callable[..., Child], library: Path, model: Path, open_model: Opener, record: Path
) -> None:
    llm, holder = open_model(RUN, open_timeout=0.2), held(child, library, model)
    for call in (lambda: llm.generate("x"), npu_lock(timeout=0).__enter__, npu_lock(timeout=0.05).__enter__):
        with pytest.raises(BusyError, match=str(holder.process.pid)) as caught:
            call()
        assert caught.value.hint
    assert not calls(record, "rkllm_run")
    go_on(holder)
    holder.end()
    assert llm.generate("x").text == "ab"


@pytest.mark.parametrize("end", ["cancel", "timeout", "close"])
def test_a_run_that_waits_ends_at_once_for_its_reader(
    child: Callable[..., Child], library: Path, model: Path, open_model: Opener, record: Path, end: str
) -> None:
    llm, holder = open_model(RUN), held(child, library, model)
    stream = llm.stream("x", timeout=0.3 if end == "timeout" else None)
    if end != "timeout":
        waiting(1)
    if end == "cancel":
        stream.cancel()
        assert stream.result().finish_reason == "cancelled"
    elif end == "timeout":
        with pytest.raises(GenerationTimeout):
            stream.result()
    else:
        llm.close()
        with pytest.raises(ClosedError):
            stream.result()
    # The holder has not gone on.
    waiting(0)
    go_on(holder)
    holder.end()
    assert not calls(record, "rkllm_run")


def test_ctrl_c_ends_the_wait_for_a_block(child: Callable[..., Child], library: Path, model: Path) -> None:
    held(child, library, model)
    code = """
    say("asks")
    try:
        with npu_lock(): say("had")
    except KeyboardInterrupt:
        say("interrupted")
    """
    waiter = child(code, library, model)
    waiter.expect("asks")
    waiting(1)
    waiter.signal(signal.SIGINT)
    waiter.expect("interrupted")
    waiting(0)


# ---- one process


def test_a_process_that_holds_it_runs_its_own_models(open_model: Opener) -> None:
    llm = open_model(RUN, open_timeout=1)
    with npu_lock() as lock, npu_lock(timeout=0):
        assert llm.generate("x").text == "ab"
        assert in_thread(lambda: llm.generate("x").text)() == "ab"
        assert "not" not in repr(lock)
    with pytest.raises(RuntimeError), lock:
        lock.__exit__(None, None, None)


def test_two_models_of_one_process_take_turns(
    open_model: Opener, record: Path, child: Callable[..., Child], library: Path, model: Path
) -> None:
    first, second = (open_model({"runs": [{"prefill_ms": 100, "steps": ["a"]}]}) for _ in range(2))
    with npu_lock():
        inside = [in_thread(lambda llm=llm: llm.generate("x")) for llm in (first, second)]
        for done in inside:
            done()
    outside = [in_thread(lambda llm=llm: llm.generate("x")) for llm in (first, second)]
    for done in outside:
        done()
    order = [call["fn"] for call in calls(record) if call["fn"] in ("rkllm_run", "run_end")]
    assert order == ["rkllm_run", "run_end"] * 4


def test_a_block_of_another_thread_waits(open_model: Opener) -> None:
    with npu_lock():
        busy = in_thread(npu_lock(timeout=0).__enter__)
        with pytest.raises(BusyError):
            busy()
        other = in_thread(lambda: npu_lock(timeout=PATIENCE).__enter__())
        waiting(1)
    # Whoever enters in one thread may leave in another.
    lock = other()
    with pytest.raises(BusyError), npu_lock(timeout=0):
        pass
    lock.__exit__(None, None, None)
    with npu_lock(timeout=0):
        pass


def test_a_lock_that_nobody_keeps_is_given_back() -> None:
    npu_lock().__enter__()
    with npu_lock(timeout=0):
        pass


def test_a_loop_goes_on_while_a_task_waits(child: Callable[..., Child], library: Path, model: Path) -> None:
    holder = held(child, library, model)

    async def main() -> None:
        async def enter() -> str:
            async with npu_lock(timeout=PATIENCE), npu_lock():
                return "had"

        given_up = asyncio.create_task(enter())
        task = asyncio.create_task(enter())
        while len(rkllm_rs._native.npu_line()[2]) < 3:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.005)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert not task.done()
        # This call would block the loop in which the task runs whose turn is before, or that holds the lock.
        with pytest.raises(BusyError):
            await blocks()
        go_on(holder)
        assert await task == "had"
        async with npu_lock():
            with pytest.raises(BusyError):
                await asyncio.create_task(blocks())
        with npu_lock(timeout=0):
            pass

    async def blocks() -> None:
        with npu_lock():
            pass

    in_thread(lambda: asyncio.run(main()))()


def test_a_callback_that_a_run_waits_for_has_it_at_once(open_model: Opener) -> None:
    other, told = open_model(RUN), []

    def tokenizer(text: str) -> list[int]:
        with npu_lock(timeout=0):
            told.append(other.generate(text).text)
        told.append(other.generate(text).text)
        return [1]

    script = {"runs": [{"ask": [{"tokenize": "x", "capacity": 8}], "steps": ["a"]}]}
    llm = open_model(script, tokenizer=tokenizer)
    llm.generate("x")
    assert told == ["ab", "ab"]
    with npu_lock(timeout=0):
        pass


def test_a_forked_child_has_no_part_in_it(library: Path, model: Path) -> None:
    code = """
    with npu_lock() as lock:
        child = os.fork()
        if child == 0:
            try:
                npu_lock(timeout=0).__enter__()
            except ForkedProcessError:
                pass
            else:
                os._exit(1)
            lock.__exit__(None, None, None)
            os.kill(os.getpid(), signal.SIGSTOP)
            os._exit(0)
        os.waitpid(child, os.WUNTRACED)
        say(len(_native.npu_line()[2]))
    # The child lives, and holds nothing.
    say(len(_native.npu_line()[2]))
    os.kill(child, signal.SIGCONT)
    say(os.waitpid(child, 0)[1])
    """
    code = "    from rkllm_rs import _native" + code
    assert succeed(code, library, model) == ["1", "0", "0"]


# ---- the file


def test_ps_tells_who_holds_it_and_who_waits(
    child: Callable[..., Child], library: Path, model: Path, tmp_path: Path
) -> None:
    assert ps() == {"path": str(tmp_path / "npu.lock"), "holder": None, "waiting": [], "problem": None}
    holder = held(child, library, model)
    waiter = child(WAITER, library, model)
    waiting(1)
    found = ps()
    assert found["holder"]["pid"] == holder.process.pid
    assert [one["pid"] for one in found["waiting"]] == [waiter.process.pid]
    for one in (found["holder"], *found["waiting"]):
        assert one["uid"] == os.getuid()
        assert one["for"] == "npu_lock"
        assert one["program"].startswith("python")
        assert abs(time.time() - one["since"]) < PATIENCE
    (tmp_path / "npu.lock").write_bytes(b"")
    assert ps()["holder"]["pid"] is None


def test_no_lock_is_taken_where_it_is_off(
    child: Callable[..., Child],
    library: Path,
    model: Path,
    open_model: Opener,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held(child, library, model)
    monkeypatch.setenv("RKLLM_RS_NPU_LOCK", "off")
    assert open_model(RUN).generate("x").text == "ab"
    with npu_lock(timeout=0):
        pass
    assert ps()["path"] is None


def test_a_named_file_that_cannot_serve_is_an_error(
    open_model: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", "/dev/null", tmp_path / "no" / "lock"):
        monkeypatch.setenv("RKLLM_RS_NPU_LOCK", str(path))
        here, elsewhere = (lambda: open_model(RUN)), (lambda: open_model(RUN, isolate=True))
        for call in (here, elsewhere, npu_lock().__enter__):
            with pytest.raises(InvalidArgumentError, match="RKLLM_RS_NPU_LOCK"):
                call()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_users_share_one_lock(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shared / "npu.lock"
    monkeypatch.setenv("RKLLM_RS_NPU_LOCK", str(path))
    code = """
import os, rkllm_rs._tasks
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
print(rkllm_rs._native.npu_line()[2][0][:2])
try:
    with rkllm_rs.npu_lock(timeout=0): pass
except rkllm_rs.BusyError:
    print("busy")
"""
    with npu_lock():
        assert path.stat().st_mode & 0o777 == 0o666
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
        )
    assert done.stdout.splitlines() == [str((os.getpid(), 0)), "busy"], done.stderr


@pytest.mark.parametrize("wrong", [-1, float("nan"), "1", True])
def test_a_timeout_is_checked(wrong: object) -> None:
    with pytest.raises((ValueError, TypeError), match="timeout"):
        npu_lock(timeout=wrong)  # type: ignore[arg-type]
