"""Runs an ASGI app of ours until it is told to stop, and then lets what is under way come to its end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import re
import resource
import signal
import socket
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from rkllm_rs.errors import InvalidArgumentError, UnsupportedFeatureError

from .errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from .asgi import Floor

_LOG: Final = logging.getLogger("rkllm_rs.server")
#: Seconds that an idle connection is kept; more than the 60 of nginx, which could use one just closed.
_IDLE_SECONDS: Final = 75
#: The largest headers.
_HEADER_BYTES: Final = 32 << 10
#: Connections wait here while they are accepted.
_BACKLOG: Final = 2048
#: Open files that a server with many connections has.
_FILES: Final = 16384
#: The packages that it needs, with the first versions that do: before, uvicorn takes the signals for itself,
#: and h11 lets requests be smuggled (CVE-2025-43859).
LEAST: Final = {"uvicorn": "0.29", "h11": "0.16"}
#: Seconds for the last events of streams that were ended.
_LAST_WORDS: Final = 5.0


def listen(host: str, ports: Sequence[int]) -> list[socket.socket]:
    """Opens the sockets.

    Raises:
        InvalidArgumentError: An address or a port cannot be used.
    """
    sockets: list[socket.socket] = []
    try:
        for port in ports:
            sockets += [_bound(host, port)]
    except BaseException:
        for one in sockets:
            one.close()
        raise
    return sockets


def _bound(host: str, port: int) -> socket.socket:
    name = host.strip("[]")
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        message = f"host {host} is not an address of this machine: {error.strerror}"
        raise InvalidArgumentError(message, hint="Pass an address with --host, such as 127.0.0.1.") from error
    # With its protocol: asyncio turns the waiting for acknowledgements off for what says that it is TCP.
    # IPv4 first: most clients try it alone for names such as localhost.
    family, kind, protocol, _name, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and name == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(address)
        sock.listen(_BACKLOG)  # here, so that a port in use is told at once
        sock.setblocking(False)  # noqa: FBT003 - it has no name
    except OSError as error:
        sock.close()
        message = f"port {port} of {host} cannot be used: {error.strerror}"
        hint = "Stop the program that uses it, or pass another --port."
        if error.errno == errno.EADDRNOTAVAIL:
            hint = "Pass an address of this machine with --host, or 0.0.0.0 for all of them."
        elif error.errno in (errno.EACCES, errno.EPERM):
            hint = "Pass a --port of 1024 or more: the others are for root."
        raise InvalidArgumentError(message, hint=hint) from error
    return sock


def url_of(sock: socket.socket) -> str:
    """Returns the address of a socket as people paste it."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def check_installed() -> None:
    """Refuses to go on without what the server needs.

    Raises:
        UnsupportedFeatureError: uvicorn or h11 is not installed, or too old.
    """
    for name, least in LEAST.items():
        try:
            version: str = import_module(name).__version__
        except ImportError as error:
            message = f"the server needs the package {name}"
            raise UnsupportedFeatureError(message, hint="Run `pip install 'rkllm_rs[server]'`.") from error
        if _numbers(version) < _numbers(least):
            message = f"the server needs {name} {least} or later, got {version}"
            raise UnsupportedFeatureError(message, hint=f"Run `pip install '{name}>={least}'`.")


def _numbers(version: str) -> list[int]:
    """The first numbers of a version, which decide."""
    return [int(number) for number in re.findall(r"\d+", version)[:2]]


