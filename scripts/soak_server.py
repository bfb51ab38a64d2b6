#!/usr/bin/env python3
"""Sends many requests to a server on the scripted fake, and prints what the server has grown by.

    RKLLM_RS_FAKES=target/release python scripts/soak_server.py [100000] [--clients 8] [--seed 0]

The requests are of all dialects, streamed and not. One in twenty hangs up, and every 500 requests the
worker is killed. Every answer must be whole. Only while a worker is killed and started again may a request
fail, with an error of its dialect; it is then sent again until it has its answer. Ends with 1 if an answer is
anything else, if a worker dies by itself, if a promise to the library is broken, or if the server has more
descriptors, threads or processes than before, or 20 MB more memory.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "python"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "python" / "server"))

from soaking import Part, State
from wire import Server

from fakes import fake_library, fake_model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WORDS = ["It", " rained", " all", " day."]
#: Time enough in the middle of an answer to hang up or to be killed there; more would only make this longer.
STEPS: list[Any] = [*WORDS[:2], {"text": WORDS[2], "delay_ms": 1}, WORDS[3]]
TEXT = "".join(WORDS)
TEMPLATE = """\
{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}<|im_start|>assistant
"""
HANG_UPS = 0.05
#: Seconds for one answer, with the start of a worker.
PATIENCE = 60.0
LONGEST_PAUSE = 1.0
OK = 200


class Wrong(Exception):  # noqa: N818 - it ends the program
    """An answer that should not be."""


class Told(Exception):  # noqa: N818 - what a client is told when a worker has died
    """An error of the server's, in the form of the dialect; tells the pause that it asks for."""

    def __init__(self, pause: float) -> None:
        super().__init__(f"pause {pause}")
        self.pause = min(pause, LONGEST_PAUSE)


class Reply(NamedTuple):
    """An answer that was read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes


def data_events(body: bytes) -> list[str]:
    """The data of server-sent events."""
    *events, rest = body.decode().split("\n\n")
    if rest:
        raise Wrong(rest)
    lines = [line for event in events for line in event.split("\n")]
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]


def parts(body: bytes) -> list[dict[str, Any]]:
    """The chunks of a stream of OpenAI's."""
    *chunks, last = map(json.loads, data_events(body.replace(b"data: [DONE]", b'data: "[DONE]"')))
    if isinstance(last, dict) and "error" in last:
        raise Told(0)
    if last != "[DONE]" or sum(bool(one["choices"][0]["finish_reason"]) for one in chunks) != 1:
        raise Wrong(body)
    return [one["choices"][0] for one in chunks]


def chat(body: bytes) -> str:
    """The text of a chat completion."""
    whole = json.loads(body)
    if whole["usage"]["completion_tokens"] != len(STEPS) or whole["choices"][0]["finish_reason"] != "stop":
        raise Wrong(body)
    return str(whole["choices"][0]["message"]["content"])


def ollama(body: bytes) -> str:
    """The text of a chat of Ollama's, streamed or not."""
    lines = [json.loads(line) for line in body.splitlines()]
    if "error" in lines[-1]:
        raise Told(0)
    if not lines[-1]["done"] or any(one["done"] for one in lines[:-1]):
        raise Wrong(body)
    if lines[-1]["eval_count"] != len(STEPS):
        raise Wrong(body)
    return "".join(one["message"]["content"] for one in lines)


def message(body: bytes) -> str:
    """The text of a message of Anthropic's."""
    whole = json.loads(body)
    if whole["stop_reason"] != "end_turn" or whole["usage"]["output_tokens"] != len(STEPS):
        raise Wrong(body)
    return "".join(block["text"] for block in whole["content"])


def message_events(body: bytes) -> str:
    """The text of a streamed message of Anthropic's."""
    events = [json.loads(data) for data in data_events(body)]
    if events[-1]["type"] == "error":
        raise Told(0)
    if events[0]["type"] != "message_start" or events[-1]["type"] != "message_stop":
        raise Wrong(body)
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    return "".join(delta["text"] for delta in deltas)


#: Route, what the body says besides its prompt, and what reads the text of an answer.
DIALECTS: dict[str, tuple[str, dict[str, Any], Callable[[bytes], str]]] = {
    "chat": ("/v1/chat/completions", {}, chat),
    "chat, streamed": (
        "/v1/chat/completions",
        {"stream": True},
        lambda body: "".join(one["delta"].get("content") or "" for one in parts(body)),
    ),
    "completion": ("/v1/completions", {}, lambda body: str(json.loads(body)["choices"][0]["text"])),
    "completion, streamed": (
        "/v1/completions",
        {"stream": True},
        lambda body: "".join(one["text"] for one in parts(body)),
    ),
    "Ollama": ("/api/chat", {"stream": False}, ollama),
    "Ollama, streamed": ("/api/chat", {}, ollama),
    "Anthropic": ("/v1/messages", {"max_tokens": 100}, message),
    "Anthropic, streamed": ("/v1/messages", {"max_tokens": 100, "stream": True}, message_events),
}


