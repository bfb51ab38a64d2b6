"""The host program's streams stay its own; what the library prints comes at once and is not lost.

Long because each thing that a host does with its streams is a test of its own.
"""

from __future__ import annotations

import json
import os
import platform
import pty
import re
import signal
import socket
import subprocess
import threading

import pytest

from fakes import fake_library
from support import HELD, PATIENCE, command, newest, program

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
    llm = RKLLM(model, library=library, vendor_log="all")
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


OUT = [f"I rkllm: out {number}" for number in range(20)]
ERR = [f"W rkllm: err {number}" for number in range(20)]
MODES = {
    "warnings": ([], ERR),
    "quiet": ([], []),
    "all": ([], OUT + ERR),
    # Decided before the library is loaded, so that it is left alone.
    "direct": (OUT, ERR),
    "off": (OUT, ERR),
    "0": (OUT, ERR),
}


@pytest.mark.parametrize("mode", [*MODES, "", "QUIET"])
@pytest.mark.parametrize("way", ["argument", "variable"])
def test_modes(library, make_model, mode, way):
    given = f", vendor_log={mode!r}" if way == "argument" and mode else ""
    env = {**os.environ, "RKLLM_RS_VENDOR_LOG": mode if way == "variable" else "all" if mode else ""}
    code = f"RKLLM(model, library=library{given}).generate('x')"
    done = program(code, library, make_model(chatty(20)), env=env)
    out, err = MODES[mode.lower() or "warnings"]
    assert done.stdout.splitlines() == out
    assert sorted(done.stderr.splitlines()) == sorted(err)


def test_the_last_choice_counts(library, make_model):
    code = """
    for mode in ("quiet", "all", None, "warnings", "direct"):
        llm = RKLLM(model, library=library, vendor_log=mode)
        print(mode, file=sys.stderr, flush=True)
        llm.generate("x")
        llm.close()
    """
    done = program(code, library, make_model(chatty(1)))
    lines = done.stderr.splitlines()
    both = ["I rkllm: out 0", "W rkllm: err 0"]
    assert sorted(lines) == sorted(
        ["quiet", "all", *both, "None", *both, "warnings", both[1], "direct", both[1]]
    )
    # Too late to leave the library alone: its lines go where it wrote them.
    assert done.stdout == "I rkllm: out 0\n"


def test_unknown_modes(library, make_model):
    code = """
    import warnings
    for mode in ("loud", 1):
        try:
            RKLLM(model, library=library, vendor_log=mode)
        except RkllmError as error:
            say(type(error).__name__, "vendor_log" in str(error), "quiet" in str(error) or mode == 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Runtime.load(library)
        RKLLM(model, library=library).generate("x")
    said = [str(one.message) for one in caught if issubclass(one.category, RkllmWarning)]
    say(sum("RKLLM_RS_VENDOR_LOG" in one and "loud" in one for one in said))
    """
    env = {**os.environ, "RKLLM_RS_VENDOR_LOG": "loud"}
    done = program(code, library, make_model(chatty(1)), env=env)
    assert done.stdout.splitlines() == [
        "InvalidArgumentError True True",
        "InvalidTypeError True True",
        "1",
    ], done.stderr
    assert done.stderr == "W rkllm: err 0\n"


def test_a_protocol_on_stdout_is_left_alone(tmp_path, abi_version, make_model):
    """With default settings, and a library that prints to stdout at every turn."""
    noisy = [["stdout", "E rkllm: at once"], ["stdio_stdout", "W rkllm: buffered"], ["stdout", "noise"]]
    path = fake_library(tmp_path / "noisy", abi_version, constructor_log="I rkllm: loading")
    run = {"steps": [{"text": "a", "log": noisy}], "log": noisy, "log_end": noisy}
    model = make_model({"init": {"log": noisy}, "destroy": {"log": noisy}, "runs": [run]})
    code = """
    import json
    with RKLLM(model, library=library) as llm:
        for line in sys.stdin:
            say(json.dumps({"id": json.loads(line)["id"], "text": llm.generate("x").text}))
    """
    asked = "".join(json.dumps({"id": number}) + "\n" for number in range(3))
    done = program(code, path, model, input=asked)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert answers == [{"id": number, "text": "a"} for number in range(3)]
    assert done.stderr.count("E rkllm: at once\n") == 1 + 3 * 3 + 1
    assert "loading" not in done.stderr
    assert "noise" not in done.stderr


@pytest.mark.parametrize("mode", ["warnings", "all"])
def test_a_failing_open_is_told_once(library, make_model, mode):
    log = [["stderr", "E rkllm: invalid rkllm model!"], ["stdout", "W rkllm: hm"], ["stderr", "I rkllm: x"]]
    broken = make_model({"init": {"log": log, "return": -1}})
    code = """
    try:
        RKLLM(sys.argv[3], library=library, vendor_log=sys.argv[4])
    except ModelFormatError as error:
        say(len(error.log))
    RKLLM(model, library=library).close()
    """
    fine = make_model({"init": {"log": [["stderr", "W rkllm: fine"]]}})
    done = program(code, library, fine, broken, mode)
    assert done.stdout == "2\n", done.stderr
    if mode == "warnings":
        assert done.stderr.splitlines() == ["W rkllm: fine"]
    else:
        assert len(done.stderr.splitlines()) == 4


