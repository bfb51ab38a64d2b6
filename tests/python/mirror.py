"""A mirror on this machine, which answers as a test wants, and files with ids that count as official."""

from __future__ import annotations

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from rkllm_rs import runtimes

if TYPE_CHECKING:
    from collections.abc import Callable

COMMIT = "0123456789abcdef0123456789abcdef01234567"
#: The vendor's folder for this process, or for the board that a PC fetches a file for.
ARCH = runtimes.machine() or "aarch64"
OTHER_ARCH = "aarch64" if ARCH == "armhf" else "armhf"


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def library_bytes(seed: str, size: int = 600_000) -> bytes:
    """What begins as a library does and is different for each seed."""
    block = hashlib.sha256(seed.encode()).digest()
    return (b"\x7fELF" + block * (size // len(block) + 1))[:size]


def official_file(
    data: bytes, release: str = "1.3.0", arch: str = ARCH, *, size: int | None = None
) -> runtimes.OfficialFile:
    path = f"rkllm-runtime/Linux/librkllm_api/{arch}/librkllmrt.so"
    return runtimes.OfficialFile(release, "v1_3_0", "linux", arch, blob_id(data), COMMIT, path, size)


class Mirror:
    """Serves ``data`` at every address, with ranges, unless ``answer`` does something else."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self.answer: Callable[[Any, int], object] | None = None
        self.asked: list[tuple[str, str | None]] = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                wanted = self.headers.get("Range")
                mirror.asked.append((self.path, wanted))
                match = re.fullmatch(r"bytes=(\d+)-", wanted or "")
                start = int(match[1]) if match else 0
                self.close_connection = True
                if mirror.answer is None:
                    mirror.serve(self, start)
                else:
                    mirror.answer(self, start)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/mirror"

    def serve(self, request: Any, start: int) -> None:
        """The honest answer."""
        if start >= len(self.data) > 0:
            send(request, b"", 416, **{"Content-Range": f"bytes */{len(self.data)}"})
        elif start:
            last = len(self.data) - 1
            headers = {"Content-Range": f"bytes {start}-{last}/{len(self.data)}"}
            send(request, self.data[start:], 206, **headers)
        else:
            send(request, self.data)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def send(request: Any, body: bytes, status: int = 200, *, length: int | None = None, **headers: str) -> None:
    request.send_response(status)
    headers = {"Content-Type": "application/octet-stream", **headers}
    for name, value in headers.items():
        request.send_header(name, value)
    if length is None or length >= 0:
        request.send_header("Content-Length", str(len(body) if length is None else length))
    request.end_headers()
    request.wfile.write(body)
