"""The compiled part of rkllm_rs: thin classes over the Rust core.

The public classes are re-exported by ``rkllm_rs``; what is not named there is private.

Long because it describes one module; its classes stand in the order of that module.
"""

import os
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, TypedDict, final

# Where NumPy is not installed, type checkers take its arrays for Any.
from numpy import float32
from numpy.typing import NDArray
from typing_extensions import Buffer, CapsuleType, Self, Unpack

__all__ = [
    "ArrayStream",
    "BackendStatus",
    "Chunk",
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
    "__version__",
    "_chunk",
    "_generation",
    "_perf_stats",
    "abi_layouts",
    "at_exit",
    "backends",
    "check_inputs",
    "check_pooling",
    "find_library",
    "known_libraries",
    "pool",
    "resolve",
    "set_vendor_log",
    "shut_down",
]

_Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
_Backend: TypeAlias = Literal["npu", "cpu"]
_FinishReason: TypeAlias = Literal["stop", "length", "cancelled", "tool_calls"]
_LibraryParts: TypeAlias = tuple[float, int, float, int, float]
_Source: TypeAlias = Literal["log", "cpu runtime", "results"]
_Input: TypeAlias = str | Tokens | Embeddings | Multimodal

class _ArrayInterface(Protocol):
    """An array with NumPy's array interface; NumPy's own arrays have it."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...

# Arrays of float32 in C order: what they hold, type checkers cannot see.
_Floats: TypeAlias = Buffer | _ArrayInterface

class _RowSettings(TypedDict, total=False):
    """Keywords of calls that give rows of floats."""

    timeout: float | None
    lora: str | None
    keep_history: bool
    role: str | Sequence[str] | None
    thinking: bool | Sequence[bool] | None

class _CallSettings(TypedDict, total=False):
    """Keywords of calls that generate."""

    max_new_tokens: int | None
    sampling: SamplingParams | None
    stop: str | Sequence[str] | None
    seed: int | None
    timeout: float | None
    lora: str | None
    save_prompt_cache: _Path | None
    on_token: Callable[[Chunk], object] | None
    caller: int | None

class _StepsSettings(_CallSettings, total=False):
    role: str | None
    thinking: bool | None

class _StreamSettings(_StepsSettings, total=False):
    keep_history: bool

class _BatchSettings(_CallSettings, total=False):
    keep_history: bool
    role: str | Sequence[str] | None
    thinking: bool | Sequence[bool] | None

class _OpenSettings(TypedDict, total=False):
    """Keywords of opening; ``rkllm_rs.RKLLM`` documents them."""

    max_context_len: int | None
    max_new_tokens: int | None
    sampling: SamplingParams | None
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
    embedder: Callable[[list[int]], _Floats] | None
    open_timeout: float | None

class _Layout(TypedDict):
    size: int
    align: int
    fields: dict[str, int]

class _KnownLibrary(TypedDict):
    release: str
    generation: str
    os: str
    arch: str
    git_blob_sha1: str | None
    commit: str
    path: str
    size: int | None
    sha256: str | None

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
class FloatArray:
    """Floats in rows: logits, hidden states, embeddings.

    They were copied once, out of the library's memory. ``numpy.asarray(array)``, :meth:`to_numpy` and
    ``torch.from_dlpack(array)`` look into this memory without another copy and keep it alive. A row is a
    ``FloatArray`` too, and shares it.

    Example:
        >>> logits = llm.logits("Hello")  # doctest: +SKIP
        >>> logits.shape  # doctest: +SKIP
        (9, 49152)
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """``(rows, width)``, or ``(length,)``."""
    @property
    def ndim(self) -> int:
        """1 or 2."""
    @property
    def size(self) -> int:
        """How many floats there are."""
    @property
    def nbytes(self) -> int:
        """How many bytes they take."""
    def tolist(self) -> list[Any]:
        """Returns all floats, in one list or in one for each row."""
    def tobytes(self) -> bytes:
        """Returns all floats as bytes, row by row, in this machine's byte order."""
    def to_numpy(self) -> NDArray[float32]:
        """Returns a NumPy array that looks into this memory.

        Raises:
            ImportError: NumPy is not installed (``pip install 'rkllm_rs[numpy]'``).
        """
    def __len__(self) -> int: ...
    # A row, or a float of a vector. Any, as for list.__getitem__ of nested lists: a union would have
    # to be narrowed at every use.
    def __getitem__(self, index: int, /) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...
    @property
    def __array_interface__(self) -> dict[str, Any]:
        """NumPy's array interface, version 3."""
    def __dlpack__(
        self,
        *,
        stream: None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> CapsuleType:
        """Returns DLPack's capsule. Nothing is copied, and there is one device.

        Raises:
            BufferError: Another device, a stream, or a copy was asked for.
        """
    def __dlpack_device__(self) -> tuple[int, int]:
        """Returns ``(1, 0)``: the CPU."""

@final
class Embeddings:
    """Embeddings as input (``RKLLM_INPUT_EMBED``), taken as they are: no chat template, no tokenizer.

    Example:
        >>> from array import array
        >>> from rkllm_rs import Embeddings
        >>> Embeddings(array("f", [0.5, 1, 0, 0.25, 2, 3]), width=3).shape
        (2, 3)
    """

    def __new__(cls, data: _Floats, *, width: int | None = None) -> Self:
        """Checks and copies the array.

        Args:
            data: float32, C-contiguous, of the shape (n, width): a NumPy array, a ``FloatArray``, anything
                with the buffer protocol or ``__array_interface__``. It is copied.
            width: Width of a row, for a flat buffer such as ``array.array("f")``.

        Raises:
            InvalidArgumentError: Not contiguous, empty, or of another shape.
            InvalidTypeError: No array, or one of another type than float32.
        """

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, width)``."""
    def __len__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    # Not hashable: floats that compare equal need not be meant as equal.
    __hash__: ClassVar[None]  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleMethodOverride]

@final
class Multimodal:
    """Text with embeddings of images, videos or sounds in it (``RKLLM_INPUT_MULTIMODAL``).

    The text must hold one ``<image>`` for each image, one ``<video>`` for each video and one ``<audio>``
    for each sound. Counts come from the shapes of the arrays; those that are given must agree.
    """

    def __new__(
        cls,
        prompt: str,
        image_embed: _Floats | None = None,
        *,
        n_image_tokens: int | None = None,
        n_image: int | None = None,
        image_width: int | None = None,
        image_height: int | None = None,
        image_start: str | None = None,
        image_end: str | None = None,
        image_content: str | None = None,
        video_embed: _Floats | None = None,
        n_frame_tokens: int | None = None,
        n_frame_per_video: int | None = None,
        n_video: int | None = None,
        video_start: str | None = None,
        video_end: str | None = None,
        video_content: str | None = None,
        frame_width: int | None = None,
        frame_height: int | None = None,
        audio_embed: _Floats | None = None,
        n_audio_tokens: int | None = None,
        n_audio: int | None = None,
        audio_start: str | None = None,
        audio_end: str | None = None,
        audio_content: str | None = None,
    ) -> Self:
        """Checks and copies text and arrays.

        Args:
            prompt: The text.
            image_embed: Image embeddings, float32: (images, tokens, width), or (tokens, width) for one.
            n_image_tokens: Tokens of each image.
            n_image: Images; more than one from RKLLM 1.2.1b1.
            image_width: Width that they were encoded with, for models with mrope; from 1.2.1b1.
            image_height: Height, likewise.
            image_start: Marker before each image; from 1.3.0, before it is ``img_start=`` of the model.
            image_end: Marker after each image, likewise.
            image_content: Placeholder of an image's tokens, likewise.
            video_embed: Video embeddings, float32: (videos, frames, tokens, width), or (frames, tokens,
                width) for one; from 1.3.0.
            n_frame_tokens: Tokens of each frame.
            n_frame_per_video: Frames of each video.
            n_video: Videos.
            video_start: Marker before each video.
            video_end: Marker after each video.
            video_content: Placeholder of a video's tokens.
            frame_width: Width of a frame.
            frame_height: Height of a frame.
            audio_embed: Audio embeddings, float32: (sounds, tokens, width), or (tokens, width) for one;
                from 1.3.1.
            n_audio_tokens: Tokens of each sound.
            n_audio: Sounds.
            audio_start: Marker before each sound.
            audio_end: Marker after each sound.
            audio_content: Placeholder of a sound's tokens.

        Raises:
            InvalidArgumentError: Tags, counts and shapes that do not agree.
            InvalidTypeError: No array, or one of another type than float32.
        """

    @property
    def prompt(self) -> str:
        """The text."""
    @property
    def n_image(self) -> int:
        """How many images there are."""
    @property
    def n_image_tokens(self) -> int:
        """Tokens of each image."""
    @property
    def n_video(self) -> int:
        """How many videos there are."""
    @property
    def n_audio(self) -> int:
        """How many sounds there are."""

@final
class CrossAttention:
    """Encoder output for models with cross attention (``RKLLMCrossAttnParam``).

    Note the orders in memory, which differ between K and V.
    """

    def __new__(cls, k_cache: _Floats, v_cache: _Floats, mask: _Floats, positions: Iterable[int]) -> Self:
        """Checks and copies the arrays.

        Args:
            k_cache: float32, (layers, tokens, kv heads, head width) (``encoder_k_cache``).
            v_cache: float32, (layers, kv heads, head width, tokens) (``encoder_v_cache``).
            mask: float32, (tokens,) (``encoder_mask``).
            positions: int, one for each token (``encoder_pos``).

        Raises:
            InvalidArgumentError: Shapes that do not fit each other, arrays that are not contiguous.
            InvalidTypeError: No arrays, or of another type.
        """

    @property
    def num_tokens(self) -> int:
        """Length of the encoder's output."""

