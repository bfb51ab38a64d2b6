"""A request on its way: its place in the queue, the model it holds, and the events of its answers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time

from rkllm_rs.errors import ClosedError, RkllmError, TemplateError, UnsupportedFeatureError, WorkerCrashed

from . import answers
from .errors import ApiError, as_api_error, too_long
from .jobs import Done, Failed, Reasoning, Started, Text, ToolCallDelta, Usage
from .tokens import count, count_prompt, prompt_ids
from .waiting import within

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from typing import Final

    from typing_extensions import Self

    from rkllm_rs.llm import RKLLM

    from .admission import Ticket
    from .app import Server
    from .entry import Entry
    from .http import Request
    from .jobs import Event, Finish, Job

    Prompt = str | Sequence[int]

_log = logging.getLogger("rkllm_rs.server")

#: Why a prompt cannot be counted beforehand: the library has the only tokenizer, or the only chat template.
_COUNTLESS = (UnsupportedFeatureError, TemplateError)
#: Seconds that the prompt of an answer that was left may take to be counted.
_LAST_COUNT: Final = 2.0


class Run:
    """A request that has been admitted. Its events wait here until they are read.

    The model never waits for a client: whatever it has generated is kept, and its next request begins when
    this one's answers are complete, however slowly they are read.

    Attributes:
        job: What is asked for.
        request: Who asks.
        entry: The model.
        usage: Counts of all answers so far.
        first: Seconds from the request to the first text, or ``None``.
        reasons: Why its answers have ended, those that have.
        error: Why it failed, or ``None``.
    """

    def __init__(self, server: Server, job: Job, request: Request, entry: Entry, ticket: Ticket) -> None:
        self.entry = entry
        self.job = job
        self.request = request
        self.error: ApiError | None = None
        self._server = server
        self._ticket = ticket
        self._began = time.monotonic()
        self._load = 0.0
        self.first: float | None = None
        self.reasons: list[Finish] = []
        self._events: list[Event] = []
        self._something = asyncio.Event()
        self._over = False
        #: Parts of the answer under way; its number; the tokens of its prompt, 0 if they are not known.
        self._told = self._number = self._prompt_tokens = 0
        #: What can count them: the model, the job as it can do it, and the prompt, if it is no chat.
        self._asked: tuple[RKLLM, Job, Prompt | None] | None = None
        #: It has the model; its model has given something; the answers that have begun.
        self._runs = self._heard = False
        self._started: set[int] = set()
        self.usage = Usage()
        self._task: asyncio.Task[None] | None = asyncio.get_running_loop().create_task(self._work())
        self._task.add_done_callback(self._ended)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: object, traceback: object) -> None:
        self._leave()
        try:
            if self._told:
                # Its tokens are told by nobody else, and others have the model meanwhile.
                with contextlib.suppress(asyncio.TimeoutError):
                    await within(_LAST_COUNT, self._count())
        finally:
            self._settle()

    def __aiter__(self) -> AsyncIterator[list[Event]]:
        return self

    async def __anext__(self) -> list[Event]:
        """What has happened since the last call.

        Raises:
            ApiError: The request failed.
        """
        while not self._events:
            if self._over:
                raise StopAsyncIteration
            self._something.clear()
            await self._something.wait()
        events, self._events = self._events, []
        last = events[-1]
        if isinstance(last, Failed):
            if len(events) == 1:
                raise last.error
            self._events = [last]
            events.pop()
        return events

    @property
    def seconds(self) -> float:
        """Seconds since the request came."""
        return time.monotonic() - self._began

    @property
    def queued(self) -> float:
        """Seconds in the queue, so far or until it left."""
        return self._ticket.waited

    def fail(self, error: ApiError) -> None:
        """Ends it with an error, whatever it is doing."""
        if not self._over:
            self._put([Failed(error)])
            self._leave()

    def _leave(self) -> None:
        """Ends it: its generation within a token, its place in the queue at once. Can be called again."""
        self._ticket.leave()
        if self._task is not None:
            self.entry.was_left = self.entry.was_left or self._runs
            self._task.cancel()

    def _settle(self) -> None:
        """Tells its figures, once they are complete."""
        if self._told:
            # An answer that was left: about a token to each part of it.
            self._add(Usage(prompt_tokens=self._prompt_tokens, completion_tokens=self._told))
        self._server.over(self)

    def _ended(self, _task: asyncio.Task[None]) -> None:
        # A cancelled task keeps what its functions had, the stream and its descriptors among that.
        self._task = None

    def _put(self, events: Sequence[Event]) -> None:
        if self._over or not events:
            return
        self._events += events
        last = events[-1]
        if isinstance(last, Failed):
            self._over = True
            self.error = last.error
        self._something.set()

    async def _work(self) -> None:
        settings = self._server.settings
        try:
            try:
                if not self._ticket.has_turn:
                    await self._refuse_what_never_fits()
                await self._ticket.turn(settings.queue_timeout)
                asked = time.monotonic()
                patience = None if self.job.stream else settings.load_wait
                if self.job.keep_alive is not None:
                    self._server.models.set_keep_alive(self.entry, self.job.keep_alive)
                try:
                    await self._held(patience, asked)
                except WorkerCrashed:
                    # A run before this one was left, its library did not obey, and the worker was killed.
                    if self._heard or not self.entry.was_left:
                        raise
                    self.entry.was_left = False
                    await self._held(patience, asked)
            finally:
                self._ticket.leave()
        except asyncio.CancelledError:
            self._put([Failed(ApiError(499, "the client has gone"))])
            raise
        except BaseException as error:  # noqa: BLE001 - told to the client
            known = as_api_error(error)
            if known is not error and known.status >= 500:  # noqa: PLR2004 - ours
                _log.warning(
                    "a request to model %s failed: %s", self.entry.name, error, exc_info=_unknown(error)
                )
            known.param = known.param or self.job.blame.get(known.code or "")
            self._put([Failed(known)])
        finally:
            self._over = True
            self._something.set()

    async def _refuse_what_never_fits(self) -> None:
        """Tells a client that waits anyway at once, where a loaded model's tokens can be counted."""
        llm = self.entry.llm
        if llm is None:
            return
        # What a template rejects is told in its turn, and a model that was just unloaded is loaded then.
        with contextlib.suppress(*_COUNTLESS, ClosedError, WorkerCrashed):
            if self.job.messages is not None:
                longest = await count(llm, await self._server.fitted(self.job, self.entry, llm))
                self._prompt_tokens = longest
            else:
                longest = max([await count_prompt(llm, prompt) for prompt in self.job.prompts])
            if longest >= llm.max_context_len:
                raise too_long(longest, llm.max_context_len)

    async def _held(self, patience: float | None, asked: float) -> None:
        """Has the model, once it is loaded, and answers."""
        async with self._server.models.hold(self.entry, since=self._began, patience=patience) as llm:
            self._load = time.monotonic() - asked
            self._runs = True
            try:
                await self._answer(llm)
            finally:
                self._runs = False
                self.entry.pulse.rests()

    async def _answer(self, llm: RKLLM) -> None:
        job = await self._server.fitted(self.job, self.entry, llm)
        prompts: Sequence[Prompt | None] = [None] if job.messages is not None else job.prompts
        for self._number in range(job.n * len(prompts)):
            prompt = prompts[self._number // job.n]
            self._asked = llm, job, prompt
            if job.messages is None:
                self._prompt_tokens = 0
            await self._one(llm, job, prompt)
        self.entry.deaths = 0

    async def _one(self, llm: RKLLM, job: Job, prompt: Prompt | None) -> None:
        """Gives one of its answers."""
        number, pulse = self._number, self.entry.pulse
        counted = await self._count() if job.counted else 0
        pulse.prefills()
        if number not in self._started:
            self._started.add(number)
            self._put([Started(number, counted)])
        if prompt is None:
            events = answers.chat(llm, self._server.models.offload, job, number)
        else:
            events = answers.continuation(llm, self._server.models.offload, job, prompt, number)
        try:
            async for batch in events:
                pulse.beats()
                if batch:
                    self._look(batch)
                    if isinstance(batch[-1], Done):
                        batch[-1] = await self._ending(batch[-1])
                    self._put(batch)
                # A library that is faster than the loop leaves it time for others.
                await asyncio.sleep(0)
        finally:
            await events.aclose()

    async def _count(self) -> int:
        """The tokens of the prompt that is being answered, where they can be counted; else 0."""
        if not self._prompt_tokens and self._asked is not None:
            llm, job, prompt = self._asked
            # Whatever is wrong with the prompt or the model is told by the run.
            with contextlib.suppress(RkllmError):
                tokens = await (count(llm, job) if prompt is None else count_prompt(llm, prompt))
                self._prompt_tokens = tokens
        return self._prompt_tokens

    async def _context(self, made: Sequence[int]) -> Sequence[int]:
        """The tokens of the prompt and of the answer, where they are asked for and can be told."""
        if self._asked is not None and self.job.context is not None:
            llm, job, _prompt = self._asked
            with contextlib.suppress(RkllmError):
                return [*await prompt_ids(llm, job), *made]
        return ()

    def _look(self, events: Sequence[Event]) -> None:
        """Notes what has come, and when."""
        self._heard = True
        self.entry.was_left = False
        if self.first is None and any(isinstance(event, (Text, ToolCallDelta)) for event in events):
            self.first = time.monotonic() - self._began
        self._told += sum(isinstance(event, (Text, Reasoning, ToolCallDelta)) for event in events)

    async def _ending(self, done: Done) -> Done:
        """Completes the end of an answer, and adds its counts."""
        usage = done.usage
        # It is not known of a run that a stop string has ended.
        prompt = usage.prompt_tokens or await self._count() or usage.cached_tokens
        context = await self._context(done.context)
        usage = dataclasses.replace(
            usage,
            prompt_tokens=prompt,
            cached_tokens=min(usage.cached_tokens, prompt),
            load_s=self._load,
            total_s=time.monotonic() - self._began,
        )
        self._told = 0
        self.reasons.append(done.reason)
        self._add(usage)
        return dataclasses.replace(done, usage=usage, context=context)

    def _add(self, usage: Usage) -> None:
        """Adds an answer to the counts of all. A prompt counts once, however many answers it has."""
        so_far = self.usage
        is_first = self._number % self.job.n == 0
        self.usage = dataclasses.replace(
            usage,
            prompt_tokens=so_far.prompt_tokens + (usage.prompt_tokens if is_first else 0),
            cached_tokens=so_far.cached_tokens + (usage.cached_tokens if is_first else 0),
            completion_tokens=so_far.completion_tokens + usage.completion_tokens,
            reasoning_tokens=so_far.reasoning_tokens + usage.reasoning_tokens,
            generate_s=so_far.generate_s + usage.generate_s,
        )


def _unknown(error: BaseException) -> bool:
    """Whether an error is one that nobody foresaw, whose place in the code matters."""
    return not isinstance(error, (RkllmError, ApiError))
