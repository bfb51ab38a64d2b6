"""The answer to a keyword that a call does not have: the right name, as far as it can be told."""

from __future__ import annotations

from ._typed import CALLS
from .errors import InvalidTypeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

#: How like two names must be, from 0 to 1, for one to be a slip for the other: "widht" for "width".
NEAR = 0.8

#: The calls that give rows of floats, which have the same keywords.
ROWS = {
    "logits",
    "logits_batch",
    "stream_logits",
    "hidden_states",
    "hidden_states_batch",
    "stream_hidden_states",
}

#: The calls that take the keywords of chat() for one turn, or for all turns of a conversation.
TURNS = {"run_tools", "conversation", "send", "send_stream", "load"}

#: Where programs find functions and classes that are not in the package itself.
PLACES = ("bench", "models", "runtimes", "chat.tools")

#: The calls whose keywords are those of ``prompted``.
PROMPTED = {f"{kind}.{name}" for kind in ("RKLLM", "AsyncRKLLM") for name in ("generate", "stream")}

#: The classes that stand for a model that is asked.
MODELS = {"RKLLM", "AsyncRKLLM"}


def unexpected(function: str, name: str) -> InvalidTypeError:
    """Makes the error for a keyword that a call does not have.

    Args:
        function: The call's name with that of its class, or the class. ``RKLLM`` need not be named.
        name: The keyword.

    Returns:
        The error, with the right name in its hint.
    """
    message = f"{_shown(function)}() got an unexpected keyword argument {name!r}"
    return InvalidTypeError(message, hint=_hint(_whole(function), name))


def missing(function: str, name: str) -> InvalidTypeError:
    """Makes the error for an argument that a call needs and was not given.

    Args:
        function: The call's name with that of its class, or the class. ``RKLLM`` need not be named.
        name: The argument.

    Returns:
        The error.
    """
    message = f"{_shown(function)}() needs the argument {name!r}"
    if name == "tools":
        return InvalidTypeError(message, hint="Pass a list of functions, such as tools=[get_weather].")
    return InvalidTypeError(message, hint=f"See {_help(function)}.")


def surplus(function: str, names: Sequence[str], count: int) -> InvalidTypeError:
    """Makes the error for more arguments without a name than a call takes.

    Args:
        function: The call's name with that of its class, or the class. ``RKLLM`` need not be named.
        names: The arguments that need no name.
        count: How many were given.

    Returns:
        The error.
    """
    if not names:
        own, _ = _names(_whole(function))
        taken = "no positional arguments"
        fix = "Pass every argument by name." if own else "Call it without arguments."
        hint = f"{fix} See {_help(function)}."
    else:
        taken = "1 positional argument" if len(names) == 1 else f"{len(names)} positional arguments"
        hint = f"Pass everything after {names[-1]} by name. See {_help(function)}."
    return InvalidTypeError(f"{_shown(function)}() takes {taken}, got {count}", hint=hint)


def twice(function: str, name: str) -> InvalidTypeError:
    """Makes the error for an argument that was given by its position and by its name.

    Args:
        function: The call's name with that of its class, or the class. ``RKLLM`` need not be named.
        name: The argument.

    Returns:
        The error.
    """
    message = f"{_shown(function)}() got the argument {name!r} twice"
    return InvalidTypeError(message, hint=f"Pass {name} by its position or by its name.")


class _MisuseError(InvalidTypeError, AttributeError):
    """A special method that a class does not have: ``hasattr`` must not find it."""


_MisuseError.__name__ = _MisuseError.__qualname__ = "InvalidTypeError"
_MisuseError.__module__ = InvalidTypeError.__module__


def misused(message: str, hint: str) -> InvalidTypeError:
    """Makes the error for a use that a class does not have.

    Args:
        message: What cannot be done.
        hint: What to write.

    Returns:
        The error, which is an ``AttributeError`` too.
    """
    return _MisuseError(message, hint=hint)


def awaited(stream: str) -> InvalidTypeError:
    """Makes the error for a stream that is awaited.

    Args:
        stream: The class of the stream.

    Returns:
        The error.
    """
    message = f"{stream} cannot be used with await"
    return InvalidTypeError(
        message, hint="Write `async for item in stream:`, without await before the stream."
    )


