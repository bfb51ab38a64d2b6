"""What annotations name, and the keywords of calls.

Without ``collections.abc`` and ``typing``, whose import takes milliseconds.

Annotations are evaluated when somebody asks for them, by ``typing.get_type_hints()``; all names in them must
be there then.
"""

from __future__ import annotations

from ._library import Path
from ._native import (
    ChatDelta,
    Chunk,
    Embeddings,
    Generation,
    Multimodal,
    SamplingParams,
    Tokens,
    TokenStream,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import FunctionType
    from typing import Any, Literal, TypedDict, TypeVar

    from typing_extensions import Never, Unpack

    from ._native.settings import Floats

    _Call = TypeVar("_Call", bound=Callable[..., object])
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
    FunctionType = type(lambda: None)


__all__ = [
    "CHAT_KEYWORDS",
    "TURN_KEYWORDS",
    "Any",
    "Callable",
    "ChatDelta",
    "ChatOptions",
    "Floats",
    "GenerateOptions",
    "Input",
    "Iterable",
    "Iterator",
    "Literal",
    "Mapping",
    "Never",
    "PromptOptions",
    "RowOptions",
    "Sequence",
    "ToolOptions",
    "Unpack",
    "shows",
    "takes_keywords",
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


class _Generating(TypedDict, total=False):
    """Keywords that are alike for one prompt and for several."""

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
    min_p: float | None
    typical_p: float | None
    logit_bias: Mapping[int, float] | None
    sampling: SamplingParams | None
    stop: str | Sequence[str] | None
    json_schema: Mapping[str, Any] | str | type | None
    regex: str | None
    choices: Sequence[str] | None
    grammar: str | None
    logprobs: int | None
    logits_processor: Callable[[list[int], Any], Floats | None] | None
    sampler: Literal["library", "own"] | None
    constraint: Literal["auto", "mask", "guided", "retry"] | None
    seed: int | None
    reuse: Literal["auto", "fast", False] | None
    save_prompt_cache: Path | None


class GenerateOptions(RowOptions, _Generating, total=False):
    """Keywords of the calls that answer several prompts; ``RKLLM.generate`` describes them."""

    on_token: Callable[[Chunk], object] | None


class PromptOptions(_Generating, total=False):
    """Keywords of the calls that answer one prompt, as in ``prompted``."""

    timeout: float | None
    lora: str | None
    keep_history: bool | None
    role: str | None
    thinking: bool | None
    on_token: Callable[[Chunk], object] | None


class ChatOptions(_Generating, total=False):
    """Keywords of generating that a chat takes, too; ``RKLLM.generate`` describes them."""

    timeout: float | None
    lora: str | None
    response_format: Mapping[str, Any] | type | None
    schema_in_prompt: bool | None
    prompt_cache_dir: Path | None
    prompt_cache_bytes: int | None
    on_token: Callable[[ChatDelta], object] | None


#: The names of `ChatOptions`.
CHAT_KEYWORDS = frozenset({*_Generating.__annotations__, *ChatOptions.__annotations__})


class ToolOptions(ChatOptions, total=False):
    """Keywords of a chat beside its tools; ``RKLLM.chat`` describes them."""

    tool_choice: Literal["auto", "none", "required"] | Mapping[str, Any] | None
    parallel_tool_calls: bool | None
    thinking: bool | None
    max_reasoning_tokens: int | None
    template_kwargs: Mapping[str, Any] | None
    chat_template: Path | None
    overflow: Literal["error", "drop_oldest"] | None


#: The names of `ToolOptions`.
TURN_KEYWORDS = CHAT_KEYWORDS | frozenset(ToolOptions.__annotations__)


def shows(options: type) -> Callable[[_Call], _Call]:
    """Has ``help()`` and ``inspect`` show the keywords of a dictionary that a call takes as ``**options``.

    Args:
        options: The class of the dictionary.

    Returns:
        A decorator for what ``typed`` gives.
    """
    more: dict[str, str] = {}
    for base in reversed(options.__mro__):
        more.update(vars(base).get("__annotations__", {}))

    def decorate(call: _Call) -> _Call:
        method: Any = call
        inner = method.__wrapped__
        code = inner.__code__
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        further = tuple(name for name in more if name not in names)
        code = _no_body.__code__.replace(
            co_argcount=code.co_argcount,
            co_kwonlyargcount=code.co_kwonlyargcount + len(further),
            co_nlocals=len(names) + len(further),
            co_varnames=(*names, *further),
        )
        shown = FunctionType(code, inner.__globals__, inner.__name__)
        shown.__kwdefaults__ = {**(inner.__kwdefaults__ or {}), **dict.fromkeys(further)}
        shown.__annotations__ = {**more, **inner.__annotations__}
        del shown.__annotations__["options"]
        method.__annotations__ = shown.__annotations__
        method.__wrapped__ = shown
        return call

    return decorate


def _no_body() -> None:
    """Is never called: signatures are shown with it."""


def prompted(
    self: object,
    input: Input,  # noqa: A002 - the field's word
    *,
    max_new_tokens: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    repeat_penalty: float | None = None,
    frequency_penalty: float | None = None,
    presence_penalty: float | None = None,
    mirostat: int | None = None,
    mirostat_tau: float | None = None,
    mirostat_eta: float | None = None,
    min_p: float | None = None,
    typical_p: float | None = None,
    logit_bias: Mapping[int, float] | None = None,
    sampling: SamplingParams | None = None,
    stop: str | Sequence[str] | None = None,
    json_schema: Mapping[str, Any] | str | type | None = None,
    regex: str | None = None,
    choices: Sequence[str] | None = None,
    grammar: str | None = None,
    logprobs: int | None = None,
    logits_processor: Callable[[list[int], Any], Floats | None] | None = None,
    sampler: Literal["library", "own"] | None = None,
    constraint: Literal["auto", "mask", "guided", "retry"] | None = None,
    seed: int | None = None,
    timeout: float | None = None,
    lora: str | None = None,
    save_prompt_cache: Path | None = None,
    keep_history: bool | None = None,
    reuse: Literal["auto", "fast", False] | None = None,
    role: str | None = None,
    thinking: bool | None = None,
    on_token: Callable[[Chunk], object] | None = None,
    **unknown: Never,
) -> Generation | TokenStream:
    """Is never called: the signature of the calls that answer one prompt."""
    raise NotImplementedError


def takes_keywords(call: _Call) -> _Call:
    """Has ``help()`` and ``inspect`` show the keywords of ``prompted`` for a call that takes them as one.

    Python sets the default of each keyword that a function declares whenever it is called. Where caches are
    cold, that takes longer than the rest of the call. So does a function around it, as by ``typed``: here the
    input may be missing in place of that, or be among the keywords, and then the call looks for it.

    Args:
        call: A method that answers one prompt.

    Returns:
        The method itself.
    """
    shown = FunctionType(prompted.__code__, globals(), call.__name__)
    shown.__kwdefaults__ = prompted.__kwdefaults__
    shown.__annotations__ = call.__annotations__ = {
        **{name: hint for name, hint in prompted.__annotations__.items() if name != "self"},
        "return": call.__annotations__["return"],
    }
    # Type checkers know no such attributes, and that the input has a name.
    code = call.__code__.replace(co_posonlyargcount=2)
    setattr(call, "__code__", code)  # noqa: B010
    setattr(call, "__defaults__", (...,))  # noqa: B010
    setattr(call, "__wrapped__", shown)  # noqa: B010
    return call
