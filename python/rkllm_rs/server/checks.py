"""What settings may be: the same for the command, its file, and ``create_app``."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Final, cast, get_args, get_type_hints

from rkllm_rs.errors import InvalidArgumentError, InvalidTypeError

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEXT: Final = (str,)
_WHOLE: Final = (int,)
_NUMBER: Final = (int, float)
_KINDS: Final[dict[str, tuple[type, ...]]] = {
    **dict.fromkeys(("host", "backend", "library", "metrics_compat"), _TEXT),
    **dict.fromkeys(("port", "ollama_port", "queue", "max_context_len", "max_loaded"), _WHOLE),
    **dict.fromkeys(
        (
            "queue_timeout",
            "request_timeout",
            "load_wait",
            "drain_timeout",
            "keep_alive",
            "kill_after",
            "health_timeout",
            "silence_timeout",
        ),
        _NUMBER,
    ),
    **dict.fromkeys(("allow_manage", "insecure"), (bool,)),
}
_LEAST: Final = {
    "queue": 0,
    "queue_timeout": 0,
    "load_wait": 0,
    "drain_timeout": 0,
    "kill_after": 0,
    "health_timeout": 0,
    "silence_timeout": 0,
    "max_context_len": 1,
    "max_loaded": 1,
}
_BACKENDS: Final = ("auto", "npu", "cpu")


def check(holds: object, message: str, hint: str) -> None:
    """Refuses a setting, unless something holds.

    Raises:
        InvalidArgumentError: It does not.
    """
    if not holds:
        raise InvalidArgumentError(message, hint=hint)


def check_types(settings: Mapping[str, object]) -> None:
    """Refuses settings of another type than they have. One that is ``None`` was not given.

    Raises:
        InvalidTypeError: There is one.
    """
    for name, kinds in _KINDS.items():
        if settings.get(name) is not None:
            _check_type(name, settings[name], kinds)


def check_values(settings: Mapping[str, object]) -> None:
    """Refuses settings that are out of range; their types are right. One that is ``None`` was not given.

    Raises:
        InvalidArgumentError: There is one.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if "backend" in given:
        backend = given["backend"]
        check(
            backend in _BACKENDS,
            f'backend must be "auto", "npu" or "cpu", got {backend!r}',
            "Pass one of them.",
        )
    if "metrics_compat" in given:
        names = given["metrics_compat"]
        check(
            names == "vllm",
            f'metrics_compat must be "vllm", got {names!r}',
            "Leave it out for our own names alone.",
        )
    for name, least in _LEAST.items():
        if name in given:
            number = cast("float", given[name])
            check(_is_finite(number), f"{name} must be a finite number, got {number}", "Pass a number.")
            check(number >= least, f"{name} must be at least {least}, got {number}", "Pass a larger one.")
    if "request_timeout" in given:
        whole = cast("float", given["request_timeout"])
        check(
            _is_finite(whole) and whole > 0,
            f"request_timeout must be a number above 0, got {whole}",
            "Leave it out for no limit.",
        )
    if "keep_alive" in given:
        kept = cast("float", given["keep_alive"])
        check(
            _is_finite(kept),
            f"keep_alive must be a finite number, got {kept}",
            "Pass a negative number to keep models for ever.",
        )


def check_given(settings: object) -> None:
    """Refuses fields of ``Settings`` of another type, or out of range.

    Raises:
        InvalidTypeError: A field has another type.
        InvalidArgumentError: A field is out of range.
    """
    declared = get_type_hints(type(settings))
    values: dict[str, object] = {name: getattr(settings, name) for name in declared}
    for name, kind in declared.items():
        if values[name] is None and type(None) not in get_args(kind):
            _check_type(name, None, _KINDS[name])
    check_types(values)
    check_values(values)


def check_limits(limits: object) -> None:
    """Refuses fields of ``Limits`` that are not numbers above 0.

    Raises:
        InvalidTypeError: A field is not a number, or not a whole one.
        InvalidArgumentError: A field is out of range.
    """
    for field in dataclasses.fields(cast("type", limits)):
        value: object = getattr(limits, field.name)
        _check_type(field.name, value, _WHOLE if isinstance(field.default, int) else _NUMBER)
        number = cast("float", value)
        check(
            _is_finite(number) and number > 0,
            f"{field.name} must be a finite number above 0, got {number}",
            "Pass a larger one, or leave it out.",
        )


def check_texts(name: str, values: object) -> None:
    """Refuses what is not a list of texts; a single text would be taken for its letters.

    Raises:
        InvalidTypeError: It is something else.
    """
    listed = (
        list(cast("list[object]", values)) if isinstance(values, (list, tuple, set, frozenset)) else [None]
    )
    if not all(isinstance(one, str) for one in listed):
        example = f"[{values!r}]" if isinstance(values, str) else '["a", "b"]'
        message = f"{name} must be a list of texts, got {values!r}"
        raise InvalidTypeError(message, hint=f"Write a list with each text in quotes, such as `{example}`.")


def _check_type(name: str, value: object, kinds: tuple[type, ...]) -> None:
    if not isinstance(value, kinds) or (bool not in kinds and isinstance(value, bool)):
        kind = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}.get(kinds[-1])
        message = f"{name} must be {kind or f'of type {kinds[-1].__name__}'}, got {value!r}"
        raise InvalidTypeError(message, hint="Write texts in quotes, and numbers without.")


def _is_finite(number: float) -> bool:
    # Unlike math.isfinite, for whole numbers of any size.
    return abs(number) <= sys.float_info.max
