"""One answer of a loaded model as events: a chat, the continuation of a text, or a call that is forced.

Long because each way to an answer begins and ends like the others.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os

from rkllm_rs import _native
from rkllm_rs._tokenizer import path_beside
from rkllm_rs._waiting import next_item
from rkllm_rs.errors import RkllmError, SchemaError, UnsupportedFeatureError

from . import scoring
from .errors import ApiError, without_paths
from .jobs import Done, Reasoning, Text, ToolCallDelta, Usage, new_id
from .stops import Stops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping, Sequence
    from typing import Any, Final

    from rkllm_rs.llm import RKLLM
    from rkllm_rs.logprobs import TokenLogprob

    from .jobs import Event, Finish, Job

    Offload = Callable[..., Coroutine[Any, Any, Any]]

#: Most items that are taken before other tasks have their turn.
_BATCH: Final = 64
#: Renders a text as it is.
_AS_IT_IS: Final = "{{ messages[0].content }}"
#: What only the CPU runtime can set; the answer is useful without.
_OWN: Final = ("min_p", "typical_p")
_NOTHING: Final[dict[str, Any]] = {}

_FORCED: Final = (
    "Call one of these functions now. They are described here as JSON, one a line:\n<tools>\n{}\n</tools>\n"
    'Answer with the name of the function and its arguments: {"name": "NAME", "arguments": {}}'
)


async def batches(stream: Any) -> AsyncGenerator[list[Any]]:
    """Reads a stream: what has come since the last look, all at once."""
    while True:
        try:
            items = [await next_item(stream)]
        except StopAsyncIteration:
            return
        over, failed = False, None
        while len(items) < _BATCH:
            try:
                item = stream._poll()  # noqa: SLF001 - as next_item() does
            except StopAsyncIteration:
                over = True
                break
            except RkllmError as error:
                failed = error  # what came before it is not lost
                break
            if item is None:
                break
            items.append(item)
        yield items
        if failed is not None:
            raise failed
        if over:
            return


def keywords(llm: RKLLM, job: Job, index: int) -> dict[str, Any]:
    """What a job says of how an answer is generated, as far as this model's library can do it."""
    able = llm.runtime.capabilities
    own = "own_sampling" in able
    # A temperature that only another release can set for one run is no reason to refuse the request.
    call: dict[str, Any] = {**job.sampling} if own or "per_run_sampling" in able else {}
    if not own:
        for name in _OWN:
            call.pop(name, None)
        for name in ("logprobs", "logit_bias"):
            if getattr(job, name) is not None:
                message = f"{name} is not supported by the library of this model"
                raise ApiError(400, message, param=name, code="unsupported_parameter")
    if job.max_tokens:
        free = own or "per_run_max_new_tokens" in able
        call["max_new_tokens"] = min(job.max_tokens, llm.max_context_len if free else llm.max_new_tokens)
    if job.seed is not None and "seed" in able:
        call["seed"] = (job.seed + index) % 2**64
    call.update(logprobs=job.logprobs, logit_bias=job.logit_bias)
    call["timeout"] = job.timeout
    call.update(job.constraint)
    return {name: value for name, value in call.items() if value is not None}


def chat_keywords(llm: RKLLM, job: Job, index: int) -> dict[str, Any]:
    """As ``keywords``, for a chat."""
    call = keywords(llm, job, index)
    if job.verbatim:
        call["chat_template"] = _AS_IT_IS
    if "json_schema" in job.constraint and not job.schema_in_prompt:
        call["schema_in_prompt"] = False
    if job.thinking is not None:
        call["thinking"] = job.thinking
    if job.thinking and job.max_reasoning_tokens is not None:
        call["max_reasoning_tokens"] = job.max_reasoning_tokens
    if job.template_kwargs:
        call["template_kwargs"] = job.template_kwargs
    if job.continue_final_message:
        call["continue_final_message"] = True
    if job.tools and job.tool_choice != "none":
        call["tools"] = [tool for tool in job.tools if job.tool in (None, tool["function"]["name"])]
        if not job.parallel_tool_calls:
            call["parallel_tool_calls"] = False
    return call


