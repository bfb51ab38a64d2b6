"""Which model a client means, and which errors of models go away by themselves."""

from __future__ import annotations

from rkllm_rs.errors import (
    InvalidArgumentError,
    LibraryNotFoundError,
    ModelFormatError,
    ModelNotFoundError,
    ModelPlatformError,
    ModelVersionError,
    UnsupportedFeatureError,
    UnsupportedRuntimeError,
)

from .errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Final, TypeVar

    _Model = TypeVar("_Model")

_LONGEST_NAME: Final = 200
#: Names that an error lists.
_MOST: Final = 20
_LASTING: Final = (
    InvalidArgumentError,
    LibraryNotFoundError,
    ModelFormatError,
    ModelNotFoundError,
    ModelPlatformError,
    ModelVersionError,
    UnsupportedFeatureError,
    UnsupportedRuntimeError,
)


def check_names(names: Iterable[str]) -> None:
    """Refuses names of models that clients could not send.

    Raises:
        InvalidArgumentError: One is empty, too long, or has what cannot be printed.
    """
    for name in names:
        if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
            message = f"models must have names of 1 to {_LONGEST_NAME} printable characters, got {name!r}"
            raise InvalidArgumentError(message, hint="Choose another name: clients send it as `model`.")


def is_lasting(error: BaseException) -> bool:
    """Whether a model that could not be opened cannot be opened later, either."""
    return isinstance(error, _LASTING)


def lookup(entries: Mapping[str, _Model], name: str) -> _Model:
    """The model of a name, as ``Models.find``."""
    if not name:
        if len(entries) == 1:
            return next(iter(entries.values()))
        raise ApiError(400, "model must be one of those that GET /v1/models lists", param="model")
    plain = name.removesuffix(":latest")
    found = entries.get(name) or entries.get(plain) or entries.get(f"{plain}:latest")
    if found is None and plain.lower() == "default" and entries:
        found = next(iter(entries.values()))
    if found is None:
        lower = plain.lower()
        found = next((entry for key, entry in entries.items() if key.lower() == lower), None)
    if found is None:
        shown = name if len(name) <= 100 else name[:100] + "..."  # noqa: PLR2004 - what a log line bears
        there = ", ".join(list(entries)[:_MOST]) + (", ..." if len(entries) > _MOST else "")
        raise ApiError(
            404,
            f"model {shown!r} not found; the server has {there or 'no models'}",
            type="not_found_error",
            param="model",
            code="model_not_found",
        )
    return found
