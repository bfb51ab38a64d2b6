"""Who may ask: keys, the Host and Origin headers, and answers to browsers that ask first."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from typing import TYPE_CHECKING, Final

from rkllm_rs.errors import InvalidArgumentError

from .errors import ApiError
from .http import Request, Response

if TYPE_CHECKING:
    from collections.abc import Collection

_CORS_HEADERS: Final = frozenset(
    (
        "authorization",
        "content-type",
        "x-api-key",
        "anthropic-version",
        "anthropic-beta",
        "user-agent",
        "x-request-id",
    )
)
#: Headers of the official clients, which come in many names.
_CORS_PREFIXES: Final = ("openai-", "x-stainless-", "anthropic-")
_EXPOSED: Final = "x-request-id, request-id, retry-after, x-should-retry"


def is_loopback(host: str) -> bool:
    """Tells whether an address to listen on is for this machine only."""
    try:
        address = ipaddress.ip_address(host.strip("[]").split("%")[0])
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    # A client of IPv4 on a socket of IPv6, which Python before 3.13 does not look into.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def host_of(authority: str) -> str | None:
    """Returns the name in ``name:port``, in lower case, or ``None`` for what is not one."""
    text = authority.strip().lower()
    if text.startswith("["):
        name, bracket, port = text[1:].partition("]")
        if not bracket or (port and not (port[0] == ":" and port[1:].isdecimal())):
            return None
    else:
        name, colon, port = text.partition(":")
        if colon and port and not port.isdecimal():
            return None
    name = name.rstrip(".")
    return name or None


class Guard:
    """Decides before routing whether a request may go on.

    Thread safety: :meth:`update` may be called from any thread; each request sees the old
    or the new settings.
    """

    def __init__(
        self,
        *,
        keys: Collection[str] = (),
        loopback: bool = True,
        allowed_hosts: Collection[str] = (),
        cors_origins: Collection[str] = (),
    ) -> None:
        """Creates a guard.

        Args:
            keys: API keys; without one, none is asked for.
            loopback: The server listens on this machine only, so the Host header must name this machine.
            allowed_hosts: Further names for the Host header. On other addresses, only these are checked.
            cors_origins: Origins of web pages that may use the server, such as ``https://chat.example``.

        Raises:
            InvalidArgumentError: A key is empty, or a host or an origin is not one.
        """
        self.update(keys=keys, loopback=loopback, allowed_hosts=allowed_hosts, cors_origins=cors_origins)

    def update(
        self,
        *,
        keys: Collection[str] = (),
        loopback: bool = True,
        allowed_hosts: Collection[str] = (),
        cors_origins: Collection[str] = (),
    ) -> None:
        """Replaces the settings; arguments as for the class."""
        for key in keys:
            if not key.strip():
                message = "api_key must not be empty"
                raise InvalidArgumentError(message, hint="Leave it out to ask for no key.")
        for origin in cors_origins:
            scheme, sign, rest = origin.partition("://")
            if not (scheme and sign and rest) or "/" in rest or "*" in origin:
                message = f"cors_origin must be an origin such as https://chat.example, got {origin!r}"
                raise InvalidArgumentError(
                    message,
                    hint="Name each origin with its scheme, without a path and without `*`.",
                )
        allowed = {_host_name(host) for host in allowed_hosts}
        self._origins = frozenset(origin.lower() for origin in cors_origins)
        self._allowed = frozenset(allowed)
        machine = socket.gethostname().lower()
        #: Its own name, and that which it tells the network by mDNS.
        self._machine = (machine, f"{machine.partition('.')[0]}.local")
        self._loopback = loopback
        self._digests = tuple(_digest(key.encode()) for key in keys)

    @property
    def has_keys(self) -> bool:
        """Whether a key is asked for."""
        return bool(self._digests)

    def check(self, request: Request, *, public: bool) -> None:
        """Lets a request pass.

        Args:
            request: The request; it learns whom it counts for.
            public: Its route needs no key.

        Raises:
            ApiError: 403 for a Host or an Origin that is not allowed, or for other machines where no key is
                asked for; 401 for a key.
        """
        self._check_address(request)
        self._check_host(request)
        self._check_origin(request)
        if not self._digests:
            return
        number = self._key_number(request)
        if number is not None:
            request.caller = f"key {number}"
        elif not public:
            raise ApiError(
                401,
                "the API key is missing or wrong",
                code="invalid_api_key",
                headers=[("www-authenticate", "Bearer")],
            )

    def preflight(self, request: Request, methods: Collection[str]) -> Response:
        """Answers a browser that asks what it may send; Host and Origin are checked already."""
        allow = ", ".join(sorted({*methods, "OPTIONS"}))
        headers = [("allow", allow)]
        if request.headers.get("origin") and request.headers.get("access-control-request-method"):
            asked = request.headers.get("access-control-request-headers").lower().split(",")
            names = [name.strip() for name in asked]
            allowed = [name for name in names if name in _CORS_HEADERS or name.startswith(_CORS_PREFIXES)]
            headers += [
                ("access-control-allow-methods", allow),
                ("access-control-allow-headers", ", ".join(allowed)),
                ("access-control-max-age", "600"),
            ]
        return Response(b"", status=204, headers=headers)

    def cors_headers(self, request: Request) -> list[tuple[str, str]]:
        """Returns the headers that let a page of a listed origin read the answer."""
        if not self._origins:
            return []
        headers = [("vary", "Origin")]
        origin = request.headers.get("origin")
        if origin.lower() in self._origins:
            headers += [
                ("access-control-allow-origin", origin),
                ("access-control-expose-headers", _EXPOSED),
            ]
        return headers

    def _key_number(self, request: Request) -> int | None:
        """Which key a request has; takes the same time for each."""
        given = request.headers.all("x-api-key")
        for value in request.headers.all("authorization"):
            scheme, _space, rest = value.strip().partition(b" ")
            if scheme.lower() == b"bearer":
                given.append(rest)
        found: int | None = None
        for value in given:
            digest = _digest(value.strip())
            for number, right in enumerate(self._digests):
                if hmac.compare_digest(digest, right):
                    found = number
        return found

    def _check_address(self, request: Request) -> None:
        """Refuses what the command does not start with: no key, where other machines can come.

        Another ASGI server than ours may listen anywhere, and the address is known with the request.
        """
        if self._digests or not self._loopback:
            return
        host: object = (request.scope.get("server") or (None,))[0]
        if isinstance(host, str) and _is_address(host) and not is_loopback(host):
            raise ApiError(
                403,
                "other machines can use this server only with an API key; create_app takes one as api_key",
                code="api_key_needed",
            )

    def _check_host(self, request: Request) -> None:
        values = request.headers.all("host")
        if not values and request.scope.get("http_version") in ("1.0", "2", "3"):
            return  # health checks of old proxies; browsers, which could be deceived, always send it
        if not self._loopback and not self._allowed:
            return
        name = host_of(values[0].decode("latin-1")) if len(values) == 1 else None
        if name is None or not self._knows(name):
            raise ApiError(
                403,
                "the Host header names another machine; the server's option --allowed-hosts adds names",
                code="host_not_allowed",
            )

    def _knows(self, name: str) -> bool:
        return name in self._allowed or name in self._machine or is_loopback(name)

    def _check_origin(self, request: Request) -> None:
        values = request.headers.all("origin")
        if not values:
            return
        origin = values[0].decode("latin-1").strip().lower()
        if len(values) == 1 and (origin in self._origins or self._is_own(origin, request)):
            return
        if len(values) == 1 and _is_same(origin, request):
            # Whoever visits a page of evil.example, whose name then points here, sends the same headers.
            message = "the page's name is not known to be the server's; its option --allowed-hosts adds names"
        else:
            message = "pages of this origin must not use the server; its option --cors-origin adds origins"
        raise ApiError(403, message, code="origin_not_allowed")

    def _is_own(self, origin: str, request: Request) -> bool:
        """Tells whether a page is of this server, under a name that no attacker could have given it."""
        name = host_of(request.headers.get("host"))
        is_safe = name is not None and (self.has_keys or self._knows(name) or _is_address(name))
        return is_safe and _is_same(origin, request)


def _is_same(origin: str, request: Request) -> bool:
    """Whether an origin has the name and the port that the request was sent to."""
    scheme, sign, authority = origin.partition("://")
    return (
        scheme in ("http", "https")
        and bool(sign)
        and authority == request.headers.get("host").strip().lower()
    )


def _host_name(host: str) -> str:
    """The name that an allowed host has in addresses; a port is taken away."""
    text = host.strip().lower()
    name = text if _is_address(text) else host_of(text)
    if name is None or "/" in name or "*" in name:
        message = f"allowed_hosts must be names of hosts such as chat.example, got {host!r}"
        raise InvalidArgumentError(message, hint="Name each host without a scheme, a path and `*`.")
    return name


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _digest(key: bytes) -> bytes:
    """A key at a fixed length, so that comparing takes the same time for all."""
    return hashlib.sha256(key).digest()
