"""The floor that handlers stand on: an ASGI app that guards, routes, watches for hang-ups, and logs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from .errors import ApiError, as_api_error
from .http import ClientGone, Limits, Request, Response, raw_headers
from .stream import Stalled, Stream
from .waiting import within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .guard import Guard
    from .http import Message, Receive, Scope, Send
    from .routes import Routes

_LOG: Final = logging.getLogger("rkllm_rs.server")
_ACCESS: Final = logging.getLogger("rkllm_rs.server.access")
_METHODS: Final = frozenset(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
#: The name of a field.
_NAME: Final = re.compile(r"[A-Za-z0-9_.\-]{1,48}")
_MOST_NAMES: Final = 8
#: What is written to the log for a request whose client has left; no client ever sees it.
_GONE: Final = 499
#: How much of a refused body is taken, and for how long, so that its sender can read why.
_TAKEN_BYTES: Final = 64 << 20
_TAKEN_SECONDS: Final = 2.0
#: How long work may take to end once its client has left, before it is told again.
_AGAIN_SECONDS: Final = 10.0


class Exchange:
    """A request that is being answered."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.status = 0
        self.reason = ""
        self.stream: Stream | None = None
        self.work: asyncio.Task[None] | None = None
        self.aborted: ApiError | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.delivered = False

    def abort(self, error: ApiError) -> None:
        """Ends it with an error: as the last event of a stream that has begun, else as the answer."""
        if self.stream is not None:
            self.stream.end(error)
        elif self.work is not None and self.status == 0 and self.aborted is None:  # no answer has begun
            self.aborted = error
            self.work.cancel()


