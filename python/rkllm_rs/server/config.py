"""What a server is started with: flags before environment variables before a TOML file before defaults."""

from __future__ import annotations

import dataclasses
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

from rkllm_rs.errors import FileMissingError, InvalidArgumentError, InvalidTypeError

from .checks import check, check_types, check_values
from .guard import is_loopback
from .names import check_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Environment variables, by the setting that they are.
VARIABLES: Final = {
    "api_key": "RKLLM_RS_API_KEY",
    "library": "RKLLM_RS_LIB",
    "backend": "RKLLM_RS_BACKEND",
}
_PORTS: Final = 65535


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of ``rkllm-rs serve``; a flag, and a key of the file, for each.

    Attributes:
        models: Paths of the models, by the names that clients use.
        host: The address to listen on.
        port: The port; 0 lets the system choose.
        ollama_port: A second port, for clients that have 11434 built in.
        api_key: API keys; without one, none is asked for.
        backend: ``"auto"``, ``"npu"`` or ``"cpu"``.
        library: Path of the library to load.
        max_context_len: Size of the context window in tokens.
        queue: How many requests may wait.
        queue_timeout: Most seconds that a request waits for its turn.
        request_timeout: Most seconds that a whole request may take; without it there is no limit.
        load_wait: Most seconds that a request without a stream waits for its model to be loaded.
        drain_timeout: Most seconds that requests may go on after the first SIGTERM.
        keep_alive: Seconds that a model stays loaded without requests; negative for ever.
        allowed_hosts: Further names for the ``Host`` header.
        cors_origin: Origins of web pages that may use the server.
        allow_manage: Clients may pull and delete models.
        insecure: Other machines may use the server without a key.
        metrics_compat: ``"vllm"`` adds the names that vLLM gives its figures.
        file: The file that was read, or ``None``.
    """

    models: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    host: str = "127.0.0.1"
    port: int = 8080
    ollama_port: int | None = None
    api_key: Sequence[str] = ()
    backend: str = "auto"
    library: str | None = None
    max_context_len: int | None = None
    queue: int = 32
    queue_timeout: float = 300.0
    request_timeout: float | None = None
    load_wait: float = 120.0
    drain_timeout: float = 30.0
    keep_alive: float | None = None
    allowed_hosts: Sequence[str] = ()
    cors_origin: Sequence[str] = ()
    allow_manage: bool = False
    insecure: bool = False
    metrics_compat: str | None = None
    file: str | None = None

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    def check(self, *, bound: str | None = None) -> None:
        """Refuses what could not be served, or would be served to strangers.

        Args:
            bound: The host that a running server listens on, whatever these settings say.

        Raises:
            InvalidArgumentError: A setting is out of range, there is no model, or other machines could use
                the server without a key.
        """
        check(self.models, "models must not be empty", "Name a model, such as `rkllm-rs serve model.rkllm`.")
        check_names(self.models)
        check(self.host, "host must not be empty", "Pass an address, such as 127.0.0.1.")
        for name in ("port", "ollama_port"):
            port = getattr(self, name)
            if port is not None:
                check(0 <= port <= _PORTS, f"{name} must be 0 to {_PORTS}, got {port}", "Pass another port.")
        check_values(vars(self))
        for host in (bound or self.host, self.host):
            check(
                is_loopback(host) or self.api_key or self.insecure,
                f"host {host} can be reached by other machines, and there is no API key",
                "Pass `--api-key KEY`, or `--insecure` if everyone in the network may use the models.",
            )


#: Settings that have a list, as ``A,B`` in a flag.
_LISTS: Final = ("api_key", "allowed_hosts", "cors_origin")
#: The names of all settings.
NAMES: Final = tuple(field.name for field in dataclasses.fields(Config) if field.name != "file")


def load(
    flags: Mapping[str, Any],
    models: Sequence[str] = (),
    *,
    file: str | None = None,
    environment: Mapping[str, str] | None = None,
    bound: str | None = None,
) -> Config:
    """Puts the settings together.

    Args:
        flags: Settings of the command line; those that are ``None`` were not given.
        models: Models of the command line, as ``MODEL`` or ``NAME=MODEL``. They replace those of the file.
        file: A TOML file.
        environment: Environment variables. Default: those of the process.
        bound: The host that a running server listens on, whatever these settings say.

    Returns:
        The settings, checked.

    Raises:
        InvalidArgumentError: One of them cannot be used.
        FileMissingError: There is no such file.
    """
    environment = os.environ if environment is None else environment
    settings = {} if file is None else _read(file)
    for name, variable in VARIABLES.items():
        if environment.get(variable):
            settings[name] = environment[variable]
    settings.update((name, value) for name, value in flags.items() if value is not None)
    if models:
        settings["models"] = _named(models)
    for name in _LISTS:
        if name in settings:
            settings[name] = _list(name, settings[name])
    check_types(settings)
    config = Config(**settings, file=file)
    config.check(bound=bound)
    return config


def _read(file: str) -> dict[str, Any]:
    """The settings in a file; paths in it begin at its folder."""
    toml: Any = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    data: dict[str, Any]
    try:
        with open(file, "rb") as opened:
            data = toml.load(opened)
    except FileNotFoundError as error:
        missing = FileMissingError(f"there is no file {file}", hint="Check the path of --config.")
        missing.filename, missing.errno = file, error.errno
        raise missing from error
    except ValueError as error:
        message = f"{file} is not TOML: {error}"
        raise InvalidArgumentError(message, hint="Correct the file.") from error
    except OSError as error:
        message = f"{file} cannot be read: {error.strerror}"
        raise InvalidArgumentError(message, hint="Check the path of --config and its rights.") from error
    settings = {name.replace("-", "_"): value for name, value in data.items()}
    for name in settings:
        check(
            name in NAMES,
            f"{file} has an unknown setting, {name.replace('_', '-')!r}",
            f"Use these: {', '.join(NAMES).replace('_', '-')}.",
        )
    folder = os.path.dirname(os.path.abspath(file))
    if "models" in settings:
        settings["models"] = {
            str(name): _below(folder, path) for name, path in _table(file, settings["models"]).items()
        }
    if isinstance(settings.get("library"), str):
        settings["library"] = _below(folder, settings["library"])
    return settings


def _table(file: str, models: object) -> dict[str, str]:
    """The table of models in a file."""
    table = cast("dict[str, object]", models) if isinstance(models, dict) else {}
    check(
        table and all(isinstance(path, str) and path for path in table.values()),
        f"models in {file} must be a table of names and paths",
        'Write `[models]`, and below it lines such as `qwen3 = "qwen3.rkllm"`.',
    )
    return cast("dict[str, str]", table)


def _below(folder: str, path: str) -> str:
    """A path of the file; a name of a model stays one."""
    if path.startswith("hub:"):
        return path
    whole = os.path.normpath(os.path.join(folder, os.path.expanduser(path)))
    return whole if os.path.exists(whole) or os.sep in path else path


def _named(models: Sequence[str]) -> dict[str, str]:
    """The models of a command line, by name."""
    found: dict[str, str] = {}
    for word in models:
        name, equals, path = word.partition("=")
        if not equals or "/" in name or os.path.exists(word):
            name, path = _name_of(word), word
        check(name and path, f"{word!r} must be MODEL or NAME=MODEL", "Write it as `qwen3=qwen3.rkllm`.")
        check(name not in found, f"there are two models named {name!r}", "Name them with NAME=MODEL.")
        found[name] = path
    return found


def _name_of(path: str) -> str:
    """The name of a model that has none: that of its file, without ending."""
    name = os.path.basename(os.path.normpath(path))
    for ending in (".rkllm", ".gguf"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def _list(name: str, value: object) -> tuple[str, ...]:
    """A setting with several values."""
    if isinstance(value, str):
        # A key is one, whatever is in it.
        return (
            (value,)
            if name == "api_key"
            else tuple(part.strip() for part in value.split(",") if part.strip())
        )
    values = cast("list[object]", value) if isinstance(value, (list, tuple)) else [None]
    if not all(isinstance(one, str) for one in values):
        message = f"{name} must be a text or a list of texts, got {value!r}"
        raise InvalidTypeError(message, hint="Write each in quotes.")
    texts = cast("list[str]", values)
    return tuple(texts) if name == "api_key" else tuple(part for text in texts for part in _list(name, text))
