"""What a request for a response asks for: the job, and the settings that its response repeats."""

from __future__ import annotations

import dataclasses
import logging
import re

from rkllm_rs.server.fields import Fields, as_object
from rkllm_rs.server.jobs import Job
from rkllm_rs.server.messages import MAX_TOOLS, MAX_TOP_LOGPROBS, MOST_TOKENS, tool_of
from rkllm_rs.server.openai.requests import (
    choice_of,
    constraint_of,
    effort_kwargs,
    generation_of,
    thinking_of,
)

from .items import conversation_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

__all__ = ["Asked", "read"]

_log = logging.getLogger("rkllm_rs.server")

#: What needs answers that were kept, or work that goes on without a client.
_KEPT: Final = ("previous_response_id", "conversation", "background", "prompt")
_LOGPROBS: Final = "message.output_text.logprobs"
#: Most tools that a warning names.
_SHOWN: Final = 8
_BLAME: Final = {"invalid_schema": "text.format", "context_length_exceeded": "input"}
#: Fields that are named otherwise in chats, or that a response does not have.
_NOT_OURS: Final = {"max_completion_tokens": None, "n": None, "stop": None, "logit_bias": None}


@dataclasses.dataclass(frozen=True)
class Asked:
    """A request that has been read.

    Attributes:
        job: What is to be done.
        settings: The part of the response that repeats the request.
        warning: What was left out, in plain ASCII; empty if nothing was.
    """

    job: Job
    settings: dict[str, Any]
    warning: str


def read(fields: Fields) -> Asked:
    """Reads a request.

    Args:
        fields: The body.

    Returns:
        What it asks for.

    Raises:
        ApiError: 400, with the path of what is wrong.
    """
    for name in _KEPT:
        if fields.raw(name):
            fields.refuse(name, "is not supported: no response is kept", code="unsupported_parameter")
    tools, shown, left = _tools_of(fields)
    limit = fields.integer("max_output_tokens", 1, MOST_TOKENS)
    text = fields.child("text") or Fields({}, "text")
    reasoning = fields.child("reasoning") or Fields({}, "reasoning")
    top = fields.integer("top_logprobs", 0, MAX_TOP_LOGPROBS)
    told = _LOGPROBS in fields.texts("include", 32, 128)
    job = Job(
        **generation_of(fields.over(**_NOT_OURS, max_tokens=limit)),
        messages=conversation_of(fields),
        **choice_of(fields, tools),
        parallel_tool_calls=fields.boolean("parallel_tool_calls", default=True),
        constraint=constraint_of(text, "format"),
        thinking=thinking_of(fields),
        template_kwargs=effort_kwargs(fields),
        logprobs=(top or 0) if told or top else None,
        blame=_BLAME,
    )
    given = fields.data
    settings = {
        "instructions": fields.text("instructions"),
        "max_output_tokens": limit,
        "max_tool_calls": fields.integer("max_tool_calls", 1),
        "parallel_tool_calls": job.parallel_tool_calls,
        "reasoning": {"effort": reasoning.text("effort", 32), "summary": reasoning.text("summary", 32)},
        "text": {"format": _format(text), "verbosity": text.choice("verbosity", ("low", "medium", "high"))},
        "tool_choice": given.get("tool_choice") or "auto",
        "tools": shown,
        "top_logprobs": top or 0,
        "metadata": as_object(given.get("metadata")) or {},
        "safety_identifier": fields.text("safety_identifier", 512),
        "prompt_cache_key": fields.text("prompt_cache_key", 512),
        "user": fields.text("user", 512),
    }
    return Asked(job, settings, _warning(left))


def _format(text: Fields) -> dict[str, Any]:
    """The format of the answer, as the response repeats it."""
    given = text.child("format")
    kind = None if given is None else given.text("type")
    if given is None or kind is None:
        return {"type": "text"}
    if kind != "json_schema":
        return {"type": kind}
    return {
        "type": kind,
        "name": given.text("name", 256) or "answer",
        "description": given.text("description"),
        "schema": given.raw("schema"),
        "strict": given.boolean("strict"),
    }


def _tools_of(fields: Fields) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    """The functions in the form of chats, the same as the response shows them, and what was left out."""
    tools: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    left: list[str] = []
    names: set[str] = set()
    for at, given in enumerate(fields.objects("tools", MAX_TOOLS)):
        kind = given.text("type") or "function"
        if kind != "function":
            # Those of other servers: they are run there, or need more than a function does.
            plain = re.sub(r"[^\w.-]", "?", kind[:60], flags=re.ASCII)
            left.append(f"tools[{at}] ({plain})")
            continue
        tool = tool_of(given, names)
        tools.append(tool)
        flat = {"description": None, **tool["function"], "strict": given.boolean("strict")}
        shown.append({"type": "function", **flat})
    return tools, shown, left


def _warning(left: list[str]) -> str:
    if not left:
        return ""
    more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
    text = f"only functions are supported; left out: {', '.join(left[:_SHOWN])}{more}"
    _log.warning("a request has tools of other kinds: %s", text)
    return text
