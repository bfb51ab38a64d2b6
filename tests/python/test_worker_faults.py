"""Workers that lie, and systems that refuse what a worker needs."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import rkllm_rs
from rkllm_rs import WorkerCrashed
from support import native, succeed

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Opener

pytestmark = [pytest.mark.filterwarnings("ignore::rkllm_rs.RkllmWarning")]

#: A worker of its own making; its standard input is the socket.
LIAR = f"""#!{sys.executable}
import os, socket, struct, sys, time
line = socket.socket(fileno=0)
def frame(payload):
    line.sendall(struct.pack("<I", len(payload)) + payload)
def text(word):
    return bytes([len(word)]) + word.encode()
def hello():
    frame(b"\\0" + text("rkllm_rs worker {rkllm_rs.__version__}"))
"""

#: Stands between the program and a real worker, and changes what that says.
PROXY = f"""#!{sys.executable}
import os, socket, struct, subprocess, sys, threading
line = socket.socket(fileno=0)
ours, far = socket.socketpair()
worker = subprocess.Popen(
    [sys.executable, *sys.argv[1:-1], str(os.getpid())], stdin=far
)
far.close()
def down():
    while data := line.recv(65536):
        ours.sendall(data)
    os._exit(0)
threading.Thread(target=down, daemon=True).start()
pending = b""
def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])
while True:
    data, fds, _, _ = socket.recv_fds(ours, 65536, 8)
    if not data:
        break
    pending += data
    while len(pending) >= 4:
        size, = struct.unpack("<I", pending[:4])
        if len(pending) < 4 + size:
            break
        payload, pending = pending[4:4 + size], pending[4 + size:]
        payload = tamper(payload)
        if payload is None:
            os._exit(0)
        message = struct.pack("<I", len(payload)) + payload
        if payload[:1] == b"\\x04" and fds:
            socket.send_fds(line, [message], fds[:1])
            fds = fds[1:]
        else:
            line.sendall(message)
os._exit(0)
"""


@pytest.fixture
def program(private: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def place(code: str) -> None:
        path = private / "python"
        path.write_text(code)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("RKLLM_RS_WORKER_PYTHON", str(path))

    return place


LIES = {
    "an impossible length": "line.sendall(b'\\xff' * 8); time.sleep(60)",
    "garbage": "hello(); frame(b'\\xff\\xff'); time.sleep(60)",
    "a long list that is not there": "hello(); frame(b'\\2\\x0b' + b'\\xff' * 9); time.sleep(60)",
    "half a message": "hello(); line.sendall(struct.pack('<I', 100) + b'\\1')",
    "no greeting": "frame(b'\\6\\1'); time.sleep(60)",
    "another release": "frame(b'\\0' + text('rkllm_rs worker 0.0.0')); time.sleep(60)",
    "memory without its file": "hello(); frame(b'\\4\\1\\x10'); time.sleep(60)",
    "memory that is none": """
import socket as s
hello()
read, write = os.pipe()
payload = b'\\4\\1\\x10'
s.send_fds(line, [struct.pack('<I', len(payload)) + payload], [read])
time.sleep(60)""",
    "nothing, and stays": "hello(); line.shutdown(2); os.close(0); time.sleep(60)",
    "a flood and no message": "sys.stderr.write('x' * 2_000_000); sys.exit(3)",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_worker_that_lies(open_model: Opener, program: Callable[[str], None], lie: str) -> None:
    program(LIAR + LIES[lie])
    with pytest.raises(WorkerCrashed):
        open_model(["a"], isolate=True)


TAMPERINGS = {
    # Rows: run, lane, number, kind, rows, width
    "rows in other memory": "payload[:3] + varint(99) + payload[4:] if payload[0] == 7 else payload",
    "wider rows": "payload[:-1] + varint(1 << 20) if payload[0] == 7 else payload",
    "too many rows": "payload[:-2] + varint(1 << 63) + payload[-1:] if payload[0] == 7 else payload",
    "memory that is larger": "payload[:2] + varint(1 << 40) if payload[0] == 4 else payload",
    "a message that is cut": "None if payload[0] == 7 else payload",
}


@pytest.mark.parametrize("how", TAMPERINGS)
def test_a_worker_that_lies_about_rows(open_model: Opener, program: Callable[[str], None], how: str) -> None:
    program(PROXY.replace("pending = b", f"tamper = lambda payload: {TAMPERINGS[how]}\npending = b", 1))
    model = open_model({"runs": [{"steps": ["a"]}], "logits": {"rows": 1, "width": 4}}, isolate=True)
    assert model.generate("x").text == "a"
    with pytest.raises(WorkerCrashed):
        model.logits("x")
    os.environ.pop("RKLLM_RS_WORKER_PYTHON")


def test_rows_that_are_lent_twice(open_model: Opener, program: Callable[[str], None]) -> None:
    again = """
lent = []
def tamper(payload):
    if payload[0] == 7:
        lent.append(payload[3:4])
        payload = payload[:3] + lent[0] + payload[4:]
    return payload
