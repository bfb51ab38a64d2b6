"""``/v1/messages`` and ``/v1/messages/count_tokens``."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from rkllm_rs.server.fields import fields_of
from rkllm_rs.server.http import json_response
from rkllm_rs.server.jobs import collected, new_id
from rkllm_rs.server.stream import failed_event, sse
from rkllm_rs.server.tokens import count_asked

from .blocks import Blocks, whole
from .requests import job_of

if TYPE_CHECKING:
    from rkllm_rs.server.app import Server
    from rkllm_rs.server.http import Request, Response
    from rkllm_rs.server.routes import Routes
    from rkllm_rs.server.stream import Stream


async def _create(server: Server, request: Request) -> Response | Stream:
    fields = await fields_of(request)
    job = await server.models.offload(job_of, fields)
    number, name = new_id("msg_"), server.named(job.model)
    if not job.stream:
        async with server.run(job, request) as run:
            answers = await collected(run)
        return json_response(whole(number, name, answers[0]))
    blocks = Blocks(number, name)
    failed = failed_event(request.family, request.id)
    return sse(server.encoded(job, request, blocks.of), failed=failed, beat=blocks.beat)


async def _count(server: Server, request: Request) -> Response:
    fields = await fields_of(request)
    job = await server.models.offload(functools.partial(job_of, limited=False), fields)
    return json_response({"input_tokens": await count_asked(server, job)})


def add_routes(routes: Routes, server: Server) -> None:
    """Adds the routes of this module."""
    routes.add("POST", "/v1/messages", functools.partial(_create, server))
    routes.add("POST", "/v1/messages/count_tokens", functools.partial(_count, server))
