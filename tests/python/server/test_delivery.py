"""Answers on their way: checks A17, C5, E1 to E3 and E5 of the server's reference, on the floor alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from typing import TYPE_CHECKING

import pytest
from wire import Server, subject

from rkllm_rs.server import asgi
from rkllm_rs.server.asgi import Floor
from rkllm_rs.server.guard import Guard
from rkllm_rs.server.http import Limits, Response
from rkllm_rs.server.routes import Routes
from rkllm_rs.server.stream import sse
from support import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

FAMILIES = ["/v1/stream", "/api/stream", "/v1/messages/stream"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with subject(limits={"beat_seconds": 0.1, "header_seconds": 0.1, "write_seconds": 0.5}) as one:
        yield one


def chunks(server: Server, path: str, **body: object) -> list[bytes]:
    """What each write of an answer had."""
    with server.connect() as client:
        client.ask("POST", path, body)
        status, headers = client.head()
        assert status == 200
        assert headers["cache-control"] == "no-cache"
        assert headers["x-accel-buffering"] == "no"
        kind = "application/x-ndjson" if path.startswith("/api/") else "text/event-stream; charset=utf-8"
        assert headers["content-type"] == kind
        if body.get("first") == "go":
            assert server.ask("GET", "/go").status == 200
        return list(iter(client.chunk, b""))


@pytest.mark.parametrize("path", FAMILIES)
def test_a17_c5_a_write_has_whole_events_and_characters(server: Server, path: str) -> None:
    written = chunks(server, path, n=3000, size=20)
    assert len(written) < 1500, "what waits is written at once"
    end = b"\n" if path.startswith("/api/") else b"\n\n"
    for data in written:
        assert data.endswith(end)
        assert "é漢😀" in data.decode() or b"[DONE]" in data
    lines = [line.removeprefix("data: ") for line in b"".join(written).decode().split(end.decode()) if line]
    numbers = [json.loads(line)["n"] for line in lines if line != "[DONE]"]
    assert numbers == list(range(3000))


def test_e5_an_event_goes_out_when_it_is_there(server: Server) -> None:
    with server.connect() as client:
        client.ask("POST", "/v1/stream", {"n": 3, "pause": 0.1, "hang": True})
        client.head()
        for number in range(3):
            assert json.loads(client.chunk().split(b": ", 1)[1])["n"] == number


@pytest.mark.parametrize("path", FAMILIES)
def test_e5_heartbeats(server: Server, path: str) -> None:
    """Headers and signs of life come before the first event, in the family's own form."""
    with server.connect() as client:
        client.ask("POST", path, {"first": "go", "n": 1})
        client.head()
        beats = [client.chunk() for _ in range(4)]
        assert server.ask("GET", "/go").status == 200
        seen = [*beats, *iter(client.chunk, b"")]
    if path.startswith("/api/"):
        assert all(json.loads(line)["done"] is False for line in beats)
        assert b"\n\n" not in b"".join(seen)
    elif path.startswith("/v1/messages"):
        assert all(line.startswith(b"event: ping\n") for line in beats)
    else:
        assert beats[:2] == [b": alive\n\n"] * 2
        assert json.loads(beats[2].removeprefix(b"data: ")) == {"beat": 3}  # for those that count no comments
    assert b'"n"' in seen[-1].replace(b" ", b"")


@pytest.mark.parametrize("path", FAMILIES)
def test_an_error_before_the_first_event_has_its_status(server: Server, path: str) -> None:
    answer = server.ask("POST", path, {"fail_at": 0})
    assert answer.status == 500
    assert "canary" not in answer.body.decode()
    assert answer.json["error"]


@pytest.mark.parametrize("path", FAMILIES)
@pytest.mark.parametrize("body", [{"fail_at": 2}, {"first": "go", "fail_at": 0}])
def test_a_later_error_is_the_last_event(server: Server, path: str, body: dict[str, object]) -> None:
    last = b"".join(chunks(server, path, **body)).rstrip(b"\n").rsplit(b"\n", 1)
    if path.startswith("/v1/messages"):
        assert last[0].endswith(b"event: error")
    data = json.loads(last[1].removeprefix(b"data: "))
    assert data["error"]
    assert "canary" not in str(data)
    assert b"[DONE]" not in b"".join(last)


def test_e1_hang_ups_end_the_work() -> None:
    with subject(limits={"header_seconds": 0.2}) as server:
        with server.connect() as client:  # mid-stream
            client.ask("POST", "/v1/stream", {"n": 2, "hang": True})
            client.head()
            client.chunk()
        server.until(stream_closed=1)
        with server.connect() as client:  # before the first event, headers not sent
            client.ask("POST", "/v1/stream", {"first": 100})
            server.until(stream_began=2)
        server.until(stream_closed=2)
        with server.connect() as client:  # an answer without a stream
            client.ask("POST", "/v1/slow", {})
            server.until(slow_began=1)
        server.until(slow_cancelled=1)
        with server.connect() as client:  # its own end of the connection only: the same
            client.ask("POST", "/v1/slow", {})
            server.until(slow_began=2)
            client.sock.shutdown(1)
            server.until(slow_cancelled=2)
        with server.connect() as client:  # after the end: a success
            client.ask("POST", "/v1/stream", {"n": 1}, {"x-request-id": "complete"})
            client.head()
            assert b"[DONE]" in client.chunk() or b"[DONE]" in client.chunk()
        server.until(stream_closed=3)
        log = server.stop()
    lines = [line for line in log.splitlines() if line.startswith("rkllm_rs.server.access ")]
    gone = [line for line in lines if "status=499" in line]
    assert len(gone) == 4
    assert all("reason=client_gone" in line for line in gone)
    assert [line for line in lines if "id=complete" in line and "status=200" in line]
    assert "Traceback" not in log


