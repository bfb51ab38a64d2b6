"""What annotations name, without ``collections.abc`` and ``typing``, whose import takes milliseconds.

Annotations are evaluated when somebody asks for them, by ``typing.get_type_hints()``; all names in them must
be there then.
"""

from __future__ import annotations

from ._native import Embeddings, Multimodal, Tokens

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Literal

    from ._native.settings import Floats
else:
    from _collections_abc import Callable, Iterable, Iterator, Mapping, Sequence

    class Literal:
        """Is ``typing.Literal`` as soon as it is evaluated."""

        def __class_getitem__(cls, values: object) -> object:
            import typing

            return typing.Literal[values]

    Floats = object


__all__ = ["Callable", "Floats", "Input", "Iterable", "Iterator", "Literal", "Mapping", "Sequence"]

#: An input of a run: text, token ids, embeddings, or text with embeddings in it.
Input = str | Tokens | Embeddings | Multimodal
