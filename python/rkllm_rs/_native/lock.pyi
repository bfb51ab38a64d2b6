"""The lock of the NPU."""

from types import TracebackType
from typing import Literal, final

from typing_extensions import Self

@final
class NpuLock:
    """The NPU, for a ``with`` or ``async with`` block; ``rkllm_rs.npu_lock()`` returns it.

    Any number of threads and tasks may use it at the same time; they take turns. One object can be entered
    again and again.
    """

    def __enter__(self) -> Self:
        """Waits for the lock.

        Raises:
            BusyError: Others had it for the whole ``timeout``, or a task of the same event loop has it.
            UnsupportedFeatureError: There is no file that could serve as the lock.
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
    """Takes the NPU for a block of your own, such as calls of RKNN.

    The lock is one for the whole machine: every program that uses this package holds it for each run of a
    model on the NPU, and waits for it in the order of arrival. Inside the block your own runs do not wait. It
    is given back at the end of the block, and when the process dies.

    Args:
        timeout: Seconds to wait at most; 0 tries once. Default: as long as it takes.

    Returns:
        A lock for ``with`` and ``async with``. A thread or task that is inside may enter it again.

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
