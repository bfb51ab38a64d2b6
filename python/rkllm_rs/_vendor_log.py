"""The vendor library's lines, as records of the logger ``rkllm_rs.vendor``."""

from __future__ import annotations

import logging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

LOGGER = logging.getLogger("rkllm_rs.vendor")
# Without a handler of the program's own, nothing here prints what is on stderr already.
NOTHING = logging.NullHandler()
LOGGER.addHandler(NOTHING)

LEVELS = {"E": logging.ERROR, "W": logging.WARNING, "I": logging.INFO, "D": logging.DEBUG}


def taken() -> bool:
    """Whether the program gave the logger a handler of its own, so that stderr need not get the lines."""
    return any(not isinstance(handler, logging.NullHandler) for handler in LOGGER.handlers)


def emit(lines: Sequence[tuple[str, str]]) -> None:
    """Logs lines, each given as its level's letter and its text."""
    for letter, text in lines:
        LOGGER.log(LEVELS.get(letter, logging.INFO), "%s", text)
