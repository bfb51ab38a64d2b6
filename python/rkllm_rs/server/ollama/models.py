"""``/api/tags``, ``ps``, ``show`` and ``version``: what the server has, as Ollama tells it."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from typing import TYPE_CHECKING, Any, Final

from rkllm_rs import _native
from rkllm_rs.errors import RkllmError, UnsupportedFeatureError
from rkllm_rs.models import inspect
from rkllm_rs.server.fields import fields_of
from rkllm_rs.server.http import json_response

from .lines import rfc3339
from .requests import model_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rkllm_rs.server.app import Server
    from rkllm_rs.server.entry import Entry
    from rkllm_rs.server.http import Request, Response
    from rkllm_rs.server.routes import Routes

#: The version of Ollama whose requests are understood; clients take three whole numbers and no other text.
VERSION: Final = "0.33.0"
#: The context window of a model that is opened without a size of its own; at most that of the model.
_CONTEXT: Final = 4096
#: When a model ends that is kept for ever.
_NEVER: Final = "2318-01-01T00:00:00.000000+00:00"
_SIZE: Final = re.compile(r"(?<![0-9a-z.])([0-9]+(?:\.[0-9]+)?)([bm])(?![a-z0-9])", re.IGNORECASE)
_QUANTIZATION: Final = re.compile(
    r"(?<![a-z0-9])(i?q[0-9]_[0-9a-z_]+|w[0-9]+a[0-9]+(?:_g[0-9]+)?|bf16|f16|f32)"
)
#: Clients look for words in it to learn what a model can do. Nobody renders it.
_TEMPLATE: Final = (
    "{{- /* The model's own chat template is used: it gets messages, tools and thinking. */ -}}\n"
    "{{ .System }}{{ .Tools }}{{ .Prompt }}{{ .Response }}"
)


@functools.lru_cache(maxsize=256)
def _file_data(name: str, path: str, changed: float, size: int) -> dict[str, Any]:
    """What the file says; ``changed`` and ``size`` have it read again once it is another one."""
    found = inspect(path)
    label = os.path.basename(path).lower()
    shown = _SIZE.search(label) or _SIZE.search(name)
    kind = _QUANTIZATION.search(label)
    family = str(found.facts.get("architecture") or _family(path) or "")
    return {
        "details": {
            "parent_model": "",
            "format": found.kind,
            "family": family,
            "families": [family] if family else [],
            "parameter_size": "".join(shown.groups()).upper() if shown else "",
            "quantization_level": str(found.hints.get("dtype") or (kind.group().upper() if kind else "")),
        },
        "facts": dict(found.facts),
        "hints": dict(found.hints),
        # Not that of the content, which would take minutes for each model.
        "digest": hashlib.sha256(f"{path}\0{changed}\0{size}".encode(errors="surrogateescape")).hexdigest(),
    }


def _family(path: str) -> str | None:
    try:
        return _native.Chat(path).family
    except RkllmError:
        return None


def _known(entry: Entry) -> dict[str, Any]:
    """What is known of a model's file. It reads it: call it on a thread."""
    try:
        data = os.stat(entry.path)
        changed, size = data.st_mtime, data.st_size
    except OSError:
        changed, size = 0.0, 0
    return {
        **_file_data(entry.name, entry.path, changed, size),
        "size": size,
        "modified_at": rfc3339(changed),
    }


def _listed(entry: Entry, known: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": entry.name,
        "model": entry.name,
        "modified_at": known["modified_at"],
        "size": known["size"],
        "digest": known["digest"],
        "details": known["details"],
    }


async def _version(_server: Server, _request: Request) -> Response:
    return json_response({"version": VERSION}, headers=[("x-rkllm-rs-version", _native.__version__)])


async def _tags(server: Server, _request: Request) -> Response:
    entries = list(server.models.entries.values())
    known = await server.models.offload(lambda: [_known(entry) for entry in entries])
    return json_response({"models": [_listed(*both) for both in zip(entries, known, strict=True)]})


async def _ps(server: Server, _request: Request) -> Response:
    entries = [entry for entry in server.models.entries.values() if entry.llm is not None]
    known = await server.models.offload(lambda: [_known(entry) for entry in entries])
    return json_response(
        {
            "models": [
                {
                    **_listed(entry, one),
                    "expires_at": _NEVER if entry.expires is None else rfc3339(entry.expires),
                    "size_vram": one["size"],
                    "context_length": 0 if entry.llm is None else entry.llm.max_context_len,
                }
                for entry, one in zip(entries, known, strict=True)
            ]
        }
    )


def _thinks(path: str, options: Mapping[str, Any]) -> bool:
    """Whether the chat template of a model that is not loaded can be asked for thinking."""
    named = {name: options[name] for name in ("chat_template", "family") if name in options}
    try:
        chat = _native.Chat(path, **named)
        chat.render([{"role": "user", "content": "Hi"}], "chat", True, {"thinking": True})  # noqa: FBT003
    except (RkllmError, UnsupportedFeatureError):
        return False
    return True


async def _capabilities(server: Server, entry: Entry) -> list[str]:
    if entry.llm is not None:
        thinks = await server.thinks(entry, entry.llm)
    else:
        thinks = await server.models.offload(_thinks, entry.path, server.models.options)
    return ["completion", "tools", *(["thinking"] if thinks else [])]


async def _show(server: Server, request: Request) -> Response:
    entry = server.models.find(model_of(await fields_of(request)))
    known = await server.models.offload(_known, entry)
    facts, hints = known["facts"], known["hints"]
    architecture = str(facts.get("architecture") or known["details"]["family"] or "rkllm")
    if entry.llm is not None:
        length = entry.llm.max_context_len
    else:
        given = server.models.options.get("max_context_len")
        length = given or min(_CONTEXT, facts.get("context_length") or hints.get("max_context") or _CONTEXT)
    about: dict[str, Any] = {
        "general.architecture": architecture,
        "general.basename": entry.name,
        f"{architecture}.context_length": length,
        f"{architecture}.embedding_length": facts.get("hidden_size"),
        f"{architecture}.vocab_size": facts.get("vocabulary"),
    }
    return json_response(
        {
            "license": "",
            "modelfile": f"FROM {entry.name}\n",
            "parameters": f"num_ctx {length}\n",
            "template": _TEMPLATE,
            "details": known["details"],
            "model_info": {name: value for name, value in about.items() if value is not None},
            "capabilities": await _capabilities(server, entry),
            "modified_at": known["modified_at"],
        }
    )


def add_routes(routes: Routes, server: Server) -> None:
    """Adds the routes of this module."""
    routes.add("GET", "/api/version", functools.partial(_version, server), public=True)
    routes.add("GET", "/api/tags", functools.partial(_tags, server))
    routes.add("GET", "/api/ps", functools.partial(_ps, server))
    routes.add("POST", "/api/show", functools.partial(_show, server), work=False)
