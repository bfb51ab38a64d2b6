"""The input of a request, text or items, as the messages of a chat."""

from __future__ import annotations

import json

from rkllm_rs.server.messages import MAX_MESSAGES, content_of, ordered_results

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from rkllm_rs.server.fields import Fields

__all__ = ["conversation_of"]

_ROLES: Final = ("system", "developer", "user", "assistant")
_KINDS: Final = ("message", "function_call", "function_call_output", "reasoning")


def conversation_of(fields: Fields) -> list[dict[str, Any]]:
    """The messages of a request.

    Args:
        fields: The request, with ``input`` and ``instructions``.

    Returns:
        Messages for ``RKLLM.chat``.

    Raises:
        ApiError: 400, with the path of what is wrong.
    """
    messages: list[dict[str, Any]] = []
    instructions = fields.text("instructions")
    if instructions:
        messages.append({"role": "system", "content": instructions})
    given = fields.raw("input")
    if isinstance(given, str):
        return [*messages, {"role": "user", "content": given}]
    items = fields.objects("input", MAX_MESSAGES)
    if not items:
        fields.refuse("input", "must be a string, or a list of at least one item")
    turn: dict[str, Any] = {}
    for item in items:
        kind = _kind(item)
        role = _role(item) if kind == "message" else "assistant"
        if kind == "function_call_output" or role != "assistant":
            messages += [*_said(turn), _heard(item, kind, role)]
            turn = {}
        elif kind == "function_call":
            turn.setdefault("tool_calls", []).append(_call(item))
        else:
            # A message of a chat has all that a model said in its turn.
            name = "content" if kind == "message" else "reasoning_content"
            text = _text(item, "content") if kind == "message" else _thoughts(item)
            if name in turn:
                messages += _said(turn)
                turn = {}
            if text:
                turn[name] = text
    return ordered_results([*messages, *_said(turn)])


def _kind(item: Fields) -> str:
    kind = item.text("type") or "message"
    if kind == "item_reference":
        item.refuse("type", "must not be item_reference: no item is kept", code="unsupported_parameter")
    if kind not in _KINDS:
        item.refuse("type", f"must be one of {', '.join(_KINDS)}, got {kind[:60]!r}")
    return kind


def _role(item: Fields) -> str:
    role = item.choice("role", _ROLES)
    if role is None:
        item.refuse("role", f"must be one of {', '.join(_ROLES)}")
    return role


def _said(turn: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": "", **turn}] if turn else []


def _heard(item: Fields, kind: str, role: str) -> dict[str, Any]:
    """What a model is told."""
    if kind == "function_call_output":
        return {"role": "tool", "content": _text(item, "output"), "tool_call_id": _number(item)}
    return {"role": role, "content": _text(item, "content")}


def _text(item: Fields, name: str) -> str:
    text = content_of(item, name)
    if text is None:
        item.refuse(name, "must be a string or a list of parts")
    return text


def _call(item: Fields) -> dict[str, Any]:
    name = item.text("name", 256)
    if not name:
        item.refuse("name", "must be a string that is not empty")
    arguments = item.raw("arguments")
    if isinstance(arguments, dict):
        arguments = json.dumps(arguments, ensure_ascii=False)
    if not isinstance(arguments, str):
        item.refuse("arguments", "must be a string")
    function = {"name": name, "arguments": arguments or "{}"}
    return {"type": "function", "id": _number(item), "function": function}


def _number(item: Fields) -> str:
    number = item.text("call_id", 256)
    if not number:
        item.refuse("call_id", "must be a string that is not empty")
    return number


def _thoughts(item: Fields) -> str:
    """The text of reasoning: all of it where it is there, else its summary. What is encrypted is not ours."""
    for name in ("content", "summary"):
        texts = [part.text("text") or "" for part in item.objects(name, MAX_MESSAGES)]
        if any(texts):
            return "\n\n".join(texts)
    return ""