class _Reader:
    """Makes events of what a stream gives, and counts."""

    def __init__(self, job: Job, index: int) -> None:
        self.index = index
        self.stops = Stops(job.stop)
        self.reasoning_tokens = 0
        #: The tokens of the answer are wanted, too.
        self._is_asked = job.context is not None
        self._tokens: list[TokenLogprob] = []
        #: A character of which more may come.
        self._half = ""

    def deltas(self, deltas: Iterable[Any]) -> list[Event]:
        """Events of the deltas of a chat; nothing comes after a stop string."""
        events: list[Event] = []
        for delta in deltas:
            if delta.reasoning:
                self.reasoning_tokens += 1
                events.append(Reasoning(delta.reasoning, self.index))
            if delta.content:
                self._tokens += delta.logprobs or ()
                self._text(self.stops.push(delta.content), events)
                if self.stops.found is not None:
                    break
            if delta.tool_calls:
                self._text(self.stops.rest(), events)
                events += [
                    ToolCallDelta(part.index, part.id, part.name, part.arguments, self.index)
                    for part in delta.tool_calls
                ]
        return events

    def chunks(self, chunks: Iterable[Any]) -> list[Event]:
        """Events of the chunks of a text."""
        events: list[Event] = []
        for chunk in chunks:
            self._tokens += chunk.logprobs or ()
            self._text(self.stops.push(chunk.text), events)
            if self.stops.found is not None:
                break
        return events

    def _text(self, text: str, events: list[Event]) -> None:
        text = self._half + text
        whole = text.rstrip("\ufffd")
        text, self._half = whole, text[len(whole) :]
        if text:
            events.append(Text(text, self.index, _tokens_of(text, self._tokens)))

    def end(self, answer: Any) -> list[Event]:
        """The last events."""
        events: list[Event] = []
        reason: str = answer.finish_reason
        self._text(self.stops.rest(), events)
        if self._half and reason != "length":
            # The model wrote it; an answer that was cut has none of the character.
            events.append(Text(self._half, self.index, self._tokens))
        ends: dict[str, Finish] = {"length": "length", "tool_calls": "tool_calls"}
        finish = "stop" if self.stops.found is not None else ends.get(reason, "stop")
        usage = _usage(answer.perf, self.reasoning_tokens)
        made = answer.token_ids if self._is_asked else ()
        events.append(Done(finish, usage, self.stops.found, self.index, made))
        return events


def _tokens_of(text: str, tokens: list[TokenLogprob]) -> Sequence[TokenLogprob]:
    """Takes the tokens away that make up a text, and those before it that are markers and not content."""
    if not tokens:
        return ()
    data = text.encode()
    joined = b"".join(token.bytes for token in tokens)
    first = 0
    while first < len(tokens) and not joined.startswith(data):
        joined = joined[len(tokens[first].bytes) :]
        first += 1
    if first == len(tokens):
        # Content that its tokens do not spell, such as one without the space before it.
        taken, tokens[:] = list(tokens), []
        return taken
    size, last = 0, first
    while last < len(tokens) and size < len(data):
        size += len(tokens[last].bytes)
        last += 1
    taken = tokens[first:last]
    del tokens[:last]
    return taken


def _usage(perf: Any, reasoning_tokens: int) -> Usage:
    cached = perf.cached_tokens or 0
    prompt = perf.prompt_tokens
    if prompt is None:
        # The vendor's library tells what it computed, unless it was stopped before its end.
        prompt = perf.prefill_tokens + cached if perf.prefill_tokens else 0
    first = perf.time_to_first_token_ms or 0.0
    return Usage(
        prompt_tokens=prompt,
        cached_tokens=min(cached, prompt) if prompt else cached,
        completion_tokens=perf.generate_tokens,
        reasoning_tokens=min(reasoning_tokens, perf.generate_tokens),
        prefill_s=first / 1000,
        generate_s=max(0.0, perf.total_time_ms - first) / 1000,
    )


