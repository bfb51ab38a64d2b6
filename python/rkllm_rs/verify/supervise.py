"""The parent of the process that verifies: gives each item a limit, and ends what does not come back."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rkllm_rs._isolation import command

from .report import IDS, Item

if TYPE_CHECKING:
    from collections.abc import Callable

    from .session import Job

#: The program of the child: its first line of input is what it needs to find this package.
_PROGRAM = (
    "import json, os, sys\n"
    "line = b''\n"
    "while not line.endswith(b'\\n'):\n"
    "    line += os.read(0, 1) or os._exit(1)\n"
    "given = json.loads(line)\n"
    "sys.path[:] = given['path']\n"
    "from rkllm_rs.verify.child import main\n"
    "main(given['job'], given['names'])\n"
)
#: How long a killed process may take to be gone; one that waits for a driver may never be.
_GONE = 10.0
#: As often may something hang before the rest is left out.
_HANGS = 3


class Child:
    """The process, and what it says."""

    def __init__(self, job: Job, names: list[str]) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in end()
        self._process = subprocess.Popen(  # noqa: S603 - this package, by the Python that runs it
            [command()[0], "-S", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            # Ctrl-C is this process's to handle.
            start_new_session=True,
        )
        assert self._process.stdin is not None  # noqa: S101 - as asked for
        assert self._process.stdout is not None  # noqa: S101 - likewise
        self._lines = self._process.stdout.fileno()
        self._rest = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._lines, selectors.EVENT_READ)
        given = {"path": sys.path, "job": asdict(job), "names": names}
        with suppress(BrokenPipeError):  # its end is seen where it is read
            self._process.stdin.write((json.dumps(given) + "\n").encode())
            self._process.stdin.flush()

    def event(self, until: float) -> dict[str, Any] | None:
        """The next event; ``None`` at the end of the process.

        Raises:
            TimeoutError: There is none until then.
        """
        while b"\n" not in self._rest:
            if not self._selector.select(max(0.0, until - time.monotonic())):
                raise TimeoutError
            got = os.read(self._lines, 1 << 16)
            if not got:
                return None
            self._rest += got
        line, _, self._rest = self._rest.partition(b"\n")
        event: dict[str, Any] = json.loads(line)
        return event

    def _workers(self) -> set[int]:
        """The processes that it has started."""
        found: set[int] = set()
        folder = f"/proc/{self._process.pid}/task"
        with suppress(OSError):
            for task in os.listdir(folder):
                with suppress(OSError), open(f"{folder}/{task}/children", encoding="ascii") as opened:
                    found |= {int(word) for word in opened.read().split()}
        return found

    def end(self) -> list[int]:
        """Ends the process and its workers; gives those that do not end."""
        ending = {self._process.pid, *self._workers()}
        with suppress(ProcessLookupError):
            self._process.kill()
        until = time.monotonic() + _GONE
        while (left := sorted(pid for pid in ending if _lives(pid))) and time.monotonic() < until:
            self._process.poll()
            time.sleep(0.02)
        with suppress(subprocess.TimeoutExpired):
            # Its first thread may be gone before the others.
            self._process.wait(max(0.1, until - time.monotonic()))
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                assert stream is not None  # noqa: S101 - as asked for
                stream.close()
        self._selector.close()
        self._log.close()
        return left

    def how_it_ended(self) -> str:
        """How the process ended, and what it printed last."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GONE)
        status = self._process.returncode
        how = f"signal {-status}" if status is not None and status < 0 else f"exit status {status}"
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 2000))
        last = self._log.read().decode(errors="replace").strip().splitlines()[-2:]
        return f"the process ended with {how}" + (f": {' | '.join(last)}" if last else "")


def _lives(pid: int) -> bool:
    """Whether a process is there, and has not only been left unread."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as opened:
            return opened.read().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False


class Supervisor:
    """Collects the items of one or more processes."""

    def __init__(self, job: Job, on_item: Callable[[Item], object], chosen: frozenset[str]) -> None:
        self.job, self.chosen = job, chosen
        self.items: dict[str, Item] = {}
        self.facts: dict[str, Any] = {}
        self.interrupted = False
        self._on_item = on_item
        self._hangs = 0
        #: The item that is being done, or "", and since when.
        self._now, self._since = "", 0.0
        #: Whether the process has begun an item.
        self._heard = False

    def run(self) -> None:
        """Does all items."""
        reason = "not asked for"
        try:
            while left := [name for name in IDS if name in self.chosen and name not in self.items]:
                reason = self._one(left)
                if reason:
                    break
        except KeyboardInterrupt:
            self.interrupted, reason = True, "stopped by Ctrl-C"
        for name in IDS:
            if name not in self.items:
                asked = name in self.chosen
                self._take(Item(name, "skipped", 0.0, reason if asked else "not asked for"))

    def _take(self, item: Item) -> None:
        self.items[item.id] = item
        self._on_item(item)

    def _one(self, names: list[str]) -> str:
        """Does items in one process; gives why no further one is started, or ``""``."""
        child = Child(self.job, names)
        self._now, self._since, self._heard = "", time.monotonic(), False
        stuck: list[int] = []
        try:
            problem = self._listen(child)
        except KeyboardInterrupt:
            self._drain(child)
            raise
        finally:
            stuck = child.end()
        # What ends before its first item has failed at that one: it is no success.
        name = self._now or (names[0] if problem and not self._heard else "")
        if name:
            self._take(Item(name, "fail", round(time.monotonic() - self._since, 3), problem))
        if stuck:
            pids = ", ".join(map(str, stuck))
            return f"process {pids} cannot be killed, it waits for the driver; restart the board"
        if problem and not name:
            return problem
        if self._hangs >= _HANGS:
            return f"{_HANGS} items did not come back"
        return self._why_left()

    def _listen(self, child: Child) -> str:
        """Takes what the process finds; gives how it ended before it was done, or ``""``."""
        until = self._since + self.job.timeout
        while True:
            try:
                event = child.event(until)
            except TimeoutError:
                self._hangs += 1
                return f"it did not come back within {self.job.timeout:g} s, and was killed"
            if event is None:
                return child.how_it_ended()
            if "done" in event:
                return ""
            until = time.monotonic() + self.job.timeout
            if "begin" in event:
                self._now, self._since, self._heard = event["begin"], time.monotonic(), True
            elif "end" in event:
                self._now = ""
                self._found(event)

    def _drain(self, child: Child) -> None:
        """Takes what was found already, and not read yet."""
        with suppress(TimeoutError, ValueError):
            while event := child.event(time.monotonic()):
                if "end" in event:
                    self._found(event)

    def _found(self, event: dict[str, Any]) -> None:
        self.facts = event["facts"] or self.facts
        self._take(Item(**event["end"]))

    def _why_left(self) -> str:
        """Why the rest makes no sense."""
        for name, what in (
            ("identity", "the library could not be loaded"),
            ("load", "the model could not be loaded"),
        ):
            item = self.items.get(name)
            if item is not None and item.verdict == "fail":
                return f"{what}: {item.reason}"
        return ""
