"""What ``rkllm-rs serve`` does: settings, app, sockets, and a new look at the file on SIGHUP."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any, Final

from . import config as settings_of
from . import logs, running

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .app import App
    from .config import Config

_LOG: Final = logging.getLogger("rkllm_rs.server")
#: The settings that a flag can have.
SETTINGS: Final = settings_of.NAMES


#: Those that need a new process, whatever the file says.
_FIXED: Final = ("host", "port", "ollama_port", "backend", "library", "max_context_len", "drain_timeout")
#: Those that are fields of ``Settings``, and that a running server takes.
_TAKEN: Final = (
    "queue",
    "queue_timeout",
    "request_timeout",
    "load_wait",
    "keep_alive",
    "allow_manage",
    "metrics_compat",
)


def run(flags: Mapping[str, Any], models: Sequence[str] = (), *, file: str | None = None) -> int:
    """Serves until SIGTERM.

    Args:
        flags: Settings that were given, by name.
        models: Models that were given, as ``MODEL`` or ``NAME=MODEL``.
        file: A TOML file with the other settings.

    Returns:
        The exit status.

    Raises:
        RkllmError: A setting cannot be used, a model is not there or is none, or uvicorn is not installed.
    """
    config = settings_of.load(flags, models, file=file)
    running.check_installed()
    with logs.to_stderr():
        return _run(config, flags, models, file)


def _run(config: Config, flags: Mapping[str, Any], models: Sequence[str], file: str | None) -> int:
    app = _app(config)
    ports = [config.port] if config.ollama_port is None else [config.port, config.ollama_port]
    sockets = running.listen(config.host, ports)
    _warn(config, loopback=config.loopback)

    def reload() -> None:
        _apply(app, config, settings_of.load(flags, models, file=file, bound=config.host))

    return running.serve(app, sockets, drain_timeout=config.drain_timeout, on_reload=reload)


def _app(config: Config) -> App:
    from . import create_app

    options: dict[str, Any] = {}
    if config.max_context_len is not None:
        options["max_context_len"] = config.max_context_len
    return create_app(
        _paths(config),
        api_key=list(config.api_key),
        loopback=config.loopback,
        allowed_hosts=config.allowed_hosts,
        cors_origins=config.cors_origin,
        backend=config.backend,
        library=config.library,
        **_taken(config),
        **options,
    )


def _taken(config: Config) -> dict[str, Any]:
    return {name: getattr(config, name) for name in _TAKEN}


def _warn(config: Config, *, loopback: bool) -> None:
    if config.insecure and not loopback and not config.api_key:
        _LOG.warning("everyone in the network can use the models: there is no API key")


def _paths(config: Config) -> dict[str, str]:
    """The files of the models, which must be there, and be models where the files choose the library."""
    from rkllm_rs import models
    from rkllm_rs.errors import ModelFormatError

    paths = {name: str(models.find(path)) for name, path in config.models.items()}
    for path in paths.values() if config.library is None and config.backend == "auto" else ():
        found = models.inspect(path)
        if not found.loadable:
            problem = found.problems[0]
            message = f"cannot serve the model {path}: {problem.summary}"
            raise ModelFormatError(message, hint=problem.fix)
    return paths


def _apply(app: App, started: Config, new: Config) -> None:
    """Gives a running server the settings that it can take; requests under way are not touched."""
    paths = _paths(new)
    app.guard.update(
        keys=new.api_key,
        loopback=started.loopback,
        allowed_hosts=new.allowed_hosts,
        cors_origins=new.cors_origin,
    )
    app.server.take(dataclasses.replace(app.server.settings, **_taken(new)))
    app.server.models.replace(paths, keep_alive=new.keep_alive)
    for name in _FIXED:
        if getattr(started, name) != getattr(new, name):
            _LOG.warning("the setting %s is taken when the server is started again", name)
    _warn(new, loopback=started.loopback)
    _LOG.info("the settings were read again; there are %d models", len(paths))
