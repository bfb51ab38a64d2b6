"""What annotations name, without ``collections.abc`` and ``typing``, whose import takes milliseconds.

Annotations are evaluated when somebody asks for them, by ``typing.get_type_hints()``; all names in them must
be there then.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Literal
else:
    from _collections_abc import Callable, Iterable, Iterator, Mapping, Sequence

    class Literal:
        """Is ``typing.Literal`` as soon as it is evaluated."""

        def __class_getitem__(cls, values: object) -> object:
            import typing

            return typing.Literal[values]


__all__ = ["Callable", "Iterable", "Iterator", "Literal", "Mapping", "Sequence"]