@final
class ModelInfo:
    """What is known of an open model, and where from; ``RKLLM.info`` makes it.

    The C API tells nothing of a model. With the vendor's library it is known from the lines that it
    prints while it loads the model, and from results; with the CPU runtime from the model itself.
    """

    @property
    def context_limit(self) -> int | None:
        """Longest context that the model was converted or trained for, in tokens, or ``None``."""
    @property
    def vocab_size(self) -> int | None:
        """Size of the vocabulary, or ``None``."""
    @property
    def hidden_size(self) -> int | None:
        """Width of embeddings and hidden states, or ``None``."""
    @property
    def platform(self) -> str | None:
        """The chip that it was converted for, such as ``"RK3588"``, or ``None``."""
    @property
    def npu_cores(self) -> int | None:
        """NPU cores that it was converted for, or ``None``."""
    @property
    def toolkit_version(self) -> str | None:
        """Version of the toolkit that converted it, or ``None``."""
    @property
    def dtype(self) -> str | None:
        """How its weights are quantised, such as ``"W8A8"``, or ``None``."""
    @property
    def driver_version(self) -> str | None:
        """Version of the NPU's kernel driver that the library found, or ``None``."""
    @property
    def template_problem(self) -> str | None:
        """Why the model's own chat template is not used, or ``None``."""
    @property
    def chosen(self) -> dict[str, int]:
        """Settings that were left open and that this package chose, by their names.

        ``max_context_len`` where the model's limit is known. Empty if there are none.
        """
    @property
    def sources(self) -> dict[str, _Source]:
        """For each fact that is known, where from: ``"log"``, ``"cpu runtime"`` or ``"results"``."""

