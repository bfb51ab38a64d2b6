"""The vendor library's lines, as records of the logger ``rkllm_rs.vendor``."""

from __future__ import annotations

import logging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

LOGGER = logging.getLogger("rkllm_rs.vendor")
# The lines are on the terminal already: without a handler of the program's own, nothing prints them
# a second time.
LOGGER.addHandler(logging.NullHandler())

LEVELS = {"E": logging.ERROR, "W": logging.WARNING, "I": logging.INFO, "D": logging.DEBUG}


def emit(lines: Sequence[tuple[str, str]]) -> None:
    """Logs lines, each given as its level's letter and its text."""
    for letter, text in lines:
        LOGGER.log(LEVELS.get(letter, logging.INFO), "%s", text)
