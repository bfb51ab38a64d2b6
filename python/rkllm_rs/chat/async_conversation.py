"""``AsyncConversation``: a conversation for event loops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rkllm_rs._library import Path
from rkllm_rs._native import ChatAnswer, ChatDelta, ChatStream
from rkllm_rs._typed import typed
from rkllm_rs._types import ToolOptions, Unpack

from . import saved
from .history import AsyncModel, History, Turn, check_model, not_made

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AsyncConversation", "AsyncConversationStream"]


class AsyncConversation:
    """A conversation for event loops; ``AsyncRKLLM.conversation`` makes one.

    The same as ``Conversation``, with those methods as coroutines that wait. Only a turn that ends well
    changes it: after an error, or when the task was cancelled, it is as it was before the turn.

    Thread safety: tasks of any event loop and thread may share it. There is one turn at a time: while one is
    under way, ``send()``, ``send_stream()`` and ``undo()`` raise ``BusyError``. ``messages``, ``fork()`` and
    ``save()`` always work, and have the conversation without the turn that is under way.

    Example:
        >>> async def main():
        ...     async with AsyncRKLLM("model.gguf") as llm:
        ...         talk = llm.conversation(system="Be brief.")
        ...         print((await talk.send("Why is the sky blue?")).content)
    """

    __slots__ = ("__weakref__", "_history", "_llm")

    _history: History
    _llm: AsyncModel

    @classmethod
    def _of(cls, llm: AsyncModel, history: History) -> Self:
        """Makes one of its parts."""
        made = cls.__new__(cls)
        made._llm = llm
        made._history = history
        return made

    @not_made("Call conversation() of a model, or AsyncConversation.load() for a saved one.")
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
    async def send(
        self,
        text: str | Sequence[Mapping[str, Any]],
        *,
        max_rounds: int = 8,
        **options: Unpack[ToolOptions],
    ) -> ChatAnswer:
        """Sends what the user says, and returns the answer when it is complete.

        Tools that are functions are called, as by ``run_tools()``: those without ``async`` on a thread.

        Args:
            text: What the user says, or a list of messages, as in ``Conversation.send()``.
            max_rounds: Maximum number of answers with results of tools between them. The last one is returned
                as it is.
            **options: Keywords of ``chat()``, described there. They win over those of the conversation.

        Returns:
            The last answer.

        Raises:
            BusyError: Another turn is under way.
            RkllmError: Any other error that ``chat()`` raises.
        """
        return await self._begin("AsyncConversation.send", text, max_rounds, options).result()

    @typed
    def send_stream(
        self,
        text: str | Sequence[Mapping[str, Any]],
        *,
        max_rounds: int = 8,
        **options: Unpack[ToolOptions],
    ) -> AsyncConversationStream:
        """Sends what the user says, and returns a stream of the answer.

        Returns at once; do not await it. The conversation is busy until the stream has ended. With tools that
        are functions, the stream has the deltas of all answers, and calls the tools between them.

        Args:
            text: What the user says, or a list of messages, as in ``Conversation.send()``.
            max_rounds: Maximum number of answers with results of tools between them.
            **options: Keywords of ``chat()``, described there. They win over those of the conversation.

        Returns:
            A stream of ``ChatDelta`` for ``async for``. ``await result()`` returns the last answer.

        Raises:
            BusyError: Another turn is under way.
            RkllmError: Any other error that ``chat_stream()`` raises.
        """
        return self._begin("AsyncConversation.send_stream", text, max_rounds, options)

    def _begin(
        self, called: str, text: str | Sequence[Mapping[str, Any]], max_rounds: int, options: ToolOptions
    ) -> AsyncConversationStream:
        """Begins a turn, for the call of the name ``called``."""
        self._llm._check_turn(called, options)
        return AsyncConversationStream._of(self._llm, self._history.begin(text, max_rounds, options))

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
    async def save(self, path: Path) -> None:
        """Writes the conversation to a file as JSON, as ``Conversation.save()`` does.

        Args:
            path: The file.

        Raises:
            FileMissingError: The folder does not exist.
            InvalidArgumentError: The file cannot be written.
            InvalidTypeError: A message has something that JSON cannot represent.
        """
        await asyncio.to_thread(saved.write, self._history.forked(), path)

    @classmethod
    @typed
    async def load(
        cls,
        llm: AsyncModel,
        path: Path,
        tools: Iterable[Any] | None = None,
        **options: Unpack[ToolOptions],
    ) -> Self:
        """Reads a conversation that ``save()`` wrote, of either class.

        Args:
            llm: The ``AsyncRKLLM`` that continues it; it need not be the one that began.
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
        check_model(llm, "AsyncRKLLM")
        llm._check_turn("AsyncConversation.load", options)
        return cls._of(llm, await asyncio.to_thread(saved.read, path, tools, options))

    def __repr__(self) -> str:
        return f"<rkllm_rs.{type(self).__name__} of {len(self._history)} messages>"


