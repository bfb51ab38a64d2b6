"""A server in a process of its own, on a scripted library or the real model, for tests that talk to it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx

from conversations import TEMPLATE
from fakes import calls, fake_library, fake_model
from support import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")

#: The program: an app of the arguments on standard input, run as by the command.
PROGRAM = """
import json, logging, sys, warnings
from rkllm_rs.server import create_app, running
from rkllm_rs.server.http import Limits

warnings.simplefilter("ignore")
logging.basicConfig(level=logging.INFO)
given = json.loads(sys.stdin.read())
limits = Limits(**given.pop("limits", {}))
port, drain_timeout = given.pop("port", 0), given.pop("drain_timeout", 0.2)
app = create_app(given.pop("models"), limits=limits, **given)
sockets = running.listen("127.0.0.1", [port])
sys.exit(running.serve(app, sockets, drain_timeout=drain_timeout))
"""


class Serving:
    """A server that runs.

    Attributes:
        url: Its address.
        folder: What belongs to it: its models, its record, its log.
        record: What its library was called with.
    """

    def __init__(self, folder: Path, models: dict[str, str], **options: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.record = folder / "record.jsonl"
        self.broken = folder / "broken.jsonl"
        # A folder of its own for what servers tell of themselves, as systemd makes one for each user.
        (folder / "runtime").mkdir(mode=0o700, exist_ok=True)
        kept = ("PATH", "PYTHONPATH", "RKLLM_RS_FAKES", "LD_PRELOAD", "VIRTUAL_ENV")
        self.environment = environment = {name: os.environ[name] for name in kept if name in os.environ}
        environment.update(
            HOME=str(folder),
            XDG_RUNTIME_DIR=str(folder / "runtime"),
            RKLLM_RS_NPU_LOCK=str(folder / "npu.lock"),
            RKLLM_RS_FAKE_BROKEN=str(self.broken),
            PYTHONUNBUFFERED="1",
            **options.pop("variables", {}),
        )
        self.sockets: list[socket.socket] = []
        self.log = open(folder / "log.txt", "a+b")  # noqa: SIM115 - as long as the process
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=environment,
            text=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"models": models, **options}))
        self.process.stdin.close()
        line = self.process.stdout.readline().strip()
        assert "http://" in line, self.told()
        self.url = line[line.index("http://") :]
        self.port = int(self.url.rpartition(":")[2])
        self.http = httpx.Client(base_url=self.url, timeout=PATIENCE)

    def told(self) -> str:
        """What it has printed."""
        return (self.folder / "log.txt").read_text()

    def ready(self) -> Serving:
        """Waits until its health is well."""
        self.wait_for(lambda: self.health() == 200, "health")
        return self

    def health(self) -> int:
        """The status of its health; 0 if it does not listen yet."""
        try:
            return self.http.get("/health").status_code
        except httpx.TransportError:
            return 0

    def wait_for(self, holds: Any, what: str) -> None:
        """Waits until something holds."""
        until = time.monotonic() + PATIENCE
        while not holds():
            assert self.process.poll() is None, self.told()
            assert time.monotonic() < until, f"{what} does not come\n{self.told()}"
            time.sleep(0.01)

    def post(self, path: str, data: Any, **keywords: Any) -> httpx.Response:
        """Posts JSON."""
        return self.http.post(path, json=data, **keywords)

    def connect(self, path: str, data: Any) -> socket.socket:
        """Posts JSON on a connection of its own, and reads nothing."""
        body = json.dumps(data).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        return self.send(head.encode() + body)

    def send(self, data: bytes) -> socket.socket:
        """Sends bytes on a connection of their own."""
        sock = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        self.sockets.append(sock)
        sock.sendall(data)
        return sock

    def runs(self) -> list[dict[str, Any]]:
        """The runs of its library."""
        return calls(self.record, "rkllm_run")

    def prompts(self) -> list[str]:
        """The prompts of its runs."""
        return [one["input"]["prompt_input"] for one in self.runs()]

    def ends(self) -> list[str]:
        """How its runs ended."""
        return [one["end"] for one in calls(self.record, "run_end")]

    def stop(self) -> None:
        """Ends it; no promise to the library may have been broken."""
        self.http.close()
        for sock in self.sockets:
            sock.close()
        assert self.process.stdout is not None
        self.process.stdout.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        assert not calls(self.broken)


def on_fake(folder: Path, scripts: dict[str, dict[str, Any]], **options: Any) -> Serving:
    """Starts a server on scripted models.

    Args:
        folder: Where everything is kept.
        scripts: The scripts of the models, by name.
        **options: Arguments of ``create_app``; ``library_waits_for`` is a file that the library waits for,
            ``layout`` its layout.
    """
    record = folder / "record.jsonl"
    waits = options.pop("library_waits_for", None)
    layout = options.pop("layout", "v1_3_1")
    library = fake_library(folder / "lib", layout, record=record, quiet=True, constructor_wait=waits)
    models = {
        name: str(fake_model(folder / "models" / str(at), **script))
        for at, (name, script) in enumerate(scripts.items())
    }
    options.setdefault("chat_template", TEMPLATE)
    return Serving(folder, models, library=str(library), **options)


def on_model(folder: Path, context: int, **options: Any) -> Serving:
    """Starts a server on the small real model, which is called ``small``."""
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    return Serving(folder, {"small": MODEL}, backend="cpu", max_context_len=context, **options)


def run(*texts: str, **more: Any) -> dict[str, Any]:
    """A run of a script: its tokens."""
    return {"steps": list(texts), **more}


def read_until(sock: socket.socket, text: bytes) -> bytes:
    """Reads from a connection until something has come."""
    had = b""
    while text not in had:
        more = sock.recv(65536)
        assert more, had
        had += more
    return had
