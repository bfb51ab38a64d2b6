"""What a model can be given."""

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, final

from typing_extensions import Self

from .settings import Floats

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
class Embeddings:
    """Embeddings as input (``RKLLM_INPUT_EMBED``), taken as they are: no chat template, no tokenizer.

    Example:
        >>> from array import array
        >>> from rkllm_rs import Embeddings
        >>> Embeddings(array("f", [0.5, 1, 0, 0.25, 2, 3]), width=3).shape
        (2, 3)
    """

    def __new__(cls, data: Floats, *, width: int | None = None) -> Self:
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

    def __new__(cls, k_cache: Floats, v_cache: Floats, mask: Floats, positions: Iterable[int]) -> Self:
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

def check_inputs(name: str, values: Sequence[object]) -> None:
    """Refuses, by their places, what can be no input of a list."""
