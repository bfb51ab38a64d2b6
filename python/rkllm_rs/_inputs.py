"""What a model is given."""

from __future__ import annotations

from ._native import Embeddings, Multimodal, Tokens

#: An input of a run: text, token ids, embeddings, or text with embeddings in it.
Input = str | Tokens | Embeddings | Multimodal
