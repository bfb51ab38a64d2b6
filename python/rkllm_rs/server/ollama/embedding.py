"""``/api/embed``, and ``/api/embeddings`` of older clients."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING

from rkllm_rs.server.fields import Fields, fields_of
from rkllm_rs.server.http import json_response
from rkllm_rs.server.vectors import inputs_of, vectors

from .requests import keep_alive_of, model_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rkllm_rs.server.app import Server
    from rkllm_rs.server.http import Request, Response
    from rkllm_rs.server.routes import Routes

_NANOSECONDS = 1_000_000_000


async def _computed(
    server: Server, request: Request, fields: Fields, inputs: Sequence[str | list[int]]
) -> tuple[list[list[float]], int]:
    entry = server.models.find(model_of(fields))
    keep_alive = keep_alive_of(fields)
    if keep_alive is not None:
        server.models.set_keep_alive(entry, keep_alive)
    found, count = await vectors(
        server,
        request,
        entry.name,
        inputs,
        truncate=fields.boolean("truncate", default=True),
        dimensions=fields.integer("dimensions", 1, 2**31 - 1),
    )
    return [list(one) for one in found], count


async def _embed(server: Server, request: Request) -> Response:
    began = time.monotonic()
    fields = await fields_of(request)
    inputs = [one for one in inputs_of(fields) if one] if fields.has("input") else []
    found, count = await _computed(server, request, fields, inputs)
    return json_response(
        {
            "model": model_of(fields),
            "embeddings": found,
            "total_duration": int((time.monotonic() - began) * _NANOSECONDS),
            "load_duration": 0,
            "prompt_eval_count": count,
        }
    )


async def _embeddings(server: Server, request: Request) -> Response:
    fields = await fields_of(request)
    prompt = fields.text("prompt")
    found, _count = await _computed(server, request, fields, [prompt] if prompt else [])
    return json_response({"embedding": found[0] if found else []})


def add_routes(routes: Routes, server: Server) -> None:
    """Adds the routes of this module."""
    routes.add("POST", "/api/embed", functools.partial(_embed, server))
    routes.add("POST", "/api/embeddings", functools.partial(_embeddings, server))
