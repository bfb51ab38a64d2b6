"""From opening to destroying, and what comes between: closing, leaving, forking."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
import warnings

import pytest

from fakes import calls, fake_library
from rkllm_rs import RKLLM, BusyError, ClosedError, ModelError, RkllmWarning
from support import program, succeed, wait_until

ENDLESS = {"steps": ["x"], "repeat": 100_000, "delay_ms": 2}


def test_context_manager(open_model, record):
    with open_model(["a"]) as model:
        assert not model.closed
        assert model.generate("x").text == "a"
    assert model.closed
    wait_until(lambda: calls(record, "rkllm_destroy"))


def test_an_exception_in_the_block_closes_too(open_model, record):
    with pytest.raises(ZeroDivisionError), open_model(["a"]) as model:
        _ = 1 // 0
    assert model.closed


@pytest.mark.hazard("A9")
def test_close_is_idempotent(open_model, record):
    model = open_model(["a"])
    for _ in range(3):
        model.close()
    model.__exit__(None, None, None)
    model.close()
    assert len(calls(record, "rkllm_destroy")) == 1


def test_use_after_close(open_model, record):
    model = open_model(["a"])
    model.close()
    uses = [lambda: model.generate("x"), lambda: model.stream("x"), model.clear_kv_cache, model.kv_cache_size]
    for use in uses:
        with pytest.raises(ClosedError) as caught:
            use()
        assert caught.value.hint
    assert "closed" in repr(model)
    assert not calls(record, "rkllm_run")


def test_repr(open_model, abi_version):
    model = open_model(["a"])
    for word in ("model1.rkllm", "npu", "512", abi_version):
        assert word in repr(model)


@pytest.mark.hazard("A9")
def test_close_during_a_run(open_model, record):
    model = open_model({"runs": [{**ENDLESS, "ignore_abort_ms": 1000}]})
    running, waiting = model.stream("1"), model.stream("2")
    assert next(running).text == "x"
    model.close()
    # The library is still in the middle of it.
    assert not calls(record, "run_end")
    for stream in (running, waiting):
        for _ in range(2):
            with pytest.raises(ClosedError):
                stream.result()
    wait_until(lambda: calls(record, "rkllm_destroy"))
    order = [call["fn"] for call in calls(record)]
    assert order.index("run_end") < order.index("rkllm_destroy")
    assert order.count("rkllm_run") == order.count("rkllm_destroy") == 1


def test_dropping_closes(make_model, library, record):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RkllmWarning)
        model = RKLLM(make_model(["a"]), library=library)
    assert model.generate("x").text == "a"
    del model
    gc.collect()
    wait_until(lambda: calls(record, "rkllm_destroy"))


@pytest.mark.hazard("A1")
def test_one_thread_makes_all_calls(open_model, record):
    model = open_model({"runs": [{"steps": ["a"]}, ENDLESS]})
    model.generate("x")
    stream = model.stream("y")
    next(stream)
    stream.cancel()
    wait_until(lambda: len(calls(record, "run_end")) == 2)
    model.close()
    wait_until(lambda: calls(record, "rkllm_destroy"))
    on_the_handle = [
        call for call in calls(record) if call["fn"] in ("rkllm_init", "rkllm_run", "rkllm_destroy")
    ]
    assert [call["fn"] for call in on_the_handle] == ["rkllm_init", "rkllm_run", "rkllm_run", "rkllm_destroy"]
    owner = {call["thread"] for call in on_the_handle}
    assert len(owner) == 1
    aborts = {call["thread"] for call in calls(record, "rkllm_abort")}
    assert aborts
    assert not aborts & owner


def test_no_abort_without_a_reason(open_model, record):
    model = open_model(["a", "b"])
    model.generate("x")
    for _ in model.stream("y"):
        pass
    model.close()
    assert not calls(record, "rkllm_abort")


@pytest.mark.hazard("N4")
def test_opening_behind_a_close_waits(open_model, record):
    first = open_model({"runs": [{**ENDLESS, "ignore_abort_ms": 700}]})
    next(first.stream("x"))
    first.close()
    second = open_model(["fine"])
    order = [call["fn"] for call in calls(record)]
    assert order.index("rkllm_destroy") < len(order) - 1 - order[::-1].index("rkllm_init")
    assert second.generate("x").text == "fine"


def test_many_models_one_after_another(open_model, record, mode):
    for number in range(20):
        with open_model([str(number)]) as model:
            assert model.generate("x").text == str(number)
    assert len(calls(record, "rkllm_init")) == len(calls(record, "rkllm_destroy")) == 20
    # Each worker has a library of its own.
    assert len(calls(record, "rkllm_createDefaultParam")) == (1 if mode == "here" else 20)


@pytest.mark.hazard("M6")
def test_two_models_at_once(open_model):
    one, two = open_model([{"text": "1", "delay_ms": 100}]), open_model([{"text": "2", "delay_ms": 100}])
    streams = [one.stream("x"), two.stream("x")]
    assert [stream.result().text for stream in streams] == ["1", "2"]


def test_a_model_that_failed_leaves_the_library_usable(open_model):
    for _ in range(3):
        with pytest.raises(ModelError):
            open_model({"init": {"return": -1}})
    assert open_model(["a"]).generate("x").text == "a"


EXITS = {
    # how the program ends, and its status
    "end": ("", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "exception": ("raise ValueError", 1),
}


@pytest.mark.hazard("A9", "L4")
@pytest.mark.parametrize("how", EXITS)
@pytest.mark.parametrize("run", [ENDLESS, {**ENDLESS, "ignore_abort": True}], ids=["obeys", "ignores"])
def test_leaving_during_a_run(library, make_model, record, how, run):
    code, expected = EXITS[how]
    begin = time.monotonic()
    done = program(
        f"llm = RKLLM(model, library=library)\nstream = llm.stream('x')\nnext(stream)\nsay('on')\n{code}",
        library,
        make_model({"runs": [run]}),
    )
    assert (done.returncode, done.stdout) == (expected, "on\n"), done.stderr
    assert time.monotonic() - begin < 60
    assert "panic" not in done.stderr
    assert len(calls(record, "rkllm_destroy")) == (0 if run.get("ignore_abort") else 1)


def test_leaving_while_another_thread_reads(library, make_model, record):
    code = """
    llm = RKLLM(model, library=library)
    stream = llm.stream("x")
    threading.Thread(target=lambda: list(stream), daemon=True).start()
    began(sys.argv[3])
    sys.exit(4)
    """
    done = program(code, library, make_model({"runs": [ENDLESS]}), record)
    assert (done.returncode, done.stderr) == (4, "")


def test_leaving_during_a_load(library, make_model, record):
    code = """
    threading.Thread(target=lambda: RKLLM(model, library=library), daemon=True).start()
    began(sys.argv[3], "rkllm_init")
    sys.exit(5)
    """
    begin = time.monotonic()
    done = program(code, library, make_model({"init": {"delay_ms": 200_000}}), record)
    assert done.returncode == 5, done.stderr
    assert time.monotonic() - begin < 60


def test_os_exit_is_left_alone(library, make_model):
    code = "llm = RKLLM(model, library=library)\nnext(llm.stream('x'))\nos._exit(6)"
    assert program(code, library, make_model({"runs": [ENDLESS]})).returncode == 6


FORK = """
llm = RKLLM(model, library=library)
stream = llm.stream("1")
next(stream)
pid = os.fork()
if pid == 0:
    names = []
    uses = [lambda: llm.generate("x"), lambda: llm.stream("x"), lambda: next(stream), stream.result,
            llm.clear_kv_cache, lambda: RKLLM(model, library=library), lambda: Runtime.load(library)]
    for use in uses:
        try:
            names.append(repr(use()))
        except Exception as error:
            names.append(type(error).__name__)
    stream.cancel()
    llm.close()
    del stream, llm
    say("child", *sorted(set(names)))
    {leave}
child = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
assert next(stream).text == "x"
stream.cancel()
say("parent", child, llm.generate("2").text)
"""


@pytest.mark.hazard("A10")
@pytest.mark.parametrize("leave", ["sys.exit(7)", "os._exit(7)"])
def test_fork(library, make_model, leave):
    begin = time.monotonic()
    lines = succeed(
        FORK.replace("{leave}", leave), library, make_model({"runs": [ENDLESS, {"steps": ["fine"]}]})
    )
    assert lines == ["child ForkedProcessError", "parent 7 fine"]
    assert time.monotonic() - begin < 60


@pytest.mark.hazard("A10")
def test_a_forked_child_leaves_quickly(library, make_model):
    # It has nothing to wait for: the model is the parent's.
    code = """
    llm = RKLLM(model, library=library)
    pid = os.fork()
    if pid == 0:
        sys.exit(0)
    begin = time.monotonic()
    os.waitpid(pid, 0)
    say(time.monotonic() - begin)
    """
    (seconds,) = succeed(code, library, make_model(["a"]))
    assert float(seconds) < 30


def test_fork_before_anything_is_open(library, make_model):
    code = """
    pid = os.fork()
    with RKLLM(model, library=library) as llm:
        text = llm.generate("x").text
    if pid == 0:
        os._exit(0 if text == "a" else 1)
    say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text)
    """
    assert succeed(code, library, make_model(["a"])) == ["0 a"]


@pytest.mark.hazard("A10")
def test_spawn(tmp_path, library, make_model):
    script = tmp_path / "spawns.py"
    script.write_text(
        "import multiprocessing, sys, warnings\n"
        "from rkllm_rs import RKLLM\n"
        "warnings.simplefilter('ignore')\n"
        "def work(library, model):\n"
        "    with RKLLM(model, library=library) as llm:\n"
        "        return llm.generate('x').text\n"
        "if __name__ == '__main__':\n"
        "    with RKLLM(sys.argv[2], library=sys.argv[1]) as llm:\n"
        "        context = multiprocessing.get_context('spawn')\n"
        "        with context.Pool(1) as pool:\n"
        "            print(pool.apply(work, sys.argv[1:]), llm.generate('x').text)\n"
    )
    words = [sys.executable, script, library, make_model(["a"])]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "a a\n"), done.stderr


def test_the_library_may_print_at_its_end(library, make_model):
    model = make_model({"runs": [{"steps": ["a"]}], "destroy": {"log": [["stderr", "W rkllm: bye"]]}})
    done = program("llm = RKLLM(model, library=library)\nllm.generate('x')", library, model)
    assert (done.returncode, done.stderr) == (0, "W rkllm: bye\n")


@pytest.mark.only_here("each worker is a process with one model")
@pytest.mark.hazard("M6")
@pytest.mark.parametrize("abi_version", ["v1_1_0", "v1_2_0"])
def test_one_model_at_a_time_below_1_2_2(tmp_path, open_model, abi_version, record):
    library = fake_library(tmp_path / "one", abi_version, record=record)
    open_model(["a"], library=library)
    with pytest.raises(BusyError):
        open_model(["b"], library=library)
