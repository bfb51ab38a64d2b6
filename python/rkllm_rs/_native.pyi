"""The compiled part of rkllm_rs: thin classes over the Rust core.

The public classes are re-exported by ``rkllm_rs``; what is not named there is private.
"""

import os
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal, TypeAlias, TypedDict, final

from typing_extensions import Self

__all__ = [
    "BackendStatus",
    "Chunk",
    "Evidence",
    "Generation",
    "Identity",
    "Model",
    "PerfStats",
    "Runtime",
    "SamplingParams",
    "TextStream",
    "TokenStream",
    "Tokens",
    "__version__",
    "_chunk",
    "_generation",
    "_perf_stats",
    "abi_layouts",
    "at_exit",
    "backends",
    "find_library",
    "known_libraries",
    "resolve",
    "shut_down",
]

_Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
_Backend: TypeAlias = Literal["npu", "cpu"]
_FinishReason: TypeAlias = Literal["stop", "length", "cancelled", "tool_calls"]
_LibraryParts: TypeAlias = tuple[float, int, float, int, float]

class _Layout(TypedDict):
    size: int
    align: int
    fields: dict[str, int]

class _KnownLibrary(TypedDict):
    release: str
    generation: str
    os: str
    arch: str
    git_blob_sha1: str
    commit: str
    path: str
    size: int | None

__version__: str

@final
class SamplingParams:
    """How the next token is chosen (``RKLLMSamplingParam``).

    All settings are keywords and optional. One that is not set, or ``None``, keeps the value that the
    model was opened with, or there the library's default. C holds them as ``float``, so that 0.7 is
    read back as the nearest number that ``float`` has.

    Before RKLLM 1.3.0 the library takes them only when a model is opened; a call that differs raises
    ``UnsupportedFeatureError``.

    Example:
        >>> from rkllm_rs import SamplingParams
        >>> SamplingParams(temperature=0.7, top_k=40)
        SamplingParams(top_k=40, temperature=0.7)
    """

    def __new__(
        cls,
        *,
        top_k: int | None = None,
        top_p: float | None = None,
        temperature: float | None = None,
        repeat_penalty: float | None = None,
        frequency_penalty: float | None = None,
        presence_penalty: float | None = None,
        mirostat: int | None = None,
        mirostat_tau: float | None = None,
        mirostat_eta: float | None = None,
    ) -> Self:
        """Checks and keeps the settings.

        Args:
            top_k: Only the k most likely tokens are drawn from; 1 is greedy. 0 or more.
            top_p: Only the most likely tokens that together have this probability are drawn from; 0 to 1.
            temperature: Flattens the distribution above 1, sharpens it below; 0 is greedy. 0 or more.
            repeat_penalty: Divides the likelihood of tokens that are there already; 1 changes nothing.
                Above 0.
            frequency_penalty: Lowers a token's likelihood for each time it has appeared; -2 to 2, 0
                changes nothing.
            presence_penalty: Lowers a token's likelihood once it has appeared; -2 to 2, 0 changes nothing.
            mirostat: 0 is off, 1 is mirostat, 2 is mirostat 2.0.
            mirostat_tau: Surprise that mirostat aims at (tau), in bits per token. 0 or more.
            mirostat_eta: How fast mirostat learns (eta). 0 or more.

        Raises:
            InvalidArgumentError: A value out of its range (also a ``ValueError``).
            InvalidTypeError: A value of the wrong type (also a ``TypeError``).
        """

    @property
    def top_k(self) -> int | None:
        """Only the k most likely tokens are drawn from; 1 is greedy."""
    @property
    def top_p(self) -> float | None:
        """Only the most likely tokens that together have this probability are drawn from; 0 to 1."""
    @property
    def temperature(self) -> float | None:
        """Flattens the distribution above 1, sharpens it below; 0 is greedy."""
    @property
    def repeat_penalty(self) -> float | None:
        """Divides the likelihood of tokens that are there already; 1 changes nothing."""
    @property
    def frequency_penalty(self) -> float | None:
        """Lowers a token's likelihood for each time it has appeared; -2 to 2, 0 changes nothing."""
    @property
    def presence_penalty(self) -> float | None:
        """Lowers a token's likelihood once it has appeared; -2 to 2, 0 changes nothing."""
    @property
    def mirostat(self) -> int | None:
        """0 is off, 1 is mirostat, 2 is mirostat 2.0."""
    @property
    def mirostat_tau(self) -> float | None:
        """Surprise that mirostat aims at (tau), in bits per token."""
    @property
    def mirostat_eta(self) -> float | None:
        """How fast mirostat learns (eta)."""
    def __eq__(self, other: object, /) -> bool: ...
    # Not hashable: floats that compare equal need not be meant as equal.
    __hash__: ClassVar[None]  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleMethodOverride]
    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, int | float | None]]: ...