@final
class LoraAdapter:
    """A loaded adapter (``RKLLMLoraAdapter``); ``RKLLM.loras`` lists them."""

    @property
    def name(self) -> str:
        """The name that selects it in calls."""
    @property
    def path(self) -> str:
        """Its file."""
    @property
    def scale(self) -> float:
        """Its strength."""
    def __eq__(self, other: object, /) -> bool: ...
    # Not hashable: it holds a float.
    __hash__: ClassVar[None]  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleMethodOverride]

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
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None: ...
    def __aenter__(self) -> Coroutine[Any, Any, Self]: ...
    def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> Coroutine[Any, Any, None]: ...
    def texts(self) -> TextStream:
        """Returns the same stream, giving plain ``str``."""
    def cancel(self) -> None:
        """Ends the run (``rkllm_abort``), from any thread; again, or after the end, it does nothing.

        Iteration then ends normally, and the finish reason is ``"cancelled"``.
        """
    def close(self) -> None:
        """Ends the run (``rkllm_abort``), as :meth:`cancel`; leaving a ``with`` block calls it."""
    def aclose(self) -> Coroutine[Any, Any, None]:
        """:meth:`close`, for an event loop; leaving an ``async with`` block calls it."""
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
    @property
    def _reader(self) -> object:
        """The task that reads, as a weak reference."""
    def _set_reader(self, reader: object) -> None:
        """Notes the task that reads."""
    def _leave(self) -> None:
        """Says that the reader was cancelled while it waited: the run ends unless it comes back soon."""
    @property
    def _asks(self) -> bool:
        """Whether questions of the library may come that the event loop must look for."""
    def _arm(self) -> int | None:
        """Returns a descriptor that becomes readable when something comes; ``None`` if it has come.

        Raises:
            OSError: The system has no descriptor to give.
        """
    def _is_long(self) -> bool:
        """Returns false: its :meth:`result` never takes longer than an event loop should wait."""
    def _finished(self) -> tuple[Generation] | None:
        """Returns what :meth:`result` would, if the run has ended."""

