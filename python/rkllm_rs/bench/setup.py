"""What is compared: each model with each backend, library and choice of settings."""

from __future__ import annotations

import collections.abc
import inspect as signatures
import itertools
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rkllm_rs import models
from rkllm_rs.errors import InvalidArgumentError, InvalidTypeError
from rkllm_rs.llm import RKLLM

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rkllm_rs._library import Path

BACKENDS = ("auto", "npu", "cpu")
#: What the benchmark itself decides, or what cannot be said in a word.
_OURS = frozenset(
    {
        "self",
        "model",
        "backend",
        "library",
        "sampling",
        "max_new_tokens",
        "isolate",
        "restart",
        "kill_after",
        "open_timeout",
        "vendor_log",
        "tokenizer",
        "embedder",
        "logit_bias",
        "use_cross_attn",
        "unknown",
    }
)
SETTINGS = tuple(name for name in signatures.signature(RKLLM.__init__).parameters if name not in _OURS)
_KINDS = {"rkllm": "npu", "gguf": "cpu"}


@dataclass(frozen=True)
class Setup:
    """A model, and how it is opened."""

    model: str
    path: str
    backend: str = "auto"
    library: str | None = None
    settings: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def short(self) -> str:
        """The model without its folders."""
        return os.path.basename(self.model.rstrip("/"))

    def given(self) -> dict[str, Any]:
        """What was given besides model and backend."""
        return ({"library": self.library} if self.library else {}) | self.settings


def setups(
    given: Path | Iterable[Path],
    backends: str | Iterable[str],
    libraries: Path | Iterable[Path] | None,
    settings: Mapping[str, Any] | Iterable[Mapping[str, Any]],
) -> list[Setup]:
    """All combinations, model by model.

    With several backends, those are left out that a model's file is known not to run on.
    """
    names = [_path("models", one) for one in _listed(given)]
    ways = [backends] if isinstance(backends, str) else list(backends)
    for way in ways:
        if way not in BACKENDS:
            message = f'backends must be "auto", "npu" or "cpu", got {way!r}'
            raise InvalidArgumentError(message, hint='Pass "auto", or omit it.')
    files = [None] if libraries is None else [_path("libraries", one) for one in _listed(libraries)]
    variants = _variants(settings)
    for name in itertools.chain.from_iterable(variants):
        if name not in SETTINGS:
            message = f"settings must be arguments of RKLLM, got {name!r}"
            raise InvalidArgumentError(message, hint=f"The settings are {', '.join(SETTINGS)}.")
    for what, found in (("models", names), ("backends", ways), ("libraries", files), ("settings", variants)):
        if not found:
            message = f"{what} must not be empty"
            raise InvalidArgumentError(message, hint=f"Pass at least one, or omit {what}.")
    return [
        Setup(name, path, way, file, variant)
        for name, path in [(name, _found(name)) for name in names]
        for way in _possible(path, ways)
        for file in files
        for variant in variants
    ]


def _found(name: str) -> str:
    """The file of a model: its path, with or without the suffix, or its name."""
    path = os.path.expanduser(name)
    files = [path + suffix for suffix in (".rkllm", ".gguf") if os.path.isfile(path + suffix)]
    return files[0] if files and not os.path.exists(path) else models.find(name)


def _possible(path: str, ways: list[str]) -> list[str]:
    """The backends that a model may run on; all of them where its file does not tell."""
    kind = models.inspect(path).kind
    if kind not in _KINDS:
        return ways
    return [way for way in ways if way in ("auto", _KINDS[kind])] or ways


def _variants(settings: Any) -> list[dict[str, Any]]:
    if isinstance(settings, collections.abc.Mapping):
        settings = [settings]
    return [dict(one) for one in settings]


def _listed(given: Any) -> list[Any]:
    several = hasattr(given, "__iter__") and not isinstance(given, (str, bytes))
    return list(given) if several else [given]


def _path(name: str, given: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> str:
    if not isinstance(given, (str, bytes, os.PathLike)):  # pyright: ignore[reportUnnecessaryIsInstance]
        message = f"{name} must be paths, got {type(given).__name__}"
        raise InvalidTypeError(message, hint='Pass a path, such as "model.rkllm", or a list of them.')
    return os.fsdecode(given)


def counts(name: str, given: Any, *, least: int = 1) -> tuple[int, ...]:
    """Checks one number or several."""
    found: tuple[Any, ...] = tuple(given) if hasattr(given, "__iter__") else (given,)
    for one in found:
        if isinstance(one, bool) or not isinstance(one, int):
            message = f"{name} must be whole numbers, got {type(one).__name__}"
            raise InvalidTypeError(message, hint=f"Pass a number, {least} or more, or a list of them.")
        if not least <= one < 1_000_000:  # noqa: PLR2004 - more than any model takes
            message = f"{name} must be {least} or more, and less than 1000000, got {one}"
            raise InvalidArgumentError(message, hint=f"Pass a number, {least} or more.")
    if not found:
        message = f"{name} must not be empty"
        raise InvalidArgumentError(message, hint=f"Pass a number, {least} or more.")
    return found
