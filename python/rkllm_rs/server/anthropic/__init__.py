"""The dialect of Anthropic: messages, and their tokens counted."""

from __future__ import annotations

from . import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rkllm_rs.server.app import Server
    from rkllm_rs.server.routes import Routes

__all__ = ["add_routes"]


def add_routes(routes: Routes, server: Server) -> None:
    """Adds the routes of this dialect."""
    messages.add_routes(routes, server)
