"""The models of a server: loaded when asked for, unloaded when idle, started again when they die.

Each runs in a worker process of its own: a library that crashes takes no other model with it.

Long because loading, unloading, dying and leaving change the same few fields of an entry.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from concurrent.futures import ThreadPoolExecutor

from rkllm_rs._waiting import ready_to_chat
from rkllm_rs.aio import AsyncRKLLM
from rkllm_rs.errors import RkllmError

from .entry import Entry, watch
from .errors import ApiError, as_api_error
from .names import is_lasting, lookup
from .room import has_memory
from .waiting import within

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from typing import Any, Final, TypeVar

    from rkllm_rs.llm import RKLLM

    from .settings import Settings

    _Result = TypeVar("_Result")

_log = logging.getLogger("rkllm_rs.server")

#: Seconds that a request which came after a crash waits for the new worker, before it is sent away.
_PATIENCE: Final = 1.5
_LONGEST_PAUSE: Final = 30.0
#: Seconds that the request of a worker that has died may take to notice.
_LAST_LOOK: Final = 5.0
_KEEP_ALIVE: Final = 300.0


class Models:
    """All models of a server."""

    def __init__(self, paths: Mapping[str, str], settings: Settings, options: Mapping[str, Any]) -> None:
        """Knows them, and loads none.

        Args:
            paths: The files by the names of the models.
            settings: What the server was started with.
            options: Further arguments of ``RKLLM()``, for all models.
        """
        self.settings = settings
        self.keep_alive = _kept(settings.keep_alive, len(paths))
        #: Called soon after states of models have changed, once for all that have.
        self.on_change: Callable[[], object] | None = None
        self._tells = False
        self.entries: dict[str, Entry] = {
            name: self._entry(name, path, self.keep_alive) for name, path in paths.items()
        }
        #: Models that the server has no more, as long as requests that came before keep them loaded.
        self._leaving: set[Entry] = set()
        self.options = options
        #: Templates, tokenizers and schemas are worked at here, and never in the event loop.
        self.threads = ThreadPoolExecutor(4, thread_name_prefix="rkllm_rs.server")
        self._wanted: Entry | None = None
        self._settled = asyncio.Event()
        self._idle = asyncio.Event()
        self._room = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False
        self.on_restart: Callable[[str], None] | None = None

    def replace(self, paths: Mapping[str, str], *, keep_alive: float | None) -> None:
        """Takes another list of models. Those that stay are not touched; the others go when they are idle.

        Args:
            paths: The files by the names of the models.
            keep_alive: As in ``Settings``.
        """
        kept = _kept(keep_alive, len(paths))
        old = {**{one.name: one for one in self._leaving}, **self.entries}
        self.entries = {}
        self.keep_alive = kept
        for name, path in paths.items():
            entry = old.get(name)
            if entry is None or entry.path != path:
                entry = self._entry(name, path, kept)
            else:
                del old[name]
                entry.is_removed = False
                self._leaving.discard(entry)
                self.set_keep_alive(entry, -1 if kept is None else kept)
            self.entries[name] = entry
        for entry in old.values():
            self._remove(entry)
        self._changed()

    def _remove(self, entry: Entry) -> None:
        """Has a model unloaded after the last request for it."""
        entry.is_removed, entry.keep_alive = True, 0.0
        self._leaving.add(entry)
        self._set_timer(entry)
        self._let_go(entry)

    def _let_go(self, entry: Entry) -> None:
        if entry.llm is None and entry.loading is None:
            self._leaving.discard(entry)

    def expect(self, entry: Entry) -> None:
        """Notes a request that will have a model when its turn has come."""
        entry.expected += 1

    def expect_no_more(self, entry: Entry) -> None:
        """Notes that such a request is over."""
        entry.expected -= 1
        if entry.is_removed:
            self._set_timer(entry)

    @property
    def _all(self) -> list[Entry]:
        return [*self.entries.values(), *self._leaving]

    def _entry(self, name: str, path: str, keep_alive: float | None) -> Entry:
        entry = Entry(name, path, keep_alive)
        entry.on_change = self._changed
        return entry

    def _changed(self) -> None:
        if not self._tells and self.on_change is not None:
            self._tells = True
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._tells = False
        if self.on_change is not None:
            self.on_change()

    async def offload(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """Calls what takes longer than the event loop should wait."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, function, *arguments)

    def find(self, name: str) -> Entry:
        """The model of a name. Names are looked up, and never become paths.

        Args:
            name: As the client wrote it; empty for the only one. ``name:latest`` is ``name``.

        Returns:
            The model.

        Raises:
            ApiError: 404, there is none; 400, there are several and the request names none.
        """
        return lookup(self.entries, name)

    @contextlib.asynccontextmanager
    async def hold(self, entry: Entry, *, since: float, patience: float | None) -> AsyncGenerator[RKLLM]:
        """The loaded model, which is not unloaded meanwhile.

        Args:
            entry: The model.
            since: When the request came, by ``time.monotonic()``.
            patience: Most seconds to wait until it is loaded.

        Raises:
            ApiError: 503, it is not loaded in time, or cannot be loaded.
        """
        while self._wanted not in (None, entry):
            # Another model needs the room: whoever comes now does not keep this one from going.
            await self._settled.wait()
        entry.users += 1
        self._forget_timer(entry)
        try:
            yield await self._loaded(entry, since, patience)
        finally:
            entry.users -= 1
            entry.used = time.monotonic()
            self._idle.set()
            if entry.users == 0:
                entry.left.set()
                self._set_timer(entry)

    async def _loaded(self, entry: Entry, since: float, patience: float | None) -> RKLLM:
        if entry.state == "ready" and entry.llm is not None and entry.is_alive:
            return entry.llm
        if entry.crashed >= since or entry.state != "restarting":
            wait = patience
        else:
            wait = _PATIENCE if patience is None else min(_PATIENCE, patience)
        task = self.load(entry)
        done, _ = await asyncio.wait([task], timeout=wait)
        if not done:
            what = "is being started again" if entry.state == "restarting" else "is being loaded"
            raise ApiError(503, f"model {entry.name!r} {what}", code="model_loading", retry_after=2)
        return task.result()

    def load(self, entry: Entry) -> asyncio.Task[RKLLM]:
        """Begins to load a model, unless that is under way; many can wait for the task."""
        if self._is_closed:
            raise ApiError(503, "the server is shutting down", code="draining", retry_after=5)
        if entry.is_removed:
            self._leaving.add(entry)
        if entry.loading is None:
            if entry.state == "ready" and entry.llm is not None and not entry.is_alive:
                self._died(entry, entry.llm)
            if entry.loading is None:
                entry.loading = self._task(self._load(entry))
        return entry.loading

    def keep_trying(self, entry: Entry) -> None:
        """Begins to load a model, again and again as long as it may help."""
        entry.loading = self._task(self._again(entry))

    async def _load(self, entry: Entry, pause: float = 0.0) -> RKLLM:
        try:
            if pause:
                await asyncio.sleep(pause)
            if entry.closing is not None:
                await asyncio.wait([entry.closing])
            async with self._room:
                if entry.state != "restarting":
                    entry.state = "loading"
                # Also where it had room before: another model may have taken it.
                await self._make_room(entry)
                return await self._open(entry)
        except RkllmError as error:
            entry.state, entry.error = "failed", as_api_error(error)
            entry.is_broken = is_lasting(error)
            _log.warning("model %s cannot be loaded: %s", entry.name, error)
            raise entry.error from error
        except BaseException:
            entry.state = "unloaded"
            raise
        finally:
            entry.loading = None
            self._let_go(entry)

    async def _open(self, entry: Entry) -> RKLLM:
        settings = self.settings
        # A run waits for an NPU in use as for its turn; a model that was closed needs its time.
        wait = settings.queue_timeout
        options: dict[str, Any] = {
            "backend": settings.backend,
            "library": settings.library,
            "kill_after": settings.kill_after,
            "open_timeout": None if wait is None else max(wait, settings.kill_after),
            **self.options,
        }
        model = AsyncRKLLM(entry.path, isolate=True, restart=False, **options)
        try:
            await model.open()
            llm = await ready_to_chat(model)
        except BaseException:
            await model.close()
            raise
        entry.llm, entry.state, entry.error, entry.sampling = llm, "ready", None, llm.sampling
        entry.pulse.begin(llm, settings)
        self._watch(entry, llm)
        if entry.users == 0:
            self._set_timer(entry)
        return llm

    # Room.

    async def _make_room(self, entry: Entry) -> None:
        """Unloads idle models, the one that was used longest ago first, until this one fits."""
        try:
            while not await self._fits(entry):
                others = [one for one in self._all if one is not entry and one.state == "ready"]
                idle = [one for one in others if one.users == 0]
                if idle:
                    await self.unload(min(idle, key=lambda one: one.used))
                elif others:
                    self._wanted = entry
                    self._settled.clear()
                    self._idle.clear()
                    await self._idle.wait()
                else:
                    # The library decides.
                    return
        finally:
            self._wanted = None
            self._settled.set()

    async def _fits(self, entry: Entry) -> bool:
        loaded = sum(one.llm is not None for one in self._all)
        most = self.settings.max_loaded
        if most is not None and loaded >= most:
            return False
        return loaded == 0 or await self.offload(has_memory, entry.path, self.options.get("max_context_len"))

    async def unload(self, entry: Entry) -> None:
        """Unloads a model that no request has; the next request loads it again."""
        llm = entry.llm
        if llm is None or entry.users or entry.state != "ready":
            return
        entry.state, entry.llm, entry.expires = "unloading", None, None
        if not entry.is_removed:
            entry.keep_alive = self.keep_alive  # how long it was to be kept was said of this time
        self._let_go(entry)
        self._stop_watching(entry)
        entry.closing = self._task(self._close(entry, llm))
        await asyncio.wait([entry.closing])

    async def _close(self, entry: Entry, llm: RKLLM) -> None:
        try:
            await self.offload(llm.close)
        finally:
            entry.closing = None
            if entry.state == "unloading":
                entry.state = "unloaded"

    def set_keep_alive(self, entry: Entry, seconds: float) -> None:
        """Keeps a model loaded for so long without requests; negative for ever."""
        if not entry.is_removed:
            entry.keep_alive = None if seconds < 0 else seconds
        if entry.users == 0:
            self._set_timer(entry)

    def _set_timer(self, entry: Entry) -> None:
        self._forget_timer(entry)
        if entry.state != "ready" or entry.keep_alive is None or entry.users:
            return
        if entry.is_removed and entry.expected:
            return  # else it would be loaded again for those that wait
        loop = asyncio.get_running_loop()
        entry.expires = time.time() + entry.keep_alive
        entry.timer = loop.call_later(entry.keep_alive, self._expired, entry)

    def _expired(self, entry: Entry) -> None:
        self._task(self.unload(entry))

    def _forget_timer(self, entry: Entry) -> None:
        entry.expires = None
        if entry.timer is not None:
            entry.timer.cancel()
            entry.timer = None

    # Workers that hang, or die.

    async def ask_workers(self) -> None:
        """Asks the workers of idle models whether they are there, and waits a bounded time for answers."""
        idle = [one for one in self._all if one.state == "ready" and one.users == 0 and one.is_alive]
        # Of one that is late already, the answer is not waited for.
        asked = [(one.is_well, one.pulse.ask()) for one in idle]
        waits = [task for was_well, task in asked if was_well and task is not None]
        if waits:
            await asyncio.wait(waits, timeout=self.settings.health_timeout)

    def _watch(self, entry: Entry, llm: RKLLM) -> None:
        """Has ``_died`` called when the worker ends."""
        self._stop_watching(entry)
        died = functools.partial(self._died, entry, llm)
        pid = llm.worker_pid
        if pid is None:
            asyncio.get_running_loop().call_soon(died)
        else:
            entry.stop_watching = watch(pid, died)

    def _stop_watching(self, entry: Entry) -> None:
        stop, entry.stop_watching = entry.stop_watching, None
        if stop is not None:
            stop()

    def _died(self, entry: Entry, llm: RKLLM) -> None:
        """A worker has ended by itself: another one takes its place."""
        if entry.llm is not llm or self._is_closed:
            return
        self._stop_watching(entry)
        self._forget_timer(entry)
        entry.llm, entry.state, entry.crashed = None, "restarting", time.monotonic()
        entry.restarts += 1
        entry.deaths += 1
        _log.warning("the worker of model %s has died; it is started again", entry.name)
        if self.on_restart is not None:
            self.on_restart(entry.name)
        self._task(self._bury(entry, llm))
        if entry.is_removed:
            entry.state = "unloaded"  # a request that waits for it loads it
            self._let_go(entry)
        else:
            self.keep_trying(entry)

    async def _bury(self, entry: Entry, llm: RKLLM) -> None:
        """Closes a model whose worker has died, once its request has seen that."""
        if entry.users:
            entry.left.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await within(_LAST_LOOK, entry.left.wait())
        await self.offload(llm.close)

    async def _again(self, entry: Entry) -> RKLLM:
        # One that dies whenever it is used, as by a prompt that is sent again and again, has a pause.
        pause = min(_LONGEST_PAUSE, 2.0 ** (entry.deaths - 2)) if entry.deaths > 1 else 0.0
        while True:
            with contextlib.suppress(ApiError):
                return await self._load(entry, pause)
            if (entry.is_broken or entry.is_removed) and entry.error is not None:
                raise entry.error
            # One that cannot be opened now may be later: another program may have what it needs.
            pause = min(_LONGEST_PAUSE, max(1.0, 2 * pause))
            entry.state, entry.loading = "restarting", asyncio.current_task()

    def _task(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # those that waited have it

    async def close(self) -> None:
        """Closes all models."""
        self._is_closed = True
        every = self._all
        for entry in every:
            self._forget_timer(entry)
            self._stop_watching(entry)
            if entry.loading is not None:
                entry.loading.cancel()
        open_ = [entry for entry in every if entry.llm is not None]
        for entry in open_:
            llm, entry.llm, entry.state = entry.llm, None, "unloaded"
            assert llm is not None  # noqa: S101 - chosen so
            await self.offload(llm.close)
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=5)
        self.threads.shutdown(wait=False, cancel_futures=True)


def _kept(keep_alive: float | None, models: int) -> float | None:
    """How long models stay loaded: by default for ever where there is one, else for 5 minutes."""
    if keep_alive is None:
        return _KEEP_ALIVE if models > 1 else None
    return None if keep_alive < 0 else keep_alive