@final
class TextStream:
    """A ``TokenStream`` that gives plain ``str``; ``TokenStream.texts`` makes it."""

    def __iter__(self) -> Self: ...
    def __next__(self) -> str: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, str]: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None: ...
    def __aenter__(self) -> Coroutine[Any, Any, Self]: ...
    def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> Coroutine[Any, Any, None]: ...
    def cancel(self) -> None:
        """Ends the run, as ``TokenStream.cancel``."""
    def close(self) -> None:
        """Ends the run (``rkllm_abort``), as :meth:`cancel`; leaving a ``with`` block calls it."""
    def aclose(self) -> Coroutine[Any, Any, None]:
        """:meth:`close`, for an event loop; leaving an ``async with`` block calls it."""
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
    @property
    def _reader(self) -> object:
        """The task that reads, as a weak reference."""
    def _set_reader(self, reader: object) -> None:
        """Notes the task that reads."""
    def _leave(self) -> None:
        """Says that the reader was cancelled while it waited: the run ends unless it comes back soon."""
    @property
    def _asks(self) -> bool:
        """Whether questions of the library may come that the event loop must look for."""
    def _arm(self) -> int | None:
        """Returns a descriptor that becomes readable when something comes; ``None`` if it has come.

        Raises:
            OSError: The system has no descriptor to give.
        """

@final
class ArrayStream:
    """Logits or hidden states, one ``FloatArray`` for each callback of the library.

    ``RKLLM.stream_logits`` and ``RKLLM.stream_hidden_states`` make it. Iterate with ``for`` or
    ``async for``. A stream that nothing refers to any more cancels its run.
    """

    def __iter__(self) -> Self: ...
    def __next__(self) -> FloatArray: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, FloatArray]: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None: ...
    def __aenter__(self) -> Coroutine[Any, Any, Self]: ...
    def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> Coroutine[Any, Any, None]: ...
    def cancel(self) -> None:
        """Ends the run (``rkllm_abort``), from any thread; iteration then ends normally."""
    def close(self) -> None:
        """Ends the run (``rkllm_abort``), as :meth:`cancel`; leaving a ``with`` block calls it."""
    def aclose(self) -> Coroutine[Any, Any, None]:
        """:meth:`close`, for an event loop; leaving an ``async with`` block calls it."""
    def result(self) -> FloatArray:
        """Waits for the end and returns all rows that were not read, in one array.

        Raises:
            GenerationError: The run failed, was cancelled before any rows came, or the library gave none.
            GenerationTimeout: The deadline passed.
            ContextLengthError: More tokens than the context window holds.
        """
    def _poll(self) -> FloatArray | None:
        """Returns the next array, or ``None`` if it has to be waited for.

        Raises:
            StopAsyncIteration: The run has ended.
        """
    @property
    def _reader(self) -> object:
        """The task that reads, as a weak reference."""
    def _set_reader(self, reader: object) -> None:
        """Notes the task that reads."""
    def _leave(self) -> None:
        """Says that the reader was cancelled while it waited: the run ends unless it comes back soon."""
    @property
    def _asks(self) -> bool:
        """Whether questions of the library may come that the event loop must look for."""
    def _arm(self) -> int | None:
        """Returns a descriptor that becomes readable when something comes; ``None`` if it has come.

        Raises:
            OSError: The system has no descriptor to give.
        """
    def _is_long(self) -> bool:
        """Whether the run has ended, and :meth:`result` copies more than an event loop should wait for."""
    def _finished(self) -> tuple[FloatArray] | None:
        """Returns what :meth:`result` would, if the run has ended."""

@final
class Scorer:
    """How likely a model holds the last tokens of a text, from its logits as they come."""

    def __new__(cls, ids: Sequence[int], continuation: int) -> Self:
        """Prepares for the last ``continuation`` of ``ids``.

        Raises:
            InvalidArgumentError: No token before the continuation, or none in it.
        """
    def add(self, logits: FloatArray) -> None:
        """Takes the next rows; computes for long, without holding the interpreter."""
    def logprobs(self) -> list[float]:
        """Returns the natural logarithm of each token's probability, when all rows have come."""

