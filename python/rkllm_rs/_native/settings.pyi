"""Types of arguments. They exist for type checkers only."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Protocol, TypeAlias, TypedDict

from typing_extensions import Buffer

from .inputs import Embeddings, Multimodal, Tokens
from .sampling import SamplingParams

Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

FinishReason: TypeAlias = Literal["stop", "length", "cancelled", "tool_calls"]

Input: TypeAlias = str | Tokens | Embeddings | Multimodal

class ArrayInterface(Protocol):
    """An array with NumPy's array interface; NumPy's own arrays have it."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...

# Arrays of float32 in C order: what they hold, type checkers cannot see.
Floats: TypeAlias = Buffer | ArrayInterface

class Sampling(TypedDict, total=False):
    """Sampling, one keyword for each value."""

    temperature: float | None
    top_k: int | None
    top_p: float | None
    repeat_penalty: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    mirostat: int | None
    mirostat_tau: float | None
    mirostat_eta: float | None
    min_p: float | None
    typical_p: float | None
    logit_bias: Mapping[int, float] | None
    sampling: SamplingParams | None

class OpenSettings(Sampling, total=False):
    """Keywords of opening; ``rkllm_rs.RKLLM`` documents them."""

    max_context_len: int | None
    max_new_tokens: int | None
    n_keep: int | None
    skip_special_token: bool | None
    ignore_eos_token: bool | None
    img_start: str | None
    img_end: str | None
    img_content: str | None
    base_domain_id: int | None
    embed_flash: bool | None
    enabled_cpus_num: int | None
    enabled_cpus_mask: int | Iterable[int] | None
    n_batch: int | None
    use_cross_attn: bool | None
    template: Literal["model", "raw"] | tuple[str, str, str]
    tokenizer: Callable[[str], Iterable[int]] | None
    embedder: Callable[[list[int]], Floats] | None
    open_timeout: float | None