def serve(
    app: Floor,
    sockets: Sequence[socket.socket],
    *,
    drain_timeout: float = 30.0,
    on_reload: Callable[[], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> int:
    """Serves until SIGTERM or SIGINT.

    The first signal drains: new work is refused, and what is under way may go on for ``drain_timeout``
    seconds; then streams end with an error event. The second ends all at once.

    Args:
        app: The app.
        sockets: Where it listens.
        drain_timeout: Seconds for requests to end.
        on_reload: Called on SIGHUP.
        say: Prints the line that says where the server is, once it answers. Default: to stdout.

    Returns:
        The exit status: 0 after the first signal, 128 and the signal's number after the second, 1 if the
        server could not be started.

    Raises:
        UnsupportedFeatureError: uvicorn or h11 is not installed, or too old.
    """
    check_installed()
    _allow_files()
    running = _Running(app, sockets, drain_timeout, on_reload, say or _say)
    return asyncio.run(running.main())


class _Running:
    """A server, and the signals that it gets."""

    def __init__(
        self,
        app: Floor,
        sockets: Sequence[socket.socket],
        drain_timeout: float,
        on_reload: Callable[[], None] | None,
        say: Callable[[str], None],
    ) -> None:
        self.app = app
        self.sockets = list(sockets)
        self.drain_timeout = drain_timeout
        self.on_reload = on_reload
        self.say = say
        self.status = 0
        self.draining: asyncio.Task[None] | None = None
        self.server: Any = None

    async def main(self) -> int:
        loop = asyncio.get_running_loop()
        self.server = self._uvicorn()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        # One that came during the start has waited.
        mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        try:
            await self.server.serve(sockets=self.sockets)
        except SystemExit:  # uvicorn's way to say that the app could not start; the log has the reason
            return 1
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)
        return self.status

    def _uvicorn(self) -> Any:
        import uvicorn

        from .connections import Connection

        running = self

        class Server(uvicorn.Server):
            """uvicorn's, which leaves the signals to us."""

            @contextlib.contextmanager
            def capture_signals(self) -> Generator[None, None, None]:
                yield

            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                running.ready()

        config = uvicorn.Config(
            self.app,
            http=Connection,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_IDLE_SECONDS,
            timeout_graceful_shutdown=int(_LAST_WORDS),
            h11_max_incomplete_event_size=_HEADER_BYTES,
        )
        return Server(config)

    def ready(self) -> None:
        """Says that the server answers."""
        self.say(f"rkllm-rs: ready on {' and '.join(url_of(sock) for sock in self.sockets)}")
        _notify("READY=1")
        _keep_awake(asyncio.get_running_loop())

    def _stop(self, number: int) -> None:
        if self.draining is None:
            _notify("STOPPING=1")
            self.app.drain()
            self.draining = asyncio.ensure_future(self._drain())
            return
        self.status = 128 + number
        self.draining.cancel()
        self.app.abort_all(_stopping())
        self.server.force_exit = self.server.should_exit = True

    async def _drain(self) -> None:
        _LOG.info("stopping; %d requests are under way", self.app.active)
        if not await self.app.idle(self.drain_timeout):
            _LOG.warning("ending %d requests after %g seconds", self.app.active, self.drain_timeout)
            self.app.abort_all(_stopping())
            await self.app.idle(_LAST_WORDS)
        self.server.should_exit = True

    def _reload(self) -> None:
        if self.on_reload is None:
            return
        try:
            self.on_reload()
        except Exception as error:  # noqa: BLE001 - the server goes on with what it had
            _LOG.error("the settings were not read again: %s", error)


def _stopping() -> ApiError:
    return ApiError(503, "the server is stopping", code="draining", retry_after=10)


def _say(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def _notify(state: str, patience: float = 1.0) -> None:
    """Tells systemd, for units of ``Type=notify``; waits so many seconds if it reads nothing."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(patience)
        sock.sendto(state.encode(), address)


def _keep_awake(loop: asyncio.AbstractEventLoop) -> None:
    """Tells systemd again and again that the event loop goes on, for units with ``WatchdogSec``."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return

    def tell() -> None:
        _notify("WATCHDOG=1", 0.0)
        loop.call_later(int(microseconds) / 2_000_000, tell)

    tell()


def _allow_files() -> None:
    """Lets the process have as many connections as the system permits, where its usual limit is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
