"""Ctrl-C: control comes back at once, whatever the library is doing."""

from __future__ import annotations

import signal

import pytest

from fakes import calls
from support import HELD

READ = """
record = sys.argv[3]
llm = RKLLM(model, library=library)
try:
    say("ready")
    {work}
except KeyboardInterrupt:
    say("interrupted")
say("answer", llm.generate("2").text)
llm.close()
say("closed")
"""

BEGAN = "tell_when_waiting(record)"
ENDLESS = {"steps": ["x"], "repeat": 100_000, "delay_ms": 5}
WORK = {
    "generate": f"{BEGAN}; llm.generate('1')",
    "for": f"{BEGAN}; list(llm.stream('1'))",
    "result": f"{BEGAN}; llm.stream('1').result()",
}


def interrupt(running, number=signal.SIGINT):
    """Sends a signal, by which control comes back while the library is stuck."""
    running.signal(number)
    running.expect("interrupted")


@pytest.mark.parametrize("work", WORK)
def test_during_the_tokens(child, library, make_model, record, work):
    model = make_model({"runs": [ENDLESS, {"steps": ["fine"]}]})
    running = child(READ.format(work=WORK[work]), library, model, record)
    running.expect("running")
    interrupt(running)
    assert running.expect("answer")[1] == "fine"
    assert running.end()[0] == 0


@pytest.mark.hazard("A2")
def test_during_the_prompt(child, library, make_model, record, gate):
    model = make_model({"runs": [{"prefill_ms": HELD, **ENDLESS}, {"steps": ["fine"]}]})
    running = child(READ.format(work=WORK["generate"]), library, model, record)
    running.expect("running")
    interrupt(running)
    assert not calls(record, "run_end")
    # The next call waits until the library has come back from the prompt.
    gate.touch()
    assert running.expect("answer")[1] == "fine"
    assert running.end()[0] == 0


def test_while_the_library_ignores_the_abort(child, library, make_model, record, gate):
    deaf = {"steps": ["x", {"text": "y", "delay_ms": HELD}], "ignore_abort": True}
    model = make_model({"runs": [deaf, {"steps": ["fine"]}]})
    running = child(READ.format(work=WORK["for"]), library, model, record)
    running.expect("running")
    interrupt(running)
    assert not calls(record, "run_end")
    gate.touch()
    assert running.expect("answer")[1] == "fine"
    assert running.end()[0] == 0


def test_during_the_load(child, library, make_model, record, gate):
    slow, quick = make_model({"init": {"delay_ms": HELD}}), make_model(["fine"])
    code = """
    record, quick = sys.argv[3:]
    threading.Thread(target=lambda: (began(record, "rkllm_init"), say("loading")), daemon=True).start()
    try:
        RKLLM(model, library=library)
    except KeyboardInterrupt:
        say("interrupted")
    # Waits for the library, which is still loading the first.
    with RKLLM(quick, library=library) as llm:
        say("answer", llm.generate("x").text)
    """.replace("BEGAN", BEGAN)
    running = child(code, library, slow, record, quick)
    running.expect("loading")
    interrupt(running)
    gate.touch()
    assert running.expect("answer")[1] == "fine"
    assert running.end()[0] == 0


def test_a_stream_that_was_interrupted_is_cancelled(child, library, make_model, record, gate):
    model = make_model({"runs": [{**ENDLESS, "prefill_ms": HELD}, {"steps": ["fine"]}]})
    code = """
    record = sys.argv[3]
    llm = RKLLM(model, library=library)
    stream = llm.stream("1")
    try:
        BEGAN
        next(stream)
    except KeyboardInterrupt:
        say("interrupted")
    say("then", stream.result().finish_reason, list(stream))
    """.replace("BEGAN", BEGAN)
    running = child(code, library, model, record)
    running.expect("running")
    interrupt(running)
    assert running.expect("then") == ["then", "cancelled", "[]"]
    gate.touch()
    assert running.end()[0] == 0


def test_handlers_run_and_the_wait_goes_on(child, library, make_model, record, gate):
    model = make_model({"runs": [{"prefill_ms": HELD, "steps": ["fine"]}]})
    code = """
    record = sys.argv[3]
    signal.signal(signal.SIGUSR1, lambda *_: say("handled"))
    signal.signal(signal.SIGINT, lambda *_: say("handled"))
    llm = RKLLM(model, library=library)
    stream = llm.stream("1")
    BEGAN
    say("answer", stream.result().text)
    """.replace("BEGAN", BEGAN)
    running = child(code, library, model, record)
    running.expect("running")
    for number in (signal.SIGUSR1, signal.SIGINT):
        running.signal(number)
        running.expect("handled")
    gate.touch()
    assert running.expect("answer")[1] == "fine"
    assert running.end()[0] == 0


def test_a_handler_that_raises(child, library, make_model, record, gate):
    model = make_model({"runs": [{"prefill_ms": HELD, "steps": ["a"]}, {"steps": ["fine"]}]})
    code = """
    record = sys.argv[3]
    class Stop(Exception): pass
    def handler(*_):
        raise Stop
    signal.signal(signal.SIGTERM, handler)
    llm = RKLLM(model, library=library)
    stream = llm.stream("1")
    try:
        BEGAN
        stream.result()
    except Stop:
        say("interrupted")
    say("answer", llm.generate("2").text)
    """.replace("BEGAN", BEGAN)
    running = child(code, library, model, record)
    running.expect("running")
    interrupt(running, signal.SIGTERM)
    gate.touch()
    assert running.expect("answer")[1] == "fine"
    assert running.end()[0] == 0


@pytest.mark.parametrize("phase", [{"prefill_ms": HELD}, {}])
def test_in_asyncio(child, library, make_model, record, gate, phase):
    model = make_model({"runs": [{**ENDLESS, **phase}, {"steps": ["fine"]}]})
    code = """
    import asyncio
    record = sys.argv[3]
    llm = RKLLM(model, library=library)
    async def main():
        stream = llm.stream("1")
        await asyncio.to_thread(began, record)
        say("running")
        async for chunk in stream:
            pass
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        say("interrupted")
    say("answer", llm.generate("2").text)
    """.replace("BEGAN", BEGAN)
    running = child(code, library, model, record)
    running.expect("running")
    interrupt(running)
    if phase:
        assert not calls(record, "run_end")
        gate.touch()
    assert running.expect("answer")[1] == "fine"
    assert running.end()[0] == 0


def test_uncaught(child, library, make_model, record):
    model = make_model({"runs": [ENDLESS]})
    running = child(
        f"record = sys.argv[3]\nllm = RKLLM(model, library=library)\n{WORK['for']}", library, model, record
    )
    running.expect("running")
    running.signal(signal.SIGINT)
    status, _, err = running.end(timeout=60)
    assert status == -signal.SIGINT
    assert err.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.parametrize("isolate", [False, True])
def test_signals_are_left_to_the_programs_own_threads(child, library, make_model, isolate):
    code = """
    import os, socket
    llm = RKLLM(model, library=library, isolate=ISOLATE)
    llm.generate("1")
    # As an event loop does: the handler of the interpreter writes to a descriptor.
    near, far = socket.socketpair()
    far.setblocking(False)
    near.settimeout(30)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.set_wakeup_fd(far.fileno())
    # The thread that the kernel would choose does not take it now.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    say("woken", near.recv(1)[0])
    """.replace("ISOLATE", str(isolate))
    running = child(code, library, make_model({"runs": [{"steps": ["fine"]}] * 2}))
    assert running.expect("woken")[1] == str(int(signal.SIGUSR1))
    assert running.end()[0] == 0
