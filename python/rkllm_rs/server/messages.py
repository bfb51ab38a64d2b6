"""Conversations in the OpenAI format: checked, and made into what ``RKLLM.chat`` takes."""

from __future__ import annotations

import json

from .fields import Fields, as_object, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

__all__ = [
    "MAX_MESSAGES",
    "MAX_TOOLS",
    "MAX_TOP_LOGPROBS",
    "MOST_TOKENS",
    "content_of",
    "messages_of",
    "ordered_results",
    "schema_of",
    "stops_of",
    "tool_of",
    "tools_of",
]

MAX_MESSAGES: Final = 2000
MAX_PARTS: Final = 100
MAX_TOOLS: Final = 128
#: Most alternatives of a token.
MAX_TOP_LOGPROBS: Final = 20
#: More than any answer has, and exact as a float.
MOST_TOKENS: Final = 2**53
_MAX_STOPS: Final = 16
_LONGEST_STOP: Final = 256
#: Bounds of a JSON schema.
_DEPTH: Final = 32
_SCHEMA_BYTES: Final = 256 << 10
_ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")
_NO_TEXT: Final = {
    "image_url": "images",
    "input_image": "images",
    "input_audio": "audio",
    "file": "files",
    "input_file": "files",
}


def messages_of(fields: Fields) -> list[dict[str, Any]]:
    """The messages of a chat.

    Args:
        fields: The request.

    Returns:
        Messages of their own, with text for content, and the results of tools in the order of their calls.

    Raises:
        ApiError: 400, with the path of what is wrong.
    """
    given = fields.objects("messages", MAX_MESSAGES)
    if not given:
        fields.refuse("messages", "must be a list of at least one message")
    return ordered_results([_message(one) for one in given])


def _message(given: Fields) -> dict[str, Any]:
    role = given.choice("role", _ROLES)
    if role is None:
        given.refuse("role", f"must be one of {', '.join(_ROLES)}")
    content = content_of(given)
    message: dict[str, Any] = {"role": "tool" if role == "function" else role, "content": content}
    message["name"] = given.text("name", 256)
    if role == "assistant":
        message.update(_said(given, content))
    elif content is None:
        given.refuse("content", "must be a string or a list of parts")
    if role == "tool":
        message["tool_call_id"] = given.text("tool_call_id", 256)
    return {name: value for name, value in message.items() if value is not None}


def _said(given: Fields, content: str | None) -> dict[str, Any]:
    """What an assistant's message has besides, as other servers or we have written it."""
    calls = [_call(one) for one in given.objects("tool_calls", MAX_TOOLS)]
    said: dict[str, Any] = {"tool_calls": calls} if calls else {}
    said["reasoning_content"] = given.text("reasoning_content") or given.text("reasoning")
    if content is None and not calls:
        said["content"] = given.text("refusal") or ""
    return said


def content_of(given: Fields, name: str = "content") -> str | None:
    """The text of a message.

    Args:
        given: The message.
        name: The field that has it: a string, or a list of parts.

    Returns:
        The text of all parts, or ``None`` if there is no such field.

    Raises:
        ApiError: 400, it is not text.
    """
    content = given.raw(name)
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        given.refuse(name, "must be a string or a list of parts")
    texts: list[str] = []
    for part in given.objects(name, MAX_PARTS):
        kind = part.text("type") or "text"
        if kind in _NO_TEXT:
            part.refuse(
                "type", f"must be text: the model takes no {_NO_TEXT[kind]}", code="unsupported_content"
            )
        if kind not in ("text", "input_text", "output_text", "refusal"):
            part.refuse("type", f"must be text, got {kind[:60]!r}")
        texts.append(part.text("refusal" if kind == "refusal" else "text") or "")
    return "".join(texts)


def _call(given: Fields) -> dict[str, Any]:
    function = given.child("function")
    if function is None:
        given.refuse("function", "must be an object with name and arguments")
    name = function.text("name", 256)
    if not name:
        function.refuse("name", "must be a string")
    arguments = function.raw("arguments")
    if isinstance(arguments, dict):
        arguments = json.dumps(arguments, ensure_ascii=False)
    if arguments is None:
        arguments = "{}"
    if not isinstance(arguments, str):
        function.refuse("arguments", "must be a string")
    call: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": arguments}}
    number = given.text("id", 256)
    if number is not None:
        call["id"] = number
    return call


