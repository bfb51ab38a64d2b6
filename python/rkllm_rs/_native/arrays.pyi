"""Rows of floats, and what is computed from them."""

from collections.abc import Iterator, Sequence
from typing import Any, final

# Where NumPy is not installed, type checkers take its arrays for Any.
from numpy import float32
from numpy.typing import NDArray
from typing_extensions import CapsuleType, Self

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

def check_pooling(pooling: str, normalize: bool) -> None:
    """Checks the settings of :func:`pool` before anything is run."""

def pool(
    arrays: Sequence[FloatArray],
    pooling: str,
    normalize: bool,
    single: bool,
) -> FloatArray:
    """Makes one vector of each array of hidden states, one below the other; a single one as a vector."""
