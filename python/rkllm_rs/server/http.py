"""Requests and whole answers over plain ASGI: bodies are read with bounds, and nothing is decoded twice."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import parse_qsl, unquote

from . import json_body
from .errors import ApiError, family_of
from .waiting import within

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .errors import Family

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: A request id of the client that may be used: visible ASCII.
_SANE_ID: Final = re.compile(r"[!-~]{1,128}")
#: A target with its scheme and host.
_ABSOLUTE: Final = re.compile(rb"https?://(?P<host>[^/?#]*)(?P<path>[^?#]*)", re.IGNORECASE)
#: JSON texts above this are read on a thread of their own.
_LARGE: Final = 64 << 10


@dataclass(frozen=True)
class Limits:
    """What a client may make the server hold, and for how long.

    Attributes:
        header_bytes: The largest headers.
        body_bytes: The largest body.
        body_seconds: How long a body may arrive without progress.
        body_progress: What is progress: so many bytes, or the end of the body.
        write_seconds: How long a client may read nothing while there is something for it.
        header_seconds: How long the headers of an answer may wait for its first event.
        beat_seconds: The longest silence in a stream.
        buffer_bytes: How much of a stream may wait for a client that reads slowly.
    """

    header_bytes: int = 32 << 10
    body_bytes: int = 10 << 20
    body_seconds: float = 20.0
    body_progress: int = 16 << 10
    write_seconds: float = 30.0
    header_seconds: float = 2.0
    beat_seconds: float = 5.0
    buffer_bytes: int = 256 << 10


class ClientGone(Exception):  # noqa: N818 - an event, and no answer is due
    """The client has closed the connection."""


class Headers:
    """The headers of a request, by lower-case name."""

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self.raw = [(name.lower(), value) for name, value in raw]

    def all(self, name: str) -> list[bytes]:
        """Returns every value of a header, as it came."""
        wanted = name.encode("latin-1")
        return [value for key, value in self.raw if key == wanted]

    def get(self, name: str, default: str = "") -> str:
        """Returns the first value of a header."""
        for value in self.all(name):
            return value.decode("latin-1").strip()
        return default


def new_request_id() -> str:
    """Makes the id of a request that brought none."""
    return f"req_{secrets.token_hex(12)}"


class Request:
    """A request, and what becomes known of it on its way.

    Attributes:
        method: The method, in capitals.
        path: The path, decoded once, so ``%252e`` is ``%2e`` and no dot.
        headers: The headers.
        client: The address of the client, or "" on a socket without one.
        id: The client's ``x-request-id`` if it can be used, else one of ours.
        family: Whose errors the client reads.
        route: The pattern of the route, "" before there is one.
        params: The parts of the path that the pattern names.
        caller: Whom the request counts for in a fair queue: a key's number, or the address.
        notes: What the access log says besides: numbers and names, never text of a prompt.
        ignored: Gives the fields of the body that had no effect, once it has been read.
    """

    def __init__(self, scope: Scope, receive: Receive, limits: Limits) -> None:
        self.scope = scope
        self.limits = limits
        self.started = time.monotonic()
        self.method: str = scope["method"].upper()
        root: str = scope.get("root_path") or ""
        path: str = scope["path"]
        self.headers = Headers(scope["headers"])
        # uvicorn puts the root path before whatever came.
        given: bytes = scope.get("raw_path") or path.encode()
        whole = _ABSOLUTE.match(given.removeprefix(root.encode()))
        if whole is not None:
            # As proxies are asked: its host is the request's, whatever the header says (RFC 9112, 3.2.2).
            path = unquote(whole["path"].decode("latin-1")) or "/"
            others = [pair for pair in self.headers.raw if pair[0] != b"host"]
            self.headers = Headers([*others, (b"host", whole["host"])])
        self.path = path[len(root) :] if root and path.startswith(root) else path
        self.client: str = (scope.get("client") or [""])[0]
        wanted = self.headers.get("x-request-id")
        self.id = wanted if _SANE_ID.fullmatch(wanted) else new_request_id()
        self.family: Family = family_of(self.path)
        self.route = ""
        self.params: dict[str, str] = {}
        self.caller = self.client
        self.notes: dict[str, Any] = {}
        self.ignored: Callable[[], list[str]] | None = None
        self.body_was_read = asyncio.Event()
        self._receive = receive
        self._body: bytes | None = None
        self._query: dict[str, str] | None = None
        if not self.headers.all("transfer-encoding") and self.headers.get("content-length", "0") == "0":
            self._body = b""
            self.body_was_read.set()

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; the last one wins."""
        if self._query is None:
            text = self.scope.get("query_string", b"").decode("latin-1")
            try:
                self._query = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=100))
            except ValueError:
                raise ApiError(400, "the query must have at most 100 parameters") from None
        return self._query

    def check(self) -> None:
        """Refuses what no honest client sends, before anything is made of it.

        Raises:
            ApiError: 431 for headers that are too large, 400 for a body of two lengths, in which another
                request could be hidden from a proxy.
        """
        headers = self.headers
        if sum(len(name) + len(value) for name, value in headers.raw) > self.limits.header_bytes:
            message = f"the headers must have at most {self.limits.header_bytes} bytes"
            raise ApiError(431, message, code="headers_too_large", headers=[("connection", "close")])
        if headers.all("transfer-encoding") and headers.all("content-length"):
            message = "the request must not have both content-length and transfer-encoding"
            raise ApiError(400, message, code="invalid_http", headers=[("connection", "close")])

    async def body(self) -> bytes:
        """Reads the body.

        Raises:
            ApiError: It is too large (413), compressed (415), or does not arrive (408).
            ClientGone: The client has left.
        """
        if self._body is None:
            self._body = await self._read()
            self.body_was_read.set()
        return self._body

    async def json(self) -> dict[str, Any]:
        """Reads the body as a JSON object, whatever its content type is called.

        Raises:
            ApiError: As :meth:`body`, and 400 for what is not a JSON object.
            ClientGone: The client has left.
        """
        body = await self.body()
        if len(body) > _LARGE:
            data = await asyncio.to_thread(json_body.parse, body)
        else:
            data = json_body.parse(body)
        if not isinstance(data, dict):
            raise ApiError(400, "the body must be a JSON object", code="invalid_json")
        return cast("dict[str, Any]", data)

    async def gone(self) -> None:
        """Returns when the client has closed the connection; at once if the body could not be read."""
        await self.body_was_read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    @property
    def is_short(self) -> bool:
        """Whether the body is so short that it is read sooner than a new connection is made."""
        length = self.headers.get("content-length")
        return length.isdecimal() and float(length) <= _LARGE

    async def discard(self, size: int, seconds: float) -> bool:
        """Reads what the client still sends, so that it can read the answer to what it has sent.

        Args:
            size: How many bytes at most.
            seconds: For how long at most.

        Returns:
            Whether that was all of it.
        """

        async def rest() -> bool:
            taken = 0
            while taken <= size:
                message = await self._receive()
                taken += len(message.get("body", b""))
                if message["type"] == "http.disconnect":
                    return False
                if not message.get("more_body"):
                    self.body_was_read.set()
                    return True
            return False

        if self.body_was_read.is_set():
            return True
        try:
            return await within(seconds, rest())
        except asyncio.TimeoutError:
            return False

    async def _read(self) -> bytes:
        limits = self.limits
        encoding = self.headers.get("content-encoding").lower()
        if encoding not in ("", "identity"):
            headers = [("accept-encoding", "identity")]
            raise ApiError(
                415, "content-encoding must be identity; send the body uncompressed", headers=headers
            )
        length = self.headers.get("content-length")
        if length and (not length.isdecimal() or float(length) > limits.body_bytes):
            raise self._too_large()
        body = bytearray()
        clock = asyncio.get_running_loop().time
        until, mark = clock() + limits.body_seconds, 0
        while True:
            message = await self._message(until - clock())
            if message is None:
                if len(body) - mark < limits.body_progress:
                    raise self._too_slow()
                until, mark = clock() + limits.body_seconds, len(body)
                continue
            if message["type"] == "http.disconnect":
                raise ClientGone
            body += message.get("body", b"")
            if len(body) > limits.body_bytes:
                raise self._too_large()
            if not message.get("more_body"):
                return bytes(body)

    async def _message(self, seconds: float) -> Message | None:
        """What the client sends next, or ``None`` if the time is over."""
        if seconds <= 0:
            return None
        try:
            return await within(seconds, self._receive())
        except asyncio.TimeoutError:
            return None

    def _too_slow(self) -> ApiError:
        message = f"the body did not arrive; there was no progress for {self.limits.body_seconds:g} seconds"
        return ApiError(408, message, code="request_timeout", retry=False)

    def _too_large(self) -> ApiError:
        return ApiError(
            413,
            f"the body must have at most {self.limits.body_bytes} bytes",
            code="request_too_large",
            retry=False,
        )


class Response:
    """A whole answer."""

    def __init__(
        self,
        body: bytes,
        *,
        status: int = 200,
        media: str = "application/json",
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Creates an answer.

        Args:
            body: The body.
            status: The HTTP status.
            media: The content type.
            headers: Further headers.
        """
        self.body = body
        self.status = status
        self.headers = [("content-type", media), *headers]


def json_response(data: object, *, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """Returns an answer of JSON."""
    return Response(dumps(data), status=status, headers=headers)


def text_response(text: str, *, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """Returns an answer of plain text."""
    return Response(text.encode(), status=status, media="text/plain; charset=utf-8", headers=headers)


#: Made once: ``json.dumps`` makes another for each call with options, which costs more than a token's text.
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def dumps(data: object) -> bytes:
    """Returns JSON as clients of streams want it: compact, and text as it is.

    Half of a surrogate pair, which UTF-8 does not have, becomes ``?``.
    """
    return _ENCODER.encode(data).encode(errors="replace")


def raw_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Returns headers as ASGI sends them."""
    return [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers]
