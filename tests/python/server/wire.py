"""HTTP as it is on the wire: a server in a process of its own, and clients that do what no library would."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from typing_extensions import Self

HERE = Path(__file__).parent


class Answer:
    """A response that was read to its end."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"{self.status} {self.headers} {self.body[:300]!r}"


class Client:
    """A connection, byte by byte."""

    def __init__(self, port: int, *, buffer: int | None = None) -> None:
        self.sock = socket.socket()
        if buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(("127.0.0.1", port))
        self.file = self.sock.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.file.close()
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Sends a request; an object is sent as JSON, bytes as they are."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        lines = {
            "Host": "localhost",
            **({"Content-Length": str(len(data))} if data else {}),
            **(headers or {}),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.send(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + data)

    def head(self) -> tuple[int, dict[str, str]]:
        """Reads a status line and headers."""
        line = self.file.readline()
        assert line, "the connection was closed without an answer"
        status = int(line.split()[1])
        headers: dict[str, str] = {}
        while (line := self.file.readline().rstrip(b"\r\n")) != b"":
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return (status, headers) if status >= 200 else self.head()

    def chunk(self) -> bytes:
        """Reads what one write of the server sent; empty at the end."""
        line = self.file.readline()
        assert line, "the answer was cut off"
        size = int(line, 16)
        data = self.file.read(size)
        self.file.readline()
        return data

    def answer(self, *, method: str = "GET") -> Answer:
        """Reads a whole answer."""
        status, headers = self.head()
        body = b""
        if method == "HEAD" or status in (204, 304):
            pass
        elif headers.get("transfer-encoding") == "chunked":
            while data := self.chunk():
                body += data
        else:
            body = self.file.read(int(headers["content-length"]))
        return Answer(status, headers, body)

    def is_closed(self) -> bool:
        """Waits until the server closes the connection."""
        try:
            return self.file.read() is not None
        except OSError:
            return True


class Server:
    """A server's process, in a group of its own as in a terminal, unless it is to end with its parent's."""

    def __init__(self, words: list[str], *, own_group: bool = True, **keywords: Any) -> None:
        # A pipe that nobody reads would hold the server up once it is full.
        self._log = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 - closed in stop()
        self.process = subprocess.Popen(
            [sys.executable, *words],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=own_group,
            # SIGINT has its default there, however the tests were started.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,  # noqa: PLW1509
            **keywords,
        )
        assert self.process.stdout is not None
        self.ready = self.process.stdout.readline()
        if not self.ready:
            message = f"the server did not start: {self.end()}"
            self.close()
            raise AssertionError(message)
        self.ports = [int(port) for port in re.findall(r":(\d+)\b", self.ready)]
        self.port = self.ports[0]

    def connect(self, **keywords: Any) -> Client:
        return Client(self.port, **keywords)

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Sends a request on a connection of its own; underscores in names of headers are dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with self.connect() as client:
            client.ask(method, path, body, named)
            return client.answer(method=method)

    def state(self) -> dict[str, int]:
        """What the subject counts."""
        counts: dict[str, int] = self.ask("GET", "/state").json
        return counts

    def until(self, **wanted: int) -> None:
        """Waits until the subject has counted so many."""
        end = time.monotonic() + PATIENCE
        while not all(self.state().get(name, 0) >= count for name, count in wanted.items()):
            assert time.monotonic() < end, f"{self.state()} never became {wanted}"
            time.sleep(0.01)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def log(self) -> str:
        """What it has logged until now; where it writes next stays as it is."""
        file = self._log.fileno()
        return os.pread(file, os.fstat(file).st_size, 0).decode()

    def end(self) -> tuple[int, str]:
        """Waits for its end; gives the exit status and the log."""
        status = self.process.wait(PATIENCE)
        self._log.seek(0)
        return status, self._log.read()

    def stop(self) -> str:
        """Asks it to end; gives the log."""
        self.process.terminate()
        return self.end()[1]

    def close(self) -> None:
        """Ends it, if it has not ended."""
        self.process.kill()
        self.process.communicate()
        self._log.close()


@contextlib.contextmanager
def subject(**options: Any) -> Iterator[Server]:
    """The floor alone, with handlers of ``floor_subject.py``."""
    # Which thread allocates is chance, and memory is measured.
    environment = {**os.environ, "PYTHONWARNINGS": "error", "MALLOC_ARENA_MAX": "1"}
    server = Server([str(HERE / "floor_subject.py"), json.dumps(options)], env=environment)
    try:
        yield server
    finally:
        server.close()
