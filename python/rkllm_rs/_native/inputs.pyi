"""What a model can be given."""

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, final

from typing_extensions import Self

from .settings import Floats

@final
class Tokens:
    """Token ids as input (``RKLLM_INPUT_TOKEN``): no chat template and no tokenizer is applied.

    A sequence with ``len()``, indexing, iteration, comparison and hashing.

    Immutable; any number of threads and tasks may use it at the same time.

    Args:
        ids: Any iterable of ``int``, including NumPy arrays; at least one id, none negative.

    Raises:
        InvalidArgumentError: There are no ids, or an id is negative or does not fit ``int32_t``.
        InvalidTypeError: Not an iterable of ``int``.

    Example:
        >>> from rkllm_rs import Tokens
        >>> Tokens([1, 2, 3])
        Tokens([1, 2, 3])
    """

    def __new__(cls, ids: Iterable[int]) -> Self: ...
    def to_list(self) -> list[int]:
        """Returns the ids as a new list."""
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[int]: ...
    def __getitem__(self, index: int, /) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __getnewargs__(self) -> tuple[list[int]]:
        """Supports ``copy`` and ``pickle``."""

@final
class Embeddings:
    """Embeddings as input (``RKLLM_INPUT_EMBED``): no chat template and no tokenizer is applied.

    Immutable; any number of threads and tasks may use it at the same time.

    Args:
        data: C-contiguous float32 array of shape (n, width): a NumPy array, a ``FloatArray``, or anything
            with the buffer protocol or ``__array_interface__``. The data is copied.
        width: Number of floats per embedding, for a flat buffer such as ``array.array("f")``.

    Raises:
        InvalidArgumentError: The array is not contiguous, is empty, or has the wrong shape.
        InvalidTypeError: Not an array, or its type is not float32.

    Example:
        >>> from array import array
        >>> from rkllm_rs import Embeddings
        >>> Embeddings(array("f", [0.5, 1, 0, 0.25, 2, 3]), width=3).shape
        (2, 3)
    """

    def __new__(cls, data: Floats, *, width: int | None = None) -> Self: ...
    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the array: ``(n, width)``."""
    def __len__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    # Not hashable: floats that compare equal need not be meant as equal.
    __hash__: ClassVar[None]  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleMethodOverride]

@final
class Multimodal:
    """Text with embeddings of images, videos or audio in it (``RKLLM_INPUT_MULTIMODAL``).

    The text must contain one ``<image>`` per image, one ``<video>`` per video and one ``<audio>`` per audio
    clip. Counts come from the shapes of the arrays; counts that are given must match them. All arrays are
    C-contiguous float32 and are copied.

    Immutable; any number of threads and tasks may use it at the same time.

    Args:
        prompt: The text; must not be empty.
        image_embed: Image embeddings of shape (images, tokens, width), or (tokens, width) for one image.
        n_image_tokens: Number of tokens per image.
        n_image: Number of images; more than one requires RKLLM 1.2.1b1 or later.
        image_width: Width in pixels that the images were encoded with, for models with M-RoPE; requires RKLLM
            1.2.1b1 or later.
        image_height: Height in pixels that the images were encoded with; as ``image_width``.
        image_start: Marker before each image; requires RKLLM 1.3.0 or later. Earlier releases have
            ``img_start=`` of the model instead.
        image_end: Marker after each image; as ``image_start``.
        image_content: Placeholder for an image's tokens; as ``image_start``.
        video_embed: Video embeddings of shape (videos, frames, tokens, width), or (frames, tokens, width) for
            one video; requires RKLLM 1.3.0 or later.
        n_frame_tokens: Number of tokens per frame.
        n_frame_per_video: Number of frames per video.
        n_video: Number of videos.
        video_start: Marker before each video.
        video_end: Marker after each video.
        video_content: Placeholder for a video's tokens.
        frame_width: Width of a frame in pixels.
        frame_height: Height of a frame in pixels.
        audio_embed: Audio embeddings of shape (clips, tokens, width), or (tokens, width) for one clip;
            requires RKLLM 1.3.1 or later.
        n_audio_tokens: Number of tokens per audio clip.
        n_audio: Number of audio clips.
        audio_start: Marker before each audio clip.
        audio_end: Marker after each audio clip.
        audio_content: Placeholder for an audio clip's tokens.

    Raises:
        InvalidArgumentError: Tags, counts and shapes do not match.
        InvalidTypeError: Not an array, or its type is not float32.
    """

    def __new__(
        cls,
        prompt: str,
        image_embed: Floats | None = None,
        *,
        n_image_tokens: int | None = None,
        n_image: int | None = None,
        image_width: int | None = None,
        image_height: int | None = None,
        image_start: str | None = None,
        image_end: str | None = None,
        image_content: str | None = None,
        video_embed: Floats | None = None,
        n_frame_tokens: int | None = None,
        n_frame_per_video: int | None = None,
        n_video: int | None = None,
        video_start: str | None = None,
        video_end: str | None = None,
        video_content: str | None = None,
        frame_width: int | None = None,
        frame_height: int | None = None,
        audio_embed: Floats | None = None,
        n_audio_tokens: int | None = None,
        n_audio: int | None = None,
        audio_start: str | None = None,
        audio_end: str | None = None,
        audio_content: str | None = None,
    ) -> Self: ...
    @property
    def prompt(self) -> str:
        """The text."""
    @property
    def n_image(self) -> int:
        """Number of images."""
    @property
    def n_image_tokens(self) -> int:
        """Number of tokens per image."""
    @property
    def n_video(self) -> int:
        """Number of videos."""
    @property
    def n_audio(self) -> int:
        """Number of audio clips."""

@final
class CrossAttention:
    """Encoder output for models with cross attention (``RKLLMCrossAttnParam``).

    The memory order of the K cache differs from that of the V cache.

    Immutable; any number of threads and tasks may use it at the same time.

    Args:
        k_cache: float32 array of shape (layers, tokens, kv heads, head width) (``encoder_k_cache``).
        v_cache: float32 array of shape (layers, kv heads, head width, tokens) (``encoder_v_cache``).
        mask: float32 array of shape (tokens,) (``encoder_mask``).
        positions: One ``int`` per token (``encoder_pos``).

    Raises:
        InvalidArgumentError: Shapes do not match each other, or an array is not contiguous.
        InvalidTypeError: Not an array, or its type is wrong.
    """

    def __new__(cls, k_cache: Floats, v_cache: Floats, mask: Floats, positions: Iterable[int]) -> Self: ...
    @property
    def num_tokens(self) -> int:
        """Number of tokens in the encoder's output (``num_tokens``)."""

def check_inputs(name: str, values: Sequence[object], single: bool) -> None:
    """Checks the inputs of a list and names the first that is not valid; one alone is the argument itself."""
