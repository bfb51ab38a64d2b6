"""What requests of Ollama's clients have in common: options, formats, messages, how long a model is kept."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from rkllm_rs.server.errors import ApiError
from rkllm_rs.server.fields import Fields, as_list, is_id
from rkllm_rs.server.jobs import Job
from rkllm_rs.server.messages import (
    MAX_MESSAGES,
    MAX_TOP_LOGPROBS,
    MOST_TOKENS,
    messages_of,
    schema_of,
    stops_of,
    tools_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["chat_job", "keep_alive_of", "model_of", "text_job"]

_LEVELS: Final = ("low", "medium", "high", "max")
_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")


def model_of(fields: Fields) -> str:
    """The name of the model; old clients call it ``name``."""
    return fields.text("model") or fields.text("name") or ""


def keep_alive_of(fields: Fields) -> float | None:
    """Seconds that the model stays loaded; negative for ever, ``None`` if the request does not say.

    Raises:
        ApiError: 400, it is neither a number nor a duration such as ``"5m"``.
    """
    value = fields.raw("keep_alive")
    if value is None:
        return None
    if isinstance(value, str):
        seconds = _duration(value.strip())
        if seconds is None:
            fields.refuse("keep_alive", f'must be a duration such as "5m", got {value[:60]!r}')
        return seconds
    return fields.number("keep_alive", -1e12, 1e12)


def _duration(text: str) -> float | None:
    """Seconds of a duration as Go writes them: ``1h30m``, ``-1s``, ``0``."""
    sign = -1.0 if text.startswith("-") else 1.0
    rest = text.lstrip("+-") if text[:1] in "+-" else text
    if rest.isdecimal() and len(rest) < 16:  # noqa: PLR2004 - what a float holds
        return sign * int(rest)
    found = _PART.findall(rest)
    if not found or "".join(number + unit for number, unit in found) != rest:
        return None
    return sign * sum(float(number) * _UNITS[unit] for number, unit in found)


def _options_of(fields: Fields) -> dict[str, Any]:
    """The fields of ``Job`` that ``options`` says. Options that no library of ours has are ignored."""
    given = fields.child("options") or Fields({}, "options")
    sampling: dict[str, float] = {}
    ranges = {
        "temperature": (0, 100),
        "top_p": (0, 1),
        "min_p": (0, 1),
        "typical_p": (0, 1),
        "frequency_penalty": (-2, 2),
        "presence_penalty": (-2, 2),
        "mirostat_tau": (0, 100),
        "mirostat_eta": (0, 100),
    }
    for name, (low, high) in ranges.items():
        value = given.number(name, low, high)
        if value is not None:
            sampling[name] = value
    for name, high in (("top_k", 2**31 - 1), ("mirostat", 2)):
        whole = given.integer(name, 0, high)
        if whole is not None:
            sampling[name] = whole
    penalty = given.number("repeat_penalty", 0, 100)
    if penalty:
        sampling["repeat_penalty"] = penalty
    # Fixed when the model is loaded: the least of both holds.
    given.integer("num_ctx", 0, MOST_TOKENS)
    limit = given.integer("num_predict", -2, MOST_TOKENS)
    return {
        "sampling": sampling,
        "max_tokens": limit if limit is not None and limit > 0 else None,
        "seed": given.integer("seed", -(2**63), 2**64),
        "stop": stops_of(given),
    }


def _thinking_of(fields: Fields) -> dict[str, Any]:
    value = fields.raw("think")
    if isinstance(value, str) and value:
        level = fields.choice("think", _LEVELS)
        return {"thinking": True, "must_think": True, "template_kwargs": {"reasoning_effort": level}}
    if value is None or value == "":
        return {}
    wanted = fields.boolean("think")
    return {"thinking": wanted, "must_think": wanted}


def _format_of(fields: Fields) -> dict[str, Any]:
    value = fields.raw("format")
    if value is None or value == "":
        return {}
    if value == "json":
        return {"constraint": {"json_schema": {"type": "object"}}}
    if isinstance(value, str):
        fields.refuse("format", f'must be "json" or a JSON schema, got {value[:60]!r}')
    return {"constraint": {"json_schema": schema_of(fields, "format")}}


def _common(fields: Fields) -> dict[str, Any]:
    top = fields.integer("top_logprobs", 0, MAX_TOP_LOGPROBS)
    return {
        "model": model_of(fields),
        "stream": fields.boolean("stream", default=True),
        "keep_alive": keep_alive_of(fields),
        "logprobs": (top or 0) if fields.boolean("logprobs") else None,
        **_options_of(fields),
        **_thinking_of(fields),
        **_format_of(fields),
    }


def _refuse_images(fields: Fields) -> None:
    if fields.raw("images"):
        fields.refuse("images", "must be empty: the model takes no images", code="unsupported_content")


def _message(given: Fields) -> Mapping[str, Any]:
    """A message in the format of OpenAI."""
    _refuse_images(given)
    data = dict(given.data)
    if data.get("thinking") is not None:
        data["reasoning_content"] = data.pop("thinking")
    if data.get("tool_name") is not None:
        data["name"] = data.pop("tool_name")
    if data.get("content") is None:
        data["content"] = ""
    return data


def chat_job(fields: Fields) -> Job:
    """The job of ``/api/chat``, for a request that has messages.

    Raises:
        ApiError: 400, with the path of what is wrong.
    """
    messages = [_message(one) for one in fields.objects("messages", MAX_MESSAGES)]
    return Job(
        **_common(fields),
        messages=messages_of(Fields({"messages": messages})),
        tools=tools_of(fields),
        blame={"invalid_schema": "format", "context_length_exceeded": "messages"},
    )


def text_job(fields: Fields) -> Job:
    """The job of ``/api/generate``, for a request that has a prompt.

    Raises:
        ApiError: 400, with the path of what is wrong.
    """
    _refuse_images(fields)
    if fields.raw("suffix"):
        raise ApiError(400, f"{model_of(fields)!r} does not support insert", param="suffix")
    if fields.text("template"):
        fields.refuse("template", "is not supported: the model's own chat template is used")
    prompt = fields.text("prompt") or ""
    common = _common(fields)
    common["blame"] = {"invalid_schema": "format", "context_length_exceeded": "prompt"}
    context = as_list(fields.raw("context") or [])
    if context is None or not all(map(is_id, context)):
        fields.refuse("context", "must be what an earlier answer had: a list of token ids")
    if fields.boolean("raw"):
        if context:
            fields.refuse("context", "must be empty with raw")
        common.update(thinking=None, must_think=False)
        return Job(**common, prompts=[prompt])
    system = fields.text("system")
    messages = [{"role": "system", "content": system}] if system else []
    return Job(**common, messages=[*messages, {"role": "user", "content": prompt}], context=context)
