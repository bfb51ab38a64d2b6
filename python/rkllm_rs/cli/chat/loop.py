"""The chat itself: messages are read, commands are run, answers are shown, until the user leaves."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

from rkllm_rs.errors import ContextLengthError, RkllmError, WorkerCrashed

from . import commands
from .asides import kept
from .reading import no_echo
from .screen import what
from .talk import Called, Returned

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

    from rkllm_rs import ChatAnswer

    from .asides import Asides
    from .reading import Reader
    from .screen import Answer, Screen
    from .talk import Talk

_STOPPED = 128 + signal.SIGINT


class Chat:
    """A conversation, with those who take part in it."""

    def __init__(self, talk: Talk, reader: Reader, screen: Screen, *, debug: bool = False) -> None:
        """Puts a chat together.

        Args:
            talk: The conversation.
            reader: Gives the messages.
            screen: Shows the answers.
            debug: Raise what nobody has foreseen.
        """
        self._debug = debug
        self._talk = talk
        self._reader = reader
        self._screen = screen
        self._failed = False
        self._told: set[str] = set()
        self._asides: Asides | None = None
        self._presses = 0  # of Ctrl-C, one after the other

    def run(self, *, vendor_log: str | None = None) -> int:
        """Talks until the user leaves.

        Args:
            vendor_log: How the model was opened.

        Returns:
            The exit status: 130 after Ctrl-C; 1 where messages come from a pipe, and one of them failed.
        """
        if not self._reader.interactive:
            return self._run()
        with kept(vendor_log) as self._asides:
            return self._run()

    def _run(self) -> int:
        while True:
            status = self._step()
            if status is not None:
                return status

    def _step(self) -> int | None:
        """Takes what is entered next; gives the exit status at the end."""
        try:
            text = self._reader.read()
            self._presses = 0
            if text.strip():
                self._take(text)
        except (EOFError, commands.Leave):
            return int(self._failed)
        except KeyboardInterrupt:
            # At the prompt; or so late that the answer had ended, and then nothing must be lost.
            if not self._reader.interactive:
                raise
            self._presses += 1
            if self._presses > 1:
                return _STOPPED
            self._screen.note("Press Ctrl-C again to leave, or enter /help.")
        except Exception as error:
            unwritten = isinstance(error, OSError) and error.filename is None
            foreseen = isinstance(error, RkllmError) or (isinstance(error, OSError) and not unwritten)
            if not foreseen and (unwritten or self._debug or not self._reader.interactive):
                raise
            self._failed = not self._reader.interactive
            self._tell(error if foreseen else f"internal error, a fault of rkllm_rs: {what(error)}")
        return None

    def _take(self, text: str) -> None:
        """Does what an entered text is for."""
        command = commands.parse(text)
        if command is not None:
            commands.run(self._talk, self._screen, *command)
            return
        try:
            with self._stoppable():
                self._answer(text)
        finally:
            for aside in self._asides.take() if self._asides else ():
                self._screen.note(aside)
        if self._talk.stopped:
            self._screen.note(
                "Stopped." if self._talk.kept else "Stopped. The conversation is as it was before."
            )
        elif self._talk.last is not None:
            self._remark(self._talk.last)

    def _answer(self, text: str) -> None:
        markdown = "json_schema" not in self._talk.options
        shown = self._screen.answer(markdown=markdown)
        try:
            for part in self._talk.send(text):
                if isinstance(part, Called):
                    for call in part.calls:
                        shown.calls(f"{call.name}({call.arguments_json})")
                elif isinstance(part, Returned):
                    shown.returned("\n".join(_result(one) for one in part.messages))
                else:
                    _put(shown, part.reasoning, part.content)
        finally:
            shown.end()

    def _remark(self, answer: ChatAnswer) -> None:
        """Says what is unusual about an answer."""
        for note in answer.notes:
            if note not in self._told:
                self._told.add(note)
                self._screen.note(f"Note: {note}.")
        if answer.finish_reason != "length":
            return
        perf, size = answer.perf, self._talk.llm.max_context_len
        most = self._talk.options.get("max_new_tokens", self._talk.llm.max_new_tokens)
        if most is not None and perf.generate_tokens >= most > 0:
            self._screen.note(f"The answer was cut off after {most} tokens (--max-new-tokens).")
        else:
            window = f"the context window of {size} tokens" if size else "the context window"
            self._screen.note(f"The answer was cut off: {window} is full.")
            self._screen.note(_MAKE_ROOM)

    def _tell(self, error: Exception | str) -> None:
        """Says what went wrong, and what to do about it in a chat: hints of errors are for programs."""
        if isinstance(error, ContextLengthError):
            text = str(error.args[0])
            if error.needed is not None and error.limit is not None:
                text = (
                    f"the conversation has {error.needed} tokens, and the context window holds {error.limit}"
                )
            self._screen.problem(f"{text}\nhint: {_MAKE_ROOM}")
            return
        self._screen.problem(error)
        if isinstance(error, WorkerCrashed):
            self._screen.note(
                "The conversation is as it was before. The next message starts the model again."
            )

    @contextlib.contextmanager
    def _stoppable(self) -> Generator[None]:
        """Ctrl-C stops the answer; a second one leaves."""
        if not self._reader.interactive:
            yield
            return

        def on_signal(_number: int, _frame: FrameType | None) -> None:
            if self._talk.stopped:
                raise KeyboardInterrupt
            self._presses = 1  # the next one leaves
            self._talk.stop()

        before = signal.signal(signal.SIGINT, on_signal)
        try:
            with no_echo():
                yield
        finally:
            signal.signal(signal.SIGINT, before)


_MAKE_ROOM = "Enter /undo or /clear to make room, or start the chat with a larger --max-context-len."


def _put(shown: Answer, reasoning: str, content: str) -> None:
    if reasoning:
        shown.thought(reasoning)
    if content:
        shown.said(content)


def _result(message: dict[str, object], limit: int = 200) -> str:
    text = " ".join(str(message.get("content", "")).split())
    return f"  {text if len(text) <= limit else text[:limit] + '…'}"
