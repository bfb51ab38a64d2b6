"""A small program on the server's floor, for tests of the floor alone; its one argument is JSON."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import resource
import sys
import threading
from collections import Counter
from typing import Any

from rkllm_rs import errors
from rkllm_rs.server import running
from rkllm_rs.server.asgi import Floor
from rkllm_rs.server.connections import Connection
from rkllm_rs.server.errors import ApiError
from rkllm_rs.server.guard import Guard
from rkllm_rs.server.http import Limits, Request, dumps, json_response, text_response
from rkllm_rs.server.routes import Routes
from rkllm_rs.server.stream import Stream, event, failed_event, ndjson, sse

counts: Counter[str] = Counter()
release = asyncio.Event()
go = asyncio.Event()


async def root(_request: Request) -> Any:
    return text_response("running")


async def echo(request: Request) -> Any:
    data = await request.json()
    counts["echo"] += 1
    return json_response({"keys": sorted(data)[:20], "data": data if len(str(data)) < 1000 else None})


async def model(request: Request) -> Any:
    return json_response(request.params)


def rss_kb() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1024


async def state(_request: Request) -> Any:
    return json_response(
        {
            **counts,
            "rss_kb": rss_kb(),
            "peak_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            "fds": len(os.listdir("/proc/self/fd")),
            "threads": threading.active_count(),
            "connections": sum(isinstance(one, Connection) for one in gc.get_objects()),
        }
    )


async def slow(request: Request) -> Any:
    """Waits until it is released."""
    await request.body()
    counts["slow_began"] += 1
    try:
        await release.wait()
    except asyncio.CancelledError:
        counts["slow_cancelled"] += 1
        raise
    return json_response({"ok": True})


async def large(_request: Request) -> Any:
    return text_response("x" * (8 << 20))


async def free(_request: Request) -> Any:
    release.set()
    return json_response({})


async def let_go(_request: Request) -> Any:
    """Lets the streams go on that wait for it."""
    go.set()
    go.clear()
    return json_response({})


async def fail(request: Request) -> Any:
    """Raises an error of the package, by its name."""
    data = await request.json()
    kind = getattr(errors, data["kind"], None) or RuntimeError
    error = kind(data.get("message", "a canary in /home/user/secret/file.gguf"))
    for name, value in data.get("fields", {}).items():
        setattr(error, name, value)
    raise error


async def stream(request: Request) -> Stream:
    """Events, as the body asks: when the first, how many, with which pause, how large, and how they end."""
    data = await request.json()

    async def events() -> Any:
        counts["stream_began"] += 1
        try:
            if data.get("first") == "go":
                await go.wait()
            else:
                await asyncio.sleep(data.get("first", 0))
            for number in range(data.get("n", 3)):
                if data.get("pause"):
                    await asyncio.sleep(data["pause"])
                if number == data.get("fail_at"):
                    message = "the library said /opt/canary"
                    raise errors.GenerationError(message)
                counts["events"] += 1
                item = {"n": number, "text": "é漢😀" + "x" * data.get("size", 0)}
                yield (dumps(item) + b"\n") if request.family == "ollama" else event(item)
            if data.get("hang"):
                await release.wait()
            if request.family == "openai":
                yield b"data: [DONE]\n\n"
        finally:
            counts["stream_closed"] += 1

    failed = failed_event(request.family, request.id)
    if request.family == "ollama":
        return ndjson(
            events(), failed=failed, beat=lambda _count: b'{"message":{"content":""},"done":false}\n'
        )
    if request.family == "anthropic":
        return sse(events(), failed=failed, beat=lambda _count: b"event: ping\ndata: {}\n\n")
    return sse(events(), failed=failed, beat=lambda n: event({"beat": n}) if n % 3 == 0 else b": alive\n\n")


async def refuse(_request: Request) -> Any:
    raise ApiError(429, "the queue is full", code="queue_full", retry_after=1.2)


def routes() -> Routes:
    table = Routes()
    table.add("GET", "/", root, public=True)
    table.add("GET", "/health", root, public=True)
    table.add("GET", "/v1/models/{id}", model)
    table.add("GET", "/state", state, public=True)
    for path in ("/v1/echo", "/api/echo", "/v1/messages"):
        table.add("POST", path, echo)
    for path in ("/v1/stream", "/api/stream", "/v1/messages/stream"):
        table.add("POST", path, stream)
    for path in ("/v1/slow", "/api/slow", "/v1/messages/slow"):
        table.add("POST", path, slow)
    for path in ("/v1/fail", "/api/fail", "/v1/messages/fail"):
        table.add("POST", path, fail)
    table.add("POST", "/v1/full", refuse)
    table.add("GET", "/free", free, public=True)
    table.add("GET", "/go", let_go, public=True)
    table.add("GET", "/large", large, public=True)
    return table


def main() -> int:
    options = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, format="%(name)s %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    Connection.header_seconds = options.get("header_seconds", 20)
    running._IDLE_SECONDS = options.get("idle", 75)
    Connection.linger_seconds = options.get("linger", 30)
    Connection.most = options.get("connections", 4096)
    guard = Guard(**options.get("guard", {}))
    app = Floor(routes(), guard, Limits(**options.get("limits", {})))

    def reload() -> None:
        guard.update(keys=["after"])
        counts["reloads"] += 1

    sockets = running.listen("127.0.0.1", [0] * options.get("ports", 1))
    return running.serve(app, sockets, drain_timeout=options.get("drain", 30), on_reload=reload)


if __name__ == "__main__":
    raise SystemExit(main())