@final
class Steps:
    """A run that pauses after each token; ``RKLLM.steps`` makes it.

    Works as a generator: ``next()``, or a ``for`` or ``async for`` loop, lets the model go on with the
    token it has just given; :meth:`send` puts something else in that token's place. Between two tokens
    the KV cache can be looked at and changed. Other runs on the model wait until the steps end: with the
    answer, by :meth:`close`, by leaving a ``with`` block, or when nothing refers to them any more.
    """

    def __iter__(self) -> Self: ...
    def __next__(self) -> Chunk: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, Chunk]: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None: ...
    def __aenter__(self) -> Coroutine[Any, Any, Self]: ...
    def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> Coroutine[Any, Any, None]: ...
    def send(self, input: _Input | None) -> Chunk:  # noqa: A002 - the field's word
        """Lets the model go on with other input than the token it has just given; returns the next.

        Args:
            input: What takes that token's place. To keep the token and add to it, send it along:
                ``Tokens([step.token_id, ...])``. ``None`` goes on with the token itself.

        Returns:
            The next token.

        Raises:
            StopIteration: The answer has ended.
            InvalidArgumentError: Before the first token.
        """
    def asend(self, input: _Input | None) -> Coroutine[Any, Any, Chunk]:  # noqa: A002 - the field's word
        """:meth:`send` for an event loop.

        Args:
            input: As for :meth:`send`.

        Returns:
            The next token, to be awaited.

        Raises:
            StopAsyncIteration: The answer has ended.
            InvalidArgumentError: Before the first token.
        """
    def close(self) -> None:
        """Ends the steps, from any thread; again, or after the end, it does nothing."""
    def aclose(self) -> Coroutine[Any, Any, None]:
        """:meth:`close`, for an event loop; leaving an ``async with`` block calls it."""
    def cancel(self) -> None:
        """Ends the steps, as :meth:`close`."""
    def result(self) -> Generation:
        """Returns all that has come, after the end.

        Raises:
            InvalidArgumentError: The steps have not ended.
            GenerationError: The run failed.
        """
    def _poll(self) -> Chunk | None:
        """Returns the next token, or ``None`` if it has to be waited for.

        Raises:
            StopAsyncIteration: The answer has ended.
        """
    @property
    def _reader(self) -> object:
        """The task that reads, as a weak reference."""
    def _set_reader(self, reader: object) -> None:
        """Notes the task that reads."""
    def _leave(self) -> None:
        """Says that the reader was cancelled while it waited: the run ends unless it comes back soon."""
    @property
    def _asks(self) -> bool:
        """Whether questions of the library may come that the event loop must look for."""
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
        """The ABI versions that it leaves possible, such as ``"v1_2_1 or v1_3_0"``."""

@final
class Identity:
    """Which release a library is, and how that was found out."""

    @property
    def abi(self) -> str:
        """The version of its C layouts, such as ``"v1_3_0"``."""
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
            abi: The ABI version, such as ``"v1_3_0"``, where the library does not tell.

        Returns:
            The library, the same object's equal if it was loaded before.

        Raises:
            LibraryNotFoundError: No library could be loaded; the message lists every place tried.
            UnsupportedRuntimeError: The library found is not certain, or too old.
            InvalidArgumentError: A backend or ABI version that does not exist.
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
class Pending:
    """What a model's thread will answer, to be waited for or awaited."""

    def result(self) -> list[int]:
        """Waits; returns numbers, or an empty list where there are none to give."""
    def _poll(self) -> tuple[list[int]] | None:
        """Returns the answer in a tuple if it is there."""
    def _leave(self) -> None:
        """Says that nobody waits any more; what was asked for is done all the same."""
    @property
    def _asks(self) -> bool:
        """Whether questions of the library may come that the event loop must look for."""
    def _arm(self) -> int | None:
        """Returns a descriptor that becomes readable with the answer; ``None`` if it is there.

        Raises:
            OSError: The system has no descriptor to give.
        """

@final
class Opening:
    """A model that is being opened."""

    def result(self) -> Model:
        """Waits in steps, so that a signal gives up and raises at once."""
    def _poll(self) -> tuple[Model] | None:
        """Returns the model in a tuple if it is open."""
    def _leave(self) -> None:
        """Gives up: what the library then has is destroyed."""
    @property
    def _asks(self) -> bool:
        """Whether questions of the library may come that the event loop must look for."""
    def _arm(self) -> int | None:
        """Returns a descriptor that becomes readable with the model; ``None`` if it is there.

        Raises:
            OSError: The system has no descriptor to give.
        """

