"""What stands for the Hugging Face hub: two servers on this machine, the hub and the host of its large files.

They speak as the hub does: lists of files in two forms, redirects of large files to the other host, ranges,
hashes, and its ways to refuse.
"""

from __future__ import annotations

import hashlib
import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from support import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

COMMIT = "0123456789abcdef0123456789abcdef01234567"
#: From this size on, a file is a large one.
LARGE = 1000


class HubSite:
    """Serves the files of repositories.

    Attributes:
        files: The content by repository and path.
        wrong: Paths whose content is another one than the lists say.
        cut: How many bytes of large files are sent before the connection ends, one number for each answer;
            ``None`` is all.
        refuse: Called with the request's path; returns status, ``X-Error-Code`` and message, or ``None``.
        lists: Whether the list of a repository has sizes and hashes, so that no second list is needed.
        infos: Whether it has that list at all.
        trees: Whether it has the second list.
        heads: Whether it answers to HEAD.
        ranges: Whether the other host honours ranges.
        held: What a connection that is cut waits for before it ends, without a byte.
        unsized: Whether the sizes of small files are told nowhere.
        expired: How many requests for large files find their address expired.
        short: Bytes that large files lack at their end.
        commits: The commit of each branch.
        asked: Method, host (``hub`` or ``cdn``), path, range and token of each request.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.wrong: set[str] = set()
        self.cut: list[int | None] = []
        self.refuse: Callable[[str], tuple[int, str, str] | None] = lambda _: None
        self.lists = self.infos = True
        self.trees = self.heads = True
        self.ranges = True
        self.held: threading.Event | None = None
        self.short = self.expired = 0
        self.unsized = False
        self.tags: list[str] = ["license:apache-2.0", "text-generation"]
        self.commits = {"main": COMMIT}
        self.asked: list[tuple[str, str, str, str | None, str | None]] = []
        self._servers = [
            ThreadingHTTPServer(("127.0.0.1", 0), self._handler(name)) for name in ("hub", "cdn")
        ]
        self.url, self.cdn = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)
        for server in self._servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def add(self, repo: str, **files: bytes) -> None:
        self.files.setdefault(repo, {}).update(files)

    def downloads(self) -> list[tuple[str, str | None]]:
        """Path and range of each answer with content of a large file."""
        return [
            (path, begin) for method, host, path, begin, _ in self.asked if (method, host) == ("GET", "cdn")
        ]

    def _handler(self, host: str) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                if site.heads:
                    self.do_GET()
                else:
                    self.send_error(501)

            def do_GET(self) -> None:
                token = self.headers.get("Authorization")
                site.asked.append((self.command, host, self.path, self.headers.get("Range"), token))
                if host == "cdn" or self.path.startswith("/cdn/"):
                    if site.expired:
                        site.expired -= 1
                        site._refuse(self, 403, "", "Expired")
                        return
                    repo, _, path = self.path.removeprefix("/cdn")[1:].partition("//")
                    site._content(self, site.files[repo][urllib.parse.unquote(path)])
                elif refused := site.refuse(self.path):
                    site._refuse(self, *refused)
                else:
                    site._hub(self)

        return Handler

    def _hub(self, request: Any) -> None:
        url = urllib.parse.urlsplit(request.path)
        parts = [urllib.parse.unquote(part) for part in url.path[1:].split("/")]
        if parts[:2] == ["api", "models"]:
            repo, rest = "/".join(parts[2:4]), parts[4:]
            if repo not in self.files:
                self._refuse(request, 401, "RepoNotFound", "Repository not found")
            elif (not rest or rest[0] == "revision") and not self.infos:
                self._refuse(request, 404, "", "Not found")
            elif not rest or rest[0] == "revision":
                revision = rest[1] if rest else "main"
                if revision not in self.commits:
                    self._refuse(request, 404, "RevisionNotFound", f"Invalid rev id: {revision}")
                else:
                    self._json(request, self._info(repo, self.commits[revision]))
            elif self.trees:
                self._json(request, [self._entry(*one) for one in self.files[repo].items()])
            else:
                self._refuse(request, 404, "", "Not found")
            return
        repo, revision, path = "/".join(parts[:2]), parts[3], "/".join(parts[4:])
        data = self.files.get(repo, {}).get(path)
        if data is None:
            self._refuse(request, 404, "EntryNotFound", "Entry not found")
            return
        commit = self.commits.get(revision, revision)
        if len(data) < LARGE:
            self._content(request, data, {"ETag": f'"{blob_id(data)}"', "X-Repo-Commit": commit})
            return
        headers = {
            "Location": f"{self.cdn}/{repo}//{urllib.parse.quote(path)}",
            "X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Linked-Size": str(len(data)),
            "X-Repo-Commit": commit,
            "ETag": '"of the redirect"',
            "Content-Length": "0",
        }
        send(request, 302, headers, b"")

    def _info(self, repo: str, commit: str) -> dict[str, Any]:
        siblings: list[dict[str, Any]] = []
        for path, data in self.files[repo].items():
            one: dict[str, Any] = {"rfilename": path}
            if self.lists:
                one |= {"size": len(data), "blobId": blob_id(data)}
                if len(data) >= LARGE:
                    one["lfs"] = {
                        "sha256": hashlib.sha256(data).hexdigest(),
                        "size": len(data),
                        "pointerSize": 135,
                    }
            siblings.append(one)
        return {"id": repo, "sha": commit, "tags": self.tags, "siblings": siblings, "gated": False}

    def _entry(self, path: str, data: bytes) -> dict[str, Any]:
        one: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": blob_id(data)}
        if len(data) >= LARGE:
            one["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}
        return one

    def _json(self, request: Any, data: object) -> None:
        send(request, 200, {"Content-Type": "application/json"}, json.dumps(data).encode())

    def _refuse(self, request: Any, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": message} if code else {"X-Error-Message": message}
        send(request, status, headers, message.encode())

    def _content(self, request: Any, data: bytes, headers: dict[str, str] | None = None) -> None:
        status, headers = 200, dict(headers or {})
        if any(request.path.endswith(path) for path in self.wrong):
            data = data[:-1] + bytes([data[-1] ^ 1])
        if self.short and len(data) >= LARGE:
            data = data[: -self.short]
        wanted = request.headers.get("Range")
        whole = len(data)
        if wanted and self.ranges and int(wanted.removeprefix("bytes=").removesuffix("-")) >= whole:
            send(request, 416, {}, b"")
            return
        if wanted and self.ranges:
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
            data, status = data[begin:], 206
            headers["Content-Range"] = f"bytes {begin}-{whole - 1}/{whole}"
        cut = self.cut.pop(0) if self.cut and whole >= LARGE and request.command == "GET" else None
        if cut is None and self.unsized and whole < LARGE:
            send(request, status, {**headers, "Connection": "close", "Content-Length": ""}, data)
            return
        if cut is None:
            send(request, status, headers, data)
            return
        send(request, status, headers, data[:cut], length=len(data))
        if self.held is not None:
            self.held.wait(PATIENCE)
        request.close_connection = True


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def send(
    request: Any, status: int, headers: dict[str, str], body: bytes, *, length: int | None = None
) -> None:
    request.send_response(status)
    for name, value in headers.items():
        if value:
            request.send_header(name, value)
    if "Content-Length" not in headers:
        request.send_header("Content-Length", str(len(body) if length is None else length))
    request.end_headers()
    if request.command == "GET":
        request.wfile.write(body)
        request.wfile.flush()
