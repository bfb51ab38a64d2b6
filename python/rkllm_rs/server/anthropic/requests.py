"""Requests of Anthropic's clients: blocks become messages in the OpenAI format."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from rkllm_rs.server.fields import Fields, as_list, as_object
from rkllm_rs.server.jobs import Job
from rkllm_rs.server.messages import (
    MAX_MESSAGES,
    MAX_TOOLS,
    MOST_TOKENS,
    ordered_results,
    schema_of,
    stops_of,
    tool_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["job_of"]

_MAX_BLOCKS: Final = 1000
#: Claude Code begins its system text with a block that changes in every request; no model is helped by it,
#: and no prefix could be used again.
_BILLING: Final = "x-anthropic-billing-header"
#: Blocks that say nothing to a model of ours.
_DROPPED: Final = ("redacted_thinking", "tool_reference", "server_tool_use", "web_search_tool_result")
_REFUSED: Final = {"image": "images", "document": "documents"}


def job_of(fields: Fields, *, limited: bool = True) -> Job:
    """The job of ``/v1/messages``.

    Args:
        fields: The request.
        limited: It must say how long the answer may be; a count of tokens need not.

    Returns:
        The job.

    Raises:
        ApiError: 400, with the path of what is wrong.
    """
    limit = fields.integer("max_tokens", 1, MOST_TOKENS)
    if limit is None and limited:
        fields.refuse("max_tokens", "must be an integer")
    sampling: dict[str, float] = {}
    for name, high in (("temperature", 1.0), ("top_p", 1.0)):
        value = fields.number(name, 0, high)
        if value is not None:
            sampling[name] = value
    top_k = fields.integer("top_k", 0, 2**31 - 1)
    if top_k is not None:
        sampling["top_k"] = top_k
    return Job(
        model=fields.text("model") or "",
        messages=_messages(fields),
        stream=fields.boolean("stream"),
        counted=fields.boolean("stream"),
        max_tokens=limit,
        sampling=sampling,
        stop=stops_of(fields, "stop_sequences"),
        **_tools(fields),
        **_thinking(fields),
        **_format(fields),
        blame={"invalid_schema": "output_config.format", "context_length_exceeded": "messages"},
    )


def _refuse_media(block: Fields, kind: str) -> None:
    reason = f"must be text: the model takes no {_REFUSED[kind]}"
    block.refuse("type", reason, code="unsupported_content")


def _text_of(fields: Fields, name: str, between: str = "") -> str:
    """The text of a string or of a list of text blocks."""
    value = fields.raw(name)
    if value is None or isinstance(value, str):
        return value or ""
    texts: list[str] = []
    for block in fields.objects(name, _MAX_BLOCKS):
        kind = block.text("type") or "text"
        if kind in _REFUSED:
            _refuse_media(block, kind)
        if kind == "text":
            texts.append(block.text("text") or "")
    return between.join(texts)


def _system(fields: Fields) -> list[dict[str, Any]]:
    blocks = as_list(fields.raw("system"))
    given = fields
    first = as_object(blocks[0]) if blocks else None
    if blocks and first is not None and str(first.get("text", "")).startswith(_BILLING):
        given = Fields({"system": blocks[1:]})
    text = _text_of(given, "system", "\n\n")
    return [{"role": "system", "content": text}] if text else []


def _messages(fields: Fields) -> Sequence[dict[str, Any]]:
    given = fields.objects("messages", MAX_MESSAGES)
    if not given:
        fields.refuse("messages", "must be a list of at least one message")
    found = _system(fields)
    for one in given:
        role = one.choice("role", ("user", "assistant", "system"))
        if role is None:
            one.refuse("role", "must be user or assistant")
        if role == "system":
            found.append({"role": "system", "content": _text_of(one, "content", "\n\n")})
        elif one.raw("content") is None:
            one.refuse("content", "must be a string or a list of blocks")
        elif isinstance(one.raw("content"), str):
            found.append({"role": role, "content": one.raw("content")})
        else:
            found += _said(one) if role == "assistant" else _asked(one)
    return ordered_results(found)


def _blocks(given: Fields) -> list[tuple[str, Fields]]:
    found: list[tuple[str, Fields]] = []
    for block in given.objects("content", _MAX_BLOCKS):
        kind = block.text("type") or "text"
        if kind in _REFUSED:
            _refuse_media(block, kind)
        if kind not in _DROPPED:
            found.append((kind, block))
    return found


def _asked(given: Fields) -> list[dict[str, Any]]:
    """What a user says: results of tools first, then the text."""
    results: list[dict[str, Any]] = []
    texts: list[str] = []
    for kind, block in _blocks(given):
        if kind == "tool_result":
            number = block.text("tool_use_id", 256)
            if not number:
                block.refuse("tool_use_id", "must be a string")
            content = _text_of(block, "content", "\n")
            if block.boolean("is_error") and not content:
                content = "error"
            results.append({"role": "tool", "tool_call_id": number, "content": content})
        elif kind == "text":
            texts.append(block.text("text") or "")
        else:
            block.refuse("type", f"must be text or tool_result, got {kind[:60]!r}")
    if texts or not results:
        results.append({"role": "user", "content": "\n".join(texts)})
    return results


def _said(given: Fields) -> list[dict[str, Any]]:
    message: dict[str, Any] = {"role": "assistant"}
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for kind, block in _blocks(given):
        if kind == "text":
            texts.append(block.text("text") or "")
        elif kind == "thinking":
            thoughts.append(block.text("thinking") or "")
        elif kind == "tool_use":
            name = block.text("name", 256)
            if not name:
                block.refuse("name", "must be a string")
            given_input = block.child("input")
            arguments = json.dumps({} if given_input is None else dict(given_input.data), ensure_ascii=False)
            call: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": arguments}}
            number = block.text("id", 256)
            calls.append({**call, "id": number} if number else call)
        else:
            block.refuse("type", f"must be text, thinking or tool_use, got {kind[:60]!r}")
    message["content"] = "".join(texts) or (None if calls else "")
    if thoughts:
        message["reasoning_content"] = "\n".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return [{name: value for name, value in message.items() if value is not None}]


def _tools(fields: Fields) -> dict[str, Any]:
    """Tools and their choice; those that a server of Anthropic would run are dropped."""
    tools: list[dict[str, Any]] = []
    names: set[str] = set()
    for given in fields.objects("tools", MAX_TOOLS):
        kind = given.text("type")
        if kind not in (None, "custom") or given.boolean("defer_loading"):
            continue
        tools.append(tool_of(given, names, "input_schema"))
    choice = fields.child("tool_choice")
    if choice is None:
        return {"tools": tools}
    kind = choice.choice("type", ("auto", "any", "tool", "none"))
    found: dict[str, Any] = {
        "tools": tools,
        "tool_choice": {"any": "required", "tool": "required", "none": "none"}.get(kind or "", "auto"),
        "parallel_tool_calls": not choice.boolean("disable_parallel_tool_use"),
    }
    if kind in ("any", "tool") and not tools:
        choice.refuse("type", "must be auto or none without tools")
    if kind == "tool":
        name = choice.text("name")
        if name not in names:
            choice.refuse("name", "must be the name of one of the tools")
        found["tool"] = name
    return found


def _thinking(fields: Fields) -> dict[str, Any]:
    """Models that do not think ignore it; Claude Code asks every model for it."""
    given = fields.child("thinking")
    config = fields.child("output_config")
    effort = None if config is None else config.text("effort")
    levels = {"template_kwargs": {"reasoning_effort": effort}} if effort in ("low", "medium", "high") else {}
    if given is None:
        return levels
    kind = given.choice("type", ("enabled", "disabled", "adaptive"))
    if kind == "enabled":
        budget = given.integer("budget_tokens", 1, MOST_TOKENS)
        return {**levels, "thinking": True, "max_reasoning_tokens": budget}
    return {**levels, "thinking": False if kind == "disabled" else None}


def _format(fields: Fields) -> dict[str, Any]:
    config = fields.child("output_config")
    given = None if config is None else config.child("format")
    if given is None:
        return {}
    if given.choice("type", ("json_schema",)) is None:
        given.refuse("type", "must be json_schema")
    schema = schema_of(given, "schema")
    if schema is None:
        given.refuse("schema", "must be a JSON schema")
    return {"constraint": {"json_schema": schema}}
