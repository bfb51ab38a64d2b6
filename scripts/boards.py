"""Three servers on scripted libraries, and a router before them."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [
    str(ROOT / "scripts"),
    str(ROOT / "tests" / "python"),
    str(ROOT / "tests" / "python" / "server"),
]

import routers  # noqa: E402 - the folders are named above
from serving import on_fake, run  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WORDS = "Hello world!"
HI = [{"role": "user", "content": "Hi"}]
LONG_PROMPT = [{"role": "user", "content": "word " * 20_000}]
STEPS = 60
HELD = 120_000  # milliseconds, unless the gate is opened
INTERVAL = 1.0  # seconds between two looks of the router at a node's health
PATIENCE = 60
QUEUE = 4
TAKEN = 3  # requests that haproxy gives to a node at a time
BEATS = 8  # of half a second each: longer than an impatient router waits for silence
OK, FULL = 200, 429
KEY = "a-key"
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
#: As in the guide, and quicker.
QUICK = ("--health-check-interval-secs", str(int(INTERVAL)), "--cb-timeout-duration-secs", "2")
#: Waits for two seconds of silence.
IMPATIENT: dict[str, tuple[str, ...]] = {
    "vllm-router": QUICK,
    "haproxy": ("timeout server 300s", "timeout server 2s"),
    "nginx": ("proxy_read_timeout 300s", "proxy_read_timeout 2s"),
}


class Boards:
    """Three nodes, and a router before them."""

    def __init__(self, folder: Path, router: str, policy: str = "round_robin", key: str | None = KEY) -> None:
        self.folder = folder
        self.key = key
        self.name = router
        self.asked_again = 0
        self.nodes: list[Any] = []
        more: dict[str, tuple[str, ...]] = {
            # The last one of two is the one that counts.
            "vllm-router": ("--policy", policy, *QUICK),
            "haproxy": ("inter 2s", f"inter {int(INTERVAL)}s"),
            "nginx": ("fail_timeout=5s", "fail_timeout=1s"),
        }
        with ExitStack() as ends:
            ends.callback(self._stop_nodes)
            for at in range(3):
                self.nodes.append(self.node(at, routers.free_port()))
            self.http, self.router = self.behind(more[router])
            ends.callback(self.router.stop)
            ends.callback(self.http.close)
            self.until(self.well, "the router")
            self._ends = ends.pop_all()

    def behind(self, more: Sequence[str]) -> tuple[httpx.Client, routers.Started]:
        """Starts a router; gives a client that asks it."""
        port, started = routers.start(self.name, self.folder, [node.port for node in self.nodes], more)
        url, limits = f"http://127.0.0.1:{port}", httpx.Limits(max_connections=None)
        return httpx.Client(base_url=url, timeout=PATIENCE, limits=limits, headers=AUTHORIZED), started

    def until(self, holds: Callable[[], object], what: str) -> None:
        """Waits until something holds."""
        end = time.monotonic() + PATIENCE
        while not holds():
            expect(time.monotonic() < end, f"{what} does not come")
            time.sleep(0.05)

    def gate(self, at: int) -> Path:
        """The file that lets the runs of the model "held" on a node go on."""
        return self.folder / f"gate-{at}"

    def open_gates(self, *nodes: int) -> None:
        """Lets the runs of all nodes, or of some, go on."""
        for at in nodes or range(3):
            self.gate(at).touch()

    def shut_gates(self) -> None:
        """Makes runs wait again."""
        for at in range(3):
            self.gate(at).unlink(missing_ok=True)

    def node(self, at: int, port: int, *names: str, waits: Path | None = None) -> Any:
        """Starts a node, with all models or some; it is ready unless its library waits for a file."""
        scripts: dict[str, Any] = {
            "words": {"runs": [run("Hello", " ", "world", "!")]},
            "long": {"runs": [{"steps": ["word "] * STEPS, "delay_ms": 50}]},
            "held": {"gate": str(self.gate(at)), "runs": [run(WORDS, prefill_ms=HELD)]},
        }
        node = on_fake(
            self.folder / f"node-{at}-{port}-{time.monotonic_ns()}",
            {name: scripts[name] for name in names or scripts},
            family="qwen3",
            keep_alive=-1,
            port=port,
            queue=QUEUE,
            drain_timeout=30,
            api_key=self.key,
            loopback=False,
            limits={"header_seconds": 0.5, "beat_seconds": 0.5},
            library_waits_for=waits,
        )
        node.http.headers.update(AUTHORIZED)
        return node if waits else node.ready()

    def again(self, at: int, *names: str, waits: Path | None = None) -> Any:
        """Starts a node in the place of one that has ended."""
        old = self.nodes[at]
        old.stop()
        self.nodes[at] = self.node(at, old.port, *names, waits=waits)
        return self.nodes[at]

    def well(self) -> bool:
        """Whether the router answers a chat."""
        try:
            return self.chat() == WORDS
        except (httpx.HTTPError, AssertionError):
            return False

    def chat(self, model: str = "words", messages: Any = HI, **headers: str) -> str:
        """The answer to a chat; asks again where a connection was closed without one, as clients do."""
        asked = {"model": model, "messages": messages}
        try:
            answer = self.http.post("/v1/chat/completions", json=asked, headers=headers)
        except httpx.RemoteProtocolError:
            self.asked_again += 1
            answer = self.http.post("/v1/chat/completions", json=asked, headers=headers)
        if answer.status_code != OK:
            message = f"{answer.status_code} {answer.text}"
            raise AssertionError(message)
        return str(answer.json()["choices"][0]["message"]["content"])

    def stream(
        self,
        begun: Callable[[], object],
        model: str = "long",
        mark: str = "word",
        http: httpx.Client | None = None,
    ) -> bool:
        """Reads a long stream; says whether it came to its end."""
        asked = {"model": model, "messages": HI, "stream": True}
        text = ""
        try:
            with (http or self.http).stream("POST", "/v1/chat/completions", json=asked) as answer:
                expect(answer.status_code == OK, f"{answer.status_code}")
                for part in answer.iter_text():
                    text += part
                    if mark in part:
                        begun()
        except httpx.HTTPError:
            return False
        whole = text.count("word ") >= STEPS if model == "long" else WORDS in text
        return text.rstrip().endswith("data: [DONE]") and whole

    def counts(self) -> list[int]:
        """How many runs each node has had."""
        return [len(node.runs()) for node in self.nodes]

    def used_again(self, at: int, model: str = "words") -> float:
        """Asks until a node has a run more; gives the seconds that it took."""
        before, began = self.counts()[at], time.monotonic()

        def is_used() -> bool:
            self.chat(model)
            return self.counts()[at] > before

        self.until(is_used, f"node {at}")
        return time.monotonic() - began

    def close(self) -> None:
        """Ends all."""
        self._ends.close()

    def _stop_nodes(self) -> None:
        self.open_gates()
        for node in self.nodes:
            node.stop()


def expect(holds: bool, otherwise: str) -> None:  # noqa: FBT001
    """Fails a check that does not hold."""
    if not holds:
        raise AssertionError(otherwise)
