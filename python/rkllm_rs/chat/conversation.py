"""``Conversation``: messages that are kept, with a model that answers them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rkllm_rs._library import Path
from rkllm_rs._native import ChatAnswer, ChatDelta, ChatStream
from rkllm_rs._typed import typed
from rkllm_rs._types import ToolOptions, Unpack

from . import saved
from .history import History, Model, Turn, check_model, not_made
from .loops import ToolLoop

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Conversation", "ConversationStream"]


class Conversation:
    """A conversation with a model, which keeps its messages; ``RKLLM.conversation`` makes one.

    Each turn sends all messages to the model, so several conversations can share one model, and the part
    that the model has read before is taken from its KV cache where that is possible. The chat template is
    told the time at which the conversation began, however long it lasts: a date in the system message would
    otherwise change, and everything would be read again.

    Only a turn that ends well changes the conversation. After an error, a timeout, Ctrl-C, or a stream that
    was cancelled, closed or left early, it is as it was before the turn. An answer that ended at
    ``max_new_tokens`` is kept.

    Thread safety: all methods may be called from any thread. There is one turn at a time: while one is under
    way, ``send()``, ``send_stream()`` and ``undo()`` raise ``BusyError``. ``messages``, ``fork()`` and
    ``save()`` always work, and have the conversation without the turn that is under way.

    Example:
        >>> talk = llm.conversation(system="Be brief.")  # doctest: +SKIP
        >>> print(talk.send("Why is the sky blue?").content)  # doctest: +SKIP
        >>> print(talk.send("And in the evening?").content)  # doctest: +SKIP
    """

    __slots__ = ("__weakref__", "_history", "_llm")

    _history: History
    _llm: Model

    @classmethod
    def _of(cls, llm: Model, history: History) -> Self:
        """Makes one of its parts."""
        made = cls.__new__(cls)
        made._llm = llm
        made._history = history
        return made

    @not_made("Call conversation() of a model, or Conversation.load() for a saved one.")
    def __init__(self) -> None:
        """Refuses: a model makes conversations.

        Raises:
            InvalidTypeError: Always.
        """

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages, oldest first: a copy, of dicts in the OpenAI format.

        Thinking is kept as ``reasoning_content``.
        """
        return self._history.messages

    @typed
    def send(
        self,
        text: str | Sequence[Mapping[str, Any]],
        *,
        max_rounds: int = 8,
        **options: Unpack[ToolOptions],
    ) -> ChatAnswer:
        """Sends what the user says, and returns the answer when it is complete.

        Tools that are functions are called, as by ``run_tools()``, and their results are kept as messages. If
        one of the tools is a dict, none is called: the answer has the calls, and the results are sent next.

        Args:
            text: What the user says. Or a list of messages to append, such as results of tools:
                ``{"role": "tool", "tool_call_id": call.id, "content": "..."}``.
            max_rounds: Maximum number of answers with results of tools between them. The last one is returned
                as it is.
            **options: Keywords of ``chat()``, described there. They win over those of the conversation.
                ``timeout`` is for all answers together, without the time in the tools.

        Returns:
            The last answer.

        Raises:
            BusyError: Another turn is under way.
            ContextLengthError: The conversation does not fit into the context window. ``overflow=
                "drop_oldest"`` leaves out old messages of what the model reads; they stay in ``messages``.
            RkllmError: Any other error that ``chat()`` raises.
        """
        return self._begin("Conversation.send", text, max_rounds, options).result()

    @typed
    def send_stream(
        self,
        text: str | Sequence[Mapping[str, Any]],
        *,
        max_rounds: int = 8,
        **options: Unpack[ToolOptions],
    ) -> ConversationStream:
        """Sends what the user says, and returns a stream of the answer.

        Returns at once. The conversation is busy until the stream has ended. With tools that are functions,
        the stream has the deltas of all answers, one after the other, and calls the tools between them.

        Args:
            text: What the user says, or a list of messages, as in ``send()``.
            max_rounds: Maximum number of answers with results of tools between them.
            **options: Keywords of ``chat()``, described there. They win over those of the conversation.

        Returns:
            A stream of ``ChatDelta``. ``result()`` returns the last answer.

        Raises:
            BusyError: Another turn is under way.
            RkllmError: Any other error that ``chat_stream()`` raises.
        """
        return self._begin("Conversation.send_stream", text, max_rounds, options)

    def _begin(
        self, called: str, text: str | Sequence[Mapping[str, Any]], max_rounds: int, options: ToolOptions
    ) -> ConversationStream:
        """Begins a turn, for the call of the name ``called``."""
        self._llm._check_turn(called, options)
        return ConversationStream._of(self._llm, self._history.begin(text, max_rounds, options))

    @typed
    def undo(self) -> str | None:
        """Takes back the last message of the user and everything after it.

        Returns:
            The text of that message, to be sent again or edited; ``None`` if there is none.

        Raises:
            BusyError: A turn is under way.
        """
        return self._history.undo()

    @typed
    def fork(self) -> Self:
        """Returns an independent copy, with the same model and tools."""
        return type(self)._of(self._llm, self._history.forked())

    @typed
    def save(self, path: Path) -> None:
        """Writes the conversation to a file as JSON.

        The file has the messages, the schemas of the tools, the time that the template uses, and those
        keywords of the conversation that JSON can represent. The functions of tools and the model are not in
        it. A file that exists is replaced as a whole; only the user can read the new one.

        Args:
            path: The file.

        Raises:
            FileMissingError: The folder does not exist.
            InvalidArgumentError: The file cannot be written.
            InvalidTypeError: A message has something that JSON cannot represent.
        """
        saved.write(self._history, path)

    @classmethod
    @typed
    def load(
        cls,
        llm: Model,
        path: Path,
        tools: Iterable[Any] | None = None,
        **options: Unpack[ToolOptions],
    ) -> Self:
        """Reads a conversation that ``save()`` wrote.

        Args:
            llm: The ``RKLLM`` that continues it; it need not be the one that began.
            path: The file.
            tools: Tools in place of those in the file. A file has no functions: without this argument, calls
                of tools are returned and not made.
            **options: Keywords of ``chat()`` for every turn. They win over those in the file.

        Returns:
            The conversation.

        Raises:
            FileMissingError: The file does not exist.
            InvalidArgumentError: The file is not a saved conversation, or of a later version.
            ToolError: One of the tools cannot be a tool.
        """
        check_model(llm, "RKLLM")
        llm._check_turn("Conversation.load", options)
        return cls._of(llm, saved.read(path, tools, options))

    def __repr__(self) -> str:
        return f"<rkllm_rs.{type(self).__name__} of {len(self._history)} messages>"


