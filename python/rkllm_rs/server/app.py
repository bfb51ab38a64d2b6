"""The server put together: its models, its queue, and the routes of all dialects, as an ASGI app."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Mapping

from rkllm_rs._presence import Presence
from rkllm_rs._typed import expect
from rkllm_rs.aio import AsyncRKLLM
from rkllm_rs.errors import InvalidArgumentError, UnsupportedFeatureError

from . import anthropic, figures, health, ollama, openai, page, rerank, responses, tokenizing
from .admission import Queue
from .asgi import Floor
from .checks import check_given, check_limits, check_texts
from .errors import ApiError
from .guard import Guard
from .http import Limits
from .names import check_names
from .registry import Models
from .routes import Routes
from .runs import Run
from .settings import Settings
from .tokens import continued

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from typing import Any, Final, Literal

    from rkllm_rs._library import Path
    from rkllm_rs.llm import RKLLM

    from .entry import Entry
    from .http import Request
    from .jobs import Event, Job

#: The dialects: each adds its routes.
_DIALECTS: Final = (health, page, figures, openai, ollama, anthropic, responses, rerank, tokenizing)


class Server:
    """What handlers work with.

    Attributes:
        settings: What it was started with.
        models: Its models.
        queue: The requests that wait.
        app: The ASGI app that it belongs to.
        on_run: Called with each run that is over, for metrics.
        asking: How many requests want something of a model without a run, such as a count of tokens.
        downloads: How many clients wait for models that they pull.
    """

    def __init__(self, models: Models, settings: Settings, app: App) -> None:
        self.settings = settings
        self.models = models
        self.queue = Queue(settings.queue)
        self.app = app
        self.on_run: list[Callable[[Run], None]] = []
        self.asking = self.downloads = 0
        self._running: set[Run] = set()
        self._presence: Presence | None = None

    def take(self, settings: Settings) -> None:
        """Takes other settings; requests that have begun to wait keep theirs."""
        self.settings = self.models.settings = settings
        self.queue.limit = settings.queue
        self.app.work_seconds = settings.request_timeout

    def run(self, job: Job, request: Request) -> Run:
        """Admits a request. Use it in an ``async with`` block: leaving it ends the run, however far it is.

        Args:
            job: What is asked for.
            request: Who asks.

        Returns:
            The run, for ``async for``: lists of events.

        Raises:
            ApiError: 404, there is no such model; 429, the queue is full.
        """
        entry = self.models.find(job.model)
        ticket = self.queue.enter(entry.name, request.caller, streams=job.stream)
        run = Run(self, job, request, entry, ticket)
        self._running.add(run)
        self.models.expect(entry)
        return run

    async def encoded(
        self,
        job: Job,
        request: Request,
        of: Callable[[Event], bytes],
        end: Callable[[], bytes] | None = None,
    ) -> AsyncGenerator[bytes]:
        """Runs a job, and gives its events as a dialect writes them; closing it ends the run.

        Args:
            job: What is asked for.
            request: Who asks.
            of: Writes an event; empty for one that says nothing to clients.
            end: Writes what comes after the last one.

        Raises:
            ApiError: As ``run``, and what the run fails with.
        """
        async with self.run(job, request) as run:
            async for events in run:
                data = b"".join([of(event) for event in events])
                if data:
                    yield data
        if end is not None:
            yield end()

    def named(self, name: str) -> str:
        """The name of a model as answers have it: as the client wrote it, or that of the only one.

        Raises:
            ApiError: As ``Models.find``.
        """
        found = self.models.find(name).name
        return name or found

    @contextlib.asynccontextmanager
    async def use(self, name: str, request: Request) -> AsyncGenerator[AsyncRKLLM]:
        """Waits for a model's turn, for what is not an answer. Nobody else has the model meanwhile.

        Args:
            name: The name of the model, as the client wrote it.
            request: Who asks.

        Raises:
            ApiError: 404, there is no such model; 429, the queue is full; 503 or 504, it took too long.
        """
        entry = self.models.find(name)
        ticket = self.queue.enter(entry.name, request.caller)
        self.models.expect(entry)
        try:
            await ticket.turn(self.settings.queue_timeout)
            patience = self.settings.load_wait
            async with self.models.hold(entry, since=ticket.entered, patience=patience) as llm:
                yield AsyncRKLLM._of(llm)  # noqa: SLF001 - the same model, for the loop
        except BaseException:
            entry.was_left = True
            raise
        finally:
            ticket.leave()
            self.models.expect_no_more(entry)

    def over(self, run: Run) -> None:
        """Notes that a run has been left."""
        if run in self._running:
            self._running.discard(run)
            self.models.expect_no_more(run.entry)
            for hook in self.on_run:
                hook(run)

    async def thinks(self, entry: Entry, llm: RKLLM) -> bool:
        """Whether a model has thinking that can be asked for."""
        if entry.thinks is None:
            entry.thinks = await self.models.offload(_thinks, llm)
        return entry.thinks

    async def fitted(self, job: Job, entry: Entry, llm: RKLLM) -> Job:
        """The job as this model can do it.

        Raises:
            ApiError: 400, it asks for thinking that the model does not have and cannot do without, or goes on
                after tokens that the model does not have.
        """
        if job.thinking and not await self.thinks(entry, llm):
            if job.must_think:
                raise ApiError(400, f"{job.model or entry.name!r} does not support thinking", param="think")
            kwargs = {
                name: value for name, value in job.template_kwargs.items() if name != "reasoning_effort"
            }
            job = dataclasses.replace(job, thinking=None, template_kwargs=kwargs)
        return await self.models.offload(continued, llm, job) if job.context else job

    def state(self) -> Literal["ready", "loading", "degraded", "draining"]:
        """What the server is doing, as far as is known; ``Models.ask_workers`` asks."""
        if self.app.draining:
            return "draining"
        entries = self.models.entries.values()
        dead = any(one.state == "restarting" or (one.state == "ready" and not one.is_well) for one in entries)
        if dead or all(one.state == "failed" for one in entries):
            return "degraded"
        if any(one.state == "loading" for one in entries):
            return "loading"
        return "ready"

    async def begin(self) -> None:
        """Begins to load the model if there is one; several are loaded when they are asked for."""
        self._presence = Presence.begin()
        self.models.on_change = self._tell
        self._tell()
        entries = list(self.models.entries.values())
        if len(entries) == 1:
            self.models.keep_trying(entries[0])

    async def end(self) -> None:
        """Ends all runs and closes all models."""
        for run in list(self._running):
            run.fail(ApiError(503, "the server is stopping", code="draining", retry_after=10))
        await self.models.close()
        presence, self._presence = self._presence, None
        if presence is not None:
            presence.end()

    def _tell(self) -> None:
        if self._presence is not None:
            self._presence.tell([entry.told() for entry in self.models.entries.values()])


class App(Floor):
    """The ASGI app; ``create_app`` makes it.

    Attributes:
        server: The models, the queue, and what is running.
    """

    server: Server


def create_app(
    models: Mapping[str, Path],
    *,
    api_key: str | Sequence[str] | None = None,
    loopback: bool = True,
    allowed_hosts: Sequence[str] = (),
    cors_origins: Sequence[str] = (),
    limits: Limits | None = None,
    settings: Settings | None = None,
    **options: Any,
) -> App:
    """Makes the ASGI app of a server.

    Any ASGI server with a lifespan can run it, with one process: the models belong to it.

    Args:
        models: Paths of the models, by the names that clients use.
        api_key: The API key, or several. Without one, none is asked for.
        loopback: The app is served to this machine only, so the ``Host`` header must name this machine.
            Without a key, requests that come to another address than its loopback are refused. ``False``
            lets everyone in, unless there is a key.
        allowed_hosts: Further names for the ``Host`` header.
        cors_origins: Origins of web pages that may use the server.
        limits: Bounds of bodies, and of the time that they and answers take.
        settings: How requests wait, and how models are opened and kept. A field of it can also be passed by
            its own name: ``queue=8``.
        **options: Fields of ``settings``; other names are arguments of ``RKLLM()`` for all models, such as
            ``max_context_len``.

    Returns:
        The app.

    Raises:
        InvalidArgumentError: There is no model, or a name or an option that cannot be used.
        InvalidTypeError: An option of the wrong type, or an unknown name.

    Example:
        >>> from rkllm_rs.server import create_app
        >>> app = create_app({"qwen3": "qwen3-1.7b.rkllm"}, api_key="secret")
        >>> app.server.models.find("qwen3").state
        'unloaded'
    """
    # What is wrong with the options is told now, and not when the first request comes.
    paths = _paths(models)
    chosen = _settings(settings, options)
    keys = [api_key] if isinstance(api_key, str) else () if api_key is None else api_key
    for name, texts in (("api_key", keys), ("allowed_hosts", allowed_hosts), ("cors_origins", cors_origins)):
        check_texts(name, texts)
    expect("loopback", loopback, bool, "a bool", "Pass True or False.")
    if limits is not None:
        expect("limits", limits, Limits, "a Limits", "Pass `rkllm_rs.server.Limits(...)`.")
        check_limits(limits)
    for path in paths.values():
        AsyncRKLLM(path, isolate=True, restart=False, **options)
    routes = Routes()
    guard = Guard(keys=keys, loopback=loopback, allowed_hosts=allowed_hosts, cors_origins=cors_origins)
    app = App(routes, guard, limits)
    app.work_seconds = chosen.request_timeout
    server = app.server = Server(Models(paths, chosen, options), chosen, app)
    for dialect in _DIALECTS:
        dialect.add_routes(routes, server)
    app.on_startup.append(server.begin)
    app.on_shutdown.append(server.end)
    return app


def _paths(models: Mapping[str, Path]) -> dict[str, str]:
    """The paths of the models, whose names can be used."""
    expect("models", models, Mapping, "a dict", 'Pass {"name": "model.rkllm"}.')
    if not models:
        message = "models must not be empty"
        raise InvalidArgumentError(message, hint='Pass {"name": "model.rkllm"}.')
    for name, path in models.items():
        expect("models' names", name, str, "texts", 'Pass {"name": "model.rkllm"}.')
        expect("models' paths", path, (str, bytes, os.PathLike), "paths", 'Pass {"name": "model.rkllm"}.')
    check_names(models)
    return {name: os.fsdecode(path) for name, path in models.items()}


def _settings(settings: Settings | None, options: dict[str, Any]) -> Settings:
    """The settings, with the fields that are among the options, which are taken away from there."""
    if settings is not None:
        expect("settings", settings, Settings, "a Settings", "Pass `rkllm_rs.server.Settings(...)`.")
    fields = {field.name for field in dataclasses.fields(Settings)}
    chosen = dataclasses.replace(settings or Settings(), **{k: options.pop(k) for k in fields & set(options)})
    if isinstance(chosen.library, (bytes, os.PathLike)):
        chosen = dataclasses.replace(chosen, library=os.fsdecode(chosen.library))
    check_given(chosen)
    for name in ("isolate", "restart"):
        if name in options:
            message = f"{name} must be left out: the server decides it"
            raise InvalidArgumentError(
                message, hint="Each model has a worker, which the server starts again."
            )
    return chosen


def _thinks(llm: RKLLM) -> bool:
    with contextlib.suppress(UnsupportedFeatureError):
        llm.render_chat([{"role": "user", "content": "Hi"}], thinking=True)
        return True
    return False
