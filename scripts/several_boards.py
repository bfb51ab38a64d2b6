#!/usr/bin/env python3
"""Three servers behind routers of others: balance, failover, full and loading nodes, drain, hang-ups.

The servers are on scripted libraries; vllm-router is installed, haproxy and nginx are used if they are
there. Prints a line for each check, and ends with 1 if one failed. Long because it has all checks:

    RKLLM_RS_FAKES=target/release python scripts/several_boards.py [vllm-router haproxy nginx]
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import sys
import tempfile
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parent))

import routers
from boards import (
    AUTHORIZED,
    BEATS,
    FULL,
    HI,
    IMPATIENT,
    INTERVAL,
    KEY,
    LONG_PROMPT,
    OK,
    PATIENCE,
    QUEUE,
    TAKEN,
    WORDS,
    Boards,
    expect,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def _many(boards: Boards, count: int, meanwhile: Callable[[], object] = lambda: None) -> list[str]:
    """So many chats, four at once, some with a long prompt; gives the errors."""

    def one(at: int) -> str:
        try:
            answer = boards.chat(messages=LONG_PROMPT if at % 5 == 0 else HI)
        except (httpx.HTTPError, AssertionError) as error:
            return repr(error)
        return "" if answer == WORDS else "another text"

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
                begun.wait(PATIENCE)

        try:
            results.append(boards.stream(word))
        except AssertionError:
            begun.abort()
            raise

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    begun.wait(PATIENCE)
    return readers


def _asked(pool: ThreadPoolExecutor, urls: Iterable[str]) -> list[Future[httpx.Response]]:
    """Asks each of these for an answer of the model "held"."""
    asked = {"model": "held", "messages": HI}
    keywords: Any = {"json": asked, "headers": AUTHORIZED, "timeout": PATIENCE}
    return [pool.submit(httpx.post, f"{url}/v1/chat/completions", **keywords) for url in urls]


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get("/v1/models").status_code == OK
    except httpx.TransportError:
        return False


def _queue(node: Any) -> tuple[int, int]:
    told = node.http.get("/status").json()["queue"]
    return told["running"], told["waiting"]


def _answered(node: Any, status: int) -> int:
    """How many chats a node has answered with a status."""
    start = f'rkllm_requests_total{{route="/v1/chat/completions",status="{status}"}}'
    lines = [line for line in node.http.get("/metrics").text.splitlines() if line.startswith(start)]
    return round(sum(float(line.rpartition(" ")[2]) for line in lines))


def g01_round_robin(boards: Boards) -> str:
    """300 chats, the same share for each node."""
    for at in range(3):
        boards.used_again(at)  # all models are loaded
    before = boards.counts()
    errors = _many(boards, 300)
    shares = [now - then for now, then in zip(boards.counts(), before, strict=True)]
    expect(not errors and max(shares) - min(shares) <= 0.2 * 100, f"{shares} {errors[:2]}")
    return f"300 chats, {shares} to each node"


def g02_a_node_dies_and_comes_back(boards: Boards) -> str:
    """No request fails that had no bytes yet, and the node is used again."""
    before = boards.asked_again

    def kill() -> None:
        time.sleep(0.2)
        boards.nodes[0].process.kill()
        boards.nodes[0].process.wait()

    errors = _many(boards, 200, kill)
    boards.again(0)
    expect(not errors, f"{len(errors)} of 200 failed: {errors[:2]}")
    closed = boards.asked_again - before
    again = f", {closed} asked again after a connection was closed" if closed else ""
    return f"200 chats, 0 failed{again}; back after {boards.used_again(0):.1f} s"


def g02_a_node_is_full(boards: Boards) -> str:
    """Others answer, and the node is used again."""
    full = boards.nodes[0]
    with ThreadPoolExecutor(4 * (QUEUE + 1)) as pool:
        # Its own clients fill it, of whom the router does not know.
        held = _asked(pool, [full.url] * (QUEUE + 1))
        boards.until(lambda: _queue(full) == (1, QUEUE), "a full node")
        boards.open_gates(1, 2)
        answers = [boards.chat("held") for _ in range(30)]
        expect(answers == [WORDS] * 30, f"{answers}")
        refused = _answered(full, FULL)
        boards.open_gates(0)
        expect([one.result().status_code for one in held] == [OK] * len(held), "those that filled it")
    seconds = boards.used_again(0, "held")
    boards.shut_gates()
    return f"30 chats, 0 failed, {refused} refused there and answered elsewhere; back after {seconds:.1f} s"


def g02_all_nodes_are_full(boards: Boards) -> str:
    """The answer is 429 and says when to come again."""
    with ThreadPoolExecutor(4 * (QUEUE + 1)) as pool:
        held = _asked(pool, [node.url for node in boards.nodes for _ in range(QUEUE + 1)])
        for node in boards.nodes:
            boards.until(lambda node=node: _queue(node) == (1, QUEUE), "a full node")  # type: ignore[misc]
        told = [boards.http.post("/v1/chat/completions", json={"model": "held", "messages": HI})]
        told.append(boards.http.post("/v1/chat/completions", json={"model": "held", "messages": HI}))
        boards.open_gates()
        expect([one.result().status_code for one in held] == [OK] * len(held), "those that filled them")
    boards.shut_gates()
    for at in range(3):
        boards.until(boards.well, "an answer")
        boards.used_again(at)
    seen = [(one.status_code, one.headers.get("retry-after")) for one in told]
    expect(all(status == FULL and after for status, after in seen), f"{seen}")
    return f"429 with Retry-After {seen[0][1]}"


def g02_a_router_keeps_what_no_node_takes(boards: Boards) -> str:
    """More requests than all nodes take: none is refused, and all are answered."""
    more = 3 * TAKEN + 5
    http, router = boards.behind(("maxconn 30", f"maxconn {TAKEN}"))
    boards.until(lambda: _answers(http), "the router")
    with ThreadPoolExecutor(more) as pool:
        asked = _asked(pool, [str(http.base_url).rstrip("/")] * more)
        for node in boards.nodes:
            boards.until(lambda node=node: sum(_queue(node)) >= TAKEN, "a full node")  # type: ignore[misc]
        boards.open_gates()
        seen = [one.result().status_code for one in asked]
    boards.shut_gates()
    http.close()
    router.stop()
    refused = [_answered(node, FULL) for node in boards.nodes]
    expect(seen == [OK] * more and refused == [0] * 3, f"{seen} {refused}")
    return f"{more} requests at once to nodes that have {TAKEN} at a time: 0 refused"


def g02_a_node_loads(boards: Boards) -> str:
    """A node whose model is being loaded gets nothing, and is used once it is there."""
    waits = boards.folder / f"loads-{time.monotonic_ns()}"
    boards.nodes[2].process.send_signal(signal.SIGTERM)
    boards.nodes[2].process.wait(PATIENCE)
    # A server with several models loads none before it is asked for; this one has one.
    loads = boards.again(2, "words", waits=waits)
    try:
        boards.until(lambda: loads.health() == 503, "a node that loads")  # noqa: PLR2004 - as it says
        time.sleep(2 * INTERVAL + 0.5)  # until the router has looked
        errors = _many(boards, 60)
        expect(not errors and not _answered(loads, OK), f"{errors[:2]} {_answered(loads, OK)}")
        waits.touch()
        seconds = boards.used_again(2)
    finally:
        waits.touch()
        loads.process.terminate()
        loads.process.wait(PATIENCE)
        boards.again(2)
        boards.used_again(2)
    return f"60 chats, 0 failed, 0 to that node; used {seconds:.1f} s after it could load"


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
    boards.again(1)
    expect(results == [True] * 3 and not errors and status == 0, f"{results} {errors[:2]} {status}")
    return "3 streams whole, 60 chats, 0 failed, exit status 0"


def g03_killed_in_the_middle(boards: Boards) -> str:
    """The streams of the node that was killed fail visibly, and no others."""
    for at in range(3):
        boards.used_again(at)
    results: list[bool] = []
    readers = _readers(boards, results)
    at = next(n for n, node in enumerate(boards.nodes) if len(node.runs()) > len(node.ends()))
    boards.nodes[at].process.kill()
    boards.nodes[at].process.wait()
    for reader in readers:
        reader.join()
    boards.again(at)
    expect(results.count(False) == 1, f"{results}")
    return "1 of 3 streams ran on that node and failed, the others are whole"


def g06_a_long_prefill(boards: Boards) -> str:
    """Signs of life come through at once, and for longer than the router would wait for silence."""
    beats = threading.Semaphore(0)
    http, router = boards.behind(IMPATIENT[boards.name])
    boards.until(lambda: _answers(http), "the router")
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(boards.stream, beats.release, "held", ":", http)
        for _ in range(BEATS):
            expect(beats.acquire(timeout=PATIENCE), "no sign of life")
        expect(not reading.done(), "an answer before the model gave one")
        boards.open_gates()
        expect(reading.result(), "the stream was cut off")
    http.close()
    router.stop()
    boards.shut_gates()
    return f"{BEATS} signs of life before the first token, and then the whole answer"


def g06_a_hang_up_is_passed_on(boards: Boards) -> str:
    """A client that leaves frees the node, with a stream and without."""
    for streams in (True, False):
        before = boards.counts()
        asked = {"model": "long", "messages": HI, "stream": streams}
        body = json.dumps(asked)
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        head += f"Authorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
        url = boards.http.base_url
        with socket.create_connection((url.host, url.port or 80), PATIENCE) as sock:
            sock.sendall((head + body).encode())
            if streams:
                had = b""
                while b"word" not in had:
                    had += sock.recv(65536)
                    expect(b" 200 " in had.splitlines()[0], repr(had))
            boards.until(lambda before=before: boards.counts() != before, "a run")  # type: ignore[misc]
            at = next(n for n in range(3) if boards.counts()[n] > before[n])
        node = boards.nodes[at]
        boards.until(lambda node=node: len(node.ends()) == len(node.runs()), "its end")  # type: ignore[misc]
        expect(node.ends()[-1] == "aborted", f"stream={streams}: {node.ends()[-1]}")
    return "the run ends, with a stream and without"


def g07_other_dialects(boards: Boards) -> str:
    """Routes of Ollama and Anthropic pass through."""
    ollama = boards.http.post("/api/chat", json={"model": "words", "messages": HI, "stream": False})
    asked = {"model": "words", "max_tokens": 9, "messages": HI}
    anthropic = boards.http.post("/v1/messages", json=asked)
    told = (ollama.json()["message"]["content"], anthropic.json()["content"][0]["text"])
    expect(told == (WORDS, WORDS), f"{ollama.text} {anthropic.text}")
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
    expect(steady >= 9, str(homes))  # noqa: PLR2004
    return f"{steady} of 10 conversations on one node each, {len(used)} nodes in use"


_HANG_UPS: Final = (g06_a_hang_up_is_passed_on, g06_a_long_prefill)
_ENDS: Final = (g02_a_node_dies_and_comes_back, g02_a_node_drains, g03_killed_in_the_middle)
#: The checks of each router; those of vllm-router that need another policy come with servers of their own.
CHECKS: dict[str, tuple[Callable[[Boards], str], ...]] = {
    "vllm-router": (
        g01_round_robin,
        g02_a_node_is_full,
        g02_all_nodes_are_full,
        *_HANG_UPS,
        g02_a_node_loads,
        *_ENDS,
    ),
    "haproxy": (
        g01_round_robin,
        g07_other_dialects,
        g04_conversations_stay,
        g02_a_router_keeps_what_no_node_takes,
        *_HANG_UPS,
        g02_a_node_loads,
        *_ENDS,
    ),
    "nginx": (
        g07_other_dialects,
        g04_conversations_stay,
        g02_a_node_is_full,
        *_HANG_UPS,
        *_ENDS,
    ),
}


def _holds(check: Callable[[Boards], str], boards: Boards) -> bool:
    try:
        print(f"  {check.__name__}: ok, {check(boards)}", flush=True)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and the next one runs
        told = (boards.folder / "router.txt").read_text(errors="replace")[-2000:]
        print(f"  {check.__name__}: FAILED, {error!r}\n{told}", flush=True)
        return False
    return True


def _run(router: str, checks: Iterable[Callable[[Boards], str]], **more: Any) -> int:
    """Runs checks on new servers behind a router; gives how many failed."""
    with tempfile.TemporaryDirectory(prefix="boards-") as folder:
        boards = Boards(Path(folder), router, **more)
        try:
            return sum(not _holds(check, boards) for check in checks)
        finally:
            boards.close()


def main() -> int:
    """Runs all checks, or those of the routers that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("routers", nargs="*", metavar="ROUTER", help=f"all, or some of: {', '.join(CHECKS)}")
    given = parser.parse_args()
    if unknown := set(given.routers) - set(CHECKS):
        parser.error(f"no such router: {', '.join(sorted(unknown))}; there are {', '.join(CHECKS)}")
    failed = 0
    for router in given.routers or CHECKS:
        if not routers.found(router):
            print(f"{router}: not run, it is not installed (on Debian: apt-get install {router})")
            failed += bool(given.routers)
            continue
        print(routers.version(router), flush=True)
        failed += _run(router, CHECKS[router])
        if router == "vllm-router":
            # It passes a key on with OpenAI's chats, completions and embeddings alone.
            more: dict[str, Any] = {"policy": "consistent_hash", "key": None}
            failed += _run(router, (g04_conversations_stay, g07_other_dialects), **more)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
