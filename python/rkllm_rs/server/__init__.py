"""The HTTP server: one endpoint that clients of OpenAI, Ollama and Anthropic accept.

``create_app`` makes the ASGI app, which ``rkllm-rs serve`` runs. It needs ``rkllm_rs[server]`` for that.
"""

from __future__ import annotations

from .app import App, create_app
from .http import Limits
from .settings import Settings

__all__ = ["App", "Limits", "Settings", "create_app"]