@final
class Model:
    """An open model (``LLMHandle``); programs use ``rkllm_rs.RKLLM``, which documents the arguments."""

    @staticmethod
    def open(runtime: Runtime, path: _Path, **settings: Unpack[_OpenSettings]) -> Opening:
        """Begins to open a model (``rkllm_init``)."""
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
    def n_batch(self) -> int:
        """Prompts in one run, as opened."""
    @property
    def sampling(self) -> SamplingParams:
        """Sampling as opened, every value known."""
    @property
    def info(self) -> ModelInfo:
        """What is known of the model."""
    @property
    def loras(self) -> list[LoraAdapter]:
        """The loaded adapters."""
    @property
    def in_steps(self) -> bool:
        """Whether somebody is in the middle of steps."""
    def stream(
        self,
        input: _Input,  # noqa: A002 - the field's word
        **settings: Unpack[_StreamSettings],
    ) -> TokenStream:
        """Starts a run (``rkllm_run``) and returns its stream; never blocks."""
    def stream_batch(self, inputs: Iterable[_Input], **settings: Unpack[_BatchSettings]) -> list[TokenStream]:
        """Starts a run of several inputs and returns a stream for each."""
    def stream_rows(
        self,
        inputs: Iterable[_Input],
        *,
        logits: bool,
        caller: int | None = None,
        **settings: Unpack[_RowSettings],
    ) -> list[ArrayStream]:
        """Starts a run that gives logits, or hidden states; returns a stream for each input."""
    def steps(
        self,
        input: _Input,  # noqa: A002 - the field's word
        **settings: Unpack[_StepsSettings],
    ) -> Steps:
        """Starts a run that pauses after each token."""
    def clear_kv_cache(
        self, *, keep_system_prompt: bool, ranges: Iterable[tuple[int, int]] | None
    ) -> Pending:
        """Empties the KV cache, or removes a range of each row (``rkllm_clear_kv_cache``)."""
    def kv_cache_size(self) -> Pending:
        """Tokens in the KV cache, one number for each row of a batch (``rkllm_get_kv_cache_size``)."""
    def load_lora(self, path: _Path, name: str | None, scale: float) -> Pending:
        """Loads an adapter (``rkllm_load_lora``)."""
    def load_prompt_cache(self, path: _Path, verify: bool) -> Pending:
        """Loads a prompt cache (``rkllm_load_prompt_cache``)."""
    def release_prompt_cache(self) -> Pending:
        """Lets go of the loaded prompt cache (``rkllm_release_prompt_cache``)."""
    def set_chat_template(self, system_prompt: str, prompt_prefix: str, prompt_postfix: str) -> Pending:
        """Replaces the chat template (``rkllm_set_chat_template``)."""
    def set_function_tools(self, tools: str, system_prompt: str, tool_response_str: str) -> Pending:
        """Tells which functions the model may call (``rkllm_set_function_tools``)."""
    def set_cross_attention(self, encoder: CrossAttention) -> Pending:
        """Hands over an encoder's output (``rkllm_set_cross_attn_params``)."""
    def own_tokens(self, text: str) -> list[int] | None:
        """Returns token ids of a text by the program's tokenizer, if it gave one."""
    def detokenize(self, ids: Iterable[int], skip_special: bool) -> Pending:
        """Asks for the text of token ids by the library; the CPU runtime only."""
    def tokenize(self, text: str, leading: bool) -> Pending:
        """Asks for token ids of a text by the library; the CPU runtime only."""
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
    """Returns the C layouts as this build has compiled them, by ABI version and struct, in bytes."""

def at_exit() -> None:
    """Closes all models for the end of the interpreter; other threads stay where they wait."""

def check_inputs(name: str, values: Sequence[object]) -> None:
    """Refuses, by their places, what can be no input of a list."""

def check_pooling(pooling: str, normalize: bool) -> None:
    """Checks the settings of :func:`pool` before anything is run."""

def pool(
    arrays: Sequence[FloatArray],
    pooling: str,
    normalize: bool,
    single: bool,
) -> FloatArray:
    """Makes one vector of each array of hidden states, one below the other; a single one as a vector."""

def set_vendor_log(mode: str) -> None:
    """Chooses what is printed of the library's lines, in the whole process."""

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