"""
    program(PROXY.replace("pending = b", again + "pending = b", 1))
    model = open_model({"logits": {"rows": 1, "width": 4}}, isolate=True)
    kept = model.logits("x")
    with pytest.raises(WorkerCrashed):
        model.logits("x")
    assert np.asarray(kept).tolist() == [[0.0, 1.0, 2.0, 3.0]]


# ---- what a system may refuse

#: Makes a system call fail from here on, in this process and those that it starts.
REFUSE = """
import ctypes, platform
def refuse(number):
    class Filter(ctypes.Structure):
        _fields_ = [
            ("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32)
        ]
    class Program(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.POINTER(Filter))]
    rules = (Filter * 4)(
        (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)
    )
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, ctypes.byref(Program(4, rules)), 0, 0) == 0, ctypes.get_errno()
MEMFD_CREATE = {"x86_64": 319, "aarch64": 279, "armv7l": 385}[platform.machine()]
CLOSE_RANGE, UNSHARE = 436, {"x86_64": 272, "aarch64": 97, "armv7l": 337}[platform.machine()]
PIDFD_OPEN = 434
"""

USE = """
import numpy as np
llm = RKLLM(model, library=library, isolate=True)
for _ in range(3):
    print(llm.generate("x").text, np.asarray(llm.logits("y")).tolist())
os.kill(llm.worker_pid, 9)
print(llm.generate("x").text)
llm.close()
"""
USED = [*["a [[0.0, 1.0]]"] * 3, "a"]


@native
@pytest.mark.parametrize("what", ["MEMFD_CREATE", "CLOSE_RANGE", "PIDFD_OPEN"])
def test_a_system_that_refuses(library: Path, make_model: Callable[..., Path], what: str) -> None:
    path = make_model({"runs": [{"steps": ["a"]}], "logits": {"rows": 1, "width": 2}})
    more = "refuse(UNSHARE)\n" if what == "CLOSE_RANGE" else ""
    assert succeed(f"{REFUSE}\nrefuse({what})\n{more}{USE}", library, path) == USED


@native
def test_no_place_for_shared_memory(library: Path, make_model: Callable[..., Path]) -> None:
    path = make_model({"runs": [{"steps": ["a"]}], "logits": {"rows": 1, "width": 2}})
    code = f"""{REFUSE}
refuse(MEMFD_CREATE)
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
llm = RKLLM(model, library=library, isolate=True)
try:
    llm.logits("x")
except GenerationError as error:
    print("memory" in str(error))
print(llm.generate("x").text)
"""
    assert succeed(code, library, path) == ["True", "a"]


def test_few_descriptors(library: Path, make_model: Callable[..., Path]) -> None:
    path = make_model({"runs": [{"steps": ["a"]}]})
    code = """
import errno, resource
RKLLM(model, library=library, isolate=True).close()
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
failures = 0
for limit in range(3, 40):
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        llm = RKLLM(model, library=library, isolate=True)
        assert llm.generate("x").text == "a"
        llm.close()
    except (RkllmError, OSError) as error:
        failures += 1
        # There is nothing that the program could have passed otherwise.
        assert os.strerror(errno.EINVAL) not in str(error), error
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
print(failures > 0, RKLLM(model, library=library, isolate=True).generate("x").text)
"""
    assert succeed(code, library, path) == ["True a"]


@native
def test_little_address_space(library: Path, make_model: Callable[..., Path]) -> None:
    path = make_model({"runs": [{"steps": ["a"]}], "logits": {"rows": 64, "width": 262_144}})
    code = """
import resource
llm = RKLLM(model, library=library, isolate=True)
assert llm.generate("x").text == "a"
now = int(open("/proc/self/statm").read().split()[0]) * 4096
hard = resource.getrlimit(resource.RLIMIT_AS)[1]
resource.setrlimit(resource.RLIMIT_AS, (now + (16 << 20), hard))
for _ in range(3):
    try:
        llm.logits("x")
    except GenerationError as error:
        print("memory" in str(error))
resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
print(llm.generate("x").text, llm.logits("x").shape)
# The worker has given back what could not be looked at here.
print(open(f"/proc/{llm.worker_pid}/maps").read().count("rkllm-rows") <= 1)
"""
    assert succeed(code, library, path) == ["True"] * 3 + ["a (64, 262144)", "True"]


def test_shared_memory_is_used_again(open_model: Opener) -> None:
    model = open_model({"logits": {"rows": 1, "width": 100_000}}, isolate=True)

    def mapped() -> int:
        return Path("/proc/self/maps").read_bytes().count(b"rkllm-rows")

    for _ in range(20):
        model.logits("x")
    assert mapped() <= 3
    kept = [model.logits("x") for _ in range(10)]
    assert len({np.asarray(rows).ctypes.data for rows in kept}) == 10
    del kept
    model.close()
    del model
    assert mapped() == 0