def not_made(kind: str) -> InvalidTypeError:
    """Makes the error for a class that programs do not call.

    Args:
        kind: The class.

    Returns:
        The error, with what returns its objects.
    """
    from ._aliases import MADE_BY

    return InvalidTypeError(f"{kind}() cannot be called", hint=f"Use {MADE_BY[kind]}.")


def no_attribute(model: object, name: str) -> AttributeError:
    """Makes the error for a method that a model does not have.

    Args:
        model: The model, or its class.
        name: The method.

    Returns:
        The error, with the method that other packages call so.
    """
    from ._aliases import METHODS

    if isinstance(model, type):
        message = f"type object {model.__name__!r} has no attribute {name!r}"
    else:
        message = f"{type(model).__name__!r} object has no attribute {name!r}"
    if name in METHODS:
        return AttributeError(f"{message}; use {METHODS[name]}")
    # With these, Python names the nearest attribute.
    return AttributeError(message, name=name, obj=model)


def no_result(result: object, name: str) -> AttributeError:
    """Makes the error for an attribute that a result does not have.

    Args:
        result: An answer, a part of one, a stream, or statistics.
        name: The attribute.

    Returns:
        The error, with the attribute that other packages call so.
    """
    message = f"{type(result).__name__!r} object has no attribute {name!r}"
    if right := _of_result(type(result), name):
        return AttributeError(f"{message}; use {right}")
    return AttributeError(message, name=name, obj=result)


def no_item(result: object, key: object) -> InvalidTypeError:
    """Makes the error for a result that is used as a dict or a list.

    Args:
        result: An answer, or a part of one.
        key: What stands in the brackets.

    Returns:
        The error, with an attribute to use.
    """
    kind = type(result)
    right = key if isinstance(key, str) and hasattr(kind, key) else _of_result(kind, str(key))
    right = right or _of_result(kind, "text") or "name"
    message = f"{kind.__name__} cannot be used with [{key!r}]"
    return InvalidTypeError(message, hint=f"It has attributes: use .{right}.")


def _of_result(kind: type, name: str) -> str | None:
    """What a class of results has for a name of another package, or of a method of ``str``."""
    from ._aliases import RESULTS

    for right in RESULTS.get(name, ()):
        if hasattr(kind, right.partition(".")[0].partition("(")[0].partition("[")[0]):
            return right
    for text in ("content", "text"):
        if hasattr(kind, text):
            if name == text:
                return text
            return f"{text}.{name}()" if not name.startswith("_") and hasattr(str, name) else None
    return None


def no_name(module: str, name: str) -> AttributeError:
    """Makes the error for a name that the package does not have.

    Args:
        module: The package.
        name: The name.

    Returns:
        The error, with what other packages call so.
    """
    from ._aliases import NAMES

    message = f"module {module!r} has no attribute {name!r}"
    return AttributeError(f"{message}; use {NAMES[name]}" if name in NAMES else message)


