"""What the server costs: beside a C++ server, beside the iterator, and with many connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from harness import TOKEN, NullModel, Row, Size, built

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: The command with its loop watched: a route tells the longest time between two looks, and the most CPU time.
PROGRAM = """
import asyncio, sys, time
from rkllm_rs.cli import main
from rkllm_rs.server import running
from rkllm_rs.server.http import json_response

LOOK = 0.001
serve, longest, used = running.serve, 0.0, 0.0

async def watch():
    global longest, used
    last, cpu = time.monotonic(), time.thread_time()
    while True:
        await asyncio.sleep(LOOK)
        now, now_cpu = time.monotonic(), time.thread_time()
        longest, used = max(longest, now - last - LOOK), max(used, now_cpu - cpu)
        last, cpu = now, now_cpu

async def begin():
    begin.task = asyncio.ensure_future(watch())

async def pause(request):
    global longest, used
    told, longest, used = {"longest": longest, "used": used}, 0.0, 0.0
    return json_response(told)

def watched(app, *rest, **more):
    app.on_startup.append(begin)
    app.routes.add("GET", "/pause", pause)
    return serve(app, *rest, **more)

running.serve = watched
sys.exit(main(["serve", *sys.argv[1:]]))
"""
IDLE, ACTIVE = 1000, 100
#: Of each active connection: its tokens, and microseconds between two.
ACTIVE_TOKENS, ACTIVE_PACE = 20, 1000
#: Answers may begin without the space.
WORD = TOKEN.strip().encode()
END = b"data: [DONE]\n\n\r\n0\r\n\r\n"


def request(tokens: int, pace: int = 0) -> bytes:
    """A chat whose answer has so many tokens."""
    message = {"role": "user", "content": f"{tokens} {pace} {TOKEN}"}
    data = json.dumps({"messages": [message], "stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


class Process:
    """A server's process, and one connection to it."""

    def __init__(self, words: list[str]) -> None:
        self.process: Any = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.pid = self.process.pid
        line = self.process.stdout.readline()
        found = re.search(r":(\d+)\s*$", line)
        if found is None:
            message = f"no server: {line!r}"
            raise SystemExit(message)
        self.port = int(found[1])
        self.sock = socket.create_connection(("127.0.0.1", self.port), 60)
        self.room = bytearray(1 << 20)

    def asked(self, tokens: int) -> tuple[int, int]:
        """Nanoseconds until the first token has come, and until all have; every event must be there."""
        parts: list[bytes] = []
        first, tail = 0, b""
        start = time.perf_counter_ns()
        self.sock.sendall(request(tokens))
        while not tail.endswith(END):
            count = self.sock.recv_into(self.room)
            if not count:
                message = f"an answer was cut off: {tail!r}"
                raise SystemExit(message)
            part = bytes(self.room[:count])
            parts.append(part)
            if not first and WORD in tail + part:
                first = time.perf_counter_ns() - start
            tail = (tail + part)[-len(END) :]
        whole = time.perf_counter_ns() - start
        check(b"".join(parts), tokens)
        return first, whole

    def told(self, path: str) -> Any:
        """What a route tells."""
        with socket.create_connection(("127.0.0.1", self.port), 60) as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            data = b""
            while part := sock.recv(1 << 16):
                data += part
        return json.loads(data.partition(b"\r\n\r\n")[2])

    def cpu(self) -> int:
        """Nanoseconds of CPU time that all its threads have taken."""
        total = 0
        for task in os.listdir(f"/proc/{self.pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{self.pid}/task/{task}/schedstat", "rb") as file:
                total += int(file.read().split()[0])
        return total

    def megabytes(self) -> float:
        """Resident memory."""
        with open(f"/proc/{self.pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def close(self) -> None:
        """Ends it."""
        self.sock.close()
        self.process.terminate()
        self.process.wait()


def check(data: bytes, tokens: int) -> None:
    """Ends the program if an answer is not whole."""
    count = data.count(WORD + b'"}')
    if not data.startswith(b"HTTP/1.1 200") or count != tokens:
        message = f"{count} of {tokens} tokens came: {data[:400]!r}"
        raise SystemExit(message)


@contextlib.contextmanager
def served() -> Iterator[Process]:
    """The command on the null runtime, its model loaded."""
    null = NullModel()  # makes the file, and tells where the library is
    library = null.llm.runtime.path
    null.close()
    model = os.path.join(os.path.dirname(library), "null.rkllm")
    options = ["--port", "0", "--queue", "128", "--backend", "npu", "--library", library]
    process = Process([sys.executable, "-c", PROGRAM, f"null={model}", *options])
    try:
        process.asked(1)
        yield process
    finally:
        process.close()


def flat_out(ours: Process, size: Size) -> list[Row]:
    """Tokens as fast as they can be sent, by one client that only reads."""
    rows = [
        Row("server: SSE, flat out", "us/token"),
        Row("server: SSE, flat out, server's CPU time", "us/token"),
    ]
    floor, tokens = Process([built("sse_floor.cpp", "-std=c++17", suffix="")]), size.tokens // 10
    try:
        for _ in range(size.rounds):
            for side, process in (("ours", ours), ("floor", floor)):
                before = process.cpu()
                whole = process.asked(tokens)[1]
                for row, spent in zip(rows, (whole, process.cpu() - before), strict=True):
                    getattr(row, side).append(spent / tokens / 1e3)
    finally:
        floor.close()
    return rows


def first_token(ours: Process, size: Size) -> Row:
    """From the request to its first token, beside the same of an iterator."""
    row, null = Row("server: request to first token, p50", "ms"), NullModel(isolate=True)
    message = [{"role": "user", "content": f"1 0 {TOKEN}"}]
    for _ in range(size.rounds):
        there, here = [], []
        for _ in range(size.starts):
            there.append(ours.asked(1)[0])
            start = time.perf_counter_ns()
            stream = null.llm.chat_stream(message, chat_template="{{ messages[0].content }}")
            next(stream)
            here.append(time.perf_counter_ns() - start)
            list(stream)
        row.ours.append(statistics.median(there) / 1e6)
        row.floor.append(statistics.median(here) / 1e6)
    null.close()
    return row


async def crowd(port: int, between: Callable[[], None]) -> None:
    """All the connections; ends the program if anything is lost."""
    ask = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"

    async def idle(ends: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        ends[1].write(ask)
        head = await ends[0].readuntil(b"\r\n\r\n")
        await ends[0].readexactly(int(re.search(rb"content-length: (\d+)", head.lower())[1]))  # type: ignore[index]

    async def active() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(ACTIVE_TOKENS, ACTIVE_PACE))
        check(await reader.readuntil(END), ACTIVE_TOKENS)
        writer.close()

    waiting = []
    for _ in range(IDLE):
        ends = await asyncio.open_connection("127.0.0.1", port)
        await idle(ends)
        waiting.append(ends)
    between()
    await asyncio.wait_for(asyncio.gather(*(active() for _ in range(ACTIVE))), 120)
    between()
    # They are there still.
    await asyncio.gather(*map(idle, waiting))
    for _, writer in waiting:
        writer.close()
    # Else they would be closed some time in the next round.
    await asyncio.gather(*(writer.wait_closed() for _, writer in waiting))


def crowded(ours: Process, size: Size) -> list[Row]:
    """A thousand connections that wait, and a hundred whose requests stand in the queue."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    pause = Row("server: longest pause of the loop, 1,000 idle and 100 active", "ms")
    used = Row("server: longest use of the loop, 1,000 idle and 100 active", "ms")
    memory = Row("server: memory, 1,000 idle and 100 active", "MB")
    for _ in range(max(2, size.rounds // 3)):
        looks: list[Any] = []
        held: list[float] = []

        def look(looks: list[Any] = looks, held: list[float] = held) -> None:
            looks.append(ours.told("/pause"))
            held.append(ours.megabytes())

        asyncio.run(crowd(ours.port, look))
        memory.ours.append(max(held))
        pause.ours.append(looks[1]["longest"] * 1e3)
        used.ours.append(looks[1]["used"] * 1e3)
    return [pause, used, memory]


def server(size: Size) -> list[Row]:
    """The server as the command runs it, on the null runtime."""
    with served() as ours:
        crowds = crowded(ours, size)
        first = first_token(ours, size)
        return [*flat_out(ours, size), first, *crowds]


SERVING: dict[str, Callable[[Size], list[Row]]] = {"server": server}
