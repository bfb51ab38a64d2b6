"""Abstract classes, without the package ``collections`` around them, whose import takes milliseconds."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
else:
    from _collections_abc import Callable, Iterator, Mapping, Sequence

__all__ = ["Callable", "Iterator", "Mapping", "Sequence"]
