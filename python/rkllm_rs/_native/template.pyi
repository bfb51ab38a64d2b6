"""Chat templates."""

from collections.abc import Iterable, Mapping
from typing import Any, final

from typing_extensions import Self

@final
class ChatTemplate:
    """A compiled chat template.

    Immutable; any number of threads may use it at the same time.
    """

    def __new__(cls, source: str, *, tokens: Mapping[str, str] | None = None) -> Self: ...
    def render(
        self,
        messages: Iterable[Any],
        *,
        tools: Iterable[Any] | None = None,
        documents: Iterable[Any] | None = None,
        add_generation_prompt: bool = False,
        template_kwargs: Mapping[str, Any] | None = None,
        now: float | None = None,
    ) -> str:
        """Returns the text that goes to the tokenizer. Renders without holding the interpreter."""
