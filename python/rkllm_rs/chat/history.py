"""What conversations share: the messages, what is kept with them, and the turn that is under way."""

from __future__ import annotations

import copy
import functools
import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from rkllm_rs.errors import BusyError, InvalidArgumentError, InvalidTypeError

from .rounds import Rounds, can_run
from .tools import Tools
from .values import is_dict, is_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rkllm_rs._native import ChatAnswer, ChatStream

__all__ = ["AsyncModel", "History", "Model", "Turn", "begun", "check_model", "not_made"]

#: Seconds since 1970. Python and templates have no dates from then on.
_YEAR_10000 = 253402300800


class Model(Protocol):
    """An ``RKLLM``, for what its conversations need of it."""

    def _check_turn(self, called: str, options: Mapping[str, Any]) -> None: ...

    def _turn_stream(self, turn: Turn) -> ChatStream: ...


def not_made(hint: str) -> Callable[[Callable[[Any], None]], Callable[..., None]]:
    """Decorates the ``__init__`` of a class whose objects are made by others: refuses every call."""

    def decorate(init: Callable[[Any], None]) -> Callable[..., None]:
        @functools.wraps(init)
        def refuse(self: object, *_given: object, **_named: object) -> None:
            message = f"{type(self).__name__}() cannot be called"
            raise InvalidTypeError(message, hint=hint)

        return refuse

    return decorate


def check_model(llm: object, kind: str) -> None:
    """Refuses what is no open model.

    Args:
        llm: What was given.
        kind: The class that it must be of.

    Raises:
        InvalidTypeError: It is something else.
    """
    if not hasattr(llm, "_check_turn"):
        message = f"llm must be an {kind}, got {type(llm).__name__}"
        raise InvalidTypeError(message, hint="Pass an open model first, then the path: load(llm, path).")


class AsyncModel(Model, Protocol):
    """An ``AsyncRKLLM``, likewise."""


class History:
    """The messages of a conversation, which only whole turns change."""

    def __init__(
        self,
        messages: list[dict[str, Any]],
        tools: Iterable[Any] | None,
        now: float | None,
        options: Mapping[str, Any],
    ) -> None:
        """Keeps what a conversation begins with.

        Args:
            messages: Its messages, which belong to it from now on.
            tools: Tools that the model may call.
            now: The time that the template uses; ``None`` is the clock's.
            options: Keywords for every turn.
        """
        # Reentrant: a stream that is collected leaves its turn, wherever its thread is.
        self._lock = threading.RLock()
        self._messages = messages
        self._turn: Turn | None = None
        self.tools = None if tools is None else Tools(tools)
        self.now = _checked_time(now)
        self.options = {name: value for name, value in options.items() if value is not None}

    @property
    def messages(self) -> list[dict[str, Any]]:
        """A copy of the messages, without those of a turn that is under way."""
        with self._lock:
            return copy.deepcopy(self._messages)

    def __len__(self) -> int:
        return len(self._messages)

    def forked(self) -> History:
        """Another history with the same content."""
        return History(self.messages, self.tools, self.now, self.options)

    def undo(self) -> str | None:
        """Takes back the last message of the user and all after it; returns its text."""
        with self._lock:
            self._refuse_busy()
            for at in reversed(range(len(self._messages))):
                if self._messages[at].get("role") == "user":
                    text = _text(self._messages[at].get("content"))
                    self._messages = self._messages[:at]
                    return text
        return None

    def _refuse_busy(self) -> None:
        if self._turn is not None:
            message = "the conversation is busy: its last answer has not ended"
            raise BusyError(message, hint="Wait for the answer, close its stream, or use fork().")

    def begin(
        self,
        text: str | Sequence[Mapping[str, Any]],
        max_rounds: int,
        options: Mapping[str, Any],
    ) -> Turn:
        """Begins a turn; the conversation is busy until it has ended."""
        options = self.options | {name: value for name, value in options.items() if value is not None}
        new = _new_messages(text)
        with self._lock:
            self._refuse_busy()
            turn = Turn(self, [*self._messages, *new], max_rounds, options)
            self._turn = turn
        return turn

    def end(self, turn: Turn, messages: list[dict[str, Any]] | None) -> None:
        """Ends a turn once: with all messages, or ``None`` to leave the conversation as it was."""
        with self._lock:
            if self._turn is not turn:
                return
            self._turn = None
            if messages is not None:
                self._messages = messages