@final
class Tokens:
    """Token ids as input (``RKLLM_INPUT_TOKEN``), taken as they are: no chat template, no tokenizer.

    A sequence: ``len()``, indexing, iteration, comparison and hashing work.

    Example:
        >>> from rkllm_rs import Tokens
        >>> Tokens([1, 2, 3])
        Tokens([1, 2, 3])
    """

    def __new__(cls, ids: Iterable[int]) -> Self:
        """Checks and copies the ids.

        Args:
            ids: Any iterable of ``int``, NumPy arrays included; at least one, none negative.

        Raises:
            InvalidArgumentError: No ids, or one that is negative or does not fit ``int32_t``.
            InvalidTypeError: Not an iterable of ``int``.
        """

    def to_list(self) -> list[int]:
        """Returns the ids as a new list."""
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[int]: ...
    def __getitem__(self, index: int, /) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __getnewargs__(self) -> tuple[list[int]]: ...

@final
class Chunk:
    """A piece of an answer, as a stream gives it. ``str(chunk)`` is its text."""

    @property
    def text(self) -> str:
        """The piece's text (``RKLLMResult.text``): never empty, always whole characters."""
    @property
    def token_id(self) -> int:
        """The token that completed the text (``RKLLMResult.token_id``).

        Tokens before it whose bytes only now became a character are in ``Generation.token_ids``.
        """

@final
class PerfStats:
    """Figures of a run: the library's own (``RKLLMPerfStat``) from 1.2.1 on, else measured around it.

    Times are milliseconds. A cancelled run has measured figures only.
    """

    @property
    def source(self) -> Literal["library", "measured"]:
        """Whose figures: ``"library"`` for ``RKLLMPerfStat``, ``"measured"`` for our clock."""
    @property
    def prefill_time_ms(self) -> float | None:
        """Time for the prompt; measured, the time to the first token. ``None`` if no token came."""
    @property
    def prefill_tokens(self) -> int | None:
        """Tokens of the prompt that were computed; ``None`` where measured."""
    @property
    def generate_time_ms(self) -> float | None:
        """Time for the answer; measured, from the first token on. ``None`` if no token came."""
    @property
    def generate_tokens(self) -> int:
        """Tokens of the answer."""
    @property
    def memory_usage_mb(self) -> float | None:
        """The process's peak resident size in MB as the library says; ``None`` where measured."""
    @property
    def generate_tokens_per_second(self) -> float | None:
        """Tokens of the answer per second; ``None`` without a token or a time.

        Measured, the time starts with the first token, so that one is not counted.
        """
    @property
    def prefill_tokens_per_second(self) -> float | None:
        """Tokens of the prompt per second; ``None`` where measured."""
    @property
    def time_to_first_token_ms(self) -> float | None:
        """From the start of the run to its first token, measured; ``None`` if no token came."""
    @property
    def total_time_ms(self) -> float:
        """From the start of the run to its end, measured."""
    @property
    def queued_time_ms(self) -> float:
        """Time spent waiting for earlier runs on the same model, measured."""

@final
class Generation:
    """A whole answer. ``str(generation)`` is its text."""

    @property
    def text(self) -> str:
        """The answer's text."""
    @property
    def token_ids(self) -> list[int]:
        """One id for each token, those without text of their own included."""
    @property
    def finish_reason(self) -> _FinishReason:
        """Why it ended.

        ``"stop"``: the model ended its answer; ``"length"``: ``max_new_tokens`` was reached;
        ``"cancelled"``: the stream was cancelled or the model closed; ``"tool_calls"``: the answer
        calls tools.
        """
    @property
    def perf(self) -> PerfStats:
        """Figures of the run."""

