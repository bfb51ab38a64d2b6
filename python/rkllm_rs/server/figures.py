"""The routes ``/metrics`` and ``/status``: what the server has done, and what it is doing."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

from .http import Response, json_response
from .metrics import MEDIA, Metrics

if TYPE_CHECKING:
    from .app import Server
    from .asgi import Exchange
    from .http import Request
    from .routes import Routes
    from .runs import Run

#: Seconds over which tokens per second are told.
_WINDOW = 60.0


class Figures:
    """Counts what a server does."""

    def __init__(self, server: Server) -> None:
        self.metrics = Metrics()
        self.metrics.refresh.append(self._look)
        self.rates: dict[str, tuple[float, float]] = {}
        self._server = server
        server.app.on_done.append(self._done)
        server.on_run.append(self._ran)
        server.models.on_restart = self._restarted

    def _done(self, exchange: Exchange) -> None:
        metrics = self.metrics
        route = exchange.request.route or "other"
        metrics.requests.add(route=route, status=str(exchange.status))
        metrics.request_seconds.observe(time.monotonic() - exchange.request.started, route=route)
        if exchange.reason:
            metrics.aborted.add(reason=exchange.reason)

    def _ran(self, run: Run) -> None:
        metrics, name, usage = self.metrics, run.entry.name, run.usage
        run.request.notes.update(
            model=name,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            generated_tokens=usage.completion_tokens,
            queue_ms=round(run.queued * 1000),
            ttft_ms="-" if run.first is None else round(run.first * 1000),
            finish=",".join(run.reasons) or "-",
        )
        llm = run.entry.llm
        if llm is not None and run.reasons:
            held = usage.prompt_tokens + usage.completion_tokens
            metrics.kv_cache_usage.set(min(1.0, held / llm.max_context_len), model_name=name)
        metrics.prompt_tokens.add(usage.prompt_tokens, model_name=name)
        metrics.generated_tokens.add(usage.completion_tokens, model_name=name)
        metrics.cached_tokens.add(usage.cached_tokens, model_name=name)
        metrics.queue_seconds.observe(run.queued, model_name=name)
        metrics.run_seconds.observe(run.seconds, model_name=name)
        if run.first is not None:
            metrics.time_to_first_token.observe(run.first, model_name=name)
        if usage.completion_tokens > 1 and usage.generate_s > 0:
            gaps = usage.completion_tokens - 1
            metrics.inter_token.observe(usage.generate_s / gaps, gaps, model_name=name)
            self.rates[name] = (usage.completion_tokens / usage.generate_s, time.monotonic())
        for reason in run.reasons:
            metrics.answers.add(model_name=name, finish_reason=reason)
        if run.error is not None:
            metrics.answers.add(model_name=name, finish_reason="error")

    def _restarted(self, name: str) -> None:
        self.metrics.worker_restarts.add(model_name=name)

    def _look(self) -> None:
        """Sets what is looked up."""
        metrics, server = self.metrics, self._server
        for gauge in (metrics.requests_running, metrics.requests_waiting, metrics.model_loaded):
            gauge.clear()
        for model in self.models():
            name = model["name"]
            metrics.requests_running.set(model["running"], model_name=name)
            metrics.requests_waiting.set(model["waiting"], model_name=name)
            metrics.model_loaded.set(model["state"] == "ready", model_name=name)
        metrics.draining.set(server.app.draining)

    def models(self) -> list[dict[str, Any]]:
        """Returns what is known of each model."""
        server = self._server
        found: list[dict[str, Any]] = []
        for entry in server.models.entries.values():
            running, waiting = server.queue.of(entry.name)
            rate, since = self.rates.get(entry.name, (0.0, 0.0))
            found.append(
                {
                    "name": entry.name,
                    "state": entry.state,
                    "worker_pid": entry.worker_pid,
                    "running": running,
                    "waiting": waiting,
                    "restarts": entry.restarts,
                    "tokens_per_second": round(rate, 1) if time.monotonic() - since < _WINDOW else None,
                }
            )
        return found


async def _metrics(figures: Figures, server: Server, _request: Request) -> Response:
    text = figures.metrics.render(vllm=server.settings.metrics_compat == "vllm")
    return Response(text.encode(), media=MEDIA)


async def _status(figures: Figures, server: Server, _request: Request) -> Response:
    from rkllm_rs import __version__

    data = {
        "version": __version__,
        "state": server.state(),
        "models": figures.models(),
        "queue": {
            "running": server.queue.running,
            "waiting": server.queue.waiting,
            "limit": server.queue.limit,
        },
        "npu_lock": await server.models.offload(_lock),
    }
    return json_response(data)


def _lock() -> dict[str, Any]:
    """Who uses the NPU."""
    from rkllm_rs import _native

    from .errors import without_paths

    path, problem, line = _native.npu_line()
    holder = line[0] if line else None
    return {
        "on": path is not None,
        "problem": None if problem is None else without_paths(problem),
        "held": bool(line),
        "holder_pid": holder[0] if holder else None,
        "waiting": max(0, len(line) - 1),
    }


def add_routes(routes: Routes, server: Server) -> None:
    """Adds the routes of this module."""
    figures = Figures(server)
    routes.add("GET", "/metrics", functools.partial(_metrics, figures, server))
    routes.add("GET", "/status", functools.partial(_status, figures, server))
