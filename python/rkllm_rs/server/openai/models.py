"""``/v1/models``: what the server has, in one shape that the clients of OpenAI and of Anthropic read."""

from __future__ import annotations

import datetime as dt
import functools

from rkllm_rs.server.http import json_response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rkllm_rs.server.app import Server
    from rkllm_rs.server.entry import Entry
    from rkllm_rs.server.http import Request, Response
    from rkllm_rs.server.routes import Routes


def model_data(entry: Entry) -> dict[str, Any]:
    """What a list of models says of one."""
    written = dt.datetime.fromtimestamp(entry.created, dt.timezone.utc)
    data: dict[str, Any] = {
        "id": entry.name,
        "object": "model",
        "created": entry.created,
        "owned_by": "rkllm_rs",
        # The words of Anthropic.
        "type": "model",
        "display_name": entry.name,
        "created_at": written.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "status": {"value": entry.state},
    }
    if entry.llm is not None:
        data["max_model_len"] = entry.llm.max_context_len
        data["meta"] = {
            "n_ctx": entry.llm.max_context_len,
            "n_ctx_train": entry.llm.info.context_limit,
            "n_vocab": entry.llm.info.vocab_size,
        }
    return data


async def _list(server: Server, _request: Request) -> Response:
    data = [model_data(entry) for entry in server.models.entries.values()]
    more = {"has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]}
    return json_response({"object": "list", "data": data, **more})


async def _one(server: Server, request: Request) -> Response:
    return json_response(model_data(server.models.find(request.params["model"])))


def add_routes(routes: Routes, server: Server) -> None:
    """Adds the routes of this module."""
    routes.add("GET", "/v1/models", functools.partial(_list, server))
    routes.add("GET", "/v1/models/{model}", functools.partial(_one, server))
