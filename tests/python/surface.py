"""How tests reach what the package may yet spell differently: the only file of tests that spells it.

What is settled (``RKLLM``, ``generate``, ``stream`` …) is used as it is. Here are the asynchronous form of a
model's calls, how a model is opened in an event loop, the calls whose names are not settled, and what stands
behind the public names. Functions of the second kind take the model and what its call takes.

Programs of ``support.program`` can import this file as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rkllm_rs import RKLLM, AsyncRKLLM, _native

if TYPE_CHECKING:
    import inspect
    import os
    from pathlib import Path

    from typing_extensions import Self

    from rkllm_rs import (
        ArrayStream,
        BatchStream,
        FloatArray,
        Generation,
        LoraAdapter,
        Steps,
        TokenStream,
    )

#: The calls that wait for the library; each has a form for event loops, with the same arguments.
BLOCKING: Final = frozenset(
    {
        "clear_kv_cache",
        "close",
        "count_tokens",
        "detokenize",
        "embed",
        "generate",
        "generate_batch",
        "hidden_states",
        "hidden_states_batch",
        "kv_cache_size",
        "load_lora",
        "load_prompt_cache",
        "logits",
        "logits_batch",
        "release_prompt_cache",
        "score",
        "set_chat_template",
        "set_cross_attention",
        "set_function_tools",
        "tokenize",
    }
)


class Opened(RKLLM):
    """A model that was opened in an event loop, and is closed by ``async with``."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await aio(self).close()


def aio(model: RKLLM) -> Any:
    """The asynchronous form of an open model: ``await aio(model).generate("x")``."""
    return AsyncRKLLM._of(model)


async def aopen(model: str | os.PathLike[str], **keywords: Any) -> Opened:
    """Opens a model in an event loop."""
    opened = await AsyncRKLLM(model, **keywords).open()
    return Opened._of(opened._ready()._model)


def aopen_signature() -> inspect.Signature:
    """What opening a model in an event loop takes."""
    import inspect

    return inspect.signature(AsyncRKLLM)


def aio_signature(name: str) -> inspect.Signature:
    """What the asynchronous form of a call takes."""
    import inspect

    return inspect.signature(getattr(AsyncRKLLM, name))


def stepwise(model: RKLLM, *given: Any, **keywords: Any) -> Steps:
    """A run that pauses after each token."""
    return model.steps(*given, **keywords)


def stream_logits(model: RKLLM, *given: Any, **keywords: Any) -> ArrayStream:
    """Logits as the library computes them."""
    return model.stream_logits(*given, **keywords)


def stream_hidden_states(model: RKLLM, *given: Any, **keywords: Any) -> ArrayStream:
    """Hidden states as the library computes them."""
    return model.stream_hidden_states(*given, **keywords)


def generate_batch(model: RKLLM, *given: Any, **keywords: Any) -> list[Generation]:
    """The answers to several inputs of one run."""
    return model.generate_batch(*given, **keywords)


def stream_batch(model: RKLLM, *given: Any, **keywords: Any) -> BatchStream:
    """The streams of several inputs of one run."""
    return model.stream_batch(*given, **keywords)


def logits_batch(model: RKLLM, *given: Any, **keywords: Any) -> list[FloatArray]:
    """The logits of several inputs of one run."""
    return model.logits_batch(*given, **keywords)


def hidden_states_batch(model: RKLLM, *given: Any, **keywords: Any) -> list[FloatArray]:
    """The hidden states of several inputs of one run."""
    return model.hidden_states_batch(*given, **keywords)


def loras(model: RKLLM) -> tuple[LoraAdapter, ...]:
    """The adapters that are loaded."""
    return model.loras


def load_prompt_cache(model: RKLLM, *given: Any, **keywords: Any) -> None:
    """Loads a prompt cache from a file."""
    model.load_prompt_cache(*given, **keywords)


def release_prompt_cache(model: RKLLM) -> None:
    """Lets go of the loaded prompt cache."""
    model.release_prompt_cache()


def set_chat_template(model: RKLLM, *given: Any, **keywords: Any) -> None:
    """Replaces the vendor's chat template."""
    model.set_chat_template(*given, **keywords)


def set_function_tools(model: RKLLM, *given: Any, **keywords: Any) -> None:
    """Tells the library which functions the model may call."""
    model.set_function_tools(*given, **keywords)


def set_cross_attention(model: RKLLM, *given: Any, **keywords: Any) -> None:
    """Hands over an encoder's output."""
    model.set_cross_attention(*given, **keywords)


def all_closed() -> bool:
    """Asks all models to go; true once the library has let go of them."""
    return _native.shut_down()


def armed(stream: TokenStream) -> int | None:
    """A descriptor that becomes readable with the stream's next event; None if there is one already."""
    return stream._arm()


def nothing_to_read(stream: TokenStream) -> bool:
    """Whether a reader would have to wait now."""
    return stream._poll() is None


def ask_for_lora(model: RKLLM, adapter: Path, name: str) -> None:
    """Asks for an adapter without waiting for it."""
    model._model.load_lora(adapter, name, 1.0)


def natives() -> set[type]:
    """The classes that are written in Rust and are the package's surface."""
    names = ("Chat", "ChatTemplate", "Model", "Opening", "Pending", "Scorer")
    private = {getattr(_native, name, None) for name in names}
    return {value for value in vars(_native).values() if isinstance(value, type)} - private
