"""The answer to a keyword that a call does not have: the right name, as far as it can be told."""

from __future__ import annotations

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
TURNS = {"run_tools", "conversation", "Conversation.send"}


def unexpected(function: str, name: str) -> InvalidTypeError:
    """Makes the error for a keyword that a call does not have.

    Args:
        function: The call's name, or that of the class.
        name: The keyword.

    Returns:
        The error, with the right name in its hint.
    """
    message = f"{function}() got an unexpected keyword argument {name!r}"
    return InvalidTypeError(message, hint=_hint(function, name))


def missing(function: str, name: str) -> InvalidTypeError:
    """Makes the error for an argument that a call needs and was not given.

    Args:
        function: The call's name, or that of the class.
        name: The argument.

    Returns:
        The error.
    """
    return InvalidTypeError(f"{function}() needs the argument {name!r}", hint=f"See {_help(function)}.")


def surplus(function: str, names: Sequence[str], count: int) -> InvalidTypeError:
    """Makes the error for more arguments without a name than a call takes.

    Args:
        function: The call's name, or that of the class.
        names: The arguments that need no name.
        count: How many were given.

    Returns:
        The error.
    """
    if not names:
        taken, hint = "no positional arguments", f"See {_help(function)}."
    else:
        taken = "1 positional argument" if len(names) == 1 else f"{len(names)} positional arguments"
        hint = f"Pass everything after {names[-1]} by name. See {_help(function)}."
    return InvalidTypeError(f"{function}() takes {taken}, got {count}", hint=hint)


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
    kind, _, function = call.__qualname__.rpartition(".")
    if kind:
        count -= 1
        del positional[0]
    if function == "__init__":
        function = kind
    own, _ = _names(function)
    for name in keywords:
        if name not in own:
            return unexpected(function, name)
    names = [one.name for one in positional]
    if count > len(names):
        return surplus(function, names, count)
    for name in keywords:
        if name in names[:count]:
            message = f"{function}() got the argument {name!r} twice"
            return InvalidTypeError(message, hint=f"Pass {name} by its position or by its name.")
    for one in positional[count:]:
        if one.default is one.empty and one.name not in keywords:
            return missing(function, one.name)
    return InvalidTypeError(str(error), hint=f"See {_help(function)}.")


def _help(function: str) -> str:
    return f"help(rkllm_rs.{_whole(function)})"


def _whole(function: str) -> str:
    """The name of a call with that of its class, where it is a method."""
    from . import _native
    from .llm import RKLLM

    if hasattr(RKLLM, function):
        return f"RKLLM.{function}"
    kind = function.partition(".")[0]
    known = {"RKLLM", "AsyncRKLLM", "Conversation"}
    return function if kind in known or hasattr(_native, kind) else f"AsyncRKLLM.{function}"


def _own(call: Callable[..., Any]) -> list[str]:
    """The arguments that can be given by name."""
    import inspect

    parameters = inspect.signature(call).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [one.name for one in parameters if one.kind in kinds and one.name != "self"]


def _hint(function: str, name: str) -> str:
    import difflib

    from ._aliases import ADVICE, SAME

    own, others = _names(function)
    same = SAME.get(name, ())
    for right in same:
        if right in own:
            return f"Use {right}."
    if name not in others and name not in ADVICE:
        for right in _near(name, own):
            return f"Did you mean {right}? See {_help(function)}."
    for right in (name, *same):
        if right in others:
            return f"{right} is an argument of {others[right]}, not of {function}()."
    if name in ADVICE:
        return ADVICE[name]
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
    from .llm import RKLLM

    opening = _own(RKLLM.__init__)
    generating = _own(prompted)
    if function in {"RKLLM", "AsyncRKLLM"}:
        others = dict.fromkeys(_own(RKLLM.chat), "chat() and chat_stream()")
        return opening, others | dict.fromkeys(generating, "generate() and stream()")
    others = dict.fromkeys(opening, "RKLLM()") | dict.fromkeys(_own(RKLLM.chat), "chat() and chat_stream()")
    others |= dict.fromkeys(generating, "generate() and stream()")
    if function in {"generate", "stream"}:
        return generating, others
    found: Any = RKLLM if hasattr(RKLLM, function) else _native
    for part in function.split("."):
        found = getattr(found, part, None)
    own = [] if found is None else _own(found)
    if function in {"generate_batch", "stream_batch"}:
        own += generating[1:]
    elif function == "steps":
        own += [name for name in generating[1:] if name != "keep_history"]
    elif function in {"chat", "chat_stream"}:
        own += sorted(CHAT_KEYWORDS)
    elif function in TURNS:
        own += sorted(TURN_KEYWORDS)
        own += ["text", "max_rounds"] if function == "Conversation.send" else []
    elif function in ROWS:
        own += RowOptions.__annotations__
    return own, others