class Turn:
    """New messages and what comes of them: one answer, or several with results of tools between them."""

    def __init__(
        self, history: History, messages: list[dict[str, Any]], max_rounds: int, options: Mapping[str, Any]
    ) -> None:
        """Prepares a turn.

        Args:
            history: The conversation.
            messages: Its messages and the new ones.
            max_rounds: Maximum number of answers.
            options: Keywords of the answers.
        """
        self._history = history
        self._options = options
        self.tools = history.tools or Tools()
        self.now = history.now
        self.rounds = Rounds(messages, self.tools, max_rounds, options.get("timeout"))
        self._runs = bool(self.tools) and all(map(can_run, self.tools))
        self.cancelled = False

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages of the next answer."""
        return list(self.rounds.messages)

    def options(self) -> dict[str, Any]:
        """The keywords of the next answer."""
        return self.rounds.options(self._options)

    def is_over(self, answer: ChatAnswer) -> bool:
        """Takes an answer; whether it is the last one, with which the turn has ended."""
        if self.cancelled or answer.finish_reason == "cancelled":
            self.leave()
            return True
        last = self.rounds.is_over(answer)
        if last:
            self.rounds.messages.append(answer.message)
        if last or not self._runs:
            self._history.end(self, self.rounds.messages)
            return True
        return False

    def leave(self) -> None:
        """Ends the turn, if it has not ended, and leaves the conversation as it was before it."""
        self._history.end(self, None)

    def cancel(self) -> None:
        """Likewise, and has no more rounds."""
        self.cancelled = True
        self.leave()


def begun(system: str | None) -> list[dict[str, Any]]:
    """The messages with which a conversation begins."""
    given: Any = system
    if given is None:
        return []
    if not isinstance(given, str):
        message = f"system must be a str, got {type(given).__name__}"
        raise InvalidTypeError(message, hint="Pass the text of the system message.")
    return [{"role": "system", "content": given}]


def _new_messages(text: str | Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What is sent, as messages."""
    if isinstance(text, str):
        return [{"role": "user", "content": text}]
    hint = "Pass what the user says, or messages such as results of tools."
    given: Any = text
    if isinstance(given, (bytes, bytearray)) or not isinstance(given, Sequence):
        message = f"text must be a str or a list of messages, got {type(given).__name__}"
        raise InvalidTypeError(message, hint=hint)
    messages: list[Any] = list(given)  # pyright: ignore[reportUnknownArgumentType]
    for at, one in enumerate(messages):
        if not isinstance(one, Mapping):
            message = f"text[{at}] must be a dict, got {type(one).__name__}"
            raise InvalidTypeError(message, hint=hint)
    if not messages:
        message = "text must have at least one message"
        raise InvalidArgumentError(message, hint="Pass what the user says, or messages.")
    return [copy.deepcopy(dict(one)) for one in messages]


def _text(content: Any) -> str:
    """The text of a message, without its other parts."""
    if is_list(content):
        return "".join(str(part.get("text", "")) for part in content if is_dict(part))
    return content if isinstance(content, str) else ""


def _checked_time(now: Any) -> float:
    if now is None:
        return time.time()
    if isinstance(now, bool) or not isinstance(now, (int, float)):
        message = f"now must be a number of seconds, got {type(now).__name__}"
        raise InvalidTypeError(message, hint="Pass seconds since 1970, as time.time() returns them.")
    if not math.isfinite(now) or not 0 <= now < _YEAR_10000:
        message = f"now must be from 0 to the end of the year 9999, got {now}"
        raise InvalidArgumentError(message, hint="Pass seconds since 1970, as time.time() returns them.")
    return float(now)