class AsyncConversationStream:
    """The answer to a turn as it comes, for event loops; ``AsyncConversation.send_stream`` returns it.

    ``async for`` yields ``ChatDelta`` objects until the turn ends, and raises what ``result`` raises. A
    stream that is cancelled, closed, or no longer used before its end leaves the conversation as it was
    before the turn.

    Read it from one task at a time. ``cancel()`` may be called from any thread.
    """

    __slots__ = ("__weakref__", "_answer", "_llm", "_stream", "_turn")

    @not_made("Call send_stream() of a conversation.")
    def __init__(self) -> None:
        """Refuses: a conversation makes streams.

        Raises:
            InvalidTypeError: Always.
        """

    _answer: ChatAnswer | None
    _llm: AsyncModel
    _stream: ChatStream
    _turn: Turn

    @classmethod
    def _of(cls, llm: AsyncModel, turn: Turn) -> Self:
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

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChatDelta:
        try:
            while self._answer is None:
                async for delta in self._stream:
                    return delta
                await self._end_round()
        except BaseException:
            self.cancel()
            raise
        raise StopAsyncIteration

    @typed
    async def result(self) -> ChatAnswer:
        """Waits for the end of the turn and returns its last answer. Deltas that were not read are lost.

        Raises:
            RkllmError: Any error that ``chat()`` raises.
        """
        async for _ in self:
            pass
        answer = self._answer
        assert answer is not None  # noqa: S101 - for type checkers: iteration has ended
        return answer

    async def _end_round(self) -> None:
        """Takes the answer, and makes its calls; begins the next round if there is one."""
        # It has ended, so this does not wait.
        answer = self._stream.result()
        turn = self._turn
        if turn.is_over(answer):
            self._answer = answer
            return
        await turn.rounds.arun_calls(answer)
        if turn.cancelled:
            self._answer = answer
            return
        self._stream = self._llm._turn_stream(turn)
        if turn.cancelled:
            self._stream.cancel()

    @typed
    async def texts(self) -> AsyncIterator[str]:
        """Returns an iterator over the content alone, as plain ``str``."""
        async for delta in self:
            if delta.content:
                yield delta.content

    @typed
    def cancel(self) -> None:
        """Ends the turn, from any thread, and leaves the conversation as it was before it.

        Does nothing after the end. Iteration then ends without an error, and ``result()`` returns what came.
        """
        self._turn.cancel()
        self._stream.cancel()

    @typed
    async def aclose(self) -> None:
        """Ends the turn, like ``cancel()``. Leaving an ``async with`` block calls it."""
        self.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.cancel()

    def __del__(self) -> None:
        if hasattr(self, "_stream"):
            self.cancel()


if not TYPE_CHECKING:
    Self = AsyncConversation  # for typing.get_type_hints()
    # Those of private names, which help() would show.
    del AsyncConversation.__annotations__, AsyncConversationStream.__annotations__
