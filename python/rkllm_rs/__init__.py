"""Large language models on Rockchip NPUs, from Python.

An answer, and a stream of its chunks::

    from rkllm_rs import RKLLM

    with RKLLM("qwen3-1.7b.rkllm", max_context_len=4096) as llm:
        answer = llm.generate("Why is the sky blue?", max_new_tokens=64, temperature=0.7, stop=["###"])
        print(answer.text, answer.finish_reason)
        for chunk in llm.stream("Tell a story.", top_p=0.9, timeout=60):
            print(chunk.text, end="", flush=True)

The same in an event loop::

    import asyncio
    from rkllm_rs import AsyncRKLLM

    async def main():
        async with AsyncRKLLM("qwen3-1.7b.rkllm", max_context_len=4096) as llm:
            print((await llm.generate("Name a colour.", max_new_tokens=8)).text)
            async for chunk in llm.stream("Tell a story.", temperature=0.7):
                print(chunk.text, end="", flush=True)

    asyncio.run(main())

The same code runs on a machine without an NPU through the CPU runtime, which has the vendor library's C ABI
and loads ``.gguf`` models. In a checkout of rkllm_rs, ``make build`` installs it.
"""

from __future__ import annotations

import atexit as _atexit

try:
    from ._native import __version__
except ImportError as _error:
    from ._unloaded import tell

    # Only `rkllm_rs.doctor` goes on without it: it tells what is wrong.
    _missing: ImportError | None = tell(_error)
else:
    _missing = None
    from . import _native
    from ._library import backends
    from ._native import (
        ArrayStream,
        BackendStatus,
        ChatAnswer,
        ChatDelta,
        ChatStream,
        ChatTexts,
        Chunk,
        Constraint,
        CrossAttention,
        Embeddings,
        Evidence,
        FloatArray,
        Generation,
        Identity,
        LoraAdapter,
        ModelInfo,
        Multimodal,
        NpuLock,
        PerfStats,
        Runtime,
        SamplingParams,
        Steps,
        TextStream,
        Tokens,
        TokenStream,
        ToolCall,
        ToolCallDelta,
        npu_lock,
    )
    from ._typed import typed
    from .llm import RKLLM

    backends = typed(backends)
    del typed

    # Before the interpreter takes itself apart, so that no run outlives it.
    _atexit.register(_native.at_exit)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .aio import AsyncRKLLM
    from .chat.async_conversation import AsyncConversation, AsyncConversationStream
    from .chat.conversation import Conversation, ConversationStream
    from .errors import (
        BackendFallbackWarning,
        BusyError,
        ClosedError,
        ContextLengthError,
        DownloadError,
        DriverError,
        FileMissingError,
        ForkedProcessError,
        GenerationError,
        GenerationTimeout,
        InvalidArgumentError,
        InvalidTypeError,
        LibraryNotFoundError,
        ModelError,
        ModelFormatError,
        ModelNotFoundError,
        ModelPlatformError,
        ModelVersionError,
        NpuMemoryError,
        PromptCacheError,
        RkllmError,
        RkllmWarning,
        RuntimeInstallError,
        SchemaError,
        TemplateError,
        ToolError,
        UnsupportedFeatureError,
        UnsupportedRuntimeError,
        WorkerCrashed,
    )
    from .logprobs import TokenLogprob, TopLogprob
    from .results import BatchStream, Score

del TYPE_CHECKING

__all__ = [
    "RKLLM",
    "ArrayStream",
    "AsyncConversation",
    "AsyncConversationStream",
    "AsyncRKLLM",
    "BackendFallbackWarning",
    "BackendStatus",
    "BatchStream",
    "BusyError",
    "ChatAnswer",
    "ChatDelta",
    "ChatStream",
    "ChatTexts",
    "Chunk",
    "ClosedError",
    "Constraint",
    "ContextLengthError",
    "Conversation",
    "ConversationStream",
    "CrossAttention",
    "DownloadError",
    "DriverError",
    "Embeddings",
    "Evidence",
    "FileMissingError",
    "FloatArray",
    "ForkedProcessError",
    "Generation",
    "GenerationError",
    "GenerationTimeout",
    "Identity",
    "InvalidArgumentError",
    "InvalidTypeError",
    "LibraryNotFoundError",
    "LoraAdapter",
    "ModelError",
    "ModelFormatError",
    "ModelInfo",
    "ModelNotFoundError",
    "ModelPlatformError",
    "ModelVersionError",
    "Multimodal",
    "NpuLock",
    "NpuMemoryError",
    "PerfStats",
    "PromptCacheError",
    "RkllmError",
    "RkllmWarning",
    "Runtime",
    "RuntimeInstallError",
    "SamplingParams",
    "SchemaError",
    "Score",
    "Steps",
    "TemplateError",
    "TextStream",
    "TokenLogprob",
    "TokenStream",
    "Tokens",
    "ToolCall",
    "ToolCallDelta",
    "ToolError",
    "TopLogprob",
    "UnsupportedFeatureError",
    "UnsupportedRuntimeError",
    "WorkerCrashed",
    "__version__",
    "backends",
    "npu_lock",
]

#: Names that are imported on their first use, and from where; what else is not here yet is an error.
_LATER = {
    "AsyncConversation": ".chat.async_conversation",
    "AsyncConversationStream": ".chat.async_conversation",
    "AsyncRKLLM": ".aio",
    "BatchStream": ".results",
    "Conversation": ".chat.conversation",
    "ConversationStream": ".chat.conversation",
    "Score": ".results",
    "TokenLogprob": ".logprobs",
    "TopLogprob": ".logprobs",
}


def __getattr__(name: str) -> object:
    """Imports what most programs do without, such as event loops, conversations and errors."""
    if _missing is not None and name != "doctor" and not name.startswith("_"):
        raise ImportError(_missing.msg) from _missing
    place = _LATER.get(name)
    if name in ("bench", "doctor", "models", "runtimes", "verify"):
        place = f".{name}"
    elif place is None and (name == "errors" or name in __all__):
        place = ".errors"
    if place is not None:
        import sys

        module = __name__ + place
        __import__(module)
        if place == f".{name}":
            return sys.modules[module]
        found: object = getattr(sys.modules[module], name)
        globals()[name] = found
        return found
    if name.startswith("_"):
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from ._keywords import no_name

    raise no_name(__name__, name)


def __dir__() -> list[str]:
    """The names that completion offers, with those that are imported on their first use."""
    return sorted({*globals(), *__all__} - {"annotations", "__annotations__", "__dir__", "__getattr__"})
