"""The lock of the NPU."""

from types import TracebackType
from typing import Literal, final

from typing_extensions import Self

@final
class NpuLock:
    """The lock of the NPU, for a ``with`` or ``async with`` block; ``rkllm_rs.npu_lock()`` returns it.

    Any number of threads and tasks may use it at the same time; they take turns. The same object can be used
    for several blocks.
    """

    def __enter__(self) -> Self:
        """Waits for the lock.

        Raises:
            BusyError: ``timeout`` has passed, or another task of this event loop holds the lock or waits for
                it.
            UnsupportedFeatureError: No file can be used for the lock.
        """
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
    async def __aenter__(self) -> Self:
        """Is ``with`` for an event loop, which is never blocked."""
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

def npu_lock(timeout: float | None = None) -> NpuLock:
    """Returns the lock of the NPU, to reserve the NPU for a block of your own, such as calls of RKNN.

    There is one lock for the whole machine. Every program that uses this package holds it during each run of
    a model on the NPU; programs get it in the order in which they ask. Inside the block, runs of your own
    models do not wait for it. It is released at the end of the block, or when the process ends.

    Args:
        timeout: Maximum time to wait, in seconds; 0 tries once. Default: no limit.

    Returns:
        A lock for ``with`` and ``async with``. A thread or task that holds it may enter it again.

    Raises:
        InvalidArgumentError: ``timeout`` is negative or not a number.
    """

def npu_line() -> tuple[
    str | None, str | None, list[tuple[int, int, str, Literal["run", "npu_lock"], float] | None]
]:
    """Looks at the lock of the NPU, and makes nothing.

    Returns:
        The file's path, why it cannot be looked at, and those in the line, the holder first.
    """
