"""No call comes once `rkllm_destroy` has returned, whatever ran and however far it was."""

from __future__ import annotations

import ctypes as c
import random
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from capi import ERROR, FINISH, NORMAL, PAUSE, Callback, InferParam, Input, Library, ResultCallback, as_input

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)

PROMPT = [504, 3575, 282, 4649, 314]
LONG = PROMPT * 90


class Watched:
    """An open model that notes each call and, after its destroy, that one came too late."""

    def __init__(self, library: Library, path: Path) -> None:
        self.library = library
        self.states: list[int] = []
        self.late = 0
        self.destroyed = False
        self.called = threading.Event()
        self.on_call: Callable[[], int] = lambda: 0

        def receive(_results: Any, _userdata: Any, state: int) -> int:
            self.late += self.destroyed
            self.states.append(state)
            self.called.set()
            return self.on_call() if state == NORMAL else 0

        # Kept until the process ends: a late call must be seen, not crash.
        self.callback = Callback(result=ResultCallback(receive))
        KEPT.append(self)
        param = library.create_default_param()
        param.model_path = str(path).encode()
        param.max_context_len = 512
        param.temperature = 0.0
        self.handle = c.c_void_p()
        assert library.init(c.byref(self.handle), c.byref(param), c.byref(self.callback)) == 0

    def start(self, tokens: list[int], *, asynchronous: bool) -> threading.Thread | None:
        """Begins a run of many tokens; the thread of one that blocks."""
        array = (Input * 1)(as_input(tokens, "user", thinking=False))
        infer = InferParam(max_new_tokens=400)
        self.codes: list[int] = []
        if asynchronous:
            self.codes.append(self.library.run_async(self.handle, array, c.byref(infer), None))
            return None
        begun = threading.Event()

        def run() -> None:
            begun.set()
            self.codes.append(self.library.run(self.handle, array, c.byref(infer), None))

        thread = threading.Thread(target=run)
        thread.start()
        begun.wait()
        return thread

    def destroy(self) -> None:
        """Destroys; from here on a call is late."""
        code = self.library.destroy(self.handle)
        self.destroyed = True
        assert code == 0


KEPT: list[Watched] = []


@pytest.fixture(autouse=True)
def nothing_late() -> Any:
    """Waits for what might come too late: before the cure it came within milliseconds."""
    KEPT.clear()
    yield
    time.sleep(0.05)
    assert [one.late for one in KEPT] == [0] * len(KEPT)


def ended_well(one: Watched) -> None:
    """Each run that has begun to call has made exactly one last call."""
    last = [state for state in one.states if state in {FINISH, ERROR}]
    assert last == ([FINISH] if one.states else [])
    if one.states:
        assert one.states[-1] == FINISH


@pytest.mark.parametrize("tokens", [PROMPT, LONG], ids=["short", "long"])
def test_an_asynchronous_run_that_has_just_been_started(
    capi: Library, model: Path, tokens: list[int]
) -> None:
    for _ in range(10):
        one = Watched(capi, model)
        one.start(tokens, asynchronous=True)
        one.destroy()
        ended_well(one)


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_run_that_is_destroyed_in_its_prefill_calls_nobody(
    capi: Library, model: Path, *, asynchronous: bool
) -> None:
    one = Watched(capi, model)
    thread = one.start(LONG, asynchronous=asynchronous)
    while not capi.is_running(one.handle):
        time.sleep(0.0005)
    one.destroy()
    if thread:
        thread.join()
    # A machine fast enough for 450 tokens in no time would make this test say nothing.
    assert one.states == []
    assert one.codes == ([0] if asynchronous else [-1])


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_run_in_the_middle_ends_before_destroy_returns(
    capi: Library, model: Path, *, asynchronous: bool
) -> None:
    one = Watched(capi, model)
    thread = one.start(PROMPT, asynchronous=asynchronous)
    assert one.called.wait(60)
    one.destroy()
    if thread:
        thread.join()
    assert one.states[0] == NORMAL
    ended_well(one)
    assert one.codes == [0]


@pytest.mark.parametrize("asynchronous", [True, False])
def test_at_random_moments(capi: Library, model: Path, *, asynchronous: bool) -> None:
    moments = random.Random(9)  # noqa: S311 - no secret
    for _ in range(8):
        one = Watched(capi, model)
        thread = one.start(LONG if moments.random() < 0.3 else PROMPT, asynchronous=asynchronous)
        time.sleep(moments.uniform(0, 0.15))
        one.destroy()
        if thread:
            thread.join(60)
        ended_well(one)


def test_a_paused_run_is_over_for_destroy(capi: Library, model: Path) -> None:
    one = Watched(capi, model)
    one.on_call = lambda: PAUSE
    thread = one.start(PROMPT, asynchronous=False)
    assert thread
    thread.join(60)
    assert one.states == [NORMAL]
    one.destroy()


def test_the_thread_of_a_run_may_destroy_once_the_run_has_ended(capi: Library, model: Path) -> None:
    """The thread that ran last is not taken for the one that runs now."""
    one = Watched(capi, model)
    refused: list[int] = []

    def from_inside() -> int:
        refused.append(capi.destroy(one.handle))
        return PAUSE

    one.on_call = from_inside
    array = (Input * 1)(as_input(PROMPT, "user", thinking=False))
    assert capi.run(one.handle, array, c.byref(InferParam(max_new_tokens=4)), None) == 0
    assert refused == [-1]
    # This thread has run; now another does, and this one destroys.
    one.on_call = lambda: 0
    one.called.clear()
    one.start(PROMPT, asynchronous=True)
    one.destroy()
