"""The waiting side of ``async for``."""

from __future__ import annotations

import asyncio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol, TypeVar

    _Item_co = TypeVar("_Item_co", covariant=True)

    class _Source(Protocol[_Item_co]):
        """A stream, as the event loop sees it."""

        def _poll(self) -> _Item_co | None: ...
        def _arm(self) -> int | None: ...


async def next_item(stream: _Source[_Item_co]) -> _Item_co:
    """Returns the next item of ``stream``, waiting in the running event loop.

    Args:
        stream: A ``TokenStream`` or ``TextStream``.

    Returns:
        Its next chunk or text.

    Raises:
        StopAsyncIteration: The run has ended.
    """
    while True:
        item = stream._poll()  # noqa: SLF001 - the native side's half of this function
        if item is not None:
            return item
        descriptor = stream._arm()  # noqa: SLF001
        if descriptor is None:
            continue
        loop = asyncio.get_running_loop()
        readable = loop.create_future()
        loop.add_reader(descriptor, _set, readable)
        try:
            await readable
        finally:
            loop.remove_reader(descriptor)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
