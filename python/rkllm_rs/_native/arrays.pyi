"""Rows of floats, and what is computed from them."""

from collections.abc import Iterator, Sequence
from typing import Any, final

# Where NumPy is not installed, type checkers take its arrays for Any.
from numpy import float32
from numpy.typing import NDArray
from typing_extensions import CapsuleType, Self

@final
class FloatArray:
    """float32 numbers in rows: logits, hidden states or embeddings.

    The numbers were copied once from the library's memory. ``numpy.asarray(array)``, ``to_numpy()`` and
    ``torch.from_dlpack(array)`` share this memory without another copy and keep it alive. Indexing gives rows
    that are ``FloatArray`` objects too and share the memory.

    Any number of threads and tasks may read it at the same time. A program that changes it through NumPy must
    synchronise its own threads.

    Example:
        >>> logits = llm.logits("Hello")  # doctest: +SKIP
        >>> logits.shape  # doctest: +SKIP
        (9, 49152)
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array: ``(rows, width)``, or ``(length,)``."""
    @property
    def ndim(self) -> int:
        """Number of dimensions: 1 or 2."""
    @property
    def size(self) -> int:
        """Number of floats in the array."""
    @property
    def nbytes(self) -> int:
        """Size of the array in bytes."""
    def tolist(self) -> list[Any]:
        """Returns all floats, in one list or in one list per row."""
    def tobytes(self) -> bytes:
        """Returns all floats as bytes, row by row, in native byte order."""
    def to_numpy(self) -> NDArray[float32]:
        """Returns a NumPy array that shares this memory.

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
        """Returns a DLPack capsule that shares this memory, on the CPU."""
    def __dlpack_device__(self) -> tuple[int, int]:
        """Returns the DLPack device: ``(1, 0)``, the CPU."""

@final
class Scorer:
    """Log probabilities of the last tokens of a text, computed from logits as they come."""

    def __new__(cls, ids: Sequence[int], continuation: int) -> Self: ...
    def add(self, logits: FloatArray) -> None:
        """Takes the next rows of logits. Computes without holding the interpreter."""
    def logprobs(self) -> list[float]:
        """Returns the natural logarithm of each token's probability, one per token of the continuation."""

def check_pooling(pooling: str, normalize: bool) -> None:
    """Checks the settings of ``pool`` before anything is run."""

def pool(
    arrays: Sequence[FloatArray],
    pooling: str,
    normalize: bool,
    single: bool,
) -> FloatArray:
    """Makes one vector of each array of hidden states; the result has one row per array."""
