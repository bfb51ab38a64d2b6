"""Ctrl-C: control comes back at once, whatever the library is doing."""

from __future__ import annotations

import signal

import pytest

#: Most seconds until Ctrl-C has raised, on a busy machine; the library is stuck for much longer.
PROMPT = 1.0

READ = """
record = sys.argv[3]
llm = RKLLM(model, library=library)
try:
    say("ready")
    {work}
except KeyboardInterrupt:
    say("interrupted", time.monotonic())
begin = time.monotonic()
say("answer", llm.generate("2").text, time.monotonic())
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


def interrupt(running, word="interrupted"):
    """Sends SIGINT; the time until ``word``, by the clock of both."""
    sent = running.signal(signal.SIGINT)
    at = float(running.expect(word)[1])
    assert at - sent < PROMPT
    return sent


@pytest.mark.parametrize("work", WORK)
def test_during_the_tokens(child, library, make_model, record, work):
    model = make_model({"runs": [ENDLESS, {"steps": ["fine"]}]})
    running = child(READ.format(work=WORK[work]), library, model, record)
    running.expect("running")
    interrupt(running)
    assert running.expect("answer")[1] == "fine"
    assert running.end()[0] == 0


@pytest.mark.hazard("A2")
def test_during_the_prompt(child, library, make_model, record):
    model = make_model({"runs": [{"prefill_ms": 3000, **ENDLESS}, {"steps": ["fine"]}]})
    running = child(READ.format(work=WORK["generate"]), library, model, record)
    running.expect("running")
    sent = interrupt(running)
    _, text, at = running.expect("answer")
    # The next call waits until the library has come back from the prompt.
    assert (text, float(at) - sent > 1.5) == ("fine", True)
    assert running.end()[0] == 0


def test_while_the_library_ignores_the_abort(child, library, make_model, record):
    model = make_model({"runs": [{**ENDLESS, "ignore_abort_ms": 3000}, {"steps": ["fine"]}]})
    running = child(READ.format(work=WORK["for"]), library, model, record)
    running.expect("running")
    sent = interrupt(running)
    _, text, at = running.expect("answer")
    assert (text, float(at) - sent > 2) == ("fine", True)
    assert running.end()[0] == 0


def test_during_the_load(child, library, make_model, record):
    slow, quick = make_model({"init": {"delay_ms": 4000}}), make_model(["fine"])
    code = """
    record, quick = sys.argv[3:]
    threading.Thread(target=lambda: (began(record, "rkllm_init"), say("loading")), daemon=True).start()
    try:
        RKLLM(model, library=library)
    except KeyboardInterrupt:
        say("interrupted", time.monotonic())
    # Waits for the library, which is still loading the first.
    with RKLLM(quick, library=library) as llm:
        say("answer", llm.generate("x").text)
    """.replace("BEGAN", BEGAN)
    running = child(code, library, slow, record, quick)
    running.expect("loading")
    interrupt(running)
    assert running.expect("answer")[1] == "fine"
    assert running.end()[0] == 0


def test_a_stream_that_was_interrupted_is_cancelled(child, library, make_model, record):
    model = make_model({"runs": [{**ENDLESS, "prefill_ms": 1500}, {"steps": ["fine"]}]})
    code = """
    record = sys.argv[3]
    llm = RKLLM(model, library=library)
    stream = llm.stream("1")
    try:
        BEGAN
        next(stream)
    except KeyboardInterrupt:
        say("interrupted", time.monotonic())
    say("then", stream.result().finish_reason, list(stream))
    """.replace("BEGAN", BEGAN)
    running = child(code, library, model, record)
    running.expect("running")
    interrupt(running)
    assert running.expect("then") == ["then", "cancelled", "[]"]
    assert running.end()[0] == 0


def test_handlers_run_and_the_wait_goes_on(child, library, make_model, record):
    model = make_model({"runs": [{"prefill_ms": 1500, "steps": ["fine"]}]})
    code = """
    record = sys.argv[3]
    signal.signal(signal.SIGUSR1, lambda *_: say("handled", time.monotonic()))
    signal.signal(signal.SIGINT, lambda *_: say("handled", time.monotonic()))
    llm = RKLLM(model, library=library)
    stream = llm.stream("1")
    BEGAN
    say("answer", stream.result().text)
    """.replace("BEGAN", BEGAN)
    running = child(code, library, model, record)
    running.expect("running")
    for number in (signal.SIGUSR1, signal.SIGINT):
        sent = running.signal(number)
        assert float(running.expect("handled")[1]) - sent < PROMPT
    assert running.expect("answer")[1] == "fine"
    assert running.end()[0] == 0


def test_a_handler_that_raises(child, library, make_model, record):
    model = make_model({"runs": [{"prefill_ms": 2000, "steps": ["a"]}, {"steps": ["fine"]}]})
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
        say("interrupted", time.monotonic())
    say("answer", llm.generate("2").text)
    """.replace("BEGAN", BEGAN)
    running = child(code, library, model, record)
    running.expect("running")
    sent = running.signal(signal.SIGTERM)
    assert float(running.expect("interrupted")[1]) - sent < PROMPT
    assert running.expect("answer")[1] == "fine"
    assert running.end()[0] == 0


@pytest.mark.parametrize("phase", [{"prefill_ms": 2500}, {}])
def test_in_asyncio(child, library, make_model, record, phase):
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
        say("interrupted", time.monotonic())
    say("answer", llm.generate("2").text)
    """.replace("BEGAN", BEGAN)
    running = child(code, library, model, record)
    running.expect("running")
    interrupt(running)
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