@final
class TokenStream:
    """The tokens of a run as they come; ``RKLLM.stream`` makes it.

    Iterate with ``for`` or ``async for``: both give ``Chunk`` objects and end with the run. A stream
    that nothing refers to any more cancels its run. Iteration raises what :meth:`result` raises.
    """

    def __iter__(self) -> Self: ...
    def __next__(self) -> Chunk: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, Chunk]: ...
    def texts(self) -> TextStream:
        """Returns the same stream, giving plain ``str``."""
    def cancel(self) -> None:
        """Ends the run (``rkllm_abort``), from any thread; again, or after the end, it does nothing.

        Iteration then ends normally, and the finish reason is ``"cancelled"``.
        """
    def result(self) -> Generation:
        """Waits for the end and returns the whole answer, pieces that were read before included.

        Pieces not yet read are taken away: iteration ends after this.

        Raises:
            GenerationError: The run failed; ``.log`` has the library's own lines.
            GenerationTimeout: The deadline passed; ``.partial`` has what came.
            ContextLengthError: More tokens than the context window holds.
            ForkedProcessError: The run was started before ``fork()``.
        """
    def _poll(self) -> Chunk | None:
        """Returns the next chunk, or ``None`` if it has to be waited for.

        Raises:
            StopAsyncIteration: The run has ended.
        """
    def _arm(self) -> int | None:
        """Returns a descriptor that becomes readable when something comes; ``None`` if it has come.

        Raises:
            OSError: The system has no descriptor to give.
        """

@final
class TextStream:
    """A ``TokenStream`` that gives plain ``str``; ``TokenStream.texts`` makes it."""

    def __iter__(self) -> Self: ...
    def __next__(self) -> str: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, str]: ...
    def cancel(self) -> None:
        """Ends the run, as ``TokenStream.cancel``."""
    def result(self) -> Generation:
        """Waits for the end and returns the whole answer, as ``TokenStream.result``.

        Raises:
            GenerationError: As for ``TokenStream.result``.
        """
    def _poll(self) -> str | None:
        """Returns the next text, or ``None`` if it has to be waited for.

        Raises:
            StopAsyncIteration: The run has ended.
        """
    def _arm(self) -> int | None:
        """Returns a descriptor that becomes readable when something comes; ``None`` if it has come.

        Raises:
            OSError: The system has no descriptor to give.
        """

@final
class Evidence:
    """One piece of evidence about a library's release."""

    @property
    def kind(self) -> Literal["fingerprint", "banner", "symbols", "defaults", "explicit", "marker"]:
        """Where it comes from.

        ``"fingerprint"``: the SHA-1 of a known file; ``"banner"``: the version text inside;
        ``"symbols"``: the functions it exports; ``"defaults"``: the bytes that
        ``rkllm_createDefaultParam`` writes; ``"explicit"``: the argument ``abi``; ``"marker"``: the
        CPU runtime's own sign.
        """
    @property
    def finding(self) -> str:
        """What was found, in words."""
    @property
    def allows(self) -> str:
        """The generations that it leaves possible, such as ``"v1_2_1 or v1_3_0"``."""

@final
class Identity:
    """Which release a library is, and how that was found out."""

    @property
    def abi(self) -> str:
        """The generation of its C layouts, such as ``"v1_3_0"``."""
    @property
    def version(self) -> str | None:
        """The release as banner or fingerprint say, such as ``"1.2.3"``; ``None`` where neither does."""
    @property
    def evidence(self) -> list[Evidence]:
        """What the decision rests on, one piece for each look that was taken."""
    @property
    def cpu_runtime(self) -> bool:
        """Whether it is the CPU runtime."""

@final
class Runtime:
    """A loaded library (``librkllmrt.so``, or the CPU runtime in its place).

    Two are equal if they are the same loaded library; a process loads a file once.
    """

    @staticmethod
    def load(
        path: _Path | None = None,
        *,
        backend: Literal["auto", "npu", "cpu"] = "auto",
        abi: str | None = None,
    ) -> Runtime:
        """Finds, checks, opens and identifies a library.

        Args:
            path: The library's file, obeyed; without it, the usual search.
            backend: ``"npu"`` is the vendor's library, ``"cpu"`` the CPU runtime, ``"auto"`` what this
                machine has.
            abi: The generation, such as ``"v1_3_0"``, where the library does not tell.

        Returns:
            The library, the same object's equal if it was loaded before.

        Raises:
            LibraryNotFoundError: No library could be loaded; the message lists every place tried.
            UnsupportedRuntimeError: The library found is not certain, or too old.
            InvalidArgumentError: A backend or generation that does not exist.
            InvalidTypeError: An argument of the wrong type.
        """

    @staticmethod
    def _load(
        library: _Path | None,
        backend: str,
        abi: str | None,
        package_dir: str | None,
        cpu_library: str | None,
    ) -> Runtime:
        """As :meth:`load`, with all that the Python side knows."""
    @property
    def path(self) -> str:
        """The library's file."""
    @property
    def backend(self) -> _Backend:
        """``"npu"`` or ``"cpu"``."""
    @property
    def identity(self) -> Identity:
        """Which release it is, with the evidence."""
    @property
    def capabilities(self) -> frozenset[str]:
        """Names of what it can do, such as ``"thinking"`` or ``"kv_cache_size"``."""
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class BackendStatus:
    """Whether a backend is to be had on this machine; ``rkllm_rs.backends`` makes it."""

    @property
    def name(self) -> _Backend:
        """``"npu"`` or ``"cpu"``."""
    @property
    def available(self) -> bool:
        """Whether library and device are there; the library is examined, not loaded."""
    @property
    def library(self) -> str | None:
        """Path of the library that would be loaded, or ``None``."""
    @property
    def reason(self) -> str | None:
        """What was found, or what is missing."""
    @property
    def hint(self) -> str | None:
        """What to do about it, or ``None``."""

