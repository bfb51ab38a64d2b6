#!/usr/bin/env python3
"""Three servers behind vllm-router: balance, failover, drain, affinity, other dialects.

The servers are on scripted libraries. Prints a line for each check, and ends with 1 if one failed:

    RKLLM_RS_FAKES=target/release python scripts/several_boards.py
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [
    str(ROOT / "scripts"),
    str(ROOT / "tests" / "python"),
    str(ROOT / "tests" / "python" / "server"),
]

from serving import on_fake, run  # noqa: E402 - the folders are named above
from test_clients import environment  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

WORDS = "Hello world!"
HI = [{"role": "user", "content": "Hi"}]
STEPS = 60
SCRIPTS: dict[str, Any] = {
    "words": {"runs": [run("Hello", " ", "world", "!")]},
    "long": {"runs": [{"steps": ["word "] * STEPS, "delay_ms": 50}]},
}
INTERVAL = 1.0  # seconds between two looks of the router at a node's health
OK = 200


def free_port() -> int:
    """A port that nobody uses."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Boards:
    """Three nodes, and a router before them."""

    def __init__(self, folder: Path, policy: str) -> None:
        self.folder = folder
        self.nodes = [self.node(at, free_port()) for at in range(3)]
        port = free_port()
        command = [str(environment("vllm-router").with_name("vllm-router")), "--policy", policy]
        command += ["--port", str(port), "--health-check-interval-secs", str(int(INTERVAL))]
        command += ["--health-failure-threshold", "1", "--health-success-threshold", "1"]
        command += [
            "--cb-timeout-duration-secs",
            "2",
            "--retry-max-retries",
            "5",
            "--prometheus-port",
            str(free_port()),
            "--worker-urls",
        ]
        command += [node.url for node in self.nodes]
        self.log = open(folder / "router.txt", "wb")  # noqa: SIM115 - as long as the router
        self.router = subprocess.Popen(command, stdout=self.log, stderr=self.log)  # noqa: S603 - ours
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        until = time.monotonic() + 60
        while not self.well():
            if time.monotonic() > until:
                message = (folder / "router.txt").read_text(errors="replace")[-2000:]
                raise TimeoutError(message)
            time.sleep(0.1)

    def node(self, at: int, port: int) -> Any:
        """Starts a node."""
        return on_fake(
            self.folder / f"node-{at}-{port}-{time.monotonic_ns()}",
            SCRIPTS,
            family="qwen3",
            keep_alive=-1,
            port=port,
            drain_timeout=30,
        ).ready()

    def well(self) -> bool:
        """Whether the router answers a chat."""
        try:
            return self.chat() == WORDS
        except (httpx.HTTPError, AssertionError):
            return False

    def chat(self, **headers: str) -> str:
        """The answer to a chat."""
        asked = {"model": "words", "messages": HI}
        answer = self.http.post("/v1/chat/completions", json=asked, headers=headers)
        if answer.status_code != OK:
            message = f"{answer.status_code} {answer.text}"
            raise AssertionError(message)
        return str(answer.json()["choices"][0]["message"]["content"])

    def stream(self, begun: Callable[[], object]) -> bool:
        """Reads a long stream; says whether it came to its end."""
        asked = {"model": "long", "messages": HI, "stream": True}
        text = ""
        try:
            with self.http.stream("POST", "/v1/chat/completions", json=asked) as answer:
                for part in answer.iter_text():
                    text += part
                    if "word" in part:
                        begun()
        except httpx.HTTPError:
            return False
        return text.rstrip().endswith("data: [DONE]") and text.count("word ") >= STEPS

    def counts(self) -> list[int]:
        """How many runs each node has had."""
        return [len(node.runs()) for node in self.nodes]

    def close(self) -> None:
        """Ends all."""
        self.http.close()
        self.router.terminate()
        self.router.wait()
        self.log.close()
        for node in self.nodes:
            node.stop()


def _many(boards: Boards, count: int, meanwhile: Callable[[], object] = lambda: None) -> list[str]:
    """So many chats, four at once; gives the errors."""

    def one(_at: int) -> str:
        try:
            return "" if boards.chat() == WORDS else "another text"
        except (httpx.HTTPError, AssertionError) as error:
            return repr(error)

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(one, at) for at in range(count)]
        meanwhile()
        return [error for error in (done.result() for done in asked) if error]


def _readers(boards: Boards, results: list[bool]) -> list[threading.Thread]:
    """Starts to read three streams; comes back when all have had a word."""
    begun = threading.Barrier(4)

    def read() -> None:
        first = True

        def word() -> None:
            nonlocal first
            if first:
                first = False
                begun.wait(60)

        results.append(boards.stream(word))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    begun.wait(60)
    return readers


