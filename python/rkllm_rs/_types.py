"""What annotations name, without ``collections.abc`` and ``typing``, whose import takes milliseconds.

Annotations are evaluated when somebody asks for them, by ``typing.get_type_hints()``; all names in them must
be there then.
"""

from __future__ import annotations

from ._library import Path
from ._native import Chunk, Embeddings, Multimodal, SamplingParams, Tokens

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, Literal, TypedDict

    from typing_extensions import Never, Unpack

    from ._native.settings import Floats
else:
    from _collections_abc import Callable, Iterable, Iterator, Mapping, Sequence

    class Literal:
        """Is ``typing.Literal`` as soon as it is evaluated."""

        def __class_getitem__(cls, values: object) -> object:
            import typing

            return typing.Literal[values]

    class Unpack:
        """Is ``typing.Unpack`` as soon as it is evaluated, where ``typing`` has it."""

        def __class_getitem__(cls, options: type) -> object:
            import typing

            return typing.Unpack[options] if hasattr(typing, "Unpack") else options

    class Never:
        """Nothing: no other keywords are accepted."""

    class TypedDict(dict):
        """Takes the class arguments of ``typing.TypedDict``."""

        def __init_subclass__(cls, *, total: bool = True) -> None:
            cls.__total__ = total

    Any = object
    Floats = object


__all__ = [
    "Any",
    "Callable",
    "Floats",
    "GenerateOptions",
    "Input",
    "Iterable",
    "Iterator",
    "Literal",
    "Mapping",
    "Never",
    "RowOptions",
    "Sequence",
    "Unpack",
]

#: An input of a run: text, token ids, embeddings, or text with embeddings in it.
Input = str | Tokens | Embeddings | Multimodal


class RowOptions(TypedDict, total=False):
    """Keywords of the calls that return logits or hidden states; ``RKLLM.generate`` describes them."""

    timeout: float | None
    lora: str | None
    keep_history: bool | None
    role: str | Sequence[str] | None
    thinking: bool | Sequence[bool] | None


class GenerateOptions(RowOptions, total=False):
    """Keywords of the calls that generate; ``RKLLM.generate`` describes them."""

    max_new_tokens: int | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    repeat_penalty: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    mirostat: int | None
    mirostat_tau: float | None
    mirostat_eta: float | None
    sampling: SamplingParams | None
    stop: str | Sequence[str] | None
    seed: int | None
    save_prompt_cache: Path | None
    on_token: Callable[[Chunk], object] | None
