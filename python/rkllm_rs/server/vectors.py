"""Embeddings of texts, for all dialects: one vector of length 1 for each."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, Literal

from rkllm_rs import _native
from rkllm_rs.errors import UnsupportedFeatureError

from .errors import ApiError
from .fields import Fields, as_list

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rkllm_rs.aio import AsyncRKLLM

    from .app import Server
    from .http import Request

__all__ = ["MAX_INPUTS", "inputs_of", "vectors"]

MAX_INPUTS: Final = 2048
_MOST_IDS: Final = 2**31 - 1


def inputs_of(fields: Fields, name: str = "input") -> list[str | list[int]]:
    """Texts, or their token ids.

    Args:
        fields: The request.
        name: The field: a string, a list of strings, a list of ids, or a list of such lists.

    Returns:
        The inputs.

    Raises:
        ApiError: 400, with the path of what is wrong.
    """
    value = fields.raw(name)
    listed = as_list([value] if isinstance(value, str) else value)
    if listed is None:
        fields.refuse(name, "must be a string or a list")
    if listed and isinstance(listed[0], int):
        listed = [listed]
    if len(listed) > MAX_INPUTS:
        fields.refuse(name, f"must have at most {MAX_INPUTS} elements, got {len(listed)}")
    found: list[str | list[int]] = []
    for at, one in enumerate(listed):
        ids = as_list(one)
        if isinstance(one, str):
            found.append(one)
        elif ids is None or not all(_is_id(each) for each in ids):
            fields.refuse(f"{name}[{at}]", "must be a string or a list of token ids")
        else:
            found.append(ids)
    return found


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_IDS


async def vectors(
    server: Server,
    request: Request,
    model: str,
    inputs: Sequence[str | list[int]],
    *,
    truncate: bool = False,
    dimensions: int | None = None,
    name: str = "input",
) -> tuple[list[memoryview[float]], int]:
    """Computes embeddings.

    A text is taken as it is, without a chat template, where its tokens can be had. Models whose file is
    called an embedding model give the state of their last token; others the mean of all, which says more.

    Args:
        server: The server.
        request: Who asks.
        model: The name of the model, as the client wrote it.
        inputs: Texts or token ids; none may be empty.
        truncate: Cut what is longer than the context window, in place of refusing it.
        dimensions: Keep so many numbers of each vector, and make its length 1 again.
        name: The field of the request that has the inputs, for errors.

    Returns:
        The vectors, float32, and how many tokens there were; 0 where they cannot be counted.

    Raises:
        ApiError: As ``Server.use``; 400, an input is too long, or has a token that the model does not have.
    """
    entry = server.models.find(model)
    pooling: Literal["last", "mean"] = "last" if "embed" in os.path.basename(entry.path).lower() else "mean"
    found: list[memoryview[float]] = []
    count = 0
    async with server.use(entry.name, request) as llm:
        for at, one in enumerate(inputs):
            given = await _tokens(llm, one, truncate=truncate, path=f"{name}[{at}]")
            count += 0 if isinstance(given, str) else len(given)
            array: Any = await llm.embed(given, pooling=pooling)
            vector = memoryview(array.tobytes()).cast("f")
            found.append(await server.models.offload(_shortened, vector, dimensions))
    return found, count


async def _tokens(llm: AsyncRKLLM, given: str | list[int], *, truncate: bool, path: str) -> Any:
    if isinstance(given, str):
        try:
            ids = await llm.tokenize(given)
        except UnsupportedFeatureError:
            return given
    else:
        ids = given
        size = llm.info.vocab_size
        if size is not None and any(one >= size for one in ids):
            message = f"{path} must have ids of this model's tokens, below {size}; send the text itself"
            raise ApiError(400, message, param=path, code="invalid_token")
    limit = llm.max_context_len
    if len(ids) >= limit:
        if not truncate:
            message = (
                f"{path} has {len(ids)} tokens, but this model's maximum context length is {limit} tokens"
            )
            raise ApiError(400, message, param=path, code="context_length_exceeded")
        ids = ids[: limit - 1]
    return _native.Tokens(ids)


def _shortened(vector: memoryview[float], dimensions: int | None) -> memoryview[float]:
    """The first numbers of a vector, of length 1."""
    if dimensions is None or dimensions == len(vector):
        return vector
    if dimensions > len(vector):
        message = f"dimensions must be at most {len(vector)}, which is what this model has"
        raise ApiError(400, message, param="dimensions")
    from array import array

    kept = vector[:dimensions].tolist()
    length = sum(one * one for one in kept) ** 0.5 or 1.0
    return memoryview(array("f", [one / length for one in kept]))
