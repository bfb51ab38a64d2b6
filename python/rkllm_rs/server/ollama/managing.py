"""Pulling and deleting models, which is off unless the server was started with ``--allow-manage``."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from typing import TYPE_CHECKING, Any

from rkllm_rs import models
from rkllm_rs.errors import RkllmError
from rkllm_rs.server.errors import ApiError, without_paths
from rkllm_rs.server.fields import fields_of
from rkllm_rs.server.http import dumps, json_response
from rkllm_rs.server.stream import failed_event, ndjson

from .requests import model_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from rkllm_rs.server.app import Server
    from rkllm_rs.server.http import Request, Response
    from rkllm_rs.server.routes import Routes
    from rkllm_rs.server.stream import Stream

#: Lines of progress come at most so often.
_PACE = 0.2
#: Clients that wait for downloads at a time.
_MOST = 8


class _Left(Exception):  # noqa: N818 - no error
    """The client of a download has left."""


def _check(server: Server) -> None:
    if not server.settings.allow_manage:
        message = "models are not managed over HTTP; the server's operator can allow it with --allow-manage"
        raise ApiError(403, message, code="management_off")


async def _pull(server: Server, request: Request) -> Response | Stream:
    _check(server)
    fields = await fields_of(request)
    name = model_of(fields)
    if not name:
        fields.refuse("model", "must not be empty")
    if fields.boolean("stream", default=True):
        failed = failed_event(request.family, request.id)
        return ndjson(_pulled(server, name), failed=failed, beat=lambda _count: _line("pulling"))
    async for _line_of in _pulled(server, name):
        pass
    return json_response({"status": "success"})


def _line(status: str, **more: Any) -> bytes:
    return dumps({"status": status, **more}) + b"\n"


async def _pulled(server: Server, name: str) -> AsyncIterator[bytes]:
    """Downloads a model and serves it from then on; lines of progress."""
    if name in server.models.entries:
        yield _line("success")
        return
    state: dict[str, tuple[int, int | None]] = {}
    left = threading.Event()

    def progress(file: str, done: int, total: int | None) -> None:
        if left.is_set():
            raise _Left
        state[file] = (done, total)

    if server.downloads >= _MOST:
        message = f"{server.downloads} downloads are under way already, which is the limit of this server"
        raise ApiError(429, message, code="queue_full", retry_after=30)
    address = name if name.startswith("hub:") else f"hub:{name}"
    server.downloads += 1
    task = _begun(functools.partial(models.pull, address, progress=progress))
    try:
        async for line in _followed(task, state):
            yield line
    finally:
        # What has come is kept, and the next request for it goes on there.
        left.set()
        server.downloads -= 1
    try:
        path = task.result()
    except RkllmError as error:
        raise ApiError(400, without_paths(str(error.args[0]))) from error
    paths = {entry.name: entry.path for entry in server.models.entries.values()}
    server.models.replace({**paths, name: path}, keep_alive=server.settings.keep_alive)
    yield _line("verifying sha256 digest")
    yield _line("success")


def _begun(download: Callable[[], str]) -> asyncio.Future[str]:
    """Begins a download on a thread of its own: none that chats need, and none that is waited for at exit."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()

    def settle(path: str | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(path or "")
        else:
            future.set_exception(error)
            future.exception()  # nobody asks any more if the client has left

    def work() -> None:
        path: str | None = None
        failure: BaseException | None = None
        try:
            path = download()
        except BaseException as error:  # noqa: BLE001 - handed on
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, path, failure)

    threading.Thread(target=work, name="rkllm_rs.pull", daemon=True).start()
    return future


async def _followed(
    task: asyncio.Future[str], state: Mapping[str, tuple[int, int | None]]
) -> AsyncIterator[bytes]:
    """Lines of a download, until it has ended."""
    yield _line("pulling manifest")
    told: dict[str, tuple[int, int | None]] = {}
    while not task.done():
        await asyncio.wait([task], timeout=_PACE)
        for file, (done, total) in list(state.items()):
            if told.get(file) != (done, total):
                told[file] = (done, total)
                yield _line(f"pulling {file}", digest=file, total=total or done, completed=done)


async def _delete(server: Server, request: Request) -> Response:
    _check(server)
    entry = server.models.find(model_of(await fields_of(request)))
    if entry.users:
        raise ApiError(409, f"model {entry.name!r} is in use", code="busy", retry=False)
    paths = {one.name: one.path for one in server.models.entries.values() if one is not entry}
    if not paths:
        raise ApiError(400, "the last model of a server cannot be deleted")
    await server.models.unload(entry)
    try:
        await server.models.offload(models.remove, entry.path)
    except RkllmError as error:
        raise ApiError(400, without_paths(str(error.args[0]))) from error
    server.models.replace(paths, keep_alive=server.settings.keep_alive)
    return json_response({})


async def _absent(server: Server, _request: Request) -> Response:
    _check(server)
    raise ApiError(501, "this server pulls and deletes models, and does nothing else with them", retry=False)


def add_routes(routes: Routes, server: Server) -> None:
    """Adds the routes of this module."""
    routes.add("POST", "/api/pull", functools.partial(_pull, server), timed=False)
    routes.add("DELETE", "/api/delete", functools.partial(_delete, server), work=True)
    for path in ("/api/create", "/api/copy", "/api/push"):
        routes.add("POST", path, functools.partial(_absent, server))
    for method in ("POST", "GET"):
        routes.add(method, "/api/blobs/{digest}", functools.partial(_absent, server))