class Floor:
    """An ASGI app.

    Attributes:
        routes: The table of routes.
        guard: Who may ask.
        limits: What a client may make the server hold.
        draining: New work is refused, because the server is about to stop.
        work_seconds: How long a request for work may take, or ``None``.
        on_startup: Awaited in order before the first request.
        on_shutdown: Awaited in reverse order after the last.
        on_done: Called with each exchange that has ended, for metrics.
    """

    def __init__(self, routes: Routes, guard: Guard, limits: Limits | None = None) -> None:
        self.routes = routes
        self.guard = guard
        self.limits = limits or Limits()
        self.draining = False
        self.work_seconds: float | None = None
        self.on_startup: list[Callable[[], Awaitable[None]]] = []
        self.on_shutdown: list[Callable[[], Awaitable[None]]] = []
        self.on_done: list[Callable[[Exchange], None]] = []
        self._active: set[Exchange] = set()
        self._changed = asyncio.Event()

    @property
    def active(self) -> int:
        """How many requests for work are being answered."""
        return sum(exchange.request.notes.get("work", False) for exchange in self._active)

    def drain(self) -> None:
        """Refuses new work from now on."""
        self.draining = True

    async def idle(self, seconds: float) -> bool:
        """Waits until no work is left; tells whether that was so in time."""
        until = time.monotonic() + seconds
        while self.active:
            self._changed.clear()
            left = until - time.monotonic()
            if left <= 0:
                return False
            with contextlib.suppress(asyncio.TimeoutError):
                await within(left, self._changed.wait())
        return True

    def abort_all(self, error: ApiError) -> None:
        """Ends every request for work with an error."""
        for exchange in list(self._active):
            if exchange.request.notes.get("work"):
                exchange.abort(error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection's request, as ASGI 3 asks."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._serve(Request(scope, receive, self.limits), send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    async def _serve(self, request: Request, send: Send) -> None:
        exchange = Exchange(request)
        self._active.add(exchange)

        async def deliver(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                exchange.delivered = True  # that the client leaves now is what it should do

        work = exchange.work = asyncio.ensure_future(self._answer(exchange, deliver))
        watch = asyncio.ensure_future(request.gone())
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and not exchange.delivered:
                exchange.reason = exchange.reason or "client_gone"
                # Again, in case that it was forgotten: nobody would ever end what goes on.
                while not work.done():
                    work.cancel()
                    await asyncio.wait({work}, timeout=_AGAIN_SECONDS)
            await asyncio.wait({work})
            if not work.cancelled() and (error := work.exception()) is not None:
                raise error
        finally:
            for task in (work, watch):
                task.cancel()
            if exchange.timer is not None:
                exchange.timer.cancel()
            self._active.discard(exchange)
            self._changed.set()
            self._done(exchange)

    async def _answer(self, exchange: Exchange, send: Send) -> None:
        try:
            try:
                answer = await self._handle(exchange)
                if isinstance(answer, Stream):
                    await self._stream(exchange, answer, send)
                    return
            except asyncio.CancelledError:
                if exchange.aborted is None:
                    raise
                answer = self._refusal(exchange, exchange.aborted)
            except ClientGone:
                exchange.reason = "client_gone"
                return
            except Exception as error:
                if exchange.status:  # an answer has begun: the server cuts it off
                    raise
                answer = self._refusal(exchange, error)
            await self._whole(exchange, answer, send)
        except Stalled:
            exchange.reason = "client_stalled"

    async def _handle(self, exchange: Exchange) -> Response | Stream:
        request = exchange.request
        request.check()
        if request.method == "OPTIONS":
            self.guard.check(request, public=True)
            return self.guard.preflight(request, self.routes.methods(request.path) or ["GET", "POST"])
        self.guard.check(request, public=self.routes.is_public(request))
        route = self.routes.find(request)
        if route.work:
            if self.draining:
                raise ApiError(503, "the server is stopping", code="draining", retry_after=10)
            request.notes["work"] = True
        if route.timed and self.work_seconds is not None:
            left = self.work_seconds - (time.monotonic() - request.started)
            message = f"the request took longer than {self.work_seconds:g} s, the limit of this server"
            error = ApiError(504, message, code="request_timeout", retry=False)
            loop = asyncio.get_running_loop()
            exchange.timer = loop.call_later(max(0.0, left), exchange.abort, error)
        return await route.handler(request)

    async def _stream(self, exchange: Exchange, stream: Stream, send: Send) -> None:
        request = exchange.request
        exchange.stream = stream
        try:
            await stream.start(self.limits)
            exchange.status = 200
            await send(self._start(request, 200, stream.headers))
            if request.method == "HEAD":
                await send({"type": "http.response.body", "body": b""})
                return
            await stream.write(send, self.limits, lambda: self._abort(request))
        except Stalled:
            exchange.reason = "client_stalled"
        finally:
            await stream.close()
            if stream.cause is not None:
                self._told(request, stream.cause)
            if stream.error is not None:
                exchange.reason = exchange.reason or stream.error.code or "error"

    async def _whole(self, exchange: Exchange, answer: Response, send: Send) -> None:
        request = exchange.request
        exchange.status = answer.status
        headers = list(answer.headers)
        if answer.status != HTTPStatus.NO_CONTENT:
            headers.append(("content-length", str(len(answer.body))))
        unread = not request.body_was_read.is_set()
        if unread and request.is_short:
            unread = not await request.discard(_TAKEN_BYTES, _TAKEN_SECONDS)
        if unread and ("connection", "close") not in headers:
            headers.append(("connection", "close"))
        body = b"" if request.method == "HEAD" else answer.body
        await send(self._start(request, answer.status, headers))
        try:
            write = send({"type": "http.response.body", "body": body, "more_body": unread})
            await within(self.limits.write_seconds, write)
            if unread:
                await request.discard(_TAKEN_BYTES, _TAKEN_SECONDS)
                await send({"type": "http.response.body", "body": b""})
        except asyncio.TimeoutError:
            await self._abort(request)
            raise Stalled from None

    def _start(self, request: Request, status: int, headers: list[tuple[str, str]]) -> Message:
        headers = [*headers, *self.guard.cors_headers(request), ("x-request-id", request.id)]
        if request.ignored is not None and status < HTTPStatus.BAD_REQUEST:
            names = _names(request.ignored())
            if names:
                request.notes["ignored"] = names
                headers.append(("warning", f'199 - "fields without effect: {names}"'))
        if request.family == "anthropic":
            headers.append(("request-id", request.id))
        return {"type": "http.response.start", "status": status, "headers": raw_headers(headers)}

    def _refusal(self, exchange: Exchange, cause: BaseException) -> Response:
        request = exchange.request
        error = self._told(request, cause)
        if request.notes.get("work") and (error.is_ours or error.status == HTTPStatus.TOO_MANY_REQUESTS):
            exchange.reason = exchange.reason or error.code or "error"
        body = error.body(request.family, request.id)
        return Response(body, status=error.status, headers=error.all_headers())

    def _told(self, request: Request, error: BaseException) -> ApiError:
        """Returns what the client is told; what only we can mend is told to the log."""
        answer = as_api_error(error)
        request.notes.setdefault("error", answer.code or answer.status)
        if answer is not error and answer.is_ours:
            _LOG.error("id=%s %s: %s", request.id, type(error).__name__, error, exc_info=error)
        return answer

    async def _abort(self, request: Request) -> None:
        """Cuts the connection, where the server lets us."""
        abort: Any = request.scope.get("extensions", {}).get("rkllm_rs.abort")
        if abort is not None:
            abort()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            try:
                message = await receive()
            except asyncio.CancelledError:  # the server is ended at once
                return
            starting = message["type"] == "lifespan.startup"
            hooks = self.on_startup if starting else list(reversed(self.on_shutdown))
            try:
                for hook in hooks:
                    await hook()
            except Exception as error:  # noqa: BLE001 - ASGI wants it as a message
                _LOG.exception("the server could not %s", "start" if starting else "stop")
                await send({"type": f"{message['type']}.failed", "message": str(error)})
                return
            await send({"type": f"{message['type']}.complete"})
            if not starting:
                return

    def _done(self, exchange: Exchange) -> None:
        status = exchange.status if exchange.reason != "client_gone" else _GONE
        exchange.status = status
        for hook in self.on_done:
            hook(exchange)
        if _ACCESS.isEnabledFor(logging.INFO):
            _ACCESS.info("%s", access_line(exchange))


def _names(fields: list[str]) -> str:
    """Fields that are named to the client and in the log: not many, and nothing that is more than a name."""
    found = [name for name in fields if _NAME.fullmatch(name)][:_MOST_NAMES]
    left = len(fields) - len(found)
    return ", ".join([*found, f"{left} more"] if left else found)


def access_line(exchange: Exchange) -> str:
    """Returns the line of the log for a request: numbers and names, never text of a prompt, never a key."""
    request = exchange.request
    words: dict[str, Any] = {
        "id": request.id,
        "client": request.client or "-",
        "method": request.method if request.method in _METHODS else "-",
        "route": request.route or "-",
        "status": exchange.status,
        "total_ms": f"{(time.monotonic() - request.started) * 1000:.0f}",
    }
    words.update((name, value) for name, value in request.notes.items() if name != "work")
    if exchange.reason:
        words["reason"] = exchange.reason
    return " ".join(f"{name}={_word(value)}" for name, value in words.items())


def _word(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and not set(text) & set(' "=') else repr(text)
