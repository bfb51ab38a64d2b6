"""The prompt of a chat and its tokens, without a run: nothing here waits for a turn."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time

from . import answers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import Final

    from rkllm_rs.llm import RKLLM

    from .app import Server
    from .entry import Entry
    from .jobs import Job

__all__ = ["count_tokens", "held", "prompt_ids", "prompt_of"]

#: What ``RKLLM.chat`` adds to the system message of an answer that is kept to a schema.
_SCHEMA: Final = "Answer with JSON, and nothing else, that fits this JSON schema:\n<schema>\n{}\n</schema>"


@contextlib.asynccontextmanager
async def held(server: Server, name: str) -> AsyncGenerator[tuple[Entry, RKLLM]]:
    """A loaded model for what needs no run: others may be using it meanwhile.

    Args:
        server: The server.
        name: The name of the model, as the client wrote it.

    Raises:
        ApiError: 404, there is no such model; 503, it is not loaded in time.
    """
    entry = server.models.find(name)
    patience = server.settings.load_wait
    async with server.models.hold(entry, since=time.monotonic(), patience=patience) as llm:
        yield entry, llm


def prompt_of(llm: RKLLM, job: Job, *, add_generation_prompt: bool = True) -> str:
    """What a chat sends to the model. Takes long, so call it on a thread.

    Args:
        llm: The model.
        job: The chat.
        add_generation_prompt: End with what begins the model's answer.

    Returns:
        The text, with special tokens written out.
    """
    call = answers.chat_keywords(llm, job, 0)
    messages = list(job.messages or ())
    # An answer with tools begins in the model's own way, and is kept to the schema later.
    if "json_schema" in job.constraint and job.schema_in_prompt and "tools" not in call:
        schema = json.dumps(job.constraint["json_schema"], ensure_ascii=False)
        messages = answers.with_system(messages, _SCHEMA.replace("{}", schema, 1))
    tools, thinking = call.get("tools"), call.get("thinking")
    kwargs = call.get("template_kwargs")
    if add_generation_prompt:
        return llm._prompt(messages, tools, thinking, kwargs)  # noqa: SLF001 - as chat() has it
    return llm.render_chat(
        messages, tools=tools, thinking=thinking, template_kwargs=kwargs, add_generation_prompt=False
    )


def prompt_ids(llm: RKLLM, job: Job) -> list[int]:
    """The token ids of what a chat sends to the model. Takes long, so call it on a thread."""
    return llm.tokenize(prompt_of(llm, job), add_special_tokens=False)


async def count_tokens(server: Server, job: Job) -> int:
    """How many tokens the prompt of a chat has: the ``prompt_tokens`` of its usage.

    Args:
        server: The server.
        job: The chat.

    Returns:
        The number.

    Raises:
        ApiError: As ``held``; 400, the prompt cannot be made, or there is no tokenizer.
    """
    async with held(server, job.model) as (entry, llm):
        # Limits of the answer are nothing to a count.
        asked = dataclasses.replace(job, logprobs=None, logit_bias=None)
        fitted = await server.fitted(asked, entry, llm)
        return len(await server.models.offload(prompt_ids, llm, fitted))
