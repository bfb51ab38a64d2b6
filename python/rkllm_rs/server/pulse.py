"""Whether a model's worker still answers: asked between its runs, one question for all who want to know."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from rkllm_rs.aio import AsyncRKLLM
from rkllm_rs.errors import RkllmError

from .settings import Settings
from .waiting import within

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from rkllm_rs.llm import RKLLM

_log = logging.getLogger("rkllm_rs.server")

#: Seconds for which a sign of life is believed.
_FRESH: Final = 1.0


class Pulse:
    """Signs of life of a model's worker.

    A library can be asked nothing while it runs a model: then its tokens are the sign. Between runs it is
    asked how many tokens it holds, which takes no time and changes nothing.
    """

    def __init__(self, name: str) -> None:
        """Begins without a worker.

        Args:
            name: The model's name.
        """
        self._name = name
        self._settings = Settings()
        self._llm: RKLLM | None = None
        self._heard = 0.0
        #: When the first question was asked that has no answer.
        self._asked: float | None = None
        self._question: asyncio.Task[None] | None = None
        self._token: float | None = None

    def begin(self, llm: RKLLM, settings: Settings) -> None:
        """Takes a worker that has just opened its model, in the place of the one before.

        Args:
            llm: The model.
            settings: How long is waited for it.
        """
        # Before RKLLM 1.2.1 there is nothing to ask.
        self._llm = llm if "kv_cache_size" in llm.runtime.capabilities else None
        self._settings = settings
        self._heard = time.monotonic()
        self._asked = self._question = self._token = None

    def prefills(self) -> None:
        """Notes that a prompt is computed from now on, which may take as long as it likes."""
        self._token = None

    def beats(self) -> None:
        """Notes a token."""
        self._token = self._heard = time.monotonic()

    def rests(self) -> None:
        """Notes that a run is over, or was left."""
        self._token = None

    def is_late(self, *, was_left: bool) -> bool:
        """Whether the worker has not answered in time, or has stopped in the middle of a run.

        Args:
            was_left: The library may still be in a run that was left.
        """
        now, settings = time.monotonic(), self._settings
        if self._token is not None and now - self._token > settings.silence_timeout:
            return True
        patience = settings.health_timeout + (settings.kill_after if was_left else 0.0)
        return self._asked is not None and now - self._asked > patience

    def ask(self) -> asyncio.Task[None] | None:
        """Asks, unless there was a sign of life just now or a question is under way.

        Returns:
            What is done when an answer has come, or nobody waits for it any more; ``None`` if there is
            nothing to wait for.
        """
        llm = self._llm
        if llm is None or time.monotonic() - self._heard < _FRESH:
            return None
        if self._question is None:
            if self._asked is None:
                self._asked = time.monotonic()
            self._question = asyncio.get_running_loop().create_task(self._ask(llm))
        return self._question

    async def _ask(self, llm: RKLLM) -> None:
        # A library that hangs in a question that was left is killed, as one that ignores an abort is.
        limit = max(self._settings.health_timeout, self._settings.kill_after)
        try:
            # An error is an answer as well; that of a worker that has died is told elsewhere.
            with contextlib.suppress(RkllmError):
                await within(limit, AsyncRKLLM._of(llm).kv_cache_size())  # noqa: SLF001 - for the loop
        except asyncio.TimeoutError:
            _log.warning("the worker of model %s has not answered for %g seconds", self._name, limit)
            if self._llm is llm:
                self._question = None
        else:
            if self._llm is llm:
                self._heard, self._asked, self._question = time.monotonic(), None, None
