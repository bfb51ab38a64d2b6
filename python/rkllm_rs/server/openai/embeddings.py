"""``/v1/embeddings``: texts as vectors."""

from __future__ import annotations

import base64
import functools
import sys

from rkllm_rs.server.fields import fields_of
from rkllm_rs.server.http import json_response
from rkllm_rs.server.vectors import inputs_of, vectors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from rkllm_rs.server.app import Server
    from rkllm_rs.server.http import Request, Response
    from rkllm_rs.server.routes import Routes


async def _embed(server: Server, request: Request) -> Response:
    fields = await fields_of(request)
    inputs = inputs_of(fields)
    if not inputs:
        fields.refuse("input", "must not be empty")
    for at, one in enumerate(inputs):
        if not one:
            fields.refuse(
                "input" if isinstance(fields.raw("input"), str) else f"input[{at}]", "must not be empty"
            )
    form = fields.choice("encoding_format", ("float", "base64")) or "float"
    dimensions = fields.integer("dimensions", 1)
    truncate = fields.boolean("truncate")
    name = server.named(fields.text("model") or "")
    found, count = await vectors(server, request, name, inputs, truncate=truncate, dimensions=dimensions)
    return await server.models.offload(_response, name, form, found, count)


def _response(name: str, form: str, found: Sequence[memoryview[float]], count: int) -> Response:
    data: list[dict[str, Any]] = [
        {
            "object": "embedding",
            "index": at,
            "embedding": _base64(vector) if form == "base64" else vector.tolist(),
        }
        for at, vector in enumerate(found)
    ]
    usage = {"prompt_tokens": count, "total_tokens": count}
    return json_response({"object": "list", "data": data, "model": name, "usage": usage})


def _base64(vector: memoryview[float]) -> str:
    """The numbers as float32, the lowest byte first, which is how clients read them."""
    data = vector.tobytes()
    if sys.byteorder == "big":
        from array import array

        swapped = array("f", data)
        swapped.byteswap()
        data = swapped.tobytes()
    return base64.b64encode(data).decode()


def add_routes(routes: Routes, server: Server) -> None:
    """Adds the routes of this module."""
    routes.add("POST", "/v1/embeddings", functools.partial(_embed, server))
