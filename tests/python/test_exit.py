"""The end of a process, whatever its other threads sit in and whatever it was started without."""

from __future__ import annotations

import ctypes.util
import os
import pty
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from support import PATIENCE, command, newest, program, succeed

#: A run that no abort ends before a test gives up.
DEAF = {"runs": [{"prefill_ms": 30_000, "steps": ["a"]}]}

#: Threads that keep one of C's streams locked for as long as they live.
HOLDERS = {
    "input": "threading.Thread(target=input, daemon=True).start()",
    "stdin": """
import ctypes
libc = ctypes.CDLL(None)
stream = ctypes.c_void_p.in_dll(libc, "stdin")
threading.Thread(target=libc.getc, args=(stream,), daemon=True).start()
""",
    "stdout": """
import ctypes
libc = ctypes.CDLL(None)
stream = ctypes.c_void_p.in_dll(libc, "stdout")
def hold():
    libc.flockfile(stream)
    held.set()
    time.sleep(1000)
held = threading.Event()
threading.Thread(target=hold, daemon=True).start()
held.wait()
""",
}


@newest
@pytest.mark.parametrize("holder", HOLDERS)
def test_a_process_ends_although_a_thread_has_a_stream(library, make_model, record, holder):
    code = (
        HOLDERS[holder]
        + """
llm = RKLLM(model, library=library)
stream = llm.stream("x")
began(sys.argv[3])
say("end")
if sys.argv[4] == "stdout":
    # The end of the interpreter waits for that stream, with the package and without.
    libc.exit(0)
"""
    )
    ours, theirs = pty.openpty()
    try:
        words = command(code, library, make_model(DEAF), record, holder)
        running = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs)
        try:
            # Far below the run's 30 seconds.
            assert running.wait(PATIENCE) == 0
        finally:
            running.kill()
            running.wait()
        assert b"end" in os.read(ours, 65536)
    finally:
        os.close(ours)
        os.close(theirs)


@newest
def test_a_locked_stdout_holds_up_no_call(library, make_model):
    code = (
        HOLDERS["stdout"]
        + """
llm = RKLLM(model, library=library)
say(llm.generate("x").text)
os._exit(0)
"""
    )
    lines = succeed(
        code, library, make_model({"runs": [{"steps": ["a"], "log": [["stderr", "I rkllm: x"]]}]})
    )
    assert lines == ["a"]


@newest
def test_what_c_streams_hold_is_written_at_the_end(library, make_model, record):
    code = """
    import ctypes
    llm = RKLLM(model, library=library)
    stream = llm.stream("x")
    began(sys.argv[3])
    ctypes.CDLL(None).printf(b"half a line")
    """
    done = program(code, library, make_model(DEAF), record)
    assert (done.returncode, done.stdout) == (0, "half a line")


@newest
@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)])
def test_a_process_without_standard_streams(tmp_path, library, make_model, closed):
    """What the program opens then has their numbers, and nothing else may be written to it."""
    code = """
    import asyncio
    number = os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT)
    assert number == min(int(word) for word in sys.argv[4:]), number
    def low():
        return {fd for fd in os.listdir("/proc/self/fd") if int(fd) < 3}
    before = low()
    llm = RKLLM(model, library=library, vendor_log="all")
    async def joined():
        return "".join([chunk.text async for chunk in llm.stream("x")])
    assert asyncio.run(joined()) == "abc"
    os.write(number, b"mine" if low() == before else b"not mine")
    llm.close()
    """
    steps = [{"text": text, "log": [["stdout", "W rkllm: out"]], "delay_ms": 5} for text in "abc"]
    path = tmp_path / "file"
    words = command(code, library, make_model({"runs": [{"steps": steps}]}), path, *closed)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import os, sys\nfor fd in {closed}: os.close(fd)\nos.execv(sys.argv[1], sys.argv[1:])",
            *words,
        ],
        timeout=PATIENCE,
        check=False,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == b"mine"


EMBEDDING = """
#include <Python.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static const char *program;

static void *life(void *unused) {
    (void)unused;
    Py_InitializeEx(0);
    int failed = PyRun_SimpleString(program);
    if (Py_FinalizeEx() < 0 || failed) exit(3);
    printf("interpreter ended\\n");
    fflush(stdout);
    return NULL;
}

int main(int count, char **words) {
    pthread_t thread;
    program = words[1];
    pthread_create(&thread, NULL, life, NULL);
    pthread_join(thread, NULL);
    return count == 2 ? 0 : 2;
}
"""


@pytest.fixture(scope="module")
def embedding(tmp_path_factory):
    """A C program that runs Python on a thread which is not the process's first."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    header = Path(sysconfig.get_path("include")) / "Python.h"
    name = f"python{sysconfig.get_config_var('LDVERSION')}"
    folder = sysconfig.get_config_var("LIBDIR")
    there = ctypes.util.find_library(name) or list(Path(folder).glob(f"lib{name}.so*"))
    if not (compiler and header.exists() and there):
        pytest.skip(f"needs a C compiler, {header} and lib{name}")
    folder_of_it = tmp_path_factory.mktemp("embedding")
    source, binary = folder_of_it / "embedding.c", folder_of_it / "embedding"
    source.write_text(EMBEDDING)
    subprocess.run(
        [
            *(compiler, source, "-o", binary, f"-I{header.parent}"),
            *(f"-L{folder}", f"-Wl,-rpath,{folder}", f"-l{name}", "-lpthread"),
        ],
        check=True,
    )
    return binary


@newest
def test_an_interpreter_on_another_thread_ends(embedding, library, make_model):
    """It has a run when it ends, and a thread that waits for that run."""
    model = make_model({"runs": [{"steps": ["a"], "repeat": 10_000, "delay_ms": 5}]})
    code = f"""
import os, sys, threading, time
sys.path[:0] = {sys.path!r}
import warnings
warnings.simplefilter("ignore")
from rkllm_rs import RKLLM
llm = RKLLM({str(model)!r}, library={str(library)!r})
stream = llm.stream("x")
next(stream)
threading.Thread(target=list, args=(stream,), daemon=True).start()
class Late:
    def __del__(self):
        # At the very end, after the package's own part of it.
        llm.close()
late = Late()
"""
    done = subprocess.run([embedding, code], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout) == (0, "interpreter ended\n"), done.stderr
