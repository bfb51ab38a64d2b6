"""A chat without its terminal: the messages, the turns, and what stays of a turn that was stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rkllm_rs.chat.history import History, begun
from rkllm_rs.chat.loops import ToolLoop
from rkllm_rs.chat.tools import Tools
from rkllm_rs.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rkllm_rs import RKLLM, ChatAnswer, ChatDelta, ChatStream, ToolCall
    from rkllm_rs.chat.history import Turn

#: Most answers of one turn, with results of tools between them.
_ROUNDS = 8


class Called(NamedTuple):
    """The model has called tools, which run next."""

    calls: list[ToolCall]


class Returned(NamedTuple):
    """The tools have returned; the messages have what."""

    messages: list[dict[str, Any]]


class Talk:
    """A conversation of one person with one model.

    Attributes:
        llm: The model.
        tools: The tools that it may call.
        options: Keywords of every turn, such as ``thinking``. They may be changed between turns.
        last: The last answer; ``None`` before the first.
        stopped: Whether the last turn was stopped.
        kept: Whether what came of a turn that was stopped is kept.
    """

    def __init__(
        self,
        llm: RKLLM,
        *,
        system: str | None = None,
        tools: Tools | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Begins a conversation.

        Args:
            llm: The model.
            system: The system message.
            tools: Tools that the model may call.
            options: Keywords of every turn.
        """
        self.llm = llm
        self.tools = tools or Tools()
        self.options = dict(options or {})
        self.last: ChatAnswer | None = None
        self.stopped = self.kept = False
        self._in_tools = False
        self._stream: ChatStream | None = None
        self._history = self._with(begun(system))

    def _with(self, messages: list[dict[str, Any]], now: float | None = None) -> History:
        return History(messages, self.tools, now, {})

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages, oldest first: a copy."""
        return self._history.messages

    @property
    def system(self) -> str | None:
        """The system message, if there is one."""
        for first in self.messages[:1]:
            if first["role"] == "system":
                return str(first.get("content") or "")
        return None

    @system.setter
    def system(self, text: str | None) -> None:
        messages = self.messages
        if self.system is not None:
            del messages[0]
        # The same time as before: the template may show it, and a date must not change in a conversation.
        self._history = self._with([*begun(text), *messages], self._history.now)

    def clear(self) -> None:
        """Forgets everything but the system message."""
        self._history = self._with(begun(self.system))
        self.last = None

    def undo(self) -> str | None:
        """Takes back the last message of the user and what followed; returns its text."""
        return self._history.undo()

    def replace(self, messages: list[dict[str, Any]]) -> None:
        """Goes on with other messages."""
        self._history = self._with(messages)
        self.last = None

    def send(self, text: str) -> Iterator[ChatDelta | Called | Returned]:
        """Sends a message, and gives what comes of it until the turn has ended.

        A turn that ends well is kept, and of one that was stopped the text that has come; after an error, or
        if no text has come, the conversation is as it was before.

        Args:
            text: What the user says.

        Returns:
            An iterator over parts of the answer, and what the tools do.

        Raises:
            RkllmError: What a chat raises.
            KeyboardInterrupt: A tool has raised it by itself.
        """
        self.stopped = self.kept = False  # now, and not when the first part is asked for
        return self._turn(text)

    def _turn(self, text: str) -> Iterator[ChatDelta | Called | Returned]:
        turn = self._history.begin(text, _ROUNDS, self.options)
        try:
            with ToolLoop() as loop:
                while True:
                    stream = self._stream = self.llm._turn_stream(turn)
                    if self.stopped:
                        stream.cancel()
                    yield from stream
                    answer = stream.result()
                    if self.stopped or answer.finish_reason == "cancelled":
                        self._keep(turn, answer)
                        return
                    self.last = answer
                    if turn.is_over(answer):
                        return
                    yield Called(answer.tool_calls)
                    known = len(turn.rounds.messages)
                    if not self._run_tools(turn, answer, loop):
                        return
                    yield Returned(turn.rounds.messages[known:])
        finally:
            self._stream = None
            turn.leave()

    def _run_tools(self, turn: Turn, answer: ChatAnswer, loop: ToolLoop) -> bool:
        """Runs the tools that an answer calls; whether they came to their end."""
        if self.stopped:
            return False
        self._in_tools = True
        try:
            turn.rounds.run_calls(answer, loop)
        except KeyboardInterrupt:
            if not self.stopped:
                raise
            return False
        except SystemExit as error:
            message = "a tool has called sys.exit()"
            raise ToolError(message, hint="Return from the function, or raise an exception.") from error
        finally:
            self._in_tools = False
        return True

    def _keep(self, turn: Turn, answer: ChatAnswer) -> None:
        """Keeps what came of an answer that was stopped, if there is text to go on from."""
        if not answer.content.strip():
            return
        self.last, self.kept = answer, True
        message: dict[str, Any] = {"role": "assistant", "content": answer.content}
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        self._history.end(turn, [*turn.rounds.messages, message])

    def stop(self) -> None:
        """Stops the turn that is under way, as a signal handler may.

        Raises:
            KeyboardInterrupt: A tool is running, which nothing else ends; ``send()`` catches it.
        """
        self.stopped = True
        if self._in_tools:
            raise KeyboardInterrupt
        if self._stream is not None:
            self._stream.cancel()