class ConversationStream:
    """The answer to a turn of a conversation as it comes; ``Conversation.send_stream`` returns it.

    Iterating yields ``ChatDelta`` objects until the turn ends, and raises what ``result`` raises. A stream
    that is cancelled, closed, or no longer used before its end leaves the conversation as it was before the
    turn.

    Read it from one thread at a time. ``cancel()`` and ``close()`` may be called from any thread.
    """

    __slots__ = ("__weakref__", "_answer", "_llm", "_stream", "_turn")

    @not_made("Call send_stream() of a conversation.")
    def __init__(self) -> None:
        """Refuses: a conversation makes streams.

        Raises:
            InvalidTypeError: Always.
        """

    _answer: ChatAnswer | None
    _llm: Model
    _stream: ChatStream
    _turn: Turn

    @classmethod
    def _of(cls, llm: Model, turn: Turn) -> Self:
        """Begins the first answer of a turn."""
        made = cls.__new__(cls)
        made._llm = llm
        made._turn = turn
        made._answer = None
        try:
            made._stream = llm._turn_stream(turn)
        except BaseException:
            turn.leave()
            raise
        return made

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ChatDelta:
        try:
            while self._answer is None:
                for delta in self._stream:
                    return delta
                self._end_round()
        except BaseException:
            self.cancel()
            raise
        raise StopIteration

    @typed
    def result(self) -> ChatAnswer:
        """Waits for the end of the turn and returns its last answer. Deltas that were not read are lost.

        Raises:
            RkllmError: Any error that ``chat()`` raises.
        """
        try:
            while self._answer is None:
                self._end_round()
        except BaseException:
            self.cancel()
            raise
        return self._answer

    def _end_round(self) -> None:
        """Takes the answer, and makes its calls; begins the next round if there is one."""
        answer = self._stream.result()
        turn = self._turn
        if turn.is_over(answer):
            self._answer = answer
            return
        with ToolLoop() as loop:
            turn.rounds.run_calls(answer, loop)
        if turn.cancelled:
            self._answer = answer
            return
        self._stream = self._llm._turn_stream(turn)
        if turn.cancelled:
            self._stream.cancel()

    @typed
    def texts(self) -> Iterator[str]:
        """Returns an iterator over the content alone, as plain ``str``."""
        return (delta.content for delta in self if delta.content)

    @typed
    def cancel(self) -> None:
        """Ends the turn, from any thread, and leaves the conversation as it was before it.

        Does nothing after the end. Iteration then ends without an error, and ``result()`` returns what came.
        """
        self._turn.cancel()
        self._stream.cancel()

    @typed
    def close(self) -> None:
        """Ends the turn, like ``cancel()``. Leaving a ``with`` block calls it."""
        self.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_stream"):
            self.cancel()


if not TYPE_CHECKING:
    Self = Conversation  # for typing.get_type_hints()
    # Those of private names, which help() would show.
    del Conversation.__annotations__, ConversationStream.__annotations__