def g01_round_robin(boards: Boards) -> str:
    """300 chats, the same share for each node."""
    before = boards.counts()
    errors = _many(boards, 300)
    shares = [now - then for now, then in zip(boards.counts(), before, strict=True)]
    _expect(not errors and max(shares) - min(shares) <= 0.2 * 100, f"{shares} {errors[:2]}")
    return f"300 chats, {shares} to each node"


def g02_a_node_dies_and_comes_back(boards: Boards) -> str:
    """No request fails that had no bytes yet, and the node is used again."""
    old = boards.nodes[0]

    def kill() -> None:
        time.sleep(0.2)
        old.process.kill()
        old.process.wait()

    errors = _many(boards, 200, kill)
    _expect(not errors, f"{len(errors)} of 200 failed: {errors[:2]}")
    boards.nodes[0] = boards.node(0, old.port)
    old.stop()
    began = time.monotonic()
    while not boards.nodes[0].runs():
        boards.chat()
        _expect(time.monotonic() - began < 45, "the node does not come back")  # noqa: PLR2004
    return f"200 chats, 0 failed; back after {time.monotonic() - began:.1f} s"


def g02_a_node_drains(boards: Boards) -> str:
    """A stream goes on to its end on a node that was told to stop, and new requests go elsewhere."""
    results: list[bool] = []
    readers = _readers(boards, results)
    old = boards.nodes[1]
    old.process.send_signal(signal.SIGTERM)
    errors = _many(boards, 60)
    for reader in readers:
        reader.join()
    status = old.process.wait(40)
    _expect(results == [True] * 3 and not errors and status == 0, f"{results} {errors[:2]} {status}")
    boards.nodes[1] = boards.node(1, old.port)
    old.stop()
    return "3 streams whole, 60 chats, 0 failed, exit status 0"


def g03_killed_in_the_middle(boards: Boards) -> str:
    """The streams of the node that was killed fail visibly, and no others."""
    time.sleep(2 * INTERVAL + 1)  # until all are used again
    results: list[bool] = []
    before = boards.counts()
    readers = _readers(boards, results)
    lost = boards.counts()[2] - before[2]
    old = boards.nodes[2]
    old.process.kill()
    old.process.wait()
    for reader in readers:
        reader.join()
    _expect(results.count(False) == lost and lost > 0, f"{results}, {lost} on that node")
    boards.nodes[2] = boards.node(2, old.port)
    old.stop()
    return f"{lost} of 3 streams was on that node and failed, the others are whole"


def g07_other_dialects(boards: Boards) -> str:
    """Routes of Ollama and Anthropic pass through."""
    ollama = boards.http.post("/api/chat", json={"model": "words", "messages": HI, "stream": False})
    asked = {"model": "words", "max_tokens": 9, "messages": HI}
    anthropic = boards.http.post("/v1/messages", json=asked)
    told = (ollama.json()["message"]["content"], anthropic.json()["content"][0]["text"])
    _expect(told == (WORDS, WORDS), f"{ollama.text} {anthropic.text}")
    return "Ollama's and Anthropic's chat answer the same"


def g04_conversations_stay(boards: Boards) -> str:
    """Ten conversations of five turns, each on one node."""
    homes: dict[str, set[int]] = {}
    for _turn in range(5):
        for at in range(10):
            name = f"talk-{at}"
            before = boards.counts()
            boards.chat(**{"X-Session-Id": name})
            after = boards.counts()
            homes.setdefault(name, set()).update(n for n in range(3) if after[n] > before[n])
    steady = sum(len(one) == 1 for one in homes.values())
    used = {node for one in homes.values() for node in one}
    _expect(steady >= 9, str(homes))  # noqa: PLR2004
    return f"{steady} of 10 conversations on one node each, {len(used)} nodes in use"


def _expect(holds: bool, otherwise: str) -> None:  # noqa: FBT001
    if not holds:
        raise AssertionError(otherwise)


ROUND_ROBIN = (
    g01_round_robin,
    g07_other_dialects,
    g02_a_node_dies_and_comes_back,
    g02_a_node_drains,
    g03_killed_in_the_middle,
)


def _holds(check: Callable[[Boards], str], boards: Boards) -> bool:
    try:
        print(f"{check.__name__}: ok, {check(boards)}", flush=True)
    except AssertionError as error:
        print(f"{check.__name__}: FAILED, {error}", flush=True)
        return False
    return True


def main() -> int:
    """Runs all checks."""
    failed = 0
    for policy, checks in (("round_robin", ROUND_ROBIN), ("consistent_hash", (g04_conversations_stay,))):
        with tempfile.TemporaryDirectory(prefix="boards-") as folder:
            boards = Boards(Path(folder), policy)
            try:
                failed += sum(not _holds(check, boards) for check in checks)
            finally:
                boards.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
