"""What several tests need: waiting for events, and programs of their own process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from fakes import calls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rkllm_rs import WorkerCrashed

#: For what has nothing to do with the layout.
newest = pytest.mark.parametrize("abi_version", ["v1_3_1"])
#: For what takes long, and could differ between the oldest and the newest only.
both_ends = pytest.mark.parametrize("abi_version", ["v1_1_0", "v1_3_1"])

#: How many times slower than a usual machine this one is: more than 1 under emulation.
SLOW: Final = float(os.environ.get("RKLLM_RS_TEST_SLOW", "1"))
#: For what an emulator does in a way of its own: filters of system calls, limits, compilers.
native = pytest.mark.skipif(SLOW > 1, reason="an emulator does this in a way of its own")
#: A bound for anything that should be quick: no machine is so busy. What it is compared with must take far
#: longer if the promise is broken.
SOON: Final = 30.0 * SLOW
#: A bound for anything that must happen at all.
PATIENCE: Final = 60.0 * SLOW
#: Milliseconds that a script takes until the test opens its gate, when it has seen what it wants to see.
HELD: Final = round(120_000 * SLOW)

#: Begins every program that :func:`program` starts.
PRELUDE: Final = """
import _thread, os, signal, sys, threading, time
from rkllm_rs import *
library, model = (os.fsencode(path) for path in sys.argv[1:3])
def say(*words):
    print(*words, flush=True)
def began(record, fn="rkllm_run", count=1):
    until = time.monotonic() + 60 * float(os.environ.get("RKLLM_RS_TEST_SLOW", "1"))
    while time.monotonic() < until:
        try:
            with open(record) as lines:
                if sum(f'"fn":"{fn}"' in line.replace(": ", ":") for line in lines) >= count:
                    return
        except FileNotFoundError:
            pass
        time.sleep(0.005)
    raise SystemExit(f"{fn} was not called")
def tell_when_waiting(record):
    # Says "running" when the library is in the run, and this thread is where it stays: in native code.
    here = threading.get_ident()
    def stays():
        seen = []
        while len(seen) < 4 or len(set(seen[-4:])) > 1:
            frame = sys._current_frames()[here]
            seen.append((id(frame), frame.f_lasti))
            time.sleep(0.01)
    # Thread.start() would wait for the new thread, and be what is interrupted.
    _thread.start_new_thread(lambda: (began(record), stays(), say("running")), ())
"""


def wait_until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Waits for something that no event tells.

    Args:
        condition: Called until it returns something true.
        what: Named when it never does.
    """
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, f"{what} did not come"
        time.sleep(0.005)


def began(record: Path, function: str = "rkllm_run", count: int = 1) -> None:
    """Waits until the library has been called ``count`` times."""
    wait_until(lambda: len(calls(record, function)) >= count, f"call {count} of {function}")


async def let_through(gate: Path, record: Path, function: str = "rkllm_run", count: int = 1) -> None:
    """Opens the gate, from an event loop, once the library has been called ``count`` times.

    A loop that is blocked while the library takes its time opens none.
    """
    until = time.monotonic() + PATIENCE
    while len(calls(record, function)) < count:
        assert time.monotonic() < until, f"call {count} of {function} did not come"
        await asyncio.sleep(0.005)
    # Whoever is going to block the loop may do so first.
    await asyncio.sleep(0.02)
    gate.touch()


def in_thread(work: Callable[[], Any]) -> Callable[[], Any]:
    """Starts ``work`` on a thread of its own.

    Returns:
        Waits for the thread and gives what ``work`` returned or raised.
    """
    outcome: list[Any] = []

    def body() -> None:
        try:
            outcome.append((work(), None))
        except BaseException as error:  # noqa: BLE001 - handed on
            outcome.append((None, error))

    thread = threading.Thread(target=body, daemon=True)
    thread.start()

    def result() -> Any:
        thread.join(PATIENCE)
        assert outcome, "the thread goes on"
        value, error = outcome[0]
        if error is not None:
            raise error
        return value

    return result


def command(code: str, library: Path, model: Path, *arguments: object) -> list[str]:
    """The command line of a program that begins with :data:`PRELUDE`, and can import the files here."""
    here = f"import sys; sys.path.append({os.path.dirname(__file__)!r})"
    # Exits of a program that has no NPU would be full of warnings about that.
    words = [sys.executable, "-W", "ignore::UserWarning", "-c", here + PRELUDE + textwrap.dedent(code)]
    return words + [os.fspath(path) for path in (library, model)] + [str(word) for word in arguments]


def program(
    code: str, library: Path, model: Path, *arguments: object, timeout: float = 120, **keywords: Any
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end.

    Args:
        code: Its text; ``library`` and ``model`` are in it, the other arguments in ``sys.argv[3:]``.
        library: A fake.
        model: A script.
        *arguments: Further words.
        timeout: Seconds after which it is killed and the test fails.
        **keywords: As for ``subprocess.run``.
    """
    keywords = {"capture_output": True, "text": True, **keywords}
    words = command(code, library, model, *arguments)
    return subprocess.run(words, timeout=timeout * SLOW, check=False, **keywords)


def succeed(code: str, library: Path, model: Path, *arguments: object, **keywords: Any) -> list[str]:
    """As :func:`program`, for one that must end with 0.

    Returns:
        The lines of its standard output.
    """
    done = program(code, library, model, *arguments, **keywords)
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.splitlines()


class Child:
    """A program that is spoken to while it runs."""

    def __init__(self, code: str, library: Path, model: Path, *arguments: object, **keywords: Any) -> None:
        keywords = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **keywords}
        self.process = subprocess.Popen(command(code, library, model, *arguments), **keywords)

    def expect(self, word: str) -> list[str]:
        """Reads lines up to the one that begins with ``word``; gives that one's words."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(word):
                words: list[str] = line.split()
                return words
        self.process.wait(PATIENCE)
        assert self.process.stderr is not None
        message = f"the program ended without {word!r}: {self.process.stderr.read()}"
        raise AssertionError(message)

    def signal(self, number: int) -> float:
        """Sends a signal; gives the time."""
        self.process.send_signal(number)
        return time.monotonic()

    def end(self, timeout: float = 120) -> tuple[int, str, str]:
        """Waits for its end; gives exit status and the rest of both streams."""
        out, err = self.process.communicate(timeout=timeout * SLOW)
        return self.process.returncode, out, err

    def kill(self) -> None:
        """Ends it, if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def children(made: list[Child]) -> Iterator[Callable[..., Child]]:
    """A factory of children, all of which are gone when it is exhausted."""

    def make(*arguments: Any, **keywords: Any) -> Child:
        made.append(Child(*arguments, **keywords))
        return made[-1]

    yield make
    for child in made:
        child.kill()


def status(field: str) -> int:
    """A number from /proc/self/status, such as ``Threads``."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0])
    message = f"no {field} in /proc/self/status"
    raise LookupError(message)


def said(crash: WorkerCrashed) -> list[str]:
    """The last lines of a library that took its worker with it, without those of an emulator."""
    return [line for line in crash.log if not line.startswith("qemu: ")]
