"""Answers that come in events: written as they come, several at once, and never silent for long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from .errors import ApiError, as_api_error
from .http import dumps
from .waiting import within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from .errors import Family
    from .http import Limits, Send

SSE: Final = "text/event-stream; charset=utf-8"
NDJSON: Final = "application/x-ndjson"
_COMMENT: Final = b": keep-alive\n\n"


class Stalled(Exception):  # noqa: N818 - an event
    """The client has read nothing for too long."""


class Stream:
    """An answer whose events an iterator makes.

    Each item is one event or several, whole, encoded. What waits is written at once, so that a write has
    whole events and whole characters. The iterator is never held up by the client, up to a buffer's size;
    when the client leaves, it is closed at once.

    The status is decided late: an error before the first event, within ``Limits.header_seconds``, becomes an
    answer with its own status. A later one becomes the last event of the stream.
    """

    def __init__(
        self,
        events: AsyncIterator[bytes],
        *,
        media: str,
        beat: Callable[[int], bytes],
        failed: Callable[[ApiError], bytes],
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Creates an answer; nothing runs yet.

        Args:
            events: Makes the events.
            media: The content type.
            beat: Makes what is written in silence; it is told how many times in a row, from 1, and returns
                an empty text to be silent.
            failed: Makes the last event of a stream that failed.
            headers: Further headers.
        """
        self.headers = [
            ("content-type", media),
            ("cache-control", "no-cache"),
            ("x-accel-buffering", "no"),  # nginx would wait for more
            *headers,
        ]
        self._events = events
        self._beat = beat
        self._failed = failed
        self._waiting: list[bytes] = []
        self._size = 0
        self._ended = False
        self._left = False
        self._limit = 0
        self._error: ApiError | None = None
        self._cause: BaseException | None = None
        self._something = asyncio.Event()
        self._room = asyncio.Event()
        self._producer: asyncio.Task[None] | None = None
        self._beat_due = False
        self._beats = 0
        self._write_began: float | None = None
        self._last_write = 0.0
        self._room.set()

    @property
    def error(self) -> ApiError | None:
        """Why the stream ended, if not by itself."""
        return self._error

    @property
    def cause(self) -> BaseException | None:
        """The exception behind ``error`` where it is one that nobody expected, for the log."""
        return self._cause

    def end(self, error: ApiError) -> None:
        """Ends the stream with an error as its last event."""
        if not self._ended and self._error is None:
            self._error = error
            self._leave()

    async def start(self, limits: Limits) -> None:
        """Waits for the first event, or until headers must go out.

        Raises:
            ApiError: There was an error before the first event.
        """
        self._limit = limits.buffer_bytes
        self._producer = asyncio.ensure_future(self._produce())
        try:
            await within(limits.header_seconds, self._something.wait())
        except asyncio.TimeoutError:
            self._beat_due = True  # bytes must come with the headers
        if self._ended and self._error is not None and not self._waiting:
            raise self._error

    async def write(self, send: Send, limits: Limits, abort: Callable[[], Awaitable[None]]) -> None:
        """Writes the events.

        Args:
            send: Takes a body message.
            limits: The deadlines.
            abort: Cuts the connection, called when the client has read nothing for too long.

        Raises:
            Stalled: The write deadline has passed.
        """
        loop = asyncio.get_running_loop()
        self._last_write = loop.time()
        writer = asyncio.ensure_future(self._write(send))
        pace = max(0.01, min(1.0, limits.beat_seconds / 4, limits.write_seconds / 4))
        try:
            while not writer.done():
                await asyncio.wait({writer}, timeout=pace)
                now = loop.time()
                if self._write_began is not None:
                    if now - self._write_began > limits.write_seconds:
                        await abort()
                        raise Stalled
                elif now - self._last_write >= limits.beat_seconds:
                    self._beat_due = True
                    self._something.set()
            await writer
        finally:
            writer.cancel()

    async def close(self) -> None:
        """Ends the iterator, whatever state it is in; waits until it has let go of what it used."""
        if self._producer is None:
            await _close(self._events)
            return
        self._leave()
        await asyncio.wait({self._producer})

    def _leave(self) -> None:
        """Ends the iterator, once: a second time would cut off how it lets go of what it used."""
        if self._producer is not None and not self._left:
            self._left = True
            self._producer.cancel()

    async def _produce(self) -> None:
        try:
            async for event in self._events:
                self._waiting.append(event)
                self._size += len(event)
                self._something.set()
                if self._size > self._limit:
                    self._room.clear()
                    await self._room.wait()
        except asyncio.CancelledError:
            pass  # end() or close(), which say why
        except Exception as error:  # noqa: BLE001 - told to the client and to the log
            if self._error is None:
                self._error = as_api_error(error)
                self._cause = None if isinstance(error, ApiError) else error
        finally:
            try:
                await _close(self._events)
            finally:
                self._ended = True
                self._something.set()

    async def _write(self, send: Send) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            if not self._waiting and not self._ended and not self._beat_due:
                await self._something.wait()
            self._something.clear()
            last = self._ended
            data = b"".join(self._waiting)
            self._waiting.clear()
            self._size = 0
            self._room.set()
            if data:
                self._beats = 0
            elif self._beat_due and not last:
                self._beats += 1
                data = self._beat(self._beats)
            self._beat_due = False
            if last and self._error is not None:
                data += self._failed(self._error)
            if data or last:
                self._write_began = clock()
                await send({"type": "http.response.body", "body": data, "more_body": not last})
                self._write_began = None
                self._last_write = clock()
            if last:
                return


async def _close(events: AsyncIterator[bytes]) -> None:
    close = getattr(events, "aclose", None)
    if close is not None:
        await close()


def sse(
    events: AsyncIterator[bytes],
    *,
    failed: Callable[[ApiError], bytes],
    beat: Callable[[int], bytes] | None = None,
    headers: Iterable[tuple[str, str]] = (),
) -> Stream:
    """Returns a stream of server-sent events; its heartbeat is a comment unless ``beat`` makes another."""
    return Stream(events, media=SSE, beat=beat or (lambda _count: _COMMENT), failed=failed, headers=headers)


def ndjson(
    events: AsyncIterator[bytes],
    *,
    failed: Callable[[ApiError], bytes],
    beat: Callable[[int], bytes],
    headers: Iterable[tuple[str, str]] = (),
) -> Stream:
    """Returns a stream of lines of JSON, which has no comments: ``beat`` makes a line that says nothing."""
    return Stream(events, media=NDJSON, beat=beat, failed=failed, headers=headers)


def event(data: object, name: str | None = None) -> bytes:
    """Returns a server-sent event; OpenAI's chat has no names, Anthropic's and Responses have."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + dumps(data) + b"\n\n"


def failed_event(family: Family, request_id: str) -> Callable[[ApiError], bytes]:
    """Returns what makes the last event of a failed stream, in a family's own form."""
    if family == "ollama":
        return lambda error: dumps(error.data(family)) + b"\n"
    name = "error" if family == "anthropic" else None
    return lambda error: event(error.data(family, request_id), name)
