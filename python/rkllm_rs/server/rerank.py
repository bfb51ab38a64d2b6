"""``/v1/rerank`` in the shape of Jina and Cohere: documents by how much their meaning is that of a query."""

from __future__ import annotations

import functools

from .errors import ApiError
from .fields import Fields, as_list, as_object, fields_of
from .http import json_response
from .jobs import new_id
from .vectors import MAX_INPUTS, vectors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

    from .app import Server
    from .http import Request, Response
    from .routes import Routes

#: The query is an input, too.
_MOST: Final = MAX_INPUTS - 1


def _documents(fields: Fields) -> list[str]:
    given = as_list(fields.raw("documents"))
    if not given:
        fields.refuse("documents", "must be a list of at least one string")
    if len(given) > _MOST:
        fields.refuse("documents", f"must have at most {_MOST} elements, got {len(given)}")
    texts: list[str] = []
    for at, one in enumerate(given):
        data = as_object(one)
        text = one if data is None else data.get("text")
        if not isinstance(text, str):
            fields.refuse(f"documents[{at}]", "must be a string, or an object with text")
        if not text:
            fields.refuse(f"documents[{at}]", "must not be empty")
        texts.append(text)
    return texts


async def _rerank(server: Server, request: Request) -> Response:
    fields = await fields_of(request)
    query = fields.text("query")
    if not query:
        fields.refuse("query", "must be a string that is not empty")
    documents = _documents(fields)
    top = fields.integer("top_n", 1) or len(documents)
    told = fields.boolean("return_documents")
    name = server.named(fields.text("model") or "")
    try:
        found, count = await vectors(server, request, name, [query, *documents])
    except ApiError as error:
        raise _named(error) from error
    scores = await server.models.offload(_scores, found)
    best = sorted(range(len(documents)), key=scores.__getitem__, reverse=True)[:top]
    results: list[dict[str, Any]] = []
    for at in best:
        result: dict[str, Any] = {"index": at, "relevance_score": scores[at]}
        if told:
            result["document"] = {"text": documents[at]}
        results.append(result)
    usage = {"prompt_tokens": count, "total_tokens": count}
    data = {"id": new_id("rerank-"), "object": "list", "model": name, "usage": usage, "results": results}
    return json_response(data)


def _named(error: ApiError) -> ApiError:
    """The error with the name of the field in which this request has the input."""
    path = error.param or ""
    if path.startswith("input[") and path.endswith("]"):
        number = int(path[len("input[") : -1])
        error.param = f"documents[{number - 1}]" if number else "query"
        error.message = error.message.replace(path, error.param, 1)
    return error


def _scores(found: Sequence[memoryview[float]]) -> list[float]:
    """The cosines of all vectors with the first one; they have the length 1."""
    query, *others = (vector.tolist() for vector in found)
    return [sum(map(float.__mul__, query, other)) for other in others]


def add_routes(routes: Routes, server: Server) -> None:
    """Adds the routes of this module."""
    for path in ("/v1/rerank", "/rerank", "/v1/reranking", "/reranking"):
        routes.add("POST", path, functools.partial(_rerank, server))
