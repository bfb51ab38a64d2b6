"""An event loop for programs without one: it runs asynchronous tools for synchronous callers."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from rkllm_rs._typed import typed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["ToolLoop"]

T = TypeVar("T")


class ToolLoop:
    """An event loop in which a synchronous program runs asynchronous tools.

    The loop is created when it is first needed. If the calling thread already runs an event loop, as in
    notebooks, the coroutines run on another thread. Use it in a ``with`` block, or call ``close()``.

    Thread safety: use it from one thread at a time.
    """

    @typed
    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @typed
    def run(self, awaitable: Awaitable[T]) -> T:
        """Runs a coroutine or another awaitable until it is done.

        Args:
            awaitable: The coroutine. It is cancelled if the wait is interrupted, such as by Ctrl-C.

        Returns:
            The result of the awaitable.
        """

        async def wait() -> T:
            return await awaitable

        loop = self._loop = self._loop or asyncio.new_event_loop()
        return self._here_or_beside(lambda: loop.run_until_complete(wait()), loop)

    @typed
    def close(self) -> None:
        """Cancels the coroutines that still run, and closes the loop."""
        loop, self._loop = self._loop, None
        if loop is None:
            return

        def end() -> None:
            try:
                if tasks := asyncio.all_tasks(loop):
                    for task in tasks:
                        task.cancel()
                    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
                loop.run_until_complete(loop.shutdown_asyncgens())
                loop.run_until_complete(loop.shutdown_default_executor())
            finally:
                loop.close()

        self._here_or_beside(end, loop)

    def _here_or_beside(self, work: Callable[[], T], loop: asyncio.AbstractEventLoop) -> T:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return work()
        outcome: list[tuple[Any, BaseException | None]] = []

        def beside() -> None:
            try:
                outcome.append((work(), None))
            except BaseException as error:  # noqa: BLE001 - raised again below
                outcome.append((None, error))

        thread = threading.Thread(target=contextvars.copy_context().run, args=(beside,), name="rkllm-tools")
        thread.start()
        try:
            thread.join()
        except BaseException:  # KeyboardInterrupt
            loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
            thread.join()
            raise
        value, error = outcome[0]
        if error is not None:
            raise error
        found: T = value
        return found
