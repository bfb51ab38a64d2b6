"""``/api/chat`` and ``/api/generate``: answers, and loading and unloading by an empty request."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from rkllm_rs.server.fields import Fields, fields_of
from rkllm_rs.server.http import json_response
from rkllm_rs.server.jobs import collected
from rkllm_rs.server.stream import failed_event, ndjson

from .lines import Lines, now
from .requests import chat_job, keep_alive_of, model_of, text_job

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rkllm_rs.server.app import Server
    from rkllm_rs.server.http import Request, Response
    from rkllm_rs.server.jobs import Job
    from rkllm_rs.server.routes import Routes
    from rkllm_rs.server.stream import Stream


async def _chat(server: Server, request: Request) -> Response | Stream:
    fields = await fields_of(request)
    if not fields.raw("messages"):
        said: dict[str, Any] = {"message": {"role": "assistant", "content": ""}}
        return await _kept(server, request, fields, said)
    return await _answer(server, request, fields, chat_job, is_chat=True)


async def _generate(server: Server, request: Request) -> Response | Stream:
    fields = await fields_of(request)
    if not fields.raw("prompt"):
        return await _kept(server, request, fields, {"response": ""})
    return await _answer(server, request, fields, text_job, is_chat=False)


async def _answer(
    server: Server, request: Request, fields: Fields, job_of: Callable[[Fields], Job], *, is_chat: bool
) -> Response | Stream:
    job = await server.models.offload(job_of, fields)
    lines = Lines(server.named(job.model), job, is_chat=is_chat)
    if not job.stream:
        async with server.run(job, request) as run:
            answers = await collected(run)
        return json_response(lines.whole(answers[0]))
    return ndjson(
        server.encoded(job, request, lines.of),
        failed=failed_event(request.family, request.id),
        beat=lambda _count: lines.silence(),
    )


async def _kept(server: Server, request: Request, fields: Fields, said: dict[str, Any]) -> Response:
    """Loads the model, or unloads it: what a request without a prompt asks for."""
    entry = server.models.find(model_of(fields))
    keep_alive = keep_alive_of(fields)
    if keep_alive == 0:
        server.models.set_keep_alive(entry, 0)
        await server.models.unload(entry)
    else:
        async with server.use(entry.name, request):
            if keep_alive is not None:
                server.models.set_keep_alive(entry, keep_alive)
    reason = "unload" if keep_alive == 0 else "load"
    head = {"model": model_of(fields) or entry.name, "created_at": now()}
    return json_response({**head, **said, "done": True, "done_reason": reason})


def add_routes(routes: Routes, server: Server) -> None:
    """Adds the routes of this module."""
    routes.add("POST", "/api/chat", functools.partial(_chat, server))
    routes.add("POST", "/api/generate", functools.partial(_generate, server))
