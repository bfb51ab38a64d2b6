"""What requests of OpenAI's clients have in common: how text is generated, and when it ends."""

from __future__ import annotations

from rkllm_rs.server.fields import as_object
from rkllm_rs.server.jobs import Job
from rkllm_rs.server.messages import MAX_TOP_LOGPROBS, MOST_TOKENS, messages_of, schema_of, stops_of, tools_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from rkllm_rs.server.fields import Fields

__all__ = [
    "MAX_ANSWERS",
    "chat_job",
    "choice_of",
    "constraint_of",
    "effort_kwargs",
    "generation_of",
    "thinking_of",
]

MAX_ANSWERS: Final = 8
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra")


def generation_of(fields: Fields) -> dict[str, Any]:
    """The fields of ``Job`` that say how text is generated.

    Args:
        fields: The request.

    Returns:
        The arguments of ``Job``.

    Raises:
        ApiError: 400, one is out of range.
    """
    sampling: dict[str, float] = {}

    def put(name: str, value: float | None) -> None:
        if value is not None:
            sampling[name] = value

    put("temperature", fields.number("temperature", 0, 2))
    put("top_p", fields.number("top_p", 0, 1))
    put("frequency_penalty", fields.number("frequency_penalty", -2, 2))
    put("presence_penalty", fields.number("presence_penalty", -2, 2))
    top_k = fields.integer("top_k", -1, 2**31 - 1)
    # Those that say -1 mean all tokens.
    put("top_k", 0 if top_k == -1 else top_k)
    put("min_p", fields.number("min_p", 0, 1))
    put("typical_p", fields.number("typical_p", 0, 1))
    for name in ("repetition_penalty", "repeat_penalty"):
        value = fields.number(name, 0, 100)
        if value is not None and value > 0:
            sampling["repeat_penalty"] = value
    put("mirostat", fields.integer("mirostat", 0, 2))
    put("mirostat_tau", fields.number("mirostat_tau", 0))
    put("mirostat_eta", fields.number("mirostat_eta", 0))
    limits = (fields.integer(name, 1, MOST_TOKENS) for name in ("max_completion_tokens", "max_tokens"))
    return {
        "model": fields.text("model") or "",
        "stream": fields.boolean("stream"),
        "n": fields.integer("n", 1, MAX_ANSWERS) or 1,
        "max_tokens": next((limit for limit in limits if limit is not None), None),
        "sampling": sampling,
        "logit_bias": _bias_of(fields),
        "seed": fields.integer("seed", -(2**127)),
        "stop": stops_of(fields),
    }


def _bias_of(fields: Fields) -> dict[int, float] | None:
    given = fields.child("logit_bias")
    if given is None or not given.data:
        return None
    bias: dict[int, float] = {}
    for key in given.data:
        value = given.number(key, -100, 100)
        if not key.isdecimal() or len(key) > 9:  # noqa: PLR2004 - digits of a token id
            given.refuse(key, "must be the id of a token")
        # OpenAI's word for a ban.
        bias[int(key)] = float("-inf") if value == -100 else value or 0.0  # noqa: PLR2004
    return bias


def thinking_of(fields: Fields) -> bool | None:
    """Whether a model is to think, by all names that clients have for it."""
    kwargs = fields.child("chat_template_kwargs")
    if kwargs is not None and kwargs.has("enable_thinking"):
        return kwargs.boolean("enable_thinking")
    for name in ("enable_thinking", "thinking", "think"):
        if isinstance(fields.raw(name), bool):
            return fields.boolean(name)
        given = fields.child(name) if name == "thinking" else None
        if given is not None:
            kind = given.text("type")
            if kind in ("enabled", "disabled", "adaptive"):
                return None if kind == "adaptive" else kind == "enabled"
    effort = fields.choice("reasoning_effort", _EFFORTS)
    reasoning = fields.child("reasoning") if isinstance(fields.raw("reasoning"), dict) else None
    if effort is None and reasoning is not None:
        effort = reasoning.choice("effort", _EFFORTS)
        if effort is None and isinstance(reasoning.raw("enabled"), bool):
            return reasoning.boolean("enabled")
    return None if effort is None else effort != "none"


def effort_kwargs(fields: Fields) -> dict[str, Any]:
    """The level of thinking, for templates that know levels; others ignore the name."""
    effort = fields.raw("reasoning_effort")
    reasoning = as_object(fields.raw("reasoning"))
    if effort is None and reasoning is not None:
        effort = reasoning.get("effort")
    return {"reasoning_effort": effort} if effort in ("low", "medium", "high") else {}


