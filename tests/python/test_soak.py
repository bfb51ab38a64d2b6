"""The soak ends by itself when its time is up, and tells what was done until then."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import soak  # noqa: E402
from soaking import OUTCOME  # noqa: E402

PATIENCE = 60.0


def test_a_soak_that_is_out_of_time_fails() -> None:
    """The command: each part is in its table, and none holds."""
    command = [sys.executable, str(SCRIPTS / "soak.py"), "--minutes", "0", "opens", "requests", "tokens"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    rows = done.stdout.partition("growth")[2].splitlines()[2:5]
    assert {row.split()[0] for row in rows} == {"opens", "requests", "tokens"}, done.stdout
    assert not any(row.endswith("holds") for row in rows)


def test_a_part_that_is_told_to_end_says_what_it_has_done() -> None:
    """SIGTERM: the outcome comes, with the count, and is a fault."""
    part = (
        "import os, signal, soaking\n"
        "part = soaking.Part('x', 100)\n"
        "part.at(7)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "signal.pause()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", part],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        cwd=SCRIPTS,
    )
    assert done.returncode == 1
    told = json.loads(done.stdout.rpartition(OUTCOME)[2])
    assert (told["done"], told["goal"]) == (7, 100)
    assert told["faults"]


def test_a_part_that_does_not_hear_is_ended_with_all_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had said counts."""
    mark = tmp_path / "alive"
    stuck = tmp_path / "stuck.py"
    stuck.write_text(
        "import os, signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('        7 stuck: megabytes 5', flush=True)\n"
        "child = os.fork()\n"
        "if child:\n"
        f"    open('{mark}~', 'w').write(str(child))\n"
        f"    os.rename('{mark}~', '{mark}')\n"
        "signal.pause()\n"
    )

    class WhenItRuns(threading.Thread):
        """A timer whose time has come when the part is there."""

        def __init__(self, _seconds: float, call: Any, words: Any = ()) -> None:
            super().__init__(target=_once, args=(mark, call, words))

        def cancel(self) -> None:
            """It has nothing left to do."""

    monkeypatch.setitem(soak.PARTS, "stuck", (str(stuck), 10))
    monkeypatch.setattr(threading, "Timer", WhenItRuns)
    outcome = soak.run("stuck", 1, time.monotonic() + PATIENCE)
    assert (outcome["done"], outcome["goal"]) == (7, 10)
    assert outcome["faults"]
    until = time.monotonic() + PATIENCE
    while _lives(int(mark.read_text())):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_the_part_with_a_server_takes_it_along(tmp_path: Path) -> None:
    """Also where it is ended while the server starts."""
    command = [sys.executable, str(SCRIPTS / "soak_server.py"), "100000"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    part = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    until = time.monotonic() + PATIENCE
    try:
        while not (
            servers := [pid for pid, parent, words in _processes() if parent == part.pid and "serve" in words]
        ):
            assert time.monotonic() < until
            time.sleep(0.01)
    finally:
        os.killpg(part.pid, signal.SIGKILL)
        part.wait()
    while any(map(_lives, servers)):
        assert time.monotonic() < until
        time.sleep(0.01)


def _processes() -> Iterator[tuple[int, int, list[str]]]:
    """Each with its parent and the words of its command."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            yield int(folder.name), int(parent), (folder / "cmdline").read_text(errors="replace").split("\0")


def _once(mark: Path, call: Any, words: Any) -> None:
    until = time.monotonic() + PATIENCE
    while not mark.exists() and time.monotonic() < until:
        time.sleep(0.01)
    call(*words)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"
