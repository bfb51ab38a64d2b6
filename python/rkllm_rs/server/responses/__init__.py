"""``/v1/responses``, as far as nothing is kept between requests."""

from __future__ import annotations

import functools

from rkllm_rs.server.fields import fields_of
from rkllm_rs.server.http import json_response
from rkllm_rs.server.stream import sse
from rkllm_rs.server.tokens import count_asked

from .events import Events
from .requests import read
from .resource import Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rkllm_rs.server.app import Server
    from rkllm_rs.server.http import Request, Response
    from rkllm_rs.server.routes import Routes
    from rkllm_rs.server.stream import Stream

__all__ = ["add_routes"]


async def _respond(server: Server, request: Request) -> Response | Stream:
    asked = await server.models.offload(read, await fields_of(request))
    job = asked.job
    entry = server.models.find(job.model)
    events = Events(Resource(server.named(job.model), asked.settings, entry, job.sampling))
    headers = [("warning", f'199 - "{asked.warning}"')] if asked.warning else []
    if job.stream:
        stream = server.encoded(job, request, events.of)
        return sse(stream, failed=events.failed, beat=events.beat, headers=headers)
    async with server.run(job, request) as run:
        async for some in run:
            for one in some:
                events.add(one)
    return json_response(events.response, headers=headers)


async def _count(server: Server, request: Request) -> Response:
    asked = await server.models.offload(read, await fields_of(request))
    number = await count_asked(server, asked.job)
    return json_response({"object": "response.input_tokens", "input_tokens": number})


def add_routes(routes: Routes, server: Server) -> None:
    """Adds the routes of this dialect."""
    routes.add("POST", "/v1/responses", functools.partial(_respond, server))
    routes.add("POST", "/v1/responses/input_tokens", functools.partial(_count, server))
