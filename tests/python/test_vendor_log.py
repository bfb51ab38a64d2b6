"""The host program's streams stay its own; what the library prints comes at once and is not lost."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import threading

import pytest

from support import PATIENCE, command, newest, program

pytestmark = newest

COUNT = 300


def chatty(count=COUNT):
    """A run that prints on both streams, before each token and at both ends."""
    steps = [
        {"text": "x", "log": [["stdout", f"I rkllm: out {number}"], ["stderr", f"W rkllm: err {number}"]]}
        for number in range(count)
    ]
    return {"runs": [{"steps": steps, "delay_ms": 1}]}


def test_nothing_of_the_host_is_swallowed_or_reordered(tmp_path, library, make_model):
    path = tmp_path / "both"
    code = """
    llm = RKLLM(model, library=library)
    number = 0
    for chunk in llm.stream("x"):
        os.write(1, f"host out {number}\\n".encode())
        os.write(2, f"host err {number}\\n".encode())
        number += 1
    """
    with path.open("wb") as both:
        done = program(code, library, make_model(chatty()), capture_output=False, stdout=both, stderr=both)
    assert done.returncode == 0
    lines = path.read_text().splitlines()
    assert len(lines) == 4 * COUNT
    for word in ("host out", "host err", "I rkllm: out", "W rkllm: err"):
        numbers = [int(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(word)]
        assert numbers == list(range(COUNT)), word
    # The host's two streams among themselves, too.
    host = [line for line in lines if line.startswith("host")]
    assert host == [f"host {stream} {number}" for number in range(COUNT) for stream in ("out", "err")]


def test_streams_are_kept_apart(library, make_model):
    done = program("RKLLM(model, library=library).generate('x')", library, make_model(chatty(20)))
    assert done.stdout.splitlines() == [f"I rkllm: out {number}" for number in range(20)]
    assert done.stderr.splitlines() == [f"W rkllm: err {number}" for number in range(20)]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_lines_come_during_the_run(child, library, make_model, stream):
    step = {"text": "a", "log": [[stream, "I rkllm: now"]]}
    model = make_model({"runs": [{"steps": [step, {"text": "b", "delay_ms": 60_000}]}]})
    running = child("RKLLM(model, library=library).generate('x')", library, model)
    timer = threading.Timer(PATIENCE, running.kill)
    timer.start()
    assert getattr(running.process, stream).readline() == "I rkllm: now\n"
    assert running.process.poll() is None
    timer.cancel()


def test_lines_of_a_call_come_before_what_the_host_prints_next(tmp_path, library, make_model):
    path = tmp_path / "both"
    log = [["stdio_stdout", "I rkllm: loaded"], ["stderr", "I rkllm: ready"]]
    model = make_model({"init": {"log": log}, "runs": [{"log_end": [["stderr", "I rkllm: done"]]}]})
    code = "llm = RKLLM(model, library=library)\nsay('opened')\nllm.generate('x')\nsay('answered')"
    with path.open("wb") as both:
        program(code, library, model, capture_output=False, stdout=both, stderr=both)
    lines = path.read_text().splitlines()
    assert sorted(lines[:2]) == ["I rkllm: loaded", "I rkllm: ready"]
    assert lines[2:] == ["opened", "I rkllm: done", "answered"]


ENDS = {"abort": ({"abort": True}, -signal.SIGABRT), "crash": ({"crash": True}, -signal.SIGSEGV)}
ENDS["exit"] = ({"exit": 9}, 9)


@pytest.mark.hazard("N5")
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("when", ["init", "run"])
def test_the_last_words_before_a_crash(library, make_model, end, when):
    how, status = ENDS[end]
    if end != "abort":
        # No handler of ours can run: the fake takes it away before its SIGSEGV, and _exit(2) asks for
        # none. What was printed a moment ago has been forwarded all the same.
        how = {**how, "delay_ms": 100} if when == "init" else {**how, "prefill_ms": 100}
    last = ["stderr", "E rkllm: GGML_ASSERT failed"]
    script = {"init": {**how, "log": [last]}} if when == "init" else {"runs": [{**how, "log": [last]}]}
    done = program("RKLLM(model, library=library).generate('x')", library, make_model(script))
    assert done.returncode == status
    assert done.stderr.count("E rkllm: GGML_ASSERT failed\n") == 1


def test_a_fault_is_not_held_up(library, make_model):
    code = """
    import ctypes
    llm = RKLLM(model, library=library)
    next(llm.stream("x"))
    ctypes.string_at(0)
    """
    done = program(code, library, make_model(chatty()), timeout=20)
    assert done.returncode == -signal.SIGSEGV
    assert "W rkllm: err 0\n" in done.stderr


def test_a_terminal_stays_one(library, make_model):
    code = """
    llm = RKLLM(model, library=library)
    for chunk in llm.stream("x"):
        assert os.isatty(1) and sys.stdout.isatty() and os.ttyname(1)
    say("terminal")
    """
    ours, theirs = pty.openpty()
    try:
        keywords = {"stdout": theirs, "stderr": subprocess.PIPE, "text": True}
        done = subprocess.run(
            command(code, library, make_model(chatty(5))), check=False, timeout=30, **keywords
        )
        assert done.returncode == 0, done.stderr
        text = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "terminal" in text
    assert text.count("I rkllm: out") == 5


@pytest.mark.parametrize("off", ["off", "0"])
def test_the_switch(library, make_model, off):
    failing = {"runs": [{"return": -1, "log": [["stderr", "E rkllm: no"], ["stdout", "I rkllm: hm"]]}]}
    code = """
    try:
        RKLLM(model, library=library).generate("x")
    except GenerationError as error:
        say(error.log)
    """
    done = program(code, library, make_model(failing), env={**os.environ, "RKLLM_RS_VENDOR_LOG": off})
    assert done.stderr.count("E rkllm: no\n") == 1
    assert sorted(done.stdout.splitlines()) == ["I rkllm: hm", "[]"]


def test_children_of_the_host_write_where_it_writes(library, make_model):
    code = """
    import subprocess
    llm = RKLLM(model, library=library)
    stream = llm.stream("x")
    next(stream)
    subprocess.run(["sh", "-c", "echo child out; echo child err >&2"], check=True)
    os.system("echo shell out")
    links = [os.readlink(f"/proc/self/fd/{fd}") for fd in (1, 2)]
    assert all(link.startswith("pipe:") for link in links)
    """
    done = program(code, library, make_model({"runs": [{"steps": ["x"], "repeat": 1000, "delay_ms": 5}]}))
    assert (done.returncode, done.stdout, done.stderr) == (0, "child out\nshell out\n", "child err\n")


def test_descriptors_that_the_host_closes_are_closed(open_model):
    ours, theirs = socket.socketpair()
    reader, writer = os.pipe()
    model = open_model({"runs": [{"steps": ["x"], "repeat": 2000, "delay_ms": 5}]})
    stream = model.stream("x")
    next(stream)
    theirs.close()
    os.close(writer)
    ours.settimeout(PATIENCE)
    assert ours.recv(1) == b""
    assert os.read(reader, 1) == b""
    ours.close()
    os.close(reader)


def test_a_closed_stdout_is_survived(library, make_model):
    code = """
    os.close(1)
    llm = RKLLM(model, library=library)
    assert llm.generate("x").text == "x" * 20
    os._exit(0)
    """
    done = program(code, library, make_model(chatty(20)))
    assert done.returncode == 0, done.stderr


def test_redirection_by_the_host_is_followed(tmp_path, library, make_model):
    path = tmp_path / "redirected"
    code = """
    llm = RKLLM(model, library=library)
    os.dup2(os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT), 2)
    llm.generate("x")
    """
    done = program(code, library, make_model(chatty(3)), path)
    assert done.stderr == ""
    assert re.findall(r"err (\d)", path.read_text()) == ["0", "1", "2"]


def test_long_and_odd_lines(library, make_model):
    odd = "E rkllm: " + "ü" * 20_000
    failing = {"runs": [{"return": -1, "log": [["stderr", odd], ["stderr", "E rkllm: short"]]}]}
    code = """
    try:
        RKLLM(model, library=library).generate("x")
    except GenerationError as error:
        say(len(error.log), len(error.log[0]) < 5000, error.log[1])
    """
    done = program(code, library, make_model(failing))
    assert done.stderr == f"{odd}\nE rkllm: short\n"
    assert done.stdout == "2 True E rkllm: short\n"
