"""The prompt of a conversation and its tokens, before it is answered: nothing here waits for a turn."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time

from rkllm_rs._waiting import elsewhere
from rkllm_rs.aio import AsyncRKLLM
from rkllm_rs.errors import InvalidArgumentError, UnsupportedFeatureError

from . import answers
from .errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from typing import Final

    from rkllm_rs.llm import RKLLM

    from .app import Server
    from .entry import Entry
    from .jobs import Job

__all__ = ["continued", "count", "count_asked", "count_prompt", "held", "prompt_ids", "prompt_of"]

#: What ``RKLLM.chat`` adds to the system message of an answer that is kept to a schema.
_SCHEMA: Final = "Answer with JSON, and nothing else, that fits this JSON schema:\n<schema>\n{}\n</schema>"


@contextlib.asynccontextmanager
async def held(server: Server, name: str) -> AsyncGenerator[tuple[Entry, RKLLM]]:
    """A loaded model for what needs no run: others may be using it meanwhile.

    Args:
        server: The server.
        name: The name of the model, as the client wrote it.

    Raises:
        ApiError: 404, there is no such model; 429, too many such requests wait for models that are loaded;
            503, it is not loaded in time.
    """
    entry = server.models.find(name)
    most = max(1, server.settings.queue)
    if server.asking >= most:
        message = f"{server.asking} requests about tokens wait already, which is the limit of this server"
        raise ApiError(429, message, code="queue_full", retry_after=1)
    server.asking += 1
    try:
        patience = server.settings.load_wait
        async with server.models.hold(entry, since=time.monotonic(), patience=patience) as llm:
            yield entry, llm
    finally:
        server.asking -= 1


def prompt_of(llm: RKLLM, job: Job, *, add_generation_prompt: bool = True) -> str:
    """What a chat sends to the model. Takes long, so call it on a thread.

    Args:
        llm: The model.
        job: The chat.
        add_generation_prompt: End with what begins the model's answer.

    Returns:
        The text, with special tokens written out.
    """
    if job.verbatim and job.messages:
        text: str = job.messages[0]["content"]
        return text
    tools = None
    if job.tools and job.tool_choice != "none":
        tools = [one for one in job.tools if job.tool in (None, one["function"]["name"])]
    messages = list(job.messages or ())
    # An answer with tools begins in the model's own way, and is kept to the schema later.
    if "json_schema" in job.constraint and job.schema_in_prompt and not tools:
        schema = json.dumps(job.constraint["json_schema"], ensure_ascii=False)
        messages = answers.with_system(messages, _SCHEMA.replace("{}", schema, 1))
    thinking, kwargs = job.thinking, job.template_kwargs or None
    goes_on = job.continue_final_message
    if add_generation_prompt or goes_on:
        return llm._prompt(messages, tools, thinking, kwargs, goes_on)  # noqa: SLF001 - as chat() has it
    return llm.render_chat(
        messages, tools=tools, thinking=thinking, template_kwargs=kwargs, add_generation_prompt=False
    )


def continued(llm: RKLLM, job: Job) -> Job:
    """The job of a chat that goes on after other tokens, with all of its prompt as one text. Takes long.

    Raises:
        ApiError: 400, there is no tokenizer, or the tokens are not those of this model.
    """
    try:
        before = llm.detokenize(job.context or ())
    except UnsupportedFeatureError:
        reason = "is not supported: this model has no tokenizer; send the conversation to /api/chat"
        raise ApiError(400, f"context {reason}", param="context", code="unsupported_parameter") from None
    except InvalidArgumentError:
        reason = "must be what an earlier answer of this model had"
        raise ApiError(400, f"context {reason}", param="context") from None
    message = {"role": "user", "content": before + prompt_of(llm, job)}
    return dataclasses.replace(
        job,
        messages=[message],
        verbatim=True,
        schema_in_prompt=False,
        thinking=None,
        template_kwargs={},
    )


async def prompt_ids(llm: RKLLM, job: Job) -> list[int]:
    """The token ids of what a chat sends to the model.

    Args:
        llm: The model.
        job: What is asked for, as the model can do it: a chat.

    Returns:
        The ids.

    Raises:
        UnsupportedFeatureError: The library has no tokenizer, and there is none beside the model.
    """
    text = await elsewhere(prompt_of, llm, job)
    return await AsyncRKLLM._of(llm).tokenize(text, add_special_tokens=False)  # noqa: SLF001 - for the loop


async def count(llm: RKLLM, job: Job) -> int:
    """Counts the tokens of ``prompt_ids``.

    Args:
        llm: The model.
        job: The chat.

    Returns:
        What ``Usage.prompt_tokens`` of the answer will be.
    """
    return len(await prompt_ids(llm, job))


async def count_prompt(llm: RKLLM, prompt: str | Sequence[int]) -> int:
    """Counts the tokens of a text that is continued as it is.

    Args:
        llm: The model.
        prompt: The text, or its tokens.

    Raises:
        UnsupportedFeatureError: As ``prompt_ids``.
    """
    return len(await AsyncRKLLM._of(llm).tokenize(prompt) if isinstance(prompt, str) else prompt)  # noqa: SLF001


async def count_asked(server: Server, job: Job) -> int:
    """Counts for a request that wants nothing else.

    Args:
        server: The server.
        job: The chat, as the client asked for it.

    Raises:
        ApiError: As ``held``; 400, the model cannot do what is asked for.
        UnsupportedFeatureError: As ``prompt_ids``.
    """
    async with held(server, job.model) as (entry, llm):
        return await count(llm, await server.fitted(job, entry, llm))
