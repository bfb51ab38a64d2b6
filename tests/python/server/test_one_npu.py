"""Two servers on one NPU: their runs take turns, whoever dies lets the other one go on, and both say so."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from serving import on_fake, run
from wire import Server

from fakes import calls, fake_library, fake_model
from rkllm_rs import npu_lock
from support import HELD, PATIENCE, began, in_thread, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}
CHAT = "/v1/chat/completions"


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "record.jsonl"


@pytest.fixture
def servers(tmp_path: Path, record: Path, gate: Path) -> Iterator[list[Server]]:
    """Two of them, whose runs take until the gate is open."""
    library = fake_library(tmp_path / "lib", "v1_3_1", record=record, quiet=True)
    made: list[Server] = []
    try:
        for name in ("one", "two"):
            fake_model(tmp_path / name, gate=gate, runs=[{"prefill_ms": HELD, "steps": [name]}])
            line = ["-m", "rkllm_rs", "serve", name, "--library", str(library), "--port", "0"]
            made.append(Server(line, cwd=tmp_path))
        for server in made:
            wait_until(lambda server=server: server.ask("GET", "/health").status == 200, "health")
        yield made
    finally:
        gate.touch()
        for server in made:
            server.close()


def asked(server: Server) -> Callable[[], str]:
    """Asks for an answer; gives its text when it is called."""

    def answer() -> str:
        got = server.ask("POST", CHAT, ASK)
        assert got.status == 200, got
        return str(got.json["choices"][0]["message"]["content"])

    return in_thread(answer)


def lock(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = server.ask("GET", "/status").json["npu_lock"]
    return found


def test_e11_requests_to_two_servers_are_all_answered_one_run_at_a_time(
    servers: list[Server], record: Path, gate: Path
) -> None:
    first, second = servers
    answers = [asked(first)]
    began(record)
    answers.append(asked(second))
    wait_until(lambda: lock(second)["waiting"] == 1, "the second one in the line")
    # Both say who has the NPU, and both are well.
    for server in servers:
        assert (lock(server)["held"], lock(server)["holder_pid"]) == (True, first.process.pid)
        assert server.ask("GET", "/health").status == 200
    answers += [asked(server) for server in servers for _ in range(2)]
    assert len(calls(record, "rkllm_run")) == 1
    gate.touch()
    assert [answer() for answer in answers] == ["one", "two", "one", "one", "two", "two"]
    order = [call["fn"] for call in calls(record) if call["fn"] in ("rkllm_run", "run_end")]
    assert order == ["rkllm_run", "run_end"] * 6
    assert not lock(second)["held"]


def test_e11_a_server_that_is_killed_in_its_run_frees_the_npu(
    servers: list[Server], record: Path, gate: Path
) -> None:
    first, second = servers
    lost = asked(first)
    began(record)
    answer = asked(second)
    wait_until(lambda: lock(second)["waiting"] == 1, "the second one in the line")
    first.process.kill()
    # The gate is shut: the run of the one that was killed has not come to its end.
    began(record, count=2)
    with pytest.raises(AssertionError):
        lost()
    gate.touch()
    assert answer() == "two"
    assert [call["end"] for call in calls(record, "run_end")] == ["played"]


def test_e11_a_server_that_waits_too_long_for_the_npu_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = {"one": {"runs": [run("there")]}}
    serving = on_fake(tmp_path / "server", scripts, queue_timeout=0.1, kill_after=0.1)
    try:
        serving.ready()
        monkeypatch.setenv("RKLLM_RS_NPU_LOCK", serving.environment["RKLLM_RS_NPU_LOCK"])
        with npu_lock(timeout=PATIENCE):
            refused = serving.post(CHAT, ASK)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
            assert int(refused.headers["retry-after"]) > 0
            assert serving.http.get("/status").json()["npu_lock"]["holder_pid"] == os.getpid()
        assert serving.post(CHAT, ASK).status_code == 200
        assert len(serving.runs()) == 1
    finally:
        serving.stop()
