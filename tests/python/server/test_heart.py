"""Queue, models and workers of a server: hang-ups, turns, crashes, loading and unloading.

Long because each check of group E needs a server in a state of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from serving import on_fake, read_until, run

from fakes import calls, fake_model
from support import HELD, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from serving import Serving

ASK: Any = [{"role": "user", "content": "Hi"}]
CHAT = "/v1/chat/completions"
#: A stream that waits says so at once.
SOON = {"header_seconds": 0.05, "beat_seconds": 0.5}
ENDLESS = run("x", repeat=100_000, delay_ms=5)


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Serving]]:
    """Starts servers on scripts."""
    started: list[Serving] = []

    def begin(**options: Any) -> Serving:
        scripts = options.pop("scripts")
        serving = on_fake(tmp_path_factory.mktemp("server"), scripts, **options)
        started.append(serving)
        return serving

    yield begin
    for serving in started:
        serving.stop()


def body(**more: Any) -> dict[str, Any]:
    return {"messages": ASK, "max_tokens": 100_000, **more}


def status(serving: Serving, name: str) -> str:
    listed = serving.http.get("/v1/models").json()["data"]
    return next(one["status"]["value"] for one in listed if one["id"] == name)


def kill(serving: Serving) -> None:
    """Kills the worker of the only model."""
    os.kill(worker_of(serving), signal.SIGKILL)


def worker_of(serving: Serving) -> int:
    """The process that has opened the only model last."""
    for line in reversed(calls(serving.record, "rkllm_init")):
        for entry in os.listdir("/proc"):
            if entry.isdecimal() and os.path.exists(f"/proc/{entry}/task/{line['thread']}"):
                return int(entry)
    message = "there is no worker"
    raise AssertionError(message)


@pytest.mark.parametrize("stream", [True, False])
def test_e1_a_client_that_hangs_up_ends_its_run(start: Callable[..., Serving], stream: Any) -> None:
    serving = start(scripts={"one": {"runs": [ENDLESS, run("all", " of it")]}}).ready()
    sock = serving.connect(CHAT, body(stream=stream))
    if stream:
        read_until(sock, b'"content":"x"')
    else:
        serving.wait_for(serving.runs, "the run")
    sock.close()
    answer = serving.post(CHAT, body()).json()
    assert answer["choices"][0]["message"]["content"] == "all of it"
    assert serving.ends() == ["aborted", "played"]
    if stream:
        # What it was sent is counted, too.
        lines = serving.http.get("/metrics").text.splitlines()
        (line,) = (one for one in lines if one.startswith("rkllm_generated_tokens_total"))
        assert float(line.split()[-1]) > 2


def test_e1_a_client_that_hangs_up_leaves_the_queue(start: Callable[..., Serving]) -> None:
    serving = start(scripts={"one": {"runs": [ENDLESS, run("second")]}}, queue=1, limits=SOON).ready()
    first = serving.connect(CHAT, body(stream=True))
    read_until(first, b'"content":"x"')
    waiting = serving.connect(CHAT, body(stream=True))
    read_until(waiting, b"role")
    assert serving.post(CHAT, body()).status_code == 429
    refused = 'rkllm_aborted_total{reason="queue_full"} 1\n'
    serving.wait_for(lambda: refused in serving.http.get("/metrics").text, "its figure")
    waiting.close()
    there: list[Any] = []

    def has_room() -> bool:
        sock = serving.connect(CHAT, body(stream=True))
        if b" 200 " not in read_until(sock, b"\r\n\r\n"):
            return False
        there.append(sock)
        return True

    serving.wait_for(has_room, "room in the queue")
    first.close()
    assert b'"content":"second"' in read_until(there[0], b"[DONE]")
    # The one that left was never run.
    assert len(serving.runs()) == 2


def test_e2_hang_ups_leave_nothing(start: Callable[..., Serving]) -> None:
    serving = start(scripts={"one": {"runs": [run("a", "b", delay_ms=2)]}}).ready()

    def open_files() -> int:
        # After a request, for which what is idle was let go of.
        assert serving.post(CHAT, body()).status_code == 200
        return len(os.listdir(f"/proc/{serving.process.pid}/fd"))

    for turn in range(20):
        hang_up(serving, turn)
    before = open_files()
    for turn in range(300):
        hang_up(serving, turn)
    assert open_files() <= before + 2


def hang_up(serving: Serving, turn: int) -> None:
    """Leaves at a point that differs from time to time."""
    sock = serving.connect(CHAT, body(stream=turn % 2 == 0))
    time.sleep(turn % 17 / 2000)
    sock.close()


def test_e4_a_full_queue_says_when_to_come_again(start: Callable[..., Serving]) -> None:
    serving = start(scripts={"one": {"runs": [ENDLESS, run("done")]}}, queue=0).ready()
    first = serving.connect(CHAT, body(stream=True))
    read_until(first, b'"content":"x"')
    answer = serving.post(CHAT, body())
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 30
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "queue_full")
    threading.Timer(0.3, first.close).start()
    # The official client comes again by itself.
    with openai.OpenAI(base_url=f"{serving.url}/v1", api_key="x", max_retries=3) as client:
        again = client.chat.completions.create(model="one", messages=ASK)
    assert again.choices[0].message.content == "done"


def test_e6_clients_take_turns(start: Callable[..., Serving]) -> None:
    script = {"runs": [ENDLESS, {"steps": [{"echo": True}]}]}
    serving = start(
        scripts={"one": script},
        chat_template="{{ messages[-1].content }}",
        api_key=["a", "b", "c"],
        queue=16,
        limits=SOON,
    ).ready()

    def connect(key: str, text: str) -> Any:
        data = body(messages=[{"role": "user", "content": text}], stream=True)
        content = json.dumps(data).encode()
        return serving.send(
            f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Length: {len(content)}\r\n\r\n".encode()
            + content
        )

    first = connect("a", "first")
    read_until(first, b'"content":"x"')
    waiting = []
    for text in ("a1", "a2", "a3", "b1", "b2", "c1"):
        waiting.append(connect(text[0], text))
        # In this order, and not as the connections are accepted.
        read_until(waiting[-1], b"role")
    first.close()
    for sock in waiting:
        read_until(sock, b"[DONE]")
        sock.close()
    assert serving.prompts() == ["first", "b1", "c1", "a1", "b2", "a2", "a3"]


def test_c11_a_chat_waits_for_one_extra_call(start: Callable[..., Serving]) -> None:
    # As Open WebUI asks: titles, tags and more without a stream, at once, with the key of all users.
    script = {"runs": [ENDLESS, {"steps": [{"echo": True}]}]}
    serving = start(scripts={"one": script}, chat_template="{{ messages[-1].content }}").ready()
    sockets = []
    asked = (
        ("title", False),
        ("tags", False),
        ("more", False),
        ("last", False),
        ("chat", True),
        ("next", True),
    )
    for number, (text, stream) in enumerate(asked):
        data = body(messages=[{"role": "user", "content": text}], stream=stream)
        sockets.append(serving.connect(CHAT, data))
        # In this order: one runs, and the others wait.
        wanted = {"running": 1, "waiting": number}
        serving.wait_for(lambda w=wanted: w.items() <= queue(serving).items(), text)
    sockets[0].close()
    for sock, (text, _) in zip(sockets[1:], asked[1:], strict=True):
        read_until(sock, text.encode())
    assert serving.prompts() == ["title", "chat", "tags", "next", "more", "last"]


def queue(serving: Serving) -> dict[str, int]:
    told: dict[str, int] = serving.http.get("/status").json()["queue"]
    return told


def test_a19_a_worker_that_is_killed(start: Callable[..., Serving]) -> None:
    slow = {"steps": ["late"], "prefill_ms": 60_000}
    serving = start(scripts={"one": {"runs": [ENDLESS]}}).ready()
    with openai.OpenAI(base_url=f"{serving.url}/v1", api_key="x", max_retries=0) as client:
        stream = client.chat.completions.create(model="one", messages=ASK, stream=True, max_tokens=100_000)
        assert next(one for one in stream if one.choices[0].delta.content)
        kill(serving)
        with pytest.raises(openai.APIError) as raised:
            for _ in stream:
                pass
        assert raised.value.message
        # The server starts it again by itself.
        serving.ready()
        again = client.chat.completions.create(model="one", messages=ASK, max_tokens=3, stream=True)
        assert next(one for one in again if one.choices[0].delta.content)
        again.close()
    serving = start(scripts={"one": {"runs": [slow]}}).ready()
    sock = serving.connect(CHAT, body())
    serving.wait_for(serving.runs, "the run")
    kill(serving)
    head = read_until(sock, b"\r\n\r\n").lower()
    assert head.split()[1] in (b"500", b"503")
    assert b"retry-after" in head
    sock.close()
    serving.ready()


def test_e7_health_asks_the_worker(start: Callable[..., Serving], tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    serving = start(scripts={"one": {"runs": [ENDLESS]}}, library_waits_for=gate)
    serving.wait_for(lambda: serving.health() == 503, "a server that loads its model")
    refused = serving.http.get("/health")
    assert refused.json()["error"]["code"] == 503
    assert serving.http.get("/livez").status_code == 200
    gate.touch()
    serving.ready()
    # Busy is well.
    sock = serving.connect(CHAT, body(stream=True))
    read_until(sock, b'"content":"x"')
    assert serving.health() == 200
    assert serving.http.get("/health?fail_on_busy=1").status_code == 503
    gate.unlink()
    kill(serving)
    serving.wait_for(lambda: serving.health() == 503, "the end of the worker")
    # What comes now is sent away, and may come again.
    answer = serving.post(CHAT, body(max_tokens=1))
    if answer.status_code != 200:
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    gate.touch()
    sock.close()
    serving.ready()
    assert len(calls(serving.record, "rkllm_init")) == 2


def test_few_wait_for_a_model_without_a_run(start: Callable[..., Serving], tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    serving = start(scripts={"one": {"runs": [run("a")]}}, library_waits_for=gate, queue=1)
    asked = [
        serving.connect("/tokenize", {"content": "x"}),
        serving.connect("/v1/messages/count_tokens", {"messages": [{"role": "user", "content": "x"}]}),
    ]
    # Whichever comes first waits for the model, and the other one is sent away.
    (first, *_), _, _ = select.select(asked, [], [], PATIENCE)
    assert first.recv(65536).startswith(b"HTTP/1.1 429 ")
    gate.touch()
    asked.remove(first)
    asked[0].settimeout(PATIENCE)
    # The library tells no tokens.
    assert asked[0].recv(65536).startswith(b"HTTP/1.1 400 ")


def test_e8_health_keeps_no_model_loaded(start: Callable[..., Serving]) -> None:
    serving = start(scripts={"one": {"runs": [run("a")]}, "two": {"runs": [run("b")]}}, keep_alive=0.5)
    assert serving.ready().post(CHAT, body(model="one")).status_code == 200
    until = time.monotonic() + PATIENCE
    while status(serving, "one") != "unloaded":
        assert serving.health() == 200
        assert time.monotonic() < until
    assert calls(serving.record, "rkllm_destroy")
    # The next request loads it again.
    assert serving.post(CHAT, body(model="one")).json()["choices"][0]["message"]["content"] == "a"


def test_e8_a_model_in_use_is_not_unloaded(start: Callable[..., Serving], tmp_path: Path) -> None:
    """Its time has run out, and clients ask for its end: both wait for the last request."""
    gate = tmp_path / "gate"
    held = run("a", {"text": "b", "delay_ms": HELD}, "c")
    serving = start(scripts={"one": {"gate": str(gate), "runs": [held]}}, keep_alive=0).ready()
    sock = serving.connect(CHAT, body(stream=True))
    had = read_until(sock, b'"content":"a"')
    ended = len(calls(serving.record, "rkllm_destroy"))
    for _ in range(5):
        # Each has the model for a moment, and leaves.
        serving.post("/tokenize", {"content": "x"})
        serving.post("/api/generate", {"keep_alive": 0})
        serving.post("/api/chat", {"messages": [], "keep_alive": 0})
    assert status(serving, "one") == "ready"
    assert len(calls(serving.record, "rkllm_destroy")) == ended
    gate.touch()
    had += read_until(sock, b"[DONE]")
    assert [text in had for text in (b'"content":"b"', b'"content":"c"')] == [True, True]
    serving.wait_for(lambda: status(serving, "one") == "unloaded", "the end of the model")

    def ask(_number: int) -> list[Any]:
        answers = [serving.post(CHAT, body()) for _ in range(2)]
        return [(one.status_code, one.text.count('"content":"abc"')) for one in answers]

    # Whoever comes while it goes waits until it is back.
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(ask, range(2))) == [[(200, 1)] * 2] * 2
    last = ""
    for line in calls(serving.record):
        assert (last, line["fn"]) != ("rkllm_run", "rkllm_destroy")
        last = line["fn"] if line["fn"] in ("rkllm_run", "run_end", "rkllm_init") else last


def test_e10_models_are_switched_under_load(start: Callable[..., Serving]) -> None:
    names = ("one", "two", "three")
    scripts = {name: {"runs": [run(name, delay_ms=2)]} for name in names}
    serving = start(scripts=scripts, max_loaded=1, queue=64).ready()
    wrong: list[Any] = []

    def ask(number: int) -> None:
        with httpx.Client(base_url=serving.url, timeout=PATIENCE) as client:
            for turn in range(3):
                name = names[(number + turn) % 3]
                answer = client.post(CHAT, json=body(model=name))
                text = answer.status_code == 200 and answer.json()["choices"][0]["message"]["content"]
                if text != name:
                    wrong.append((name, answer.status_code, answer.text))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not wrong
    # Never two at a time.
    loaded = 0
    for line in calls(serving.record):
        loaded += {"rkllm_init": 1, "rkllm_destroy": -1}.get(line["fn"], 0)
        assert loaded <= 1
    assert serving.post(CHAT, body(model="nobody")).status_code == 404


def test_a_model_that_cannot_be_loaded(start: Callable[..., Serving]) -> None:
    broken = {"init": {"return": -1, "log": [["stderr", "E rkllm: failed to load /secret/model.rkllm"]]}}
    no_npu = {"init": {"return": -1, "log": [["stderr", "E rkllm: failed to open rknn device /dev/x"]]}}
    serving = start(scripts={"good": {"runs": [run("a")]}, "bad": broken, "no npu": no_npu}).ready()
    for name, code in (("bad", "model_not_loaded"), ("no npu", "npu_failed")):
        answer = serving.post(CHAT, body(model=name))
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, code)
        assert "/" not in answer.json()["error"]["message"]
        # The official clients do not ask again for what the operator must mend.
        assert answer.headers["x-should-retry"] == "false"
    # The other one is well, and so is the server.
    assert serving.post(CHAT, body(model="good")).status_code == 200
    assert serving.health() == 200


def test_a_request_that_waits_too_long_is_told_so(start: Callable[..., Serving]) -> None:
    serving = start(scripts={"one": {"runs": [ENDLESS]}}, queue_timeout=0.2).ready()
    first = serving.connect(CHAT, body(stream=True))
    read_until(first, b'"content":"x"')
    answer = serving.post(CHAT, body())
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "queue_timeout")
    serving.wait_for(lambda: "reason=queue_timeout" in serving.told(), "its line")
    line = next(one for one in serving.told().splitlines() if "reason=queue_timeout" in one)
    assert "queue_ms=0" not in line
    text = serving.http.get("/metrics").text
    assert float(re.findall(r"^rkllm_queue_seconds_sum{.*} (.+)$", text, re.MULTILINE)[0]) > 0
    assert 'rkllm_aborted_total{reason="queue_timeout"} 1\n' in text
    first.close()


def test_a_request_has_a_limit_in_each_dialect(start: Callable[..., Serving]) -> None:
    serving = start(scripts={"one": {"runs": [ENDLESS]}}, request_timeout=2, limits=SOON).ready()
    first = serving.connect(CHAT, body(stream=True))
    read_until(first, b'"content":"x"')
    # More tokens than there is time for, also where the first one is over early.
    most = 100_000
    dialects: list[tuple[str, Any, dict[str, str]]] = [
        (CHAT, body(), {"code": "request_timeout", "type": "server_error"}),
        ("/v1/messages", body(model="one"), {"type": "timeout_error"}),
        ("/api/chat", {"messages": ASK, "model": "one", "options": {"num_predict": most}}, {}),
        ("/v1/responses", {"input": "Hi", "max_output_tokens": most}, {"code": "request_timeout"}),
    ]

    def ask(path: str, asked: dict[str, Any], told: dict[str, str]) -> None:
        # Before an answer has begun it is a status, and official clients do not try it again by themselves.
        answer = serving.post(path, {**asked, "stream": False})
        assert (answer.status_code, answer.headers["x-should-retry"]) == (504, "false")
        error = answer.json()["error"]
        assert not told or {name: error[name] for name in told} == told

    def listen(path: str, asked: dict[str, Any]) -> None:
        # Later it is the last event of the stream.
        answer = serving.post(path, {**asked, "stream": True})
        assert answer.status_code == 200
        lines = [line for line in answer.text.splitlines() if line.strip()]
        assert len(lines) > 1
        assert "longer than" in json.dumps(json.loads(lines[-1].removeprefix("data: ")))

    with ThreadPoolExecutor(16) as pool:
        # The first one holds the model until its own time is over; each of these then as long as it has any.
        asking = [pool.submit(ask, *one) for one in dialects]
        asking += [pool.submit(listen, path, asked) for path, asked, _told in dialects]
        for one in asking:
            one.result()
    # The text that came before stays, and the model is free.
    told = read_until(first, b"request_timeout")
    assert b'"content":"x"' in told
    serving.wait_for(lambda: len(serving.ends()) == len(serving.runs()), "the end of the runs")
    assert set(serving.ends()) == {"aborted"}
    assert serving.http.get("/health").status_code == 200


def test_a_reader_that_stops_does_not_hold_the_model(start: Callable[..., Serving]) -> None:
    many = run("some text " * 100, repeat=3000)
    script = {"runs": [many, run("second")]}
    serving = start(scripts={"one": script}, max_context_len=4096).ready()
    sock = serving.connect(CHAT, body(stream=True))
    serving.wait_for(serving.runs, "the first run")
    answer = serving.post(CHAT, body())
    assert answer.json()["choices"][0]["message"]["content"] == "second"
    # Nothing of the first answer is lost.
    assert read_until(sock, b"[DONE]").count(b'"content":"some') == 3000
    with contextlib.suppress(OSError):
        sock.close()


def test_a_stream_waits_for_its_model_and_others_are_told_to_come_again(
    start: Callable[..., Serving], tmp_path: Any
) -> None:
    gate = tmp_path / "gate"
    scripts = {"one": {"runs": [run("there")]}, "two": {"runs": [run("b")]}}
    serving = start(scripts=scripts, load_wait=0.1, limits=SOON, library_waits_for=gate)
    answer = serving.post(CHAT, body(model="one"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_loading")
    assert int(answer.headers["retry-after"]) >= 1
    sock = serving.connect(CHAT, body(model="one", stream=True))
    # Its headers and a first chunk do not wait for the model, and a sign of life comes every now and then.
    had = read_until(sock, b"keep-alive")
    assert b" 200 " in had.splitlines()[0]
    assert b"role" in had
    assert serving.health() == 503
    gate.touch()
    assert b'"content":"there"' in read_until(sock, b"[DONE]")
    assert serving.ready().post(CHAT, body(model="one")).status_code == 200


def test_ps_tells_of_the_models_of_servers(start: Callable[..., Serving]) -> None:
    serving = start(scripts={"one": {"runs": [run("a")]}, "two": {"runs": [run("b")]}}).ready()

    def shown() -> dict[str, Any]:
        words = [sys.executable, "-m", "rkllm_rs", "ps", "--json"]
        done = subprocess.run(words, env=serving.environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        mine = [
            one for one in json.loads(done.stdout)["models"] if one.get("server_pid") == serving.process.pid
        ]
        return {one["name"]: one for one in mine}

    before = shown()
    assert [(name, one["state"], one["worker_pid"]) for name, one in before.items()] == [
        ("one", "unloaded", None),
        ("two", "unloaded", None),
    ]
    assert serving.post(CHAT, body(model="two")).status_code == 200
    two = shown()["two"]
    assert two["state"] == "ready"
    assert two["pid"] == two["worker_pid"]
    assert two["worker_of"] == serving.process.pid
    os.kill(two["worker_pid"], signal.SIGKILL)
    serving.wait_for(lambda: status(serving, "two") != "ready", "the end of the worker")
    serving.ready()
    again = shown()["two"]
    assert again["state"] == "ready"
    assert again["worker_pid"] not in (None, two["worker_pid"])
    # One that was killed leaves nothing that is believed.
    serving.process.kill()
    serving.process.wait()
    assert shown() == {}


def test_a_library_that_ignores_a_hang_up_is_replaced(start: Callable[..., Serving]) -> None:
    stubborn = run("x", repeat=100_000, delay_ms=5, ignore_abort=True, obey_max_new_tokens=True)
    serving = start(scripts={"one": {"runs": [stubborn]}}, kill_after=0.3, max_context_len=4096).ready()
    first = serving.connect(CHAT, body(stream=True))
    read_until(first, b'"content":"x"')
    first.close()
    # The next client does not suffer from it, though its run waits in the worker that is killed.
    answer = serving.post(CHAT, body(max_tokens=3))
    assert (answer.status_code, answer.json()["choices"][0]["message"]["content"]) == (200, "xxx")
    assert len(calls(serving.record, "rkllm_init")) == 2


def test_a_server_with_one_model_tries_again_by_itself(start: Callable[..., Serving]) -> None:
    serving = start(scripts={"one": {"init": {"return": -1}}})
    serving.wait_for(lambda: calls(serving.record, "rkllm_init"), "the first attempt")
    assert serving.health() == 503
    fake_model(serving.folder / "models" / "0", runs=[run("there")])
    # Without a request: a balancer sends none to a server that is not well.
    serving.ready()
    assert serving.post(CHAT, body()).json()["choices"][0]["message"]["content"] == "there"


def test_e7_a_worker_that_hangs_between_runs(start: Callable[..., Serving], tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    script = {"runs": [run("a")], "gate": str(gate), "get_kv_cache_size": {"delay_ms": HELD}}
    serving = start(scripts={"one": script}, health_timeout=0.2)
    question = "rkllm_get_kv_cache_size"
    serving.wait_for(lambda: serving.health() == 503 and calls(serving.record, question), "the question")
    for _ in range(20):
        assert serving.health() == 503
    assert serving.http.get("/livez").status_code == 200
    # All of them have asked the same.
    assert len(calls(serving.record, question)) == 1
    gate.touch()
    serving.ready()
    # A process that was stopped says nothing, and is left alone.
    worker = worker_of(serving)
    os.kill(worker, signal.SIGSTOP)
    serving.wait_for(lambda: serving.health() == 503, "a worker that was stopped")
    os.kill(worker, signal.SIGCONT)
    serving.ready()
    assert len(calls(serving.record, "rkllm_init")) == 1


def test_e7_a_library_that_hangs_between_runs_is_replaced(
    start: Callable[..., Serving], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    script = {"runs": [run("a")], "gate": str(gate), "get_kv_cache_size": {"delay_ms": HELD}}
    serving = start(scripts={"one": script}, health_timeout=0.1, kill_after=0.1)

    def again() -> bool:
        serving.health()
        return len(calls(serving.record, "rkllm_init")) > 1

    serving.wait_for(again, "another worker")
    gate.touch()
    serving.ready()


def test_e7_a_run_that_hangs_is_known_by_its_tokens(start: Callable[..., Serving], tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    runs = [run("x", prefill_ms=HELD), run("x", {"text": "y", "delay_ms": HELD})]
    serving = start(scripts={"one": {"runs": runs, "gate": str(gate)}}, silence_timeout=0.2).ready()
    sock = serving.connect(CHAT, body(stream=True))
    serving.wait_for(serving.runs, "the run")
    until = time.monotonic() + 0.6
    while time.monotonic() < until:
        # A long prompt is no reason to worry.
        assert serving.health() == 200
    gate.touch()
    read_until(sock, b"[DONE]")
    gate.unlink()
    sock = serving.connect(CHAT, body(stream=True))
    read_until(sock, b'"content":"x"')
    serving.wait_for(lambda: serving.health() == 503, "a run that has come to a halt")
    gate.touch()
    read_until(sock, b"[DONE]")
    assert serving.health() == 200
