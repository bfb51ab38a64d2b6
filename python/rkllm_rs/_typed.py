"""Arguments that do not fit a call, and uses that a class lacks, answered with ``InvalidTypeError``."""

from __future__ import annotations

from abc import ABCMeta

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar

    _Kind = TypeVar("_Kind")

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


def typed_class(kind: type[_Kind]) -> type[_Kind]:
    """Decorates a data class: ``typed`` for the ``__init__`` that was made for it."""
    made: Any = kind
    made.__init__ = typed(made.__init__)
    return kind


def expect(name: str, value: object, kinds: type | tuple[type, ...], wanted: str, hint: str) -> None:
    """Refuses an argument of another type.

    Args:
        name: The argument.
        value: Its value.
        kinds: The types that it may have.
        wanted: What these are called, such as ``a str``.
        hint: What to write.

    Raises:
        InvalidTypeError: It has another type.
    """
    if not isinstance(value, kinds):
        from .errors import InvalidTypeError

        message = f"{name} must be {wanted}, got {type(value).__name__}"
        raise InvalidTypeError(message, hint=hint)


class Misuse:
    """Stands in a class for a special method that it does not have, and says what to write instead.

    ``hasattr`` does not find it, since it is an ``AttributeError`` too.
    """

    __slots__ = ("_hint", "_message")

    def __init__(self, message: str, hint: str) -> None:
        """Keeps what is said.

        Args:
            message: What cannot be done; ``{}`` stands for the name of the class.
            hint: What to write.
        """
        self._message = message
        self._hint = hint

    def __get__(self, instance: object, owner: type) -> object:
        from ._keywords import misused

        raise misused(self._message.format(owner.__name__), self._hint)


_HIDDEN = {"__abstractmethods__", "__annotations__", "__getattr__", "_abc_impl"}


class Answering(ABCMeta):
    """The class of classes that answer what programs write for other packages; derived as users may."""

    def __dir__(cls) -> list[str]:
        """What the class has; ``help()`` shows no answers."""
        found = super().__dir__()
        answers = {
            name for base in cls.__mro__ for name, one in vars(base).items() if isinstance(one, Misuse)
        }
        return [name for name in found if name not in _HIDDEN and name not in answers]

    if not TYPE_CHECKING:  # a type checker would take every name for one

        def __getattr__(cls, name: str) -> object:
            """Answers the name of a method of another package with the right one."""
            if name.startswith("_"):
                message = f"type object {cls.__name__!r} has no attribute {name!r}"
                raise AttributeError(message)
            from ._keywords import no_attribute

            raise no_attribute(cls, name)


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