async def chat(llm: RKLLM, offload: Offload, job: Job, index: int) -> AsyncGenerator[list[Event]]:
    """Answers a conversation."""
    shown = bool(job.tools) and job.tool_choice != "none"
    keeps = job.tool_choice == "required" and _keeps_calls(llm)
    if shown and not keeps and (job.tool_choice == "required" or job.constraint):
        async for events in _call_or_else(llm, offload, job, index):
            yield events
        return
    call = chat_keywords(llm, job, index)
    if shown and keeps:
        # What must be called is what the answer is kept to, whatever else was asked for.
        for name in job.constraint:
            del call[name]
        named = {"type": "function", "function": {"name": job.tool}}
        call["tool_choice"] = "required" if job.tool is None else named
    reader = _Reader(job, index)
    try:
        async for events in _read(llm.chat_stream, (job.messages,), call, offload, reader, reader.deltas):
            yield events
    except SchemaError as error:
        if not (shown and keeps):
            raise
        raise ApiError(
            400, without_paths(str(error.args[0])), param="tools", code="invalid_schema"
        ) from error


def _keeps_calls(llm: RKLLM) -> bool:
    """Whether this model's answers can be kept to calls in one run.

    On the vendor's library that takes a pause, and the ids of what is sent in the place of a token.
    """
    able = llm.runtime.capabilities
    return "own_sampling" in able or ("pause" in able and os.path.isfile(path_beside(llm.model_path)))


async def continuation(
    llm: RKLLM, offload: Offload, job: Job, prompt: str | Sequence[int], index: int
) -> AsyncGenerator[list[Event]]:
    """Continues a text as it is, without a chat template."""
    call = keywords(llm, job, index)
    reader = _Reader(job, index)
    given: Any = prompt
    if isinstance(prompt, str):
        try:
            given = await offload(llm.tokenize, prompt)
        except UnsupportedFeatureError:
            if job.echo:
                yield [Text(prompt, index)]
            # A library without a tokenizer takes the text, rendered by a template that adds nothing.
            messages = [{"role": "user", "content": prompt}]
            call["chat_template"] = _AS_IT_IS
            async for events in _read(llm.chat_stream, (messages,), call, offload, reader, reader.deltas):
                yield events
            return
    tokens = _native.Tokens(given)
    if job.echo:
        yield [await _echoed(llm, offload, job, given, index)]
    if job.max_tokens == 0:
        yield [Done("length", Usage(prompt_tokens=len(given)), None, index)]
        return
    async for events in _read(llm.stream, (tokens,), call, offload, reader, reader.chunks):
        yield events


async def _echoed(llm: RKLLM, offload: Offload, job: Job, ids: Sequence[int], index: int) -> Text:
    """The prompt, as the beginning of its answer."""
    if job.logprobs is None:
        return Text(await offload(llm.detokenize, ids), index)
    scoring.check_size(llm, ids)
    stream = llm.stream_logits(_native.Tokens(list(ids)))
    try:
        rows = [block async for blocks in batches(stream) for block in blocks]
    finally:
        stream.cancel()
    tokens = await offload(scoring.scored, llm, ids, rows, job.logprobs)
    return Text("".join(token.text for token in tokens), index, tokens)


async def _read(
    begin: Callable[..., Any],
    arguments: tuple[Any, ...],
    call: Mapping[str, Any],
    offload: Offload,
    reader: _Reader,
    events_of: Callable[[Iterable[Any]], list[Event]],
) -> AsyncGenerator[list[Event]]:
    # Rendering a template and checking a schema take their time, and not the loop's.
    stream = await offload(functools.partial(begin, *arguments, **call))
    try:
        async for items in batches(stream):
            # Empty where nothing can be shown yet: tokens have come all the same.
            yield events_of(items)
            if reader.stops.found is not None:
                break
        if reader.stops.found is not None:
            stream.cancel()
        answer = stream.result()
    finally:
        stream.cancel()
    yield reader.end(answer)


