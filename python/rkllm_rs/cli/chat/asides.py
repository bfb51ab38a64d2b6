"""Warnings and the library's lines, which must not be printed into an answer that is being drawn."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from typing import TYPE_CHECKING, Any

from rkllm_rs._vendor_log import LOGGER

if TYPE_CHECKING:
    from collections.abc import Generator


class Asides(logging.Handler):
    """Keeps what would be printed, until there is a place for it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a line of the vendor's library."""
        self._texts.append(record.getMessage())

    def warn(self, message: Warning | str, *_others: Any, **_more: Any) -> None:
        """Keeps a warning, as ``warnings.showwarning``."""
        self._texts.append(f"Warning: {message}")

    def take(self) -> list[str]:
        """What has come since the last time."""
        taken, self._texts = self._texts, []
        return taken


@contextlib.contextmanager
def kept(vendor_log: str | None) -> Generator[Asides]:
    """Keeps warnings; and lines of the library, where they would be printed by default.

    Args:
        vendor_log: How the model was opened.
    """
    asides = Asides()
    takes_lines = (vendor_log or os.environ.get("RKLLM_RS_VENDOR_LOG") or "warnings") == "warnings"
    before, warnings.showwarning = warnings.showwarning, asides.warn
    if takes_lines:
        LOGGER.addHandler(asides)
    try:
        yield asides
    finally:
        LOGGER.removeHandler(asides)
        warnings.showwarning = before
