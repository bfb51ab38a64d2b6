"""What stands for the vendor's repository: a proxy on this machine that answers for every host by HTTPS.

The files that it serves have hashes that count as official.
"""

from __future__ import annotations

import hashlib
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rkllm_rs import _native, runtimes

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
#: The vendor's folder for this process, or for the board that a PC fetches a file for.
ARCH = runtimes.machine() or "aarch64"
OTHER_ARCH = "aarch64" if ARCH == "armhf" else "armhf"
TLS = Path(__file__).parent / "tls"


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def library_bytes(seed: str, size: int = 600_000) -> bytes:
    """What begins as a library does and is different for each seed."""
    block = hashlib.sha256(seed.encode()).digest()
    return (b"\x7fELF" + block * (size // len(block) + 1))[:size]


def known_by_blob_id(release: str, data: bytes, arch: str = ARCH) -> dict[str, Any]:
    return {
        "release": release,
        "abi": "v1_3_0",
        "os": "linux",
        "arch": arch,
        "git_blob_sha1": blob_id(data),
        "commit": COMMIT,
        "path": f"rkllm-runtime/Linux/librkllm_api/{arch}/librkllmrt.so",
        "size": None,
        "sha256": None,
    }


def known_by_sha256(release: str, data: bytes) -> dict[str, Any]:
    entry = known_by_blob_id(release, data)
    return {**entry, "git_blob_sha1": None, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def make_official(entries: list[dict[str, Any]]) -> None:
    """Has these files known in place of the vendor's, of which no test has the bytes."""
    _native.known_libraries = lambda: entries


class VendorSite:
    """Serves ``data`` at every address, unless ``answer`` does something else."""

    def __init__(self, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        self.data = data
        self.answer: Callable[[Any], object] = lambda request: send(request, self.data)
        self.asked: list[str] = []
        site = self
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(TLS / "server.pem")

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_CONNECT(self) -> None:
                self.host = self.path.removesuffix(":443")
                self.send_response(200)
                self.end_headers()
                try:
                    self.connection = context.wrap_socket(self.connection, server_side=True)
                except (ssl.SSLError, OSError):  # the other side does not trust us
                    self.close_connection = True
                    return
                self.rfile.close()
                self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
                self.close_connection = False

            def do_GET(self) -> None:
                site.asked.append(f"https://{self.host}{self.path}")
                self.close_connection = True
                site.answer(self)

            def finish(self) -> None:
                super().finish()
                self.connection.close()

            def log_message(self, *arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A client that has gone away is none."""

        self.server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        for name in ("HTTPS_PROXY", "NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{self.server.server_address[1]}")
        monkeypatch.setenv("SSL_CERT_FILE", str(TLS / "authority.pem"))

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def send(request: Any, body: bytes, status: int = 200, *, length: int | None = None, **headers: str) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    if length is None or length >= 0:
        request.send_header("Content-Length", str(len(body) if length is None else length))
    request.end_headers()
    request.wfile.write(body)