def ordered_results(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with the results of tools in the order of their calls, each with its id and name.

    Templates show results without their ids, and some clients send none: those are taken in their order.

    Args:
        messages: Checked messages.

    Returns:
        The same ones; results are copies.
    """
    found: list[dict[str, Any]] = []
    at = 0
    while at < len(messages):
        message = messages[at]
        found.append(message)
        at += 1
        calls = message.get("tool_calls")
        if not calls:
            continue
        end = at
        while end < len(messages) and messages[end]["role"] == "tool":
            end += 1
        found += _matched(calls, messages[at:end])
        at = end
    return found


def _matched(calls: Sequence[dict[str, Any]], results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    left = list(results)
    ids = {call.get("id") for call in calls} - {None}
    matched: list[dict[str, Any]] = []
    for call in calls:
        number = call.get("id")
        mine = next((one for one in left if number is not None and one.get("tool_call_id") == number), None)
        if mine is None:
            # One that names no call is that of the next call.
            mine = next((one for one in left if one.get("tool_call_id") not in ids), None)
        if mine is None:
            continue
        left.remove(mine)
        named = {"name": call["function"]["name"]}
        if number is not None:
            named["tool_call_id"] = number
        matched.append({**mine, **named})
    return matched + left


def tools_of(fields: Fields) -> list[dict[str, Any]]:
    """The tools of a request, in the OpenAI format.

    Args:
        fields: The request.

    Returns:
        The tools.

    Raises:
        ApiError: 400, with the path of what is wrong.
    """
    tools: list[dict[str, Any]] = []
    names: set[str] = set()
    for given in fields.objects("tools", MAX_TOOLS):
        kind = given.text("type")
        if kind not in (None, "function"):
            given.refuse("type", f"must be function, got {kind[:60]!r}", code="unsupported_tool")
        function = given.child("function")
        if function is None:
            given.refuse("function", "must be an object with name and parameters")
        tools.append(tool_of(function, names))
    return tools


def tool_of(given: Fields, names: set[str], schema: str = "parameters") -> dict[str, Any]:
    """A tool in the OpenAI format.

    Args:
        given: What says its name, its description and its parameters.
        names: The names that there are; its own is added.
        schema: The field that has the schema of its parameters.

    Returns:
        The tool.

    Raises:
        ApiError: 400, with the path of what is wrong.
    """
    name = given.text("name", 256)
    if not name:
        given.refuse("name", "must be a string that is not empty")
    if name in names:
        given.refuse("name", f"must be the name of one tool only, got {name!r} twice")
    names.add(name)
    parameters = schema_of(given, schema) or {"type": "object", "properties": {}}
    function: dict[str, Any] = {"name": name, "parameters": parameters}
    described = given.text("description")
    if described is not None:
        function["description"] = described
    return {"type": "function", "function": function}


def stops_of(fields: Fields, name: str = "stop") -> list[str]:
    """The stop strings of a request; empty ones are left out.

    Raises:
        ApiError: 400, they are too many or too long, or no strings.
    """
    return [stop for stop in fields.texts(name, _MAX_STOPS, _LONGEST_STOP) if stop]


def _children(value: Any) -> list[Any]:
    found = as_object(value)
    return list(value if found is None else found.values())


def schema_of(fields: Fields, name: str) -> dict[str, Any] | None:
    """A JSON schema of a bounded depth and size.

    Args:
        fields: The object that has it.
        name: Its name there.

    Returns:
        The schema, or ``None``.

    Raises:
        ApiError: 400, it is too large or no object.
    """
    found = fields.child(name)
    if found is None:
        return None
    level: list[Any] = [found.data]
    for _ in range(_DEPTH + 1):
        level = [child for one in level for child in _children(one) if isinstance(child, (dict, list))]
        if not level:
            break
    else:
        refuse(fields.path(name), f"must not be nested more than {_DEPTH} times")
    if len(json.dumps(found.data, ensure_ascii=False)) > _SCHEMA_BYTES:
        refuse(fields.path(name), f"must have at most {_SCHEMA_BYTES} bytes")
    return dict(found.data)
