"""Nothing grows: not with tokens, not with models."""

from __future__ import annotations

import os

from support import newest, succeed

pytestmark = newest

#: The C library keeps memory for each thread that once allocated; which thread that is is chance.
ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}

MEASURE = """
import gc
import warnings
warnings.simplefilter("ignore")

def resident():
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def counts():
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
"""


def test_a_million_tokens_in_dropped_runs(library, make_model):
    code = f"""{MEASURE}
llm = RKLLM(model, library=library, max_new_tokens=100_000)

def runs(count):
    for number in range(count):
        stream = llm.stream("x")
        if number % 2:
            stream.result()
        else:
            for chunk in stream:
                pass
        del stream

runs(40)
before = resident()
runs(100)
say((resident() - before) // 1024)
"""
    model = make_model({"runs": [{"steps": ["word "], "repeat": 10_000}]})
    (grown,) = succeed(code, library, model, timeout=240, env=os.environ | ONE_ARENA)
    assert int(grown) < 1024


def test_cancelled_runs(library, make_model):
    code = f"""{MEASURE}
llm = RKLLM(model, library=library)

def runs(count):
    for _ in range(count):
        for chunk in llm.stream("x"):
            break

runs(200)
before, open_before = resident(), counts()
runs(1000)
say((resident() - before) // 1024, counts() == open_before)
"""
    model = make_model({"runs": [{"steps": ["word "], "repeat": 10_000, "delay_ms": 0}]})
    (line,) = succeed(code, library, model, timeout=240, env=os.environ | ONE_ARENA)
    grown, same = line.split()
    assert int(grown) < 1024
    assert same == "True"


def test_opening_and_closing(library, make_model):
    code = f"""{MEASURE}
def cycles(count):
    for _ in range(count):
        with RKLLM(model, library=library) as llm:
            llm.generate("x")

def settled():
    # The last model's threads may be on their way out.
    found, since = counts(), time.monotonic()
    until = since + 10
    while time.monotonic() < min(since + 0.3, until):
        time.sleep(0.01)
        if counts() != found:
            found, since = counts(), time.monotonic()
    return found

cycles(60)
before, open_before = resident(), settled()
cycles(150)
say((resident() - before) // 1024, settled() == open_before)
"""
    (line,) = succeed(code, library, make_model(["a"]), timeout=240, env=os.environ | ONE_ARENA)
    grown, same = line.split()
    assert int(grown) < 1024
    assert same == "True"
