"""The HTTP server: one endpoint that clients of OpenAI, Ollama and Anthropic accept.

``create_app`` makes the ASGI app, which ``rkllm-rs serve`` runs. It needs ``rkllm_rs[server]`` for that.
"""

from __future__ import annotations

from .app import App, create_app

__all__ = ["App", "create_app"]