def request_of(name: str, prompt: str, *, follows: bool) -> bytes:
    """A request as it goes out; one that follows is the second turn of a conversation."""
    path, more, _read = DIALECTS[name]
    said = [prompt, TEXT, "And then?"] if follows else [prompt]
    messages = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(said)]
    asked: Mapping[str, Any] = {"prompt": prompt} if path == "/v1/completions" else {"messages": messages}
    data = json.dumps({"model": "one", **asked, **more}).encode()
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data


class Client:
    """One connection at a time, which is kept as long as it can be."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._ends is None:
            self._ends = await asyncio.open_connection("127.0.0.1", self._port)
        return self._ends

    async def ask(self, data: bytes) -> Reply:
        """Sends a request and reads its answer."""
        reader, writer = await self._connected()
        writer.write(data)
        try:
            reply = await asyncio.wait_for(_read_reply(reader), PATIENCE)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            text = f"the answer was cut off: {error!r}"
            raise Wrong(text) from error
        except asyncio.TimeoutError as error:
            text = f"no whole answer in {PATIENCE:g} s"
            raise Wrong(text) from error
        if reply.headers.get("connection") == "close":
            await self.close()
        return reply

    async def hang_up(self, data: bytes, dice: random.Random) -> None:
        """Leaves in the middle of a request, before its answer or in the middle of that."""
        reader, writer = await self._connected()
        when = dice.randrange(4)
        writer.write(data[: dice.randrange(1, len(data))] if when == 0 else data)
        if when == 2:  # noqa: PLR2004 - one of the four
            await asyncio.sleep(dice.random() * 0.02)
        elif when > 2:  # noqa: PLR2004
            await asyncio.wait_for(reader.read(dice.randrange(1, 400)), PATIENCE)
        if dice.random() < 0.5:  # noqa: PLR2004 - the one half with a reset, the other without
            writer.transport.abort()
        await self.close()

    async def close(self) -> None:
        """Closes the connection."""
        if self._ends is not None:
            writer, self._ends = self._ends[1], None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _read_reply(reader: asyncio.StreamReader) -> Reply:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in head[1:] if line)
    headers = {name.lower(): value.strip().lower() for name, _, value in pairs}
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
    else:
        body = await reader.readexactly(int(headers["content-length"]))
    return Reply(int(head[0].split()[1]), headers, body)


class Soak:
    """All clients, and what they have seen."""

    def __init__(self, server: Any, arguments: argparse.Namespace, part: Part) -> None:
        self.server = server
        self.part = part
        self.arguments = arguments
        self.dice = random.Random(arguments.seed)  # noqa: S311 - no secret
        self.seen: Counter[str] = Counter()
        self.number = self.kills = 0
        #: A worker was killed, and the next one is not ready.
        self.is_down = False
        self._killing: asyncio.Task[None] | None = None

    async def run(self, until: int) -> None:
        """Sends requests up to this number, and waits until the server is at rest."""
        await asyncio.gather(*(self._client(until) for _ in range(self.arguments.clients)))
        if self._killing is not None:
            await self._killing
        await self.rest()

    async def _client(self, until: int) -> None:
        client = Client(self.server.port)
        while self.number < until:
            self.number += 1
            number = self.part.done = self.number
            if number % self.arguments.kill_every == 0 and (self._killing is None or self._killing.done()):
                self._killing = asyncio.ensure_future(self._kill())
            if number % max(1, self.arguments.requests // 10) == 0:
                self.part.at(number)
            name = self.dice.choice(list(DIALECTS))
            data = request_of(name, f"{number}: how was the day?", follows=self.dice.random() < 0.3)  # noqa: PLR2004
            if self.dice.random() < HANG_UPS:
                await client.hang_up(data, self.dice)
                self.seen["hung up"] += 1
            else:
                await self._answered(client, name, data)
        await client.close()

    async def _answered(self, client: Client, name: str, data: bytes) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            kills, was_down = self.kills, self.is_down
            reply = await client.ask(data)
            try:
                self._check(name, reply)
            except Told as error:
                if kills == self.kills and not was_down:
                    text = f"{name}: no worker was killed: {reply}"
                    raise Wrong(text) from error
                if time.monotonic() > until:
                    text = f"{name}: no answer in {PATIENCE:g} s"
                    raise Wrong(text) from error
                self.seen[f"{reply.status} after a kill"] += 1
                await asyncio.sleep(error.pause)
            else:
                self.seen["whole"] += 1
                return

    def _check(self, name: str, reply: Reply) -> None:
        if reply.status != OK:
            if reply.status not in (500, 503) or "error" not in json.loads(reply.body):
                text = f"{name}: {reply}"
                raise Wrong(text)
            if reply.status == 503 and "retry-after" not in reply.headers:  # noqa: PLR2004
                text = f"{name}: 503 without Retry-After: {reply}"
                raise Wrong(text)
            raise Told(float(reply.headers.get("retry-after", 0)))
        text = DIALECTS[name][2](reply.body)
        if text != TEXT:
            text = f"{name}: {text!r}: {reply}"
            raise Wrong(text)

    async def status(self) -> Any:
        """What the server tells of itself."""
        client = Client(self.server.port)
        reply = await client.ask(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        await client.close()
        return json.loads(reply.body)

    async def _kill(self) -> None:
        (model,) = (await self.status())["models"]
        if model["state"] != "ready":
            text = f"the model is {model['state']}, and nobody has killed its worker"
            raise Wrong(text)
        await asyncio.sleep(self.dice.random() * 0.01)
        self.is_down = True
        self.kills += 1
        os.kill(model["worker_pid"], signal.SIGKILL)
        until = time.monotonic() + PATIENCE
        while True:
            (now,) = (await self.status())["models"]
            if now["state"] == "ready" and now["worker_pid"] != model["worker_pid"]:
                break
            if time.monotonic() > until:
                text = f"the worker was not started again in {PATIENCE:g} s: {now}"
                raise Wrong(text)
            await asyncio.sleep(0.01)
        self.is_down = False

    async def rest(self) -> None:
        """Waits until nothing is under way, and connections that were closed are gone."""
        until, last = time.monotonic() + PATIENCE, -1
        while True:
            queue = (await self.status())["queue"]
            await asyncio.sleep(0.3)
            now = State.of(self.server.process.pid).descriptors
            if not queue["running"] and not queue["waiting"] and now == last:
                return
            if time.monotonic() > until:
                text = f"the server does not come to rest: {queue}, {now} descriptors"
                raise Wrong(text)
            last = now


async def soaked(server: Any, arguments: argparse.Namespace, part: Part) -> str:
    """Runs it; what is wrong, if anything is."""
    soak = Soak(server, arguments, part)
    await soak.rest()
    # What there is after the first tenth is looked at while the server is at rest, as at the end.
    await soak.run(max(arguments.clients, arguments.requests // 10))
    part.at(soak.number)
    await soak.run(arguments.requests)
    (model,) = (await soak.status())["models"]
    print(
        ", ".join(f"{count} {what}" for what, count in soak.seen.most_common()),
        f"{soak.kills} workers killed",
    )
    return "" if model["restarts"] == soak.kills else f"{model['restarts']} workers were started again"


def main() -> int:
    """Starts a server and its clients."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("requests", type=int, nargs="?", default=100_000)
    parser.add_argument("--clients", type=int, default=8, help="at the same time")
    parser.add_argument("--kill-every", type=int, default=500, help="requests from one kill to the next")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broken = folder / "broken.jsonl"
        library = fake_library(folder / "lib", "v1_3_1", quiet=True)
        fake_model(folder, "one.rkllm", runs=[{"steps": STEPS}])
        (folder / "chat_template.jinja").write_text(TEMPLATE)
        words = ["-m", "rkllm_rs", "serve", "one=one.rkllm", "--port", "0", "--library", str(library)]
        told = {"RKLLM_RS_NPU_LOCK": str(folder / "npu.lock"), "RKLLM_RS_FAKE_BROKEN": str(broken)}
        # The soak ends the group of a part that is out of time.
        server = Server(words, own_group=False, cwd=folder, env={**os.environ, **told})
        part = Part("requests", arguments.requests, pid=server.process.pid)
        try:
            try:
                wrong = asyncio.run(soaked(server, arguments, part))
            except Wrong as error:
                wrong = f"{type(error).__name__}: {error}"
            if broken.exists():
                wrong += f"a promise to the library was broken: {broken.read_text()}"
            return part.ended(arguments.requests, wrong)
        finally:
            server.close()


if __name__ == "__main__":
    sys.exit(main())
