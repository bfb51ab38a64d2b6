"""The dialect of Ollama: its models, chats, texts and embeddings, as lines of JSON."""

from __future__ import annotations

from . import answering, embedding, managing, models

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rkllm_rs.server.app import Server
    from rkllm_rs.server.routes import Routes

__all__ = ["add_routes"]


def add_routes(routes: Routes, server: Server) -> None:
    """Adds the routes of this dialect."""
    for module in (models, answering, embedding, managing):
        module.add_routes(routes, server)
