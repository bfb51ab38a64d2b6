"""``/v1/completions``: text that is continued as it is."""

from __future__ import annotations

import functools
import math
import time

from rkllm_rs.server.fields import Fields, as_list, fields_of, is_id
from rkllm_rs.server.http import dumps, json_response
from rkllm_rs.server.jobs import Done, Job, Text, collected, new_id
from rkllm_rs.server.stream import failed_event, sse

from .chunks import COMMENTS, DONE, Frame, usage_data
from .requests import MAX_ANSWERS, generation_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

    from rkllm_rs.logprobs import TokenLogprob
    from rkllm_rs.server.app import Server
    from rkllm_rs.server.http import Request, Response
    from rkllm_rs.server.jobs import Event, Usage
    from rkllm_rs.server.routes import Routes
    from rkllm_rs.server.stream import Stream

MAX_PROMPTS: Final = 128
MAX_LOGPROBS: Final = 5
_DEFAULT_TOKENS: Final = 16
_BLAME: Final = {"context_length_exceeded": "prompt"}
_COMMENT: Final = b": keep-alive\n\n"


def _prompts(fields: Fields) -> list[str | list[int]]:
    given: Any = fields.raw("prompt")
    if isinstance(given, str):
        return [given]
    listed = as_list(given)
    if not listed:
        fields.refuse("prompt", "must be a string, a list of strings, or token ids")
    if all(is_id(one) for one in listed):
        return [listed]
    if len(listed) > MAX_PROMPTS:
        fields.refuse("prompt", f"must have at most {MAX_PROMPTS} prompts, got {len(listed)}")
    for at, one in enumerate(listed):
        if not isinstance(one, str) and not _are_ids(one):
            fields.refuse(f"prompt[{at}]", "must be a string or a list of token ids")
    return listed


def _are_ids(value: Any) -> bool:
    listed = as_list(value)
    return bool(listed) and all(map(is_id, listed or ()))


def _job(fields: Fields) -> Job:
    prompts = _prompts(fields)
    if any(not prompt for prompt in prompts):
        fields.refuse("prompt", "must not be empty")
    if fields.text("suffix"):
        fields.refuse("suffix", "is not supported by this model", code="unsupported_parameter")
    echo = fields.boolean("echo")
    nothing = echo and fields.raw("max_tokens") == 0
    # Evaluations ask for the probabilities of the prompt, and for no token.
    generation = generation_of(fields.over(max_tokens=None) if nothing else fields)
    if nothing:
        generation["max_tokens"] = 0
    best_of = fields.integer("best_of", 1, MAX_ANSWERS)
    if best_of is not None and best_of > generation["n"]:
        fields.refuse("best_of", "is not supported beyond n", code="unsupported_parameter")
    if generation["max_tokens"] is None:
        generation["max_tokens"] = _DEFAULT_TOKENS
    logprobs = fields.integer("logprobs", 0, MAX_LOGPROBS)
    return Job(**generation, prompts=prompts, logprobs=logprobs, echo=echo, blame=_BLAME)


async def _complete(server: Server, request: Request) -> Response | Stream:
    fields = await fields_of(request)
    job = await server.models.offload(_job, fields)
    number, created = new_id("cmpl-"), int(time.time())
    name = server.named(job.model)
    if not job.stream:
        async with server.run(job, request) as run:
            answers = await collected(run)
        choices = [
            {
                "index": at,
                "text": answer.text,
                "logprobs": _logprobs(answer.logprobs, job, 0),
                "finish_reason": answer.reason,
            }
            for at, answer in enumerate(answers)
        ]
        return json_response(
            {
                "id": number,
                "object": "text_completion",
                "created": created,
                "model": name,
                "system_fingerprint": None,
                "choices": choices,
                "usage": usage_data((answer.usage for answer in answers), job.n),
            }
        )
    options = fields.child("stream_options")
    counted = options is not None and options.boolean("include_usage")
    chunks = _Chunks(Frame("text_completion", number, created, name), job, counted=counted)
    return sse(
        server.encoded(job, request, chunks.of, chunks.end),
        failed=failed_event(request.family, request.id),
        beat=chunks.beat,
    )


def _logprobs(tokens: Sequence[TokenLogprob], job: Job, offset: int) -> dict[str, Any] | None:
    if job.logprobs is None:
        return None
    offsets: list[int] = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.text)
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [None if math.isnan(token.logprob) else token.logprob for token in tokens],
        "top_logprobs": [
            None if math.isnan(token.logprob) else {one.text: one.logprob for one in token.top}
            for token in tokens
        ],
        "text_offset": offsets,
    }


class _Chunks:
    """The chunks of a completion."""

    def __init__(self, frame: Frame, job: Job, *, counted: bool) -> None:
        self._frame = frame
        self._job = job
        self._counted = counted
        self._usages: list[Usage] = []
        self._offset: dict[int, int] = {}

    def of(self, event: Event) -> bytes:
        if isinstance(event, Text):
            offset = self._offset.get(event.index, 0)
            self._offset[event.index] = offset + len(event.text)
            return self._chunk(event.index, event.text, None, _logprobs(event.logprobs, self._job, offset))
        if isinstance(event, Done):
            self._usages.append(event.usage)
            return self._chunk(event.index, "", event.reason, None)
        return b""

    def _chunk(self, index: int, text: str, reason: str | None, logprobs: dict[str, Any] | None) -> bytes:
        choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}
        return self._frame.chunk(dumps(choice))

    def beat(self, count: int) -> bytes:
        return _COMMENT if count % COMMENTS else self._chunk(len(self._usages), "", None, None)

    def end(self) -> bytes:
        counts = self._frame.usage(usage_data(self._usages, self._job.n)) if self._counted else b""
        return counts + DONE


def add_routes(routes: Routes, server: Server) -> None:
    """Adds the routes of this module."""
    routes.add("POST", "/v1/completions", functools.partial(_complete, server))
