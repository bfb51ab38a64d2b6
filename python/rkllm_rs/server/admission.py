"""Whose turn it is: a bounded queue, in which the clients of a model take turns."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque

from .errors import ApiError
from .waiting import within

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

#: Most seconds that a client is told to wait.
_LONGEST_RETRY: Final = 30


class Ticket:
    """A place in the queue; given back with ``leave()``, whatever has happened."""

    __slots__ = ("_line", "_turn", "_waited", "client", "entered", "is_over", "streams")

    def __init__(self, line: _Line, client: str, streams: bool) -> None:  # noqa: FBT001 - ours
        self._line = line
        self.streams = streams
        self._turn: asyncio.Event = asyncio.Event()
        self.client = client
        self.entered = time.monotonic()
        self._waited: float | None = None
        self.is_over = False

    @property
    def has_turn(self) -> bool:
        """Whether it is this one's turn."""
        return self._turn.is_set()

    def begin(self) -> None:
        """Tells that it is this one's turn."""
        self._waited = self.waited
        self._turn.set()

    @property
    def waited(self) -> float:
        """Seconds until its turn, or until it left; those until now if it still waits."""
        return time.monotonic() - self.entered if self._waited is None else self._waited

    async def turn(self, timeout: float | None) -> float:
        """Waits for the turn.

        Args:
            timeout: Most seconds to wait.

        Returns:
            The seconds that it took.

        Raises:
            ApiError: 504, the turn did not come in time.
        """
        if not self._turn.is_set():
            try:
                await within(timeout, self._turn.wait())
            except asyncio.TimeoutError:
                message = f"the request waited {timeout:g} s in the queue, and its turn did not come"
                raise ApiError(504, message, code="queue_timeout") from None
        return self.waited

    def leave(self) -> None:
        """Gives the place back; the next one has its turn. Calling it again does nothing."""
        if not self.is_over:
            self.is_over = True
            self._waited = self.waited
            self._line.leave(self)


class _Waiting:
    """What one client waits for: streams and other requests in turn, each in their order.

    Programs such as Open WebUI ask for titles and tags of a chat without a stream, several at once, and with
    the key of all their users. A chat that somebody looks at waits for one of those, and not for all.
    """

    __slots__ = ("_others", "_streams", "_was_stream")

    def __init__(self) -> None:
        self._streams: deque[Ticket] = deque()
        self._others: deque[Ticket] = deque()
        self._was_stream = False

    def __len__(self) -> int:
        return len(self._streams) + len(self._others)

    def add(self, ticket: Ticket) -> None:
        (self._streams if ticket.streams else self._others).append(ticket)

    def remove(self, ticket: Ticket) -> None:
        mine = self._streams if ticket.streams else self._others
        if ticket in mine:
            mine.remove(ticket)

    def following(self) -> Ticket:
        """Takes the next one away."""
        self._was_stream = bool(self._streams) and not (self._was_stream and self._others)
        return (self._streams if self._was_stream else self._others).popleft()


class _Line:
    """Who waits for one model: clients in turn."""

    __slots__ = ("_queue", "_running", "_seconds", "_since", "_waiting")

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        self._running: Ticket | None = None
        self._since = 0.0
        #: What a run has taken lately.
        self._seconds = 1.0

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def enter(self, client: str, streams: bool) -> Ticket:  # noqa: FBT001 - ours
        ticket = Ticket(self, client, streams)
        if self._running is None:
            self._start(ticket)
            return ticket
        if self._queue.waiting >= self._queue.limit:
            message = f"{self._queue.waiting} requests wait already, which is the limit of this server"
            raise ApiError(429, message, code="queue_full", retry_after=self.retry_after())
        self._waiting.setdefault(client, _Waiting()).add(ticket)
        return ticket

    def retry_after(self) -> int:
        """In how many seconds a place may be free."""
        left = self._seconds - (time.monotonic() - self._since)
        return max(1, min(_LONGEST_RETRY, math.ceil(left)))

    def leave(self, ticket: Ticket) -> None:
        if self._running is not ticket:
            mine = self._waiting.get(ticket.client)
            if mine is not None:
                mine.remove(ticket)
                if not mine:
                    del self._waiting[ticket.client]
            return
        self._seconds = 0.7 * self._seconds + 0.3 * (time.monotonic() - self._since)
        self._running = None
        # The client's next request comes after one of each other client, also of those that came meanwhile.
        if ticket.client in self._waiting:
            self._waiting.move_to_end(ticket.client)
        if self._waiting:
            client, mine = next(iter(self._waiting.items()))
            following = mine.following()
            if not mine:
                del self._waiting[client]
            self._start(following)

    def _start(self, ticket: Ticket) -> None:
        self._running = ticket
        self._since = time.monotonic()
        ticket.begin()

    @property
    def running(self) -> int:
        return 0 if self._running is None else 1


class Queue:
    """The requests that wait, for all models together."""

    def __init__(self, limit: int) -> None:
        """Makes an empty queue.

        Args:
            limit: How many requests may wait, besides those that run.
        """
        self.limit = limit
        self._lines: dict[str, _Line] = {}

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return sum(map(len, self._lines.values()))

    @property
    def running(self) -> int:
        """How many requests have their turn."""
        return sum(line.running for line in self._lines.values())

    def of(self, model: str) -> tuple[int, int]:
        """How many requests of a model have their turn, and how many wait."""
        line = self._lines.get(model)
        return (0, 0) if line is None else (line.running, len(line))

    def enter(self, model: str, client: str, *, streams: bool = False) -> Ticket:
        """Takes a place.

        Args:
            model: The model's own name. Each runs one request at a time.
            client: Who asks: clients take turns, however many requests each has.
            streams: The answer is read as it comes. A client's streams and its other requests take turns.

        Returns:
            The place.

        Raises:
            ApiError: 429, the queue is full.
        """
        line = self._lines.get(model)
        if line is None:
            line = self._lines[model] = _Line(self)
        return line.enter(client, streams)
