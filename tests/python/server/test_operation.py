"""Starting, stopping and watching a server: checks E9, E12 and E17 of its reference, on the floor alone."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from wire import HERE, Server, subject

from rkllm_rs.errors import UnsupportedFeatureError
from rkllm_rs.server import running
from support import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path


def events(client: Any) -> bytes:
    return b"".join(iter(client.chunk, b""))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_e9_what_is_under_way_comes_to_its_end(number: int) -> None:
    with subject() as server, server.connect() as stream, server.connect() as slow, server.connect() as idle:
        stream.ask("POST", "/v1/stream", {"n": 2, "hang": True})
        stream.head()
        slow.ask("POST", "/v1/slow", {})
        idle.ask("GET", "/")
        assert idle.answer().status == 200
        server.until(slow_began=1)
        server.signal(number)
        end = time.monotonic() + PATIENCE
        while (refused := server.ask("POST", "/v1/echo", {})).status != 503:
            assert time.monotonic() < end
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json["error"]["type"] == "unavailable_error"
        assert server.ask("GET", "/v1/models/x").status == 200
        assert server.process.poll() is None
        server.ask("GET", "/free")
        assert b"[DONE]" in events(stream)
        assert slow.answer().json == {"ok": True}
        assert idle.is_closed()
        status, log = server.end()
        assert status == 0, log
        assert "Traceback" not in log
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", server.port))


@pytest.mark.parametrize("path", ["/v1/stream", "/api/stream", "/v1/messages/stream"])
def test_e9_at_the_end_of_the_time_streams_get_an_error_event(path: str) -> None:
    with subject(drain=0.3) as server, server.connect() as stream, server.connect() as slow:
        stream.ask("POST", path, {"n": 1, "hang": True})
        stream.head()
        slow.ask("POST", path.replace("stream", "slow"), {})
        server.until(slow_began=1, events=1)
        server.signal(signal.SIGTERM)
        last = events(stream).rstrip(b"\n").rsplit(b"\n", 1)[1]
        assert json.loads(last.removeprefix(b"data: "))["error"]
        answer = slow.answer()
        assert (answer.status, answer.headers["retry-after"]) == (503, "10")
        status, log = server.end()
        assert status == 0, log
        assert "Traceback" not in log


def test_e9_a_second_signal_ends_it_now() -> None:
    with subject(drain=1000) as server, server.connect() as stream:
        stream.ask("POST", "/v1/stream", {"n": 1, "hang": True})
        stream.head()
        server.until(events=1)
        server.signal(signal.SIGTERM)
        while server.ask("POST", "/v1/echo", {}).status != 503:
            pass
        server.signal(signal.SIGTERM)
        began = time.monotonic()
        status, log = server.end()
        assert status == 128 + signal.SIGTERM
        assert "Traceback" not in log
        assert time.monotonic() - began < 20


def test_sighup_reads_again_and_loses_no_request() -> None:
    with subject(guard={"keys": ["before"]}) as server, server.connect() as stream:
        stream.ask("POST", "/v1/stream", {"n": 1, "hang": True}, {"x-api-key": "before"})
        stream.head()
        server.signal(signal.SIGHUP)
        server.until(reloads=1)
        assert server.ask("POST", "/v1/echo", {}, x_api_key="before").status == 401
        assert server.ask("POST", "/v1/echo", {}, x_api_key="after").status == 200
        server.ask("GET", "/free")
        assert b"[DONE]" in events(stream)


def test_e12_the_log_has_ids_and_no_prompts_or_keys() -> None:
    """At all levels, whatever part of a request the words were in."""
    with subject(guard={"keys": ["canary-key"]}) as server:
        key = {"x_api_key": "canary-key"}
        chat = {"messages": [{"content": "canary-prompt"}]}
        server.ask("POST", "/v1/echo", chat, x_request_id="seen-1", **key)
        server.ask("POST", "/v1/echo", b'{"canary-prompt', **key)
        server.ask("POST", "/v1/echo?canary-query=1", {}, Authorization="Bearer canary-wrong")
        server.ask("GET", "/canary-path", **key)
        server.ask("GET", "/v1/models/canary-model", **key)
        server.ask("CANARYMETHOD", "/", **key)
        server.ask("POST", "/v1/stream", {"n": 1, "canary-prompt": 1}, Host="canary-host", **key)
        server.ask("GET", "/", x_request_id="a%0Aid=forged", **key)
        failed = server.ask("POST", "/v1/fail", {"kind": "RuntimeError", "message": "boom"}, **key)
        log = server.stop()
    assert failed.json["error"]["type"] == "server_error"
    assert "boom" not in failed.body.decode()
    assert failed.headers["x-request-id"] in log
    assert "RuntimeError: boom" in log
    assert "id=seen-1" in log
    assert "canary" not in log.lower()
    lines = [line for line in log.splitlines() if line.startswith("rkllm_rs.server.access ")]
    assert len(lines) == 9
    for line in lines:
        fields = dict(word.split("=", 1) for word in line.split()[1:])
        assert {"id", "client", "method", "route", "status", "total_ms"} <= set(fields)


@pytest.mark.parametrize(
    ("kind", "fields", "status", "code"),
    [
        ("ContextLengthError", {"needed": 5000, "limit": 4096}, 400, "context_length_exceeded"),
        ("InvalidArgumentError", {"argument": "top_p"}, 400, None),
        ("InvalidTypeError", {}, 400, None),
        ("SchemaError", {}, 400, "invalid_schema"),
        ("TemplateError", {}, 400, None),
        ("UnsupportedFeatureError", {}, 400, None),
        ("GenerationTimeout", {}, 504, "timeout"),
        ("BusyError", {}, 503, "busy"),
        ("WorkerCrashed", {}, 503, "worker_crashed"),
        ("ClosedError", {}, 503, "model_unloading"),
        ("NpuMemoryError", {}, 503, "out_of_memory"),
        ("ModelNotFoundError", {}, 500, "model_not_loaded"),
        ("LibraryNotFoundError", {}, 500, "model_not_loaded"),
        ("GenerationError", {}, 500, "generation_failed"),
        ("FileMissingError", {}, 500, "internal_error"),
        ("none of ours", {}, 500, "internal_error"),
    ],
)
def test_our_errors_as_answers(
    errors_server: Server, kind: str, fields: dict[str, Any], status: int, code: str | None
) -> None:
    for path in ("/v1/fail", "/api/fail", "/v1/messages/fail"):
        answer = errors_server.ask("POST", path, {"kind": kind, "fields": fields})
        text = answer.body.decode()
        assert answer.status == status, answer
        assert "secret" not in text
        assert "Traceback" not in text
        assert ("retry-after" in answer.headers) == (status == 503)
        if path == "/v1/fail":
            assert answer.json["error"]["code"] == code
            assert answer.json["error"]["param"] == {"top_p": "top_p"}.get(
                fields.get("argument", ""), "messages" if "needed" in fields else None
            )
        if "needed" in fields:
            assert "5000" in text
            assert "4096" in text


@pytest.fixture(scope="module")
def errors_server() -> Any:
    with subject() as server:
        yield server


def test_e17_the_ready_line_and_systemd(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE)
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "20000",
        }
        server = Server([str(HERE / "floor_subject.py"), json.dumps({"ports": 2})], env=environment)
        try:
            assert systemd.recv(100) == b"READY=1"
            # Again and again, as long as its event loop goes on.
            assert [systemd.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
            assert len(server.ports) == 2
            for port in server.ports:
                server.port = port
                assert server.ask("GET", "/health").status == 200
            server.signal(signal.SIGTERM)
            while (told := systemd.recv(100)) == b"WATCHDOG=1":
                pass
            assert told == b"STOPPING=1"
            assert server.end()[0] == 0
        finally:
            server.close()


def test_e16_what_is_imported() -> None:
    code = (
        "import sys, rkllm_rs, rkllm_rs.cli;"
        "print([name for name in sys.modules if name.startswith(('rkllm_rs.server', 'uvicorn', 'h11'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_kept_connection_does_not_wait_for_acknowledgements() -> None:
    """Else the kernel holds each answer back for 40 ms."""

    async def accepted() -> int:
        asked: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                sock = transport.get_extra_info("socket")
                asked.set_result(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
                transport.close()

        (listening,) = running.listen("127.0.0.1", [0])
        async with await asyncio.get_running_loop().create_server(Protocol, sock=listening):
            _reader, writer = await asyncio.open_connection(*listening.getsockname())
            answer = await asked
            writer.close()
            await writer.wait_closed()
        return answer

    assert asyncio.run(accepted())


@pytest.mark.parametrize(
    ("name", "version", "works"),
    [
        ("uvicorn", "0.23.2", False),
        ("uvicorn", "0.29.0rc1", True),
        ("uvicorn", "1.0", True),
        ("h11", "0.14.0", False),
        ("h11", "0.16.0+debian", True),
    ],
)
def test_packages_that_are_too_old(
    monkeypatch: pytest.MonkeyPatch, name: str, version: str, *, works: bool
) -> None:
    monkeypatch.setattr(f"{name}.__version__", version)
    if works:
        running.check_installed()
    else:
        with pytest.raises(UnsupportedFeatureError) as raised:
            running.serve(None, [])  # type: ignore[arg-type] - refused before
        assert f"'{name}>={running.LEAST[name]}'" in (raised.value.hint or "")


def test_the_extra_asks_for_what_the_server_needs() -> None:
    text = (HERE.parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    (line,) = re.findall(r"^server = (.*)$", text, re.MULTILINE)
    assert all(f'"{name}>={least},' in line for name, least in running.LEAST.items())
