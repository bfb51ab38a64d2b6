"""Conversations in files."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
from typing import TYPE_CHECKING, Any

from rkllm_rs._types import TURN_KEYWORDS
from rkllm_rs.errors import FileMissingError, InvalidArgumentError, InvalidTypeError, RkllmError

from .history import History
from .values import is_dict, is_list

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rkllm_rs._library import Path

__all__ = ["read", "replace", "write"]

_FORMAT = "rkllm_rs conversation"
_VERSION = 1
#: Keywords that name places of this machine, where a file from another one must not make anything be written.
_HERE = frozenset({"prompt_cache_dir", "prompt_cache_bytes"})


def write(history: History, path: Path) -> None:
    """Writes a conversation to a file, whole or not at all.

    Args:
        history: The conversation.
        path: The file; one that exists is replaced.

    Raises:
        FileMissingError: The folder does not exist.
        InvalidArgumentError: The file cannot be written.
        InvalidTypeError: A message has something that JSON cannot represent.
    """
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "now": history.now,
        "tools": None if history.tools is None else history.tools.schemas,
        "options": {
            name: value for name, value in history.options.items() if name not in _HERE and _is_json(value)
        },
        "messages": history.messages,
    }
    try:
        text = json.dumps(content, ensure_ascii=True, allow_nan=False, indent=1)
    except (TypeError, ValueError, RecursionError) as error:
        message = f"messages must contain only what JSON can represent: {error}"
        raise InvalidTypeError(message, hint="Send text, lists and dicts.") from error
    place = _place(path)
    try:
        replace(place, text + "\n")
    except RkllmError:
        raise
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        message = f"path must be a file that can be written, got {place}: {why}"
        raise InvalidArgumentError(message, hint="Check the path, and who may write there.") from error


def replace(path: str, text: str) -> None:
    """Writes a file that only the user can read, whole or not at all.

    Args:
        path: The file; one that exists is replaced.
        text: What it has from now on.

    Raises:
        FileMissingError: The folder does not exist.
        OSError: The file cannot be written.
    """
    # Where a link leads, so that it stays one.
    target = os.path.realpath(path)
    try:
        number, draft = tempfile.mkstemp(dir=os.path.dirname(target), prefix=".", suffix=".new")
    except FileNotFoundError:
        raise _missing(os.path.dirname(target), "the folder") from None
    try:
        with open(number, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise


def _place(path: Path) -> str:
    try:
        return os.path.expanduser(os.fsdecode(path))
    except TypeError:
        message = f"path must be a str, bytes or os.PathLike, got {type(path).__name__}"
        raise InvalidTypeError(message, hint='Write the path as text, such as "talk.json".') from None


def read(path: Path, tools: Iterable[Any] | None, options: Mapping[str, Any]) -> History:
    """Reads a conversation from a file.

    Args:
        path: The file.
        tools: Tools in place of those in the file.
        options: Keywords that win over those in the file.

    Returns:
        The conversation.

    Raises:
        FileMissingError: There is no such file.
        InvalidArgumentError: The file has no conversation, or one of a later version.
    """
    place = _place(path)
    try:
        with open(place, "rb") as file:
            content: Any = json.loads(file.read())
    except FileNotFoundError:
        raise _missing(place, "the file") from None
    except OSError as error:
        raise _unfit(place, f"it cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise _unfit(place, f"it is not JSON ({error})") from error
    if not is_dict(content) or content.get("format") != _FORMAT:
        raise _unfit(place, f'it has no "format": "{_FORMAT}"')
    version: Any = content.get("version")
    if type(version) is not int or version != _VERSION:
        message = f"path must be a conversation of version {_VERSION}, got version {version!r}: {place}"
        raise InvalidArgumentError(message, hint="Load it with the rkllm_rs that saved it, or a later one.")
    messages: Any = content.get("messages")
    if not is_list(messages) or not all(
        is_dict(message) and isinstance(message.get("role"), str) for message in messages
    ):
        raise _unfit(place, '"messages" must be a list of objects with a "role"')
    kept: Any = content.get("options")
    if not is_dict(kept) or not TURN_KEYWORDS.issuperset(kept):
        raise _unfit(place, '"options" must be an object with keywords of chat()')
    shown: Any = content.get("tools")
    if shown is not None and not (is_list(shown) and all(is_dict(tool) for tool in shown)):
        raise _unfit(place, '"tools" must be null or a list of objects')
    now: Any = content.get("now")
    if isinstance(now, bool) or not isinstance(now, (int, float)):
        raise _unfit(place, '"now" must be a number')
    return History(messages, shown if tools is None else tools, now, kept | dict(options))


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _unfit(place: str, reason: str) -> InvalidArgumentError:
    message = f"path must be a file that save() wrote, got {place}: {reason}"
    return InvalidArgumentError(message, hint="Pass the path of a saved conversation.")


def _missing(place: str, what: str) -> FileMissingError:
    error = FileMissingError(f"{what} does not exist: {place}", hint="Check the path.")
    error.errno = errno.ENOENT
    error.filename = place
    return error