def test_an_open_that_hangs_shows_its_lines(child, library, make_model):
    log = [["stderr", "E rkllm: no such device"]]
    model = make_model({"init": {"log": log, "delay_ms": 60_000}})
    running = child("RKLLM(model, library=library)", library, model)
    timer = threading.Timer(PATIENCE, running.kill)
    timer.start()
    assert running.process.stderr.readline() == "E rkllm: no such device\n"
    assert running.process.poll() is None
    timer.cancel()


def test_the_logger_gets_every_line(library, make_model):
    """With a handler of its own stderr gets none; else both do."""
    code = """
    import logging
    got = []
    class Handler(logging.Handler):
        def emit(self, record):
            got.append((record.levelname, record.getMessage()))
    logger = logging.getLogger("rkllm_rs.vendor")
    logger.setLevel("DEBUG")
    handler = Handler()
    (logger if sys.argv[3] == "own" else logging.getLogger()).addHandler(handler)
    llm = RKLLM(model, library=library)
    llm.generate("x")
    # The order is that of each stream.
    for level in ("INFO", "WARNING"):
        lines = [line for one, line in got if one == level]
        say(len(lines), lines[0], lines[-1])
    logger.removeHandler(handler)
    llm.generate("x")
    """
    # More lines than are kept for errors.
    script = chatty(400)
    own = program(code, library, make_model(script), "own")
    told = ["400 I rkllm: out 0 I rkllm: out 399", "400 W rkllm: err 0 W rkllm: err 399"]
    assert own.stdout.splitlines() == told, own.stderr
    assert own.stderr.count("W rkllm: err") == 400
    root = program(code, library, make_model(script), "root")
    assert root.stdout == own.stdout
    assert root.stderr.count("W rkllm: err") == 800


@pytest.mark.only_here("the worker crashes, and the program has an exception")
def test_last_words_are_printed_although_a_logger_takes_the_lines(library, make_model):
    log = [["stderr", "E rkllm: told"], ["stderr", "terminate called"]]
    code = """
    import logging
    logging.getLogger("rkllm_rs.vendor").addHandler(logging.StreamHandler(open(os.devnull, "w")))
    RKLLM(model, library=library).generate("x")
    """
    done = program(code, library, make_model({"runs": [{"log": log, "abort": True}]}))
    assert done.returncode == -signal.SIGABRT
    assert done.stderr.splitlines()[:2] == ["E rkllm: told", "terminate called"]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_lines_come_during_the_run(child, library, make_model, stream):
    step = {"text": "a", "log": [[stream, "W rkllm: now"]]}
    model = make_model({"runs": [{"steps": [step, {"text": "b", "delay_ms": 60_000}]}]})
    running = child("RKLLM(model, library=library).generate('x')", library, model)
    timer = threading.Timer(PATIENCE, running.kill)
    timer.start()
    assert running.process.stderr.readline() == "W rkllm: now\n"
    assert running.process.poll() is None
    timer.cancel()


@pytest.mark.both_modes
def test_lines_of_a_call_come_before_what_the_host_prints_next(tmp_path, library, make_model):
    path = tmp_path / "both"
    log = [["stdio_stdout", "W rkllm: loaded"], ["stderr", "W rkllm: ready"]]
    model = make_model({"init": {"log": log}, "runs": [{"log_end": [["stderr", "W rkllm: done"]]}]})
    code = """
    llm = RKLLM(model, library=library)
    say("opened")
    for _ in range(100):
        llm.generate("x")
        say("answered")
    """
    with path.open("wb") as both:
        program(code, library, model, capture_output=False, stdout=both, stderr=both)
    lines = path.read_text().splitlines()
    assert sorted(lines[:2]) == ["W rkllm: loaded", "W rkllm: ready"]
    assert lines[2:] == ["opened", *["W rkllm: done", "answered"] * 100]


ENDS = {"abort": ({"abort": True}, -signal.SIGABRT), "crash": ({"crash": True}, -signal.SIGSEGV)}
ENDS["exit"] = ({"exit": 9}, 9)


@pytest.mark.only_here("the worker crashes, and the program has an exception")
@pytest.mark.hazard("N5")
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("when", ["init", "run"])
def test_the_last_words_before_a_crash(child, library, make_model, gate, end, when):
    how, status = ENDS[end]
    if end != "abort":
        # No handler of ours can run: the fake takes it away before its SIGSEGV, and _exit(2) asks for
        # none. What was printed before has been forwarded all the same.
        how = {**how, "delay_ms" if when == "init" else "prefill_ms": HELD}
    last = "E rkllm: GGML_ASSERT failed\n"
    how = {**how, "log": [["stderr", last.rstrip()]]}
    script = {"init": how} if when == "init" else {"runs": [how]}
    running = child("RKLLM(model, library=library).generate('x')", library, make_model(script))
    timer = threading.Timer(PATIENCE, running.kill)
    timer.start()
    said = ""
    while last not in said and (line := running.process.stderr.readline()):
        said += line
    gate.touch()
    said += running.process.stderr.read()
    assert running.process.wait(PATIENCE) == status
    timer.cancel()
    assert said.count(last) == 1


