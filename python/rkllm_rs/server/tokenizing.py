"""``/tokenize``, ``/detokenize`` and ``/apply-template``, as llama-server and as vLLM have them."""

from __future__ import annotations

import functools

from rkllm_rs.aio import AsyncRKLLM

from .fields import Fields, as_list, fields_of
from .http import json_response
from .openai.requests import chat_job
from .tokens import held, prompt_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .app import Server
    from .http import Request, Response
    from .routes import Routes


async def _tokenize(server: Server, request: Request) -> Response:
    fields = await fields_of(request)
    if fields.has("content"):
        return await _content(server, fields)
    special = fields.boolean("add_special_tokens", default=not fields.has("messages"))
    named = fields.boolean("return_token_strs")
    async with held(server, fields.text("model") or "") as (_entry, llm):
        if fields.has("messages"):
            text = await _rendered(server, fields)
        else:
            text = _prompt(fields)
        model = AsyncRKLLM._of(llm)  # noqa: SLF001 - the same model, for the loop
        ids = await model.tokenize(text, add_special_tokens=special)
        data: dict[str, Any] = {
            "count": len(ids),
            "max_model_len": llm.max_context_len,
            "tokens": ids,
            "token_strs": await _texts(model, ids) if named else None,
        }
    return json_response(data)


def _prompt(fields: Fields) -> str:
    text = fields.text("prompt")
    if text is None:
        fields.refuse("prompt", "must be a string; or send messages or content")
    return text


async def _content(server: Server, fields: Fields) -> Response:
    """What llama-server answers."""
    text = fields.text("content") or ""
    if not fields.boolean("parse_special", default=True):
        fields.refuse("parse_special", "must be true", code="unsupported_parameter")
    special = fields.boolean("add_special")
    pieces = fields.boolean("with_pieces")
    async with held(server, fields.text("model") or "") as (_entry, llm):
        model = AsyncRKLLM._of(llm)  # noqa: SLF001 - likewise
        ids = await model.tokenize(text, add_special_tokens=special)
        if not pieces:
            return json_response({"tokens": ids})
        texts = await _texts(model, ids)
    return json_response(
        {"tokens": [{"id": one, "piece": piece} for one, piece in zip(ids, texts, strict=True)]}
    )


async def _texts(model: AsyncRKLLM, ids: Sequence[int]) -> list[str]:
    """The text of each token; part of a character is U+FFFD."""
    known = {one: await model.detokenize([one]) for one in set(ids)}
    return [known[one] for one in ids]


async def _detokenize(server: Server, request: Request) -> Response:
    fields = await fields_of(request)
    ids = as_list(fields.raw("tokens"))
    if ids is None:
        fields.refuse("tokens", "must be a list of token ids")
    async with held(server, fields.text("model") or "") as (_entry, llm):
        most = llm.info.vocab_size or 2**31
        for at, one in enumerate(ids):
            if isinstance(one, bool) or not isinstance(one, int) or not 0 <= one < most:
                fields.refuse(f"tokens[{at}]", "must be the id of a token of this model")
        text = await AsyncRKLLM._of(llm).detokenize(ids)  # noqa: SLF001 - likewise
    return json_response({"content": text, "prompt": text})


async def _apply_template(server: Server, request: Request) -> Response:
    fields = await fields_of(request)
    return json_response({"prompt": await _rendered(server, fields)})


async def _rendered(server: Server, fields: Fields) -> str:
    """What a chat of this request sends to the model."""
    begins = fields.boolean("add_generation_prompt", default=True)
    job = await server.models.offload(chat_job, fields)
    async with held(server, job.model) as (entry, llm):
        fitted = await server.fitted(job, entry, llm)
        render = functools.partial(prompt_of, llm, fitted, add_generation_prompt=begins)
        return await server.models.offload(render)


def add_routes(routes: Routes, server: Server) -> None:
    """Adds the routes of this module."""
    routes.add("POST", "/tokenize", functools.partial(_tokenize, server))
    routes.add("POST", "/detokenize", functools.partial(_detokenize, server))
    routes.add("POST", "/apply-template", functools.partial(_apply_template, server))
