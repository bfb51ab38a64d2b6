"""Arguments that do not fit a call, answered with ``InvalidTypeError`` in place of ``TypeError``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar

    from typing_extensions import ParamSpec

    from .errors import InvalidTypeError

    _Arguments = ParamSpec("_Arguments")
    _Result = TypeVar("_Result")


#: The functions that were decorated, by name, such as ``RKLLM.chat``: what they take is told from here.
CALLS: dict[str, Any] = {}

_COROUTINE = 0x80  # of a function's co_flags


def typed(call: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Decorates a function: arguments that do not fit it are answered with ``InvalidTypeError``.

    ``generate`` and ``stream`` do without, since it costs a call of a function: see ``takes_keywords``.

    Args:
        call: A function or method, or an ``__init__``.

    Returns:
        One that does the same, and names the right keyword in place of a wrong one.
    """

    def checked(*arguments: Any, **keywords: Any) -> Any:
        try:
            return call(*arguments, **keywords)
        except TypeError as error:
            if _is_of_call(error):
                raise _misfit(call, arguments, keywords, error) from None
            raise

    async def checked_later(*arguments: Any, **keywords: Any) -> Any:
        try:
            begun: Any = call(*arguments, **keywords)
        except TypeError as error:
            raise _misfit(call, arguments, keywords, error) from None
        return await begun

    function: Any = call
    CALLS[function.__qualname__] = function
    made: Any = checked_later if function.__code__.co_flags & _COROUTINE else checked
    for name in ("__module__", "__name__", "__qualname__", "__doc__", "__annotations__"):
        setattr(made, name, getattr(call, name))
    made.__wrapped__ = call
    decorated: Callable[_Arguments, _Result] = made
    return decorated


def _is_of_call(error: TypeError) -> bool:
    """Whether Python raised it where a function was called, and not the function."""
    traceback = error.__traceback__
    return traceback is not None and traceback.tb_next is None


def _misfit(
    call: Any, arguments: tuple[object, ...], keywords: Mapping[str, object], error: TypeError
) -> InvalidTypeError:
    from ._keywords import misfit

    return misfit(call, len(arguments), keywords, error)


def refuse(function: str, unknown: Mapping[str, object]) -> None:
    """Refuses keywords that a call does not have.

    Args:
        function: The call's name, with that of its class.
        unknown: The keywords; usually there are none.

    Raises:
        InvalidTypeError: There is one.
    """
    if unknown:
        from ._keywords import unexpected

        raise unexpected(function, next(iter(unknown)))


def taken(function: str, given: _Result, surplus: tuple[object, ...], options: Mapping[str, Any]) -> _Result:
    """Finds the input of a call that takes one, where it was given by its name, or where there is too much.

    Args:
        function: The call's name, with that of its class.
        given: The input, ``...`` if it was given by its name.
        surplus: What was given after the input without a name.
        options: The keywords of the call, from which it is taken.

    Returns:
        The input.

    Raises:
        InvalidTypeError: There is more than one.
    """
    from . import _keywords

    if surplus:
        raise _keywords.surplus(function, ["input"], 1 + len(surplus))
    if given is not ...:
        raise _keywords.twice(function, "input")
    keywords: Any = options
    named: _Result = keywords.pop("input")
    return named
