"""The compiled part of rkllm_rs: thin classes over the Rust core.

The public classes are re-exported by ``rkllm_rs``; what is not named there is private. The modules in this
folder exist for type checkers only: at run time there is one module, ``rkllm_rs._native``.
"""

from .arrays import FloatArray, Scorer, check_pooling, pool
from .chat import (
    Chat,
    ChatAnswer,
    ChatDelta,
    ChatStream,
    ChatTexts,
    ToolCall,
    ToolCallDelta,
    check_chat,
    no_answer,
)
from .inputs import CrossAttention, Embeddings, Multimodal, Tokens, check_inputs
from .library import (
    BackendStatus,
    Evidence,
    Identity,
    Runtime,
    abi_layouts,
    backends,
    check_isolation,
    check_opening,
    find_library,
    inspect_file,
    known_libraries,
    plan_domains,
    resolve,
    resolve_isolated,
    serve,
    set_vendor_log,
    several_models,
)
from .lock import NpuLock, npu_line, npu_lock
from .model import LoraAdapter, Model, ModelInfo, Opening, Pending, at_exit, check_call, shut_down
from .outputs import Chunk, Constraint, Generation, PerfStats
from .sampling import SamplingParams
from .streams import ArrayStream, Steps, TextStream, TokenStream
from .template import ChatTemplate

__all__ = [
    "ArrayStream",
    "BackendStatus",
    "Chat",
    "ChatAnswer",
    "ChatDelta",
    "ChatStream",
    "ChatTemplate",
    "ChatTexts",
    "Chunk",
    "Constraint",
    "CrossAttention",
    "Embeddings",
    "Evidence",
    "FloatArray",
    "Generation",
    "Identity",
    "LoraAdapter",
    "Model",
    "ModelInfo",
    "Multimodal",
    "NpuLock",
    "Opening",
    "Pending",
    "PerfStats",
    "Runtime",
    "SamplingParams",
    "Scorer",
    "Steps",
    "TextStream",
    "TokenStream",
    "Tokens",
    "ToolCall",
    "ToolCallDelta",
    "__version__",
    "abi_layouts",
    "at_exit",
    "backends",
    "check_call",
    "check_chat",
    "check_inputs",
    "check_isolation",
    "check_opening",
    "check_pooling",
    "find_library",
    "inspect_file",
    "known_libraries",
    "no_answer",
    "npu_line",
    "npu_lock",
    "plan_domains",
    "pool",
    "resolve",
    "resolve_isolated",
    "serve",
    "set_vendor_log",
    "several_models",
    "shut_down",
]

__version__: str
