"""Whether the server is well, for load balancers: it never runs a model, and never keeps one loaded."""

from __future__ import annotations

import functools

from .http import json_response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .app import Server
    from .http import Request, Response
    from .routes import Routes

_TOLD = {
    "loading": ("Loading model", "unavailable_error"),
    "degraded": ("A model's worker has died, does not answer, or cannot be started", "unavailable_error"),
    "draining": ("The server is stopping", "unavailable_error"),
}


async def _health(server: Server, request: Request) -> Response:
    await server.models.ask_workers()
    state = server.state()
    busy = request.query.get("fail_on_busy") == "1" and server.queue.running > 0
    if state == "ready" and not busy:
        return json_response({"status": "ok"})
    message, kind = ("All models are busy", "unavailable_error") if state == "ready" else _TOLD[state]
    body = {"status": state, "error": {"code": 503, "message": message, "type": kind}}
    return json_response(body, status=503, headers=[("retry-after", "2")])


async def _alive(_request: Request) -> Response:
    return json_response({"status": "ok"})


def add_routes(routes: Routes, server: Server) -> None:
    """Adds the routes of this module."""
    for path in ("/health", "/v1/health", "/healthz", "/readyz"):
        routes.add("GET", path, functools.partial(_health, server), public=True)
    routes.add("GET", "/livez", _alive, public=True)
