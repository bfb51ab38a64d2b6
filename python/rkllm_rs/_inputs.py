"""What a model is given."""

from __future__ import annotations

from ._native import Embeddings, Multimodal, Tokens

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._native import _Floats as Floats
else:
    Floats = object

__all__ = ["Floats", "Input"]

#: An input of a run: text, token ids, embeddings, or text with embeddings in it.
Input = str | Tokens | Embeddings | Multimodal
