"""What a client asks for, and what comes of it: one shape for all dialects."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from rkllm_rs.logprobs import TokenLogprob

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from .errors import ApiError

__all__ = [
    "Answer",
    "Done",
    "Event",
    "Failed",
    "Finish",
    "Job",
    "Reasoning",
    "Started",
    "Text",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
    "collected",
    "new_id",
]

#: Why an answer ended, in the words of OpenAI; other dialects have a table.
Finish = Literal["stop", "length", "tool_calls"]


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One request for text. Dialects make it; whatever is not valid in it is theirs to refuse.

    A job has either ``messages``, for a chat, or ``prompts``, which are continued without a chat template.

    Attributes:
        model: The name of the model, as the client wrote it; empty for the only one.
        messages: The conversation, in the OpenAI format that ``RKLLM.chat`` takes.
        prompts: Texts or token ids. Each gives ``n`` answers.
        context: Tokens of what was said before the chat. With it, also if it is empty, the end of an answer
            has those of all that was said; ``None`` leaves that out.
        verbatim: The text of the only message is the whole prompt, rendered already.
        n: Answers to each prompt, one after the other.
        stream: The answer is streamed, so that its client can wait for a model that is being loaded.
        counted: ``Started`` tells how many tokens the prompt has.
        max_tokens: Most tokens of an answer, with its reasoning; ``None`` is the model's own limit. 0 is for
            ``echo``.
        sampling: Keywords of ``RKLLM.chat`` by name: ``temperature``, ``top_p``, ``top_k`` …
        logit_bias: Token ids with what is added to their logits.
        seed: Any integer.
        stop: Texts that end an answer. They apply to its content, not to its reasoning.
        tools: Tools in the OpenAI format.
        tool_choice: ``"required"`` with ``tool`` forces the call of that one.
        tool: The only tool that may be called.
        parallel_tool_calls: Whether an answer may have several calls.
        constraint: One of ``json_schema``, ``regex``, ``choices`` and ``grammar``, by name.
        schema_in_prompt: Whether the model is told the schema.
        thinking: On, off, or what the chat template does.
        must_think: Refuse ``thinking=True`` for a model that does not think, in place of ignoring it.
        max_reasoning_tokens: Most tokens of reasoning.
        template_kwargs: Further variables of the chat template.
        continue_final_message: The answer goes on with the last message, which is the assistant's.
        logprobs: How many of the likeliest tokens are told at each position; ``None`` tells nothing.
        echo: Prompts are told before their continuation; with ``logprobs``, how likely they were, too.
        keep_alive: Seconds that the model stays loaded after this; negative for ever, ``None`` the server's.
        timeout: Seconds for each answer, from its start.
        blame: The field at fault for an error, by the error's code.
    """

    model: str = ""
    messages: Sequence[Mapping[str, Any]] | None = None
    prompts: Sequence[str | Sequence[int]] = ()
    context: Sequence[int] | None = None
    verbatim: bool = False
    n: int = 1
    stream: bool = False
    counted: bool = False
    max_tokens: int | None = None
    sampling: Mapping[str, float] = dataclasses.field(default_factory=dict[str, float])
    logit_bias: Mapping[int, float] | None = None
    seed: int | None = None
    stop: Sequence[str] = ()
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: Literal["auto", "none", "required"] = "auto"
    tool: str | None = None
    parallel_tool_calls: bool = True
    constraint: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    schema_in_prompt: bool = True
    thinking: bool | None = None
    must_think: bool = False
    max_reasoning_tokens: int | None = None
    template_kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    continue_final_message: bool = False
    logprobs: int | None = None
    echo: bool = False
    keep_alive: float | None = None
    timeout: float | None = None
    blame: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])

    @property
    def answers(self) -> int:
        """How many answers it has."""
        return self.n * (1 if self.messages is not None else len(self.prompts))


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """Counts and times of one answer.

    Attributes:
        prompt_tokens: Tokens of the prompt, those included that were not computed again; 0 if not known.
        cached_tokens: Those of them that were taken from the KV cache.
        completion_tokens: Generated tokens, with those of reasoning.
        reasoning_tokens: Those of them that are reasoning.
        load_s: Seconds until the model was loaded.
        prefill_s: Seconds until the first token.
        generate_s: Seconds after it.
        total_s: Seconds from the request to the end of this answer.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    load_s: float = 0.0
    prefill_s: float = 0.0
    generate_s: float = 0.0
    total_s: float = 0.0

    @property
    def total_tokens(self) -> int:
        """Prompt and answer together."""
        return self.prompt_tokens + self.completion_tokens


@dataclasses.dataclass(frozen=True, slots=True)
class Started:
    """An answer begins: the request had its turn, and the model is loaded.

    Attributes:
        index: The number of the answer.
        prompt_tokens: Tokens of the prompt, where the job asks for them and they can be counted.
    """

    index: int = 0
    prompt_tokens: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Reasoning:
    """More of an answer's reasoning."""

    text: str
    index: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """More of an answer's content: whole characters, and nothing that may turn out to be a stop string."""

    text: str
    index: int = 0
    logprobs: Sequence[TokenLogprob] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """More of a tool call. ``id`` and ``name`` come once, with its first part; calls follow each other."""

    call: int
    id: str | None
    name: str | None
    arguments: str
    index: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Done:
    """An answer has ended.

    Attributes:
        reason: Why.
        usage: What it took.
        stop: The stop string that ended it, if one did.
        index: The number of the answer.
        context: As in ``Job``, where the job asks for it and tokens can be counted.
    """

    reason: Finish
    usage: Usage
    stop: str | None = None
    index: int = 0
    context: Sequence[int] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Failed:
    """The request failed; nothing comes after this."""

    error: ApiError