@final
class Model:
    """An open model (``LLMHandle``); programs use ``rkllm_rs.RKLLM``, which documents the arguments."""

    @staticmethod
    def open(
        runtime: Runtime,
        path: _Path,
        *,
        max_context_len: int | None = None,
        max_new_tokens: int | None = None,
        sampling: SamplingParams | None = None,
        n_keep: int | None = None,
        skip_special_token: bool | None = None,
        ignore_eos_token: bool | None = None,
        img_start: str | None = None,
        img_end: str | None = None,
        img_content: str | None = None,
        base_domain_id: int | None = None,
        embed_flash: bool | None = None,
        enabled_cpus_num: int | None = None,
        enabled_cpus_mask: int | None = None,
        n_batch: int | None = None,
        use_cross_attn: bool | None = None,
    ) -> Model:
        """Opens a model (``rkllm_init``); waits in steps, so that a signal gives up and raises at once."""
    @property
    def runtime(self) -> Runtime:
        """The library that runs it."""
    @property
    def path(self) -> str:
        """The model's file."""
    @property
    def closed(self) -> bool:
        """Whether it is closed."""
    @property
    def max_context_len(self) -> int:
        """Context window in tokens, as opened."""
    @property
    def max_new_tokens(self) -> int:
        """Most tokens of an answer, as opened."""
    @property
    def sampling(self) -> SamplingParams:
        """Sampling as opened, every value known."""
    def stream(
        self,
        input: str | Tokens,  # noqa: A002 - the field's word
        *,
        max_new_tokens: int | None = None,
        sampling: SamplingParams | None = None,
        timeout: float | None = None,
        keep_history: bool | None = None,
        role: str | None = None,
        thinking: bool | None = None,
    ) -> TokenStream:
        """Starts a run (``rkllm_run``) and returns its stream; never blocks."""
    def clear_kv_cache(self, *, keep_system_prompt: bool = False) -> None:
        """Empties the KV cache (``rkllm_clear_kv_cache``)."""
    def kv_cache_size(self) -> list[int]:
        """Tokens in the KV cache, one number for each row of a batch (``rkllm_get_kv_cache_size``)."""
    def close(self) -> None:
        """Ends all runs and gives the model back (``rkllm_destroy``)."""

def resolve(
    model: _Path | Sequence[_Path],
    backend: str,
    library: _Path | None,
    abi: str | None,
    package_dir: str | None,
    cpu_library: str | None,
) -> tuple[str, Runtime, list[str], str | None]:
    """Chooses model file, backend and library.

    Returns:
        The model's path, the loaded runtime, warnings, and why the NPU was not taken.
    """

def backends(package_dir: str | None, cpu_library: str | None) -> list[BackendStatus]:
    """Says of each backend whether this machine has it, without loading anything."""

def find_library(model: _Path | None, package_dir: str | None) -> tuple[str, str]:
    """Finds the vendor's library that would be loaded for a model, without loading it.

    Returns:
        Its path, and what its file says.
    """

def known_libraries() -> list[_KnownLibrary]:
    """Returns the official libraries, oldest release first."""

def abi_layouts() -> dict[str, dict[str, _Layout]]:
    """Returns the C layouts as this build has compiled them, by generation and struct, in bytes."""

def at_exit() -> None:
    """Closes all models for the end of the interpreter; other threads stay where they wait."""

def shut_down() -> bool:
    """Closes all models; true when the library has let go of them."""

def _chunk(text: str, token_id: int) -> Chunk:
    """Makes a ``Chunk`` from its parts; for ``pickle``."""

def _generation(text: str, token_ids: Sequence[int], finish_reason: str, perf: PerfStats) -> Generation:
    """Makes a ``Generation`` from its parts; for ``pickle``."""

def _perf_stats(
    library: _LibraryParts | None,
    time_to_first_token: float | None,
    generate_time: float | None,
    total_time: float,
    queued_time: float,
    tokens: int,
) -> PerfStats:
    """Makes a ``PerfStats`` from its parts (times in seconds); for ``pickle``."""
