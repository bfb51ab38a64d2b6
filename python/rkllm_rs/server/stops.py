"""Stop strings in the content of an answer: found across chunks, and told by name."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Stops:
    """Holds back what may turn out to be a stop string.

    The runtime has stop strings as well. They end an answer wherever they stand, in its reasoning and in the
    arguments of a call, and do not tell which of them it was: clients of chats want both otherwise.
    """

    __slots__ = ("_held", "_stops", "found")

    def __init__(self, stops: Sequence[str]) -> None:
        """Begins with an answer that is empty.

        Args:
            stops: The stop strings; empty ones are left out.
        """
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.found: str | None = None

    def push(self, text: str) -> str:
        """Takes more text.

        Args:
            text: What the model wrote.

        Returns:
            What can be sent now. Once ``found`` is set, nothing follows.
        """
        if not self._stops:
            return text
        if self.found is not None:
            return ""
        text = self._held + text
        first = len(text)
        for stop in self._stops:
            at = text.find(stop)
            if 0 <= at < first:
                first, self.found = at, stop
        if self.found is not None:
            self._held = ""
            return text[:first]
        keep = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """What was held back, once nothing more comes."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """How much of the end of ``text`` is the beginning of ``stop``."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