def test_a_fault_is_not_held_up(library, make_model):
    code = """
    import ctypes
    llm = RKLLM(model, library=library)
    next(llm.stream("x"))
    ctypes.string_at(0)
    """
    done = program(code, library, make_model(chatty()))
    assert done.returncode == -signal.SIGSEGV
    assert "W rkllm: err 0\n" in done.stderr


def test_a_terminal_stays_one(library, make_model):
    code = """
    llm = RKLLM(model, library=library)
    for chunk in llm.stream("x"):
        assert os.isatty(2) and sys.stderr.isatty() and os.ttyname(2)
    print("terminal", file=sys.stderr)
    """
    ours, theirs = pty.openpty()
    try:
        keywords = {"stderr": theirs, "stdout": subprocess.PIPE, "text": True}
        done = subprocess.run(
            command(code, library, make_model(chatty(5))), check=False, timeout=30, **keywords
        )
        assert done.returncode == 0
        text = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "terminal" in text
    assert text.count("W rkllm: err") == 5


@pytest.mark.only_here("the lines of a worker are read in any case")
def test_nothing_is_kept_where_the_library_is_left_alone(library, make_model):
    failing = {"runs": [{"return": -1, "log": [["stderr", "E rkllm: no"], ["stdout", "I rkllm: hm"]]}]}
    code = """
    import warnings
    try:
        RKLLM(model, library=library, vendor_log="direct").generate("x")
    except GenerationError as error:
        say(error.log)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        RKLLM(model, library=library, vendor_log="quiet")
    say(sum("vendor_log=" in str(one.message) for one in caught))
    """
    done = program(code, library, make_model(failing))
    assert done.stderr == "E rkllm: no\n"
    assert sorted(done.stdout.splitlines()) == ["1", "I rkllm: hm", "[]"]


FORBID = """
import ctypes, errno, platform, struct
numbers = {"x86_64": (272, 436), "aarch64": (97, 436)}[platform.machine()]
steps = [(0x20, 0, 0, 0), (0x15, 2, 0, numbers[0]), (0x15, 1, 0, numbers[1])]
steps += [(6, 0, 0, 0x7FFF0000), (6, 0, 0, 0x00050000 | errno.EPERM)]
text = b"".join(struct.pack("<HBBI", *step) for step in steps)
filters = ctypes.create_string_buffer(text, len(text))
header = struct.pack("@HP", len(steps), ctypes.addressof(filters))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, header, 0, 0) == 0
"""


@pytest.mark.only_here("the output of a worker goes through pipes and needs no such table")
@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64") or "RKLLM_RS_TEST_SLOW" in os.environ,
    reason="the filter knows these kernels, and no emulator has it",
)
def test_a_system_that_gives_no_table_of_its_own(library, make_model):
    """The library then prints by itself, and that is said."""
    code = (
        FORBID
        + """
import asyncio, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    llm = RKLLM(model, library=library)
    RKLLM(model, library=library).close()
async def joined():
    return "".join([chunk.text async for chunk in llm.stream("x")])
assert asyncio.run(joined()) == "xx"
assert sum("vendor_log=" in str(one.message) for one in caught) == 1
"""
    )
    done = program(code, library, make_model(chatty(2)))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == OUT[:2]
    assert done.stderr.splitlines() == ERR[:2]


def test_descriptors_closed_behind_us(library, make_model):
    """Whatever has their numbers then is the program's, and the library's lines come all the same."""
    code = """
    import asyncio, resource, socket
    def spent():
        return time.process_time()
    llm = RKLLM(model, library=library)
    async def joined():
        return "".join([chunk.text async for chunk in llm.stream("x")])
    assert asyncio.run(joined()) == "x" * 3
    os.closerange(3, 1024)
    pairs = [socket.socketpair() for _ in range(40)]
    for here, there in pairs:
        there.send(b"mine")
    assert asyncio.run(joined()) == "x" * 3
    RKLLM(model, library=library).generate("x")
    before = spent()
    time.sleep(0.5)
    say("idle" if spent() - before < 0.25 else "spins")
    for here, there in pairs:
        here.setblocking(False)
        assert here.recv(100) == b"mine"
        try:
            there.setblocking(False)
            assert not there.recv(100)
        except BlockingIOError:
            pass
    try:
        llm.load_lora("/nowhere/at/all")
    except RkllmError as error:
        say("raised")
    """
    done = program(code, library, make_model(chatty(3)))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["idle", "raised"]
    assert done.stderr.count("W rkllm: err") == 9


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
