"""The dialect of OpenAI: models, chat completions, completions and embeddings."""

from __future__ import annotations

from . import chat, completions, embeddings, models

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rkllm_rs.server.app import Server
    from rkllm_rs.server.routes import Routes

__all__ = ["add_routes"]


def add_routes(routes: Routes, server: Server) -> None:
    """Adds the routes of this dialect."""
    for module in (models, chat, completions, embeddings):
        module.add_routes(routes, server)
