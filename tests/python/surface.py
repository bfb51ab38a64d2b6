"""How tests reach what the package may yet spell differently: the only file of tests that spells it.

What is settled (``RKLLM``, ``generate``, ``stream`` …) is used as it is. Here are the asynchronous form of a
model's calls, how a model is opened in an event loop, and what stands behind the public names.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from rkllm_rs import RKLLM, _native

if TYPE_CHECKING:
    import os
    from collections.abc import Coroutine
    from pathlib import Path

    from rkllm_rs import TokenStream


class Awaited:
    """A model's calls, each under its usual name, to be awaited."""

    def __init__(self, model: RKLLM) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, f"a{name}")


def aio(model: RKLLM) -> Any:
    """The asynchronous form of an open model: ``await aio(model).generate("x")``."""
    return Awaited(model)


def aopen(model: str | os.PathLike[str], **keywords: Any) -> Coroutine[Any, Any, RKLLM]:
    """Opens a model in an event loop."""
    return RKLLM.aopen(model, **keywords)


def aopen_signature() -> inspect.Signature:
    """What opening a model in an event loop takes."""
    return inspect.signature(RKLLM.aopen)


def aio_signature(name: str) -> inspect.Signature:
    """What the asynchronous form of a call takes."""
    return inspect.signature(getattr(RKLLM, f"a{name}"))


def kv_sizes(model: RKLLM) -> list[int]:
    """Tokens that the library holds, for each row of the batch."""
    sizes = model.kv_cache_size()
    return sizes if isinstance(sizes, list) else [sizes]


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
    private = {_native.Model, _native.Opening, _native.Pending, getattr(_native, "Scorer", None)}
    return {value for value in vars(_native).values() if isinstance(value, type)} - private