Event = Started | Reasoning | Text | ToolCallDelta | Done | Failed


def new_id(prefix: str) -> str:
    """Makes an id that no other server makes, either.

    Args:
        prefix: How ids of this kind begin, such as ``"chatcmpl-"``.

    Returns:
        The id.
    """
    import secrets

    return prefix + secrets.token_hex(12)


@dataclasses.dataclass
class ToolCall:
    """A whole tool call.

    Attributes:
        id: Its id.
        name: The tool.
        arguments: JSON, as the model wrote it.
    """

    id: str
    name: str
    arguments: str = ""


@dataclasses.dataclass
class Answer:
    """A whole answer: what its events say together.

    Attributes:
        text: The content.
        reasoning: The reasoning; empty if there is none.
        tool_calls: The calls, in their order.
        logprobs: The tokens of the content, where the job asked for them.
        reason: Why it ended.
        stop: The stop string that ended it, if one did.
        usage: What it took.
        context: As in ``Done``.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCall] = dataclasses.field(default_factory=list[ToolCall])
    logprobs: list[TokenLogprob] = dataclasses.field(default_factory=list[TokenLogprob])
    reason: Finish = "stop"
    stop: str | None = None
    usage: Usage = dataclasses.field(default_factory=Usage)
    context: Sequence[int] = ()


async def collected(run: AsyncIterator[Sequence[Event]]) -> list[Answer]:
    """Waits for all answers of a run.

    Args:
        run: The run.

    Returns:
        The answers, in their order.

    Raises:
        ApiError: The request failed.
    """
    answers: list[Answer] = []
    parts: list[list[str]] = []
    async for events in run:
        for event in events:
            if isinstance(event, Started):
                answers.append(Answer())
                parts.append([])
            elif isinstance(event, Text):
                parts[event.index].append(event.text)
                answers[event.index].logprobs += event.logprobs
            elif isinstance(event, Reasoning):
                answers[event.index].reasoning += event.text
            elif isinstance(event, ToolCallDelta):
                calls = answers[event.index].tool_calls
                if event.call >= len(calls):
                    calls.append(ToolCall(event.id or new_id("call_"), event.name or ""))
                calls[event.call].arguments += event.arguments
            elif isinstance(event, Done):
                answer = answers[event.index]
                answer.reason, answer.stop, answer.usage = event.reason, event.stop, event.usage
                answer.context = event.context
                answer.text = "".join(parts[event.index])
    return answers