def misfit(
    call: Callable[..., Any], count: int, keywords: Iterable[str], error: TypeError
) -> InvalidTypeError:
    """Makes the error for a function whose arguments do not fit it.

    Args:
        call: The function, a method or an ``__init__``.
        count: How many arguments it was called with that have no name, ``self`` included.
        keywords: The names of the others.
        error: What Python says of that.

    Returns:
        The error, with what to write instead in its hint.
    """
    import inspect

    parameters = inspect.signature(call).parameters.values()
    positional = [one for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    name = call.__qualname__.removesuffix(".__init__").removesuffix(".__new__")
    function = _place(call.__module__) + name
    if "." in call.__qualname__:
        count -= 1
        del positional[0]
    own, _ = _names(_whole(function))
    for name in keywords:
        if name not in own:
            return unexpected(function, name)
    names = [one.name for one in positional]
    if count > len(names):
        return surplus(function, names, count)
    for name in keywords:
        if name in names[:count]:
            return twice(function, name)
    named = [one for one in parameters if one.kind is one.KEYWORD_ONLY]
    for one in (*positional[count:], *named):
        if one.default is one.empty and one.name not in keywords:
            return missing(function, one.name)
    return InvalidTypeError(str(error), hint=f"See {_help(function)}.")


def _place(module: str) -> str:
    """What stands before the names that programs import from a module of this package."""
    room = module.partition(".")[2].partition(".")[0]
    if room in PLACES:
        return f"{room}."
    conversations = module.endswith("conversation")
    return "chat.tools." if module.startswith("rkllm_rs.chat") and not conversations else ""


def _help(function: str) -> str:
    return f"help(rkllm_rs.{_whole(function)})"


def _whole(function: str) -> str:
    """The name of a call with that of its class: a method without one is a model's."""
    method = f"RKLLM.{function}"
    return method if method in CALLS or method in PROMPTED else function


def _shown(function: str) -> str:
    """The name of a call as programs write it, such as ``chat`` or ``Runtime.load``."""
    kind, _, name = _defined(function).rpartition(".")
    return f"{kind}.{name}" if name == "load" and kind else name


def _own(call: Callable[..., Any]) -> list[str]:
    """The arguments that can be given by name."""
    import inspect

    parameters = inspect.signature(call).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [one.name for one in parameters if one.kind in kinds and one.name not in ("self", "_cls")]


def _hint(function: str, name: str) -> str:
    import difflib

    from ._aliases import ADVICE, OPENING, SAME

    own, others = _names(function)
    same = SAME.get(name, ())
    for right in same:
        if right in own:
            return f"Use {right}."
    advice = {**ADVICE, **(OPENING if function in MODELS else {})}
    if name not in others and name not in advice:
        for right in _near(name, own):
            return f"Did you mean {right}? See {_help(function)}."
    for right in (name, *same):
        if right in others:
            return f"{right} is an argument of {others[right]}, not of {_shown(function)}()."
    if name in advice:
        return advice[name]
    for right in difflib.get_close_matches(name.lower(), others, 1, NEAR):
        return f"Did you mean {right}, an argument of {others[right]}?"
    return f"See {_help(function)}."


def _near(name: str, own: list[str]) -> Iterator[str]:
    """The arguments of a call that a name may be a slip for, or the beginning of."""
    import difflib

    from ._aliases import SAME

    yield from difflib.get_close_matches(name.lower(), own, 1, NEAR)
    for near in difflib.get_close_matches(name.lower(), SAME, 1, NEAR):
        yield from (right for right in SAME[near] if right in own)
    begun = [right for right in own if right.startswith(f"{name}_")]
    yield from begun if len(begun) == 1 else ()


def _names(function: str) -> tuple[list[str], dict[str, str]]:
    """The keywords that a call has, and those of others with where they belong."""
    from . import _native
    from ._types import CHAT_KEYWORDS, TURN_KEYWORDS, RowOptions, prompted

    generating = _own(prompted)
    chatting = [*_own(CALLS["RKLLM.chat"]), *sorted(CHAT_KEYWORDS)]
    kind, _, method = function.rpartition(".")
    model = "AsyncRKLLM" if kind.startswith("Async") or function == "AsyncRKLLM" else "RKLLM"
    others = dict.fromkeys(_own(CALLS["RKLLM.__init__"]), f"{model}()")
    others |= dict.fromkeys(chatting, "chat() and chat_stream()")
    others |= dict.fromkeys(generating, "generate() and stream()")
    others |= dict.fromkeys((name for name in generating if name in chatting), "generate() and chat()")
    if function in PROMPTED:
        return generating, others
    defined = _defined(function)
    made: Any = CALLS.get(f"{defined}.__init__") or CALLS.get(f"{defined}.__new__")
    found: Any = made or CALLS.get(defined)
    if found is None:
        found = _native
        for part in function.split("."):
            found = getattr(found, part, None)
    own = [] if found is None else _own(found)
    if function.startswith(PLACES):
        return own, {}
    if method in {"generate_batch", "stream_batch"}:
        own += generating[1:]
    elif method == "steps":
        own += [name for name in generating[1:] if name != "keep_history"]
    elif method in {"chat", "chat_stream"}:
        own += sorted(CHAT_KEYWORDS)
    elif method in TURNS and kind != "Runtime":
        own += sorted(TURN_KEYWORDS)
    elif method in ROWS:
        own += RowOptions.__annotations__
    return own, others


def _defined(function: str) -> str:
    """The name of a function in its module."""
    for place in PLACES:
        function = function.removeprefix(f"{place}.")
    return function
