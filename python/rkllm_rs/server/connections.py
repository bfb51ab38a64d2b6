"""uvicorn's connections, with what they lack: a deadline for headers, a limit, and a way to cut them."""

from __future__ import annotations

import functools
import logging
import re
import sys
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .errors import ApiError, family_of
from .http import new_request_id

if TYPE_CHECKING:
    import asyncio

    from .http import Receive, Scope, Send

_LOG: Final = logging.getLogger("rkllm_rs.server")
_ACCESS: Final = logging.getLogger("rkllm_rs.server.access")
#: A path is looked for in so many bytes of a request.
_LINE: Final = 256
_TARGET: Final = re.compile(rb"[A-Z]+ +(?:https?://[^/ ]*)?(/[^ ?\r\n]*)")


class Connection(H11Protocol):
    """A connection.

    Attributes:
        header_seconds: How long the headers of a request may take from their first byte.
        linger_seconds: How long a client may read nothing of the rest of an answer.
        most: How many connections there may be; further ones are closed at once.
    """

    header_seconds: ClassVar[float] = 20.0
    linger_seconds: ClassVar[float] = 30.0
    most: ClassVar[int] = 4096

    #: How the request begins that is read, or was read last.
    _begun: bytes = b""
    _header_timer: asyncio.TimerHandle | None = None
    _linger_timer: asyncio.TimerHandle | None = None

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.app = functools.partial(_with_abort, self, self.app)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accepts a connection, or closes it if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            _LOG.warning("a connection was closed, because there are %d already", self.most)
            self.connections.discard(self)
            transport.abort()
            return
        # One on which nothing is asked is closed like one on which nothing more is asked.
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends what was under way."""
        self._stop_header_timer()
        self._unset_keepalive_if_required()
        if self._linger_timer is not None:
            # It would keep a connection that is gone, and what that holds, for as long as it runs.
            self._linger_timer.cancel()
            self._linger_timer = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes bytes, and starts or stops the clock for headers."""
        if self.conn.their_state is h11.IDLE:
            self._begun = (self.conn.trailing_data[0] + data)[:_LINE]
        super().data_received(data)
        self._watch_header()

    def on_response_complete(self) -> None:
        """Goes on with what came meanwhile."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._close()
        self._watch_header()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - said in our own words
        """Answers what is not HTTP, in JSON, where an answer can still be given."""
        self._stop_header_timer()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self._close()
            return
        found = sys.exc_info()[1]
        if getattr(found, "error_status_hint", None) == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            error = ApiError(431, "the headers are too large", code="headers_too_large")
        else:
            error = ApiError(400, "the request is not valid HTTP", code="invalid_http")
        self._answer(error)

    def timeout_keep_alive_handler(self) -> None:
        """Closes a connection on which nothing is asked."""
        if not self.transport.is_closing():
            self._close()

    def _close(self) -> None:
        """Closes the connection once its last bytes are read; asyncio alone would wait for ever for that."""
        self.transport.close()
        left = self.transport.get_write_buffer_size()
        if left:
            self._linger_in_time(left)

    def _linger_in_time(self, size: int) -> None:
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        self._linger_timer = self.loop.call_later(self.linger_seconds, self._linger, size)

    def _linger(self, before: int) -> None:
        left = self.transport.get_write_buffer_size()
        if left >= before:  # nothing was read since
            self.transport.abort()
        elif left:
            self._linger_in_time(left)

    def _watch_header(self) -> None:
        idle = not self.cycle or self.cycle.response_complete
        incomplete = idle and self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        if not incomplete:
            self._stop_header_timer()
        elif self._header_timer is None:
            self._header_timer = self.loop.call_later(self.header_seconds, self._header_late)

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _header_late(self) -> None:
        self._header_timer = None
        if not self.transport.is_closing():
            message = f"the headers did not arrive in {self.header_seconds:g} seconds"
            self._answer(ApiError(408, message, code="request_timeout", retry=False))

    def _answer(self, error: ApiError) -> None:
        """Answers without a request, in the form that its path asks for as far as it came, and closes."""
        number = new_request_id()
        target = _TARGET.match(self._begun)
        family = family_of(target[1].decode("latin-1")) if target is not None else "openai"
        body = error.body(family, number)
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("connection", "close"),
            ("x-request-id", number),
            *([("request-id", number)] if family == "anthropic" else []),
            *error.all_headers(),
        ]
        client = (self.client or ("-",))[0]
        _ACCESS.info(
            "id=%s client=%s method=- route=- status=%d error=%s", number, client, error.status, error.code
        )
        try:
            start = h11.Response(status_code=error.status, headers=headers, reason=b"")
            for event in (start, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:  # an answer is under way
            pass
        self._close()


async def _with_abort(connection: Connection, app: Any, scope: Scope, receive: Receive, send: Send) -> None:
    """Serves a request with a way to cut its connection, which ASGI lacks."""
    scope["extensions"] = {**scope.get("extensions", {}), "rkllm_rs.abort": connection.transport.abort}
    await app(scope, receive, send)
