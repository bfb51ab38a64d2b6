"""How many tokens a conversation has, before it is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rkllm_rs.aio import AsyncRKLLM

if TYPE_CHECKING:
    from rkllm_rs.llm import RKLLM

    from .jobs import Job

__all__ = ["count"]


async def count(llm: RKLLM, job: Job) -> int:
    """Counts the tokens of a job's conversation.

    The library is asked between two runs, so this waits for one that is under way.

    Args:
        llm: The model.
        job: What is asked for, as the model can do it: a chat.

    Returns:
        What ``Usage.prompt_tokens`` of the answer will be.

    Raises:
        UnsupportedFeatureError: The library has no tokenizer, and there is none beside the model.
    """
    more: dict[str, Any] = {}
    if job.tools and job.tool_choice != "none":
        more["tools"] = [one for one in job.tools if job.tool in (None, one["function"]["name"])]
    if job.thinking is not None:
        more["thinking"] = job.thinking
    if job.template_kwargs:
        more["template_kwargs"] = job.template_kwargs
    return await AsyncRKLLM._of(llm).count_tokens(job.messages or [], **more)  # noqa: SLF001 - for the loop
