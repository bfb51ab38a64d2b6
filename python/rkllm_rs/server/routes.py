"""Which handler serves which method and path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .errors import ApiError
from .http import Request, Response

if TYPE_CHECKING:
    from .stream import Stream

Handler = Callable[[Request], Awaitable["Response | Stream"]]

#: Prefixes that clients write twice: once in the base URL, and once in the path.
_TWICE: Final = ("/v1", "/api")


@dataclass(frozen=True)
class Route:
    """A handler at its place.

    Attributes:
        pattern: The path; a last part in braces takes the rest, with its slashes and colons.
        handler: What answers.
        public: Needs no key.
        work: Asks for work: refused while the server is draining.
        timed: Ends when the time is over that the server has for a request.
    """

    pattern: str
    handler: Handler
    public: bool
    work: bool
    timed: bool


def plain(path: str) -> str:
    """Returns a path as the table has it: no empty parts in front, no slash behind, no prefix twice."""
    path = "/" + path.strip("/")
    for prefix in _TWICE:
        if path.startswith(f"{prefix}{prefix}/"):
            return path[len(prefix) :]
    return path


class Routes:
    """The table of routes."""

    def __init__(self) -> None:
        self._exact: dict[str, dict[str, Route]] = {}
        self._open: list[tuple[str, str, str, dict[str, Route]]] = []

    def add(
        self,
        method: str,
        pattern: str,
        handler: Handler,
        *,
        public: bool = False,
        work: bool | None = None,
        timed: bool = True,
    ) -> None:
        """Adds a route; ``GET`` serves ``HEAD`` too.

        Args:
            method: The method.
            pattern: The path, such as ``/v1/models/{id}``; only a last part may be in braces.
            handler: What answers.
            public: Needs no key.
            work: Asks for work, which a draining server refuses. Default: every ``POST`` does.
            timed: Such work has the server's limit of time.
        """
        work = method == "POST" if work is None else work
        route = Route(pattern, handler, public, work, work and timed)
        if pattern.endswith("}"):
            prefix, name = pattern[:-1].split("{")
            methods = next((entry[3] for entry in self._open if entry[0] == prefix), None)
            if methods is None:
                methods = dict[str, Route]()
                self._open.append((prefix, name, pattern, methods))
        else:
            methods = self._exact.setdefault(pattern, {})
        methods[method] = route
        if method == "GET":
            methods.setdefault("HEAD", route)

    def methods(self, path: str) -> dict[str, Route]:
        """Returns the routes of a path by method, none if it is unknown."""
        found, _params = self._at(path)
        return found

    def is_public(self, request: Request) -> bool:
        """Tells whether a request may come without a key."""
        route = self.methods(request.path).get(request.method)
        return route is not None and route.public

    def find(self, request: Request) -> Route:
        """Returns the route of a request, and tells the request its parameters.

        Raises:
            ApiError: 404, or 405 with the methods there are.
        """
        methods, params = self._at(request.path)
        if not methods:
            raise ApiError(404, f"there is no such route{self._meant(request.path)}", code="not_found")
        route = methods.get(request.method)
        request.route = next(iter(methods.values())).pattern
        if route is None:
            allow = ", ".join(sorted({*methods, "OPTIONS"}))
            raise ApiError(
                405,
                f"the method must be one of {allow}",
                code="method_not_allowed",
                headers=[("allow", allow)],
            )
        request.params = params
        return route

    def _meant(self, path: str) -> str:
        """The route of a client whose base URL lacks ``/v1``, or has it once too often."""
        other = path.removeprefix("/v1") if path.startswith("/v1/") else f"/v1{path}"
        methods = self.methods(other)
        return f"; {next(iter(methods.values())).pattern} is one: check the base URL" if methods else ""

    def _at(self, path: str) -> tuple[dict[str, Route], dict[str, str]]:
        path = plain(path)
        exact = self._exact.get(path)
        if exact is not None:
            return exact, {}
        for prefix, name, _pattern, methods in self._open:
            if path.startswith(prefix) and len(path) > len(prefix):
                return methods, {name: path[len(prefix) :]}
        return {}, {}
