"""The results of tools, as text for a model."""

from __future__ import annotations

import dataclasses
import enum
import json
from typing import Any, cast

from rkllm_rs._typed import typed_class

__all__ = ["MAX_CHARACTERS", "ToolResult", "failure_text", "result_text"]

#: Default of ``max_characters``: about 2,500 tokens.
MAX_CHARACTERS = 10_000


@typed_class
@dataclasses.dataclass(frozen=True)
class ToolResult:
    """The result of a call of a tool; ``Tools.run`` returns it.

    Immutable; any number of threads may read it.

    Attributes:
        name: The name of the tool.
        content: The text for the model: the result, or what went wrong.
        value: The function's return value; ``None`` if it was not called or raised an exception.
        error: What went wrong, with the same text as ``content``; ``None`` if nothing did.
        exception: The exception that the function raised, or ``None``.
        conversions: One sentence for each argument that had to be converted.
        id: The id of the call.
    """

    name: str
    content: str
    value: Any = None
    error: str | None = None
    exception: Exception | None = None
    conversions: tuple[str, ...] = ()
    id: str | None = None

    @property
    def message(self) -> dict[str, Any]:
        """The message for the model. Append it to the messages of the conversation."""
        message = {"role": "tool", "tool_call_id": self.id, "name": self.name, "content": self.content}
        return {key: value for key, value in message.items() if value is not None}


def result_text(value: Any, limit: int | None = MAX_CHARACTERS) -> str:
    """A result as text: text as it is, everything else as JSON.

    Args:
        value: What the function returned.
        limit: How many characters to keep. ``None`` keeps all.

    Returns:
        The text. One that was cut ends with a note.
    """
    if isinstance(value, str):
        text = str.__str__(value)  # that of an Enum is its value
    else:
        try:
            text = json.dumps(value, ensure_ascii=False, default=_plain)
        except (TypeError, ValueError, RecursionError):  # keys that are no text, loops
            text = str(value)
    return _cut(text, limit)


def failure_text(error: BaseException, limit: int | None = MAX_CHARACTERS) -> str:
    """An exception as text: its type and its message, without a traceback.

    Args:
        error: The exception.
        limit: How many characters to keep. ``None`` keeps all.

    Returns:
        The text.
    """
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - a broken __str__ of the program
        message = ""
    return _cut(f"{type(error).__name__}: {message}" if message else type(error).__name__, limit)


def _cut(text: str, limit: int | None) -> str:
    # Lone surrogates cannot be told to a model.
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if limit is None or len(text) <= limit:
        return text
    return f"{text[:limit]}\n[cut: the first {limit} of {len(text)} characters]"


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):  # pydantic
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return list(cast("set[Any]", value))
    return str(value)
