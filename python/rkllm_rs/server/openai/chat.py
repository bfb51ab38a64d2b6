"""``/v1/chat/completions``."""

from __future__ import annotations

import functools
import time

from rkllm_rs.server.fields import fields_of
from rkllm_rs.server.http import dumps, json_response
from rkllm_rs.server.jobs import Done, Reasoning, Text, ToolCallDelta, collected, new_id
from rkllm_rs.server.stream import failed_event, sse

from .chunks import COMMENTS, DONE, Frame, timings_data, token_data, usage_data
from .requests import chat_job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rkllm_rs.server.app import Server
    from rkllm_rs.server.http import Request, Response
    from rkllm_rs.server.jobs import Answer, Event, Job, Usage
    from rkllm_rs.server.routes import Routes
    from rkllm_rs.server.stream import Stream

_COMMENT = b": keep-alive\n\n"


async def _chat(server: Server, request: Request) -> Response | Stream:
    fields = await fields_of(request)
    job = await server.models.offload(chat_job, fields)
    number, created = new_id("chatcmpl-"), int(time.time())
    name = server.named(job.model)
    if not job.stream:
        async with server.run(job, request) as run:
            answers = await collected(run)
        return json_response(
            {
                "id": number,
                "object": "chat.completion",
                "created": created,
                "model": name,
                "system_fingerprint": None,
                "choices": [_choice(at, answer, job) for at, answer in enumerate(answers)],
                "usage": usage_data((answer.usage for answer in answers), job.n),
                "timings": timings_data(answers[-1].usage),
            }
        )
    options = fields.child("stream_options")
    counted = options is not None and options.boolean("include_usage")
    chunks = Chunks(Frame("chat.completion.chunk", number, created, name), job, counted=counted)
    return sse(
        server.encoded(job, request, chunks.of, chunks.end),
        failed=failed_event(request.family, request.id),
        beat=chunks.beat,
    )


def _choice(at: int, answer: Answer, job: Job) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.tool_calls:
        message["content"] = answer.text.strip() or None
        message["tool_calls"] = [
            {"id": one.id, "type": "function", "function": {"name": one.name, "arguments": one.arguments}}
            for one in answer.tool_calls
        ]
    logprobs = None
    if job.logprobs is not None:
        logprobs = {"content": [token_data(token) for token in answer.logprobs], "refusal": None}
    return {"index": at, "message": message, "logprobs": logprobs, "finish_reason": answer.reason}


class Chunks:
    """The chunks of an answer: a role first, then its parts, its end, and the counts last."""

    def __init__(self, frame: Frame, job: Job, *, counted: bool) -> None:
        self._frame = frame
        self._job = job
        self._counted = counted
        self._opened: set[int] = set()
        self._usages: list[Usage] = []

    def of(self, event: Event) -> bytes:
        """The chunks of an event; none for one that says nothing to clients."""
        if isinstance(event, Text):
            logprobs = b"null"
            if self._job.logprobs is not None:
                tokens = [token_data(token) for token in event.logprobs]
                logprobs = dumps({"content": tokens, "refusal": None})
            text = dumps(event.text)
            return self._delta(event.index, b'{"content":%b}' % text, logprobs)
        if isinstance(event, Reasoning):
            return self._delta(event.index, dumps({"reasoning_content": event.text}))
        if isinstance(event, ToolCallDelta):
            return self._delta(event.index, dumps({"tool_calls": [_call_data(event)]}))
        if isinstance(event, Done):
            self._usages.append(event.usage)
            opened = self._open(event.index)
            choice = b'{"index":%d,"delta":{},"logprobs":null,"finish_reason":%b}'
            return opened + self._frame.chunk(choice % (event.index, dumps(event.reason)))
        return b""

    def _delta(self, index: int, delta: bytes, logprobs: bytes = b"null") -> bytes:
        choice = b'{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":null}' % (index, delta, logprobs)
        return self._open(index) + self._frame.chunk(choice)

    def _open(self, index: int) -> bytes:
        if index in self._opened:
            return b""
        self._opened.add(index)
        return self._delta(index, b'{"role":"assistant","content":""}')

    def beat(self, count: int) -> bytes:
        """What is sent in silence: at first the role, so that clients see a chunk, then mostly comments."""
        if not self._opened:
            return self._open(0)
        if count % COMMENTS:
            return _COMMENT
        return self._delta(max(self._opened), b'{"content":""}')

    def end(self) -> bytes:
        """What comes after the last answer."""
        counts = self._frame.usage(usage_data(self._usages, self._job.n)) if self._counted else b""
        return counts + DONE


def _call_data(event: ToolCallDelta) -> dict[str, Any]:
    data: dict[str, Any] = {"index": event.call}
    if event.id is not None:
        data.update(id=event.id, type="function")
    function: dict[str, Any] = {} if event.name is None else {"name": event.name}
    data["function"] = {**function, "arguments": event.arguments}
    return data


def add_routes(routes: Routes, server: Server) -> None:
    """Adds the routes of this module."""
    routes.add("POST", "/v1/chat/completions", functools.partial(_chat, server))