async def _call_or_else(llm: RKLLM, offload: Offload, job: Job, index: int) -> AsyncGenerator[list[Event]]:
    """Answers with a call, or with what is kept to a form: no library does both in one run.

    The model begins in its own way, with the tools shown by its template. If that is no call, it answers once
    more, and is kept to the schema of a call, or to that of the answer.
    """
    has_called = False
    spent = Usage()
    own = dataclasses.replace(job, tool_choice="auto", constraint={})
    attempt = chat(llm, offload, own, index)
    try:
        async for events in attempt:
            has_called = has_called or any(isinstance(event, ToolCallDelta) for event in events)
            if has_called:
                yield [event for event in events if not isinstance(event, Text)]
            elif any(isinstance(event, Text) and event.text.strip() for event in events):
                break
            else:
                thoughts: list[Event] = [event for event in events if isinstance(event, Reasoning)]
                yield thoughts
                spent = next((event.usage for event in events if isinstance(event, Done)), spent)
    finally:
        await attempt.aclose()
    if has_called:
        return
    if job.tool_choice == "required":
        rest = _constrained_call(llm, offload, job, index, spent)
    else:
        rest = chat(llm, offload, dataclasses.replace(job, tool_choice="none"), index)
    async for events in rest:
        yield events


async def _constrained_call(
    llm: RKLLM, offload: Offload, job: Job, index: int, spent: Usage
) -> AsyncGenerator[list[Event]]:
    functions = [tool["function"] for tool in job.tools if job.tool in (None, tool["function"]["name"])]
    shapes = [
        {
            "type": "object",
            "properties": {
                "name": {"const": function["name"]},
                "arguments": function.get("parameters") or {"type": "object"},
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for function in functions
    ]
    told = _FORCED.replace("{}", "\n".join(json.dumps(one, ensure_ascii=False) for one in functions), 1)
    kept = dataclasses.replace(
        job,
        messages=with_system(job.messages or (), told),
        tools=(),
        tool_choice="auto",
        stop=(),
        constraint={"json_schema": shapes[0] if len(shapes) == 1 else {"anyOf": shapes}},
        schema_in_prompt=False,
        thinking=None if job.thinking is None else False,
        logprobs=None,
    )
    text = ""
    async for events in chat(llm, offload, kept, index):
        text += "".join(event.text for event in events if isinstance(event, Text))
        done = next((event for event in events if isinstance(event, Done)), None)
        yield [] if done is None else _call_of(text, done, spent)


def _call_of(text: str, done: Done, spent: Usage) -> list[Event]:
    """The events of a call that was written as JSON."""
    usage = dataclasses.replace(
        done.usage,
        completion_tokens=done.usage.completion_tokens + spent.completion_tokens,
        reasoning_tokens=done.usage.reasoning_tokens + spent.reasoning_tokens,
    )
    try:
        call = json.loads(text)
    except ValueError:
        # It was cut off.
        return [dataclasses.replace(done, reason="length", usage=usage)]
    arguments = json.dumps(call["arguments"], ensure_ascii=False)
    return [
        ToolCallDelta(0, new_id("call_"), call["name"], arguments, done.index),
        dataclasses.replace(done, reason="tool_calls", usage=usage),
    ]


def with_system(messages: Sequence[Mapping[str, Any]], text: str) -> list[Mapping[str, Any]]:
    """The messages with a text added to the system message."""
    first: Mapping[str, Any] = messages[0] if messages else _NOTHING
    if first.get("role") in ("system", "developer") and isinstance(first.get("content"), str):
        return [{**first, "content": f"{first['content']}\n\n{text}"}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]