def constraint_of(fields: Fields, name: str = "response_format") -> dict[str, Any]:
    """What an answer is kept to.

    Args:
        fields: The request.
        name: The field that says it.

    Returns:
        The keyword of ``RKLLM.chat``, or nothing.

    Raises:
        ApiError: 400, it cannot be read.
    """
    given = fields.child(name)
    if given is None:
        return {}
    kind = given.choice("type", ("text", "json_object", "json_schema"))
    if kind == "json_object":
        return {"json_schema": schema_of(given, "schema") or {"type": "object"}}
    if kind == "json_schema":
        named = given.child("json_schema")
        holder = given if named is None else named
        schema = schema_of(holder, "schema")
        if schema is None:
            holder.refuse("schema", "must be a JSON schema")
        return {"json_schema": schema}
    if kind is None:
        given.refuse("type", "must be one of text, json_object, json_schema")
    return {}


def choice_of(fields: Fields, tools: list[dict[str, Any]]) -> dict[str, Any]:
    """What ``tool_choice`` says.

    Args:
        fields: The request.
        tools: Its tools, in the OpenAI format.

    Returns:
        The arguments of ``Job``, with the tools that are left.

    Raises:
        ApiError: 400, it names a tool that there is not, or cannot be read.
    """
    choice: Any = fields.raw("tool_choice")
    names = [tool["function"]["name"] for tool in tools]
    if choice is None or isinstance(choice, str):
        word = fields.choice("tool_choice", ("none", "auto", "required"))
        if word == "required" and not tools:
            fields.refuse("tool_choice", "must not be required without tools")
        return {"tools": tools, "tool_choice": word or "auto"}
    given = fields.child("tool_choice")
    assert given is not None  # noqa: S101 - it is no string, and not missing
    kind = given.text("type")
    if kind == "function":
        function = given.child("function") or given
        name = function.text("name")
        if name not in names:
            function.refuse("name", "must be the name of one of the tools")
        return {"tools": tools, "tool_choice": "required", "tool": name}
    if kind == "allowed_tools":
        inner = given.child("allowed_tools") or given
        allowed: list[str] = []
        for one in inner.objects("tools", len(tools) or 1):
            name = (one.child("function") or one).text("name")
            if name not in names:
                one.refuse("name", "must be the name of one of the tools")
            allowed.append(str(name))
        mode = inner.choice("mode", ("auto", "required")) or "auto"
        left = [tool for tool in tools if tool["function"]["name"] in allowed]
        return {"tools": left, "tool_choice": mode if left else "none"}
    return given.refuse("type", "must be function or allowed_tools", code="unsupported_parameter")


def chat_job(fields: Fields) -> Job:
    """The job of ``/v1/chat/completions``.

    Raises:
        ApiError: 400, with the path of what is wrong.
    """
    for name in ("functions", "function_call"):
        if fields.raw(name):
            fields.refuse(name, "is not supported; use tools", code="unsupported_parameter")
    modalities = fields.texts("modalities", 8, 32)
    if fields.has("audio"):
        fields.refuse("audio", "is not supported", code="unsupported_parameter")
    if any(word != "text" for word in modalities):
        fields.refuse("modalities", 'must be ["text"]', code="unsupported_parameter")
    messages = messages_of(fields)
    goes_on = fields.boolean("continue_final_message")
    if goes_on and messages[-1]["role"] != "assistant":
        fields.refuse("continue_final_message", 'needs a last message with the role "assistant"')
    logprobs = None
    top = fields.integer("top_logprobs", 0, MAX_TOP_LOGPROBS)
    if fields.boolean("logprobs"):
        logprobs = top or 0
    elif top:
        fields.refuse("top_logprobs", "must not be given without logprobs: true")
    return Job(
        **generation_of(fields),
        messages=messages,
        **choice_of(fields, tools_of(fields)),
        parallel_tool_calls=fields.boolean("parallel_tool_calls", default=True),
        constraint=constraint_of(fields),
        thinking=thinking_of(fields),
        template_kwargs=effort_kwargs(fields),
        continue_final_message=goes_on,
        logprobs=logprobs,
        blame={"invalid_schema": "response_format", "context_length_exceeded": "messages"},
    )