def test_e2_a_thousand_hang_ups_leave_nothing(server: Server) -> None:
    dice = random.Random(2)  # noqa: S311 - the same each time

    def hang_up() -> None:
        with server.connect() as client:
            body = json.dumps({"n": 50, "size": 500, "hang": True}).encode()
            path = dice.choice(["/v1/stream", "/v1/slow", "/api/stream"])
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            request = head + body
            client.send(
                request[: dice.choice([1, 30, len(head), len(request) - 1, len(request), len(request)])]
            )
            if dice.random() < 0.3:
                client.sock.setblocking(False)  # noqa: FBT003
                for _ in range(20):
                    try:
                        client.sock.recv(dice.randrange(1, 2000))
                        break
                    except BlockingIOError:
                        time.sleep(0.0005)

    for _ in range(100):
        hang_up()
    before = server.state()
    for _ in range(1000):
        hang_up()
    end = time.monotonic() + PATIENCE
    while True:
        after = server.state()
        left = after["stream_began"] - after["stream_closed"], after["slow_began"] - after["slow_cancelled"]
        if left == (0, 0) and after["fds"] <= before["fds"] + 2:
            break
        assert time.monotonic() < end, f"{before} became {after}"
        time.sleep(0.02)
    assert after["threads"] <= before["threads"] + 1
    # What each could leave is 25 KB.
    assert after["rss_kb"] - before["rss_kb"] < 12 * 1024
    assert b"[DONE]" in b"".join(chunks(server, "/v1/stream"))


def test_e3_a_reader_that_stops(server: Server) -> None:
    """It is cut off by the deadline, holds a bounded part of its answer, and holds up nobody."""
    before = server.state()
    closed = before.get("stream_closed", 0)
    with server.connect(buffer=4096) as client:
        client.ask("POST", "/v1/stream", {"n": 20_000, "size": 5000})
        client.head()
        assert b"[DONE]" in b"".join(chunks(server, "/v1/stream"))
        server.until(stream_closed=closed + 2)
        after = server.state()
        assert after["events"] - before["events"] < 5000
        assert after["rss_kb"] - before["rss_kb"] < 24 * 1024
        with pytest.raises((OSError, ValueError, AssertionError)):  # cut off, wherever that was
            list(iter(client.chunk, b""))
    end = time.monotonic() + PATIENCE
    while server.state()["fds"] > before["fds"] and time.monotonic() < end:
        time.sleep(0.02)
    assert server.state()["fds"] <= before["fds"]


@pytest.mark.parametrize("headers", [{}, {"Connection": "close"}])
def test_e3_a_whole_answer_that_is_not_read(headers: dict[str, str]) -> None:
    """What is left of it is dropped, and its connection, also where that was to be closed after it."""
    with subject(idle=1, linger=0.5) as server:
        before = server.state()["fds"]
        with server.connect(buffer=4096) as client:
            client.ask("GET", "/large", None, headers)
            client.head()
            end = time.monotonic() + PATIENCE
            while server.state()["fds"] > before:
                assert time.monotonic() < end, "the connection is kept"
                time.sleep(0.02)


def test_a_connection_that_is_closed_is_not_kept() -> None:
    with subject(linger=3600) as server:
        for path in ("/", "/large"):
            for _ in range(20):
                assert server.ask("GET", path, Connection="close").status == 200
        end = time.monotonic() + PATIENCE
        while (kept := server.state()["connections"]) > 5:
            assert time.monotonic() < end, f"{kept} connections are kept"
            time.sleep(0.05)


def test_e6_many_idle_connections(server: Server) -> None:
    before = server.state()["rss_kb"]
    idle = [server.connect() for _ in range(300)]
    try:
        for client in idle[::2]:
            client.ask("GET", "/")
            assert client.answer().status == 200
        assert b"[DONE]" in b"".join(chunks(server, "/v1/stream", n=100))
        assert (server.state()["rss_kb"] - before) / 300 < 20 * 1024 / 1000 * 2
        for client in idle:
            client.ask("GET", "/")
            assert client.answer().status == 200
    finally:
        for client in idle:
            client.close()


def test_e1_no_moment_at_which_a_hang_up_is_lost() -> None:
    """Not even the one at which the first event comes, where ``asyncio.wait_for`` would forget it."""

    async def leave_after(steps: int) -> bool:
        first = asyncio.Event()

        async def events() -> AsyncIterator[bytes]:
            await first.wait()
            yield b"data: 1\n\n"

        stream = sse(events(), failed=lambda _error: b"")
        start = asyncio.ensure_future(stream.start(Limits()))
        await asyncio.sleep(0.001)
        first.set()
        for _ in range(steps):
            await asyncio.sleep(0)
        left = start.cancel()
        await asyncio.wait({start})
        await stream.close()
        assert not left or start.cancelled(), f"lost after {steps} steps"
        return left

    assert [asyncio.run(leave_after(steps)) for steps in range(8)].count(False)


async def _swallow(_request: object) -> Response:
    """A handler that forgets the first time that it is told to end."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(1000)
    await asyncio.sleep(1000)
    return Response(b"")


def test_e1_a_handler_that_forgets_a_hang_up_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "_AGAIN_SECONDS", 0.01)
    routes = Routes()
    routes.add("GET", "/", _swallow)
    app = Floor(routes, Guard())
    messages = [{"type": "http.request"}, {"type": "http.disconnect"}]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"localhost")]}

    async def receive() -> dict[str, str]:
        await asyncio.sleep(0.01)
        return messages.pop(0)

    asyncio.run(asyncio.wait_for(app(scope, receive, None), PATIENCE))  # type: ignore[arg-type]
