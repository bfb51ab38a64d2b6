"""Large language models on Rockchip NPUs, from Python.

>>> from rkllm_rs import RKLLM
>>> with RKLLM("qwen3-1.7b.rkllm") as llm:  # doctest: +SKIP
...     for chunk in llm.stream("Why is the sky blue?"):
...         print(chunk.text, end="", flush=True)

The same code runs on a machine without NPU through the CPU runtime (``pip install 'rkllm_rs[cpu]'``),
which has the vendor library's C ABI and loads ``.gguf`` models.
"""

from __future__ import annotations

import atexit as _atexit

from . import _native
from ._library import backends
from ._model import RKLLM
from ._native import (
    ArrayStream,
    BackendStatus,
    Chunk,
    CrossAttention,
    Embeddings,
    Evidence,
    FloatArray,
    Generation,
    Identity,
    LoraAdapter,
    ModelInfo,
    Multimodal,
    PerfStats,
    Runtime,
    SamplingParams,
    Steps,
    TextStream,
    Tokens,
    TokenStream,
    __version__,
)
from ._results import BatchStream, Score
from .errors import (
    BackendFallbackWarning,
    BusyError,
    ClosedError,
    ContextLengthError,
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
    UnsupportedFeatureError,
    UnsupportedRuntimeError,
)

# Before the interpreter takes itself apart, so that no run outlives it.
_atexit.register(_native.at_exit)

__all__ = [
    "RKLLM",
    "ArrayStream",
    "BackendFallbackWarning",
    "BackendStatus",
    "BatchStream",
    "BusyError",
    "Chunk",
    "ClosedError",
    "ContextLengthError",
    "CrossAttention",
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
    "NpuMemoryError",
    "PerfStats",
    "PromptCacheError",
    "RkllmError",
    "RkllmWarning",
    "Runtime",
    "RuntimeInstallError",
    "SamplingParams",
    "Score",
    "Steps",
    "TextStream",
    "TokenStream",
    "Tokens",
    "UnsupportedFeatureError",
    "UnsupportedRuntimeError",
    "__version__",
    "backends",
]
