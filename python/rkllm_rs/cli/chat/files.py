"""Files of a chat: conversations, which other programs can read, and tools, which are Python functions."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from rkllm_rs.chat import saved
from rkllm_rs.chat.tools import Tools
from rkllm_rs.chat.values import is_dict, is_list
from rkllm_rs.cli.reading import read_text
from rkllm_rs.errors import InvalidArgumentError, RkllmError, ToolError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

_ROLES = ("system", "developer", "user", "assistant", "tool")


def save(messages: list[dict[str, Any]], file: str) -> None:
    """Writes messages as a JSON list, in the OpenAI format.

    Raises:
        InvalidArgumentError: The file exists, and is something else than a conversation.
        FileMissingError: The folder does not exist.
        OSError: The file cannot be written.
    """
    path = os.path.expanduser(file)
    if os.path.isdir(path) or (os.path.exists(path) and os.path.getsize(path) and not _is_talk(path)):
        message = f"{file} exists and is not a saved conversation"
        raise InvalidArgumentError(message, hint="Choose another name.")
    saved.replace(path, json.dumps(messages, ensure_ascii=False, indent=1) + "\n")


def _is_talk(path: str) -> bool:
    try:
        load(path)
    except (RkllmError, OSError):
        return False
    return True


def load(file: str) -> list[dict[str, Any]]:
    """Reads messages: a JSON list of them, or what ``Conversation.save()`` writes.

    Raises:
        FileMissingError: There is no such file.
        InvalidArgumentError: It has something else.
        OSError: The file cannot be read.
    """
    try:
        content: Any = json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        if isinstance(error, RkllmError):
            raise
        raise _unfit(file, f"it is not JSON ({error})") from error
    messages: Any = content.get("messages") if is_dict(content) else content
    if not is_list(messages):
        raise _unfit(file, "it must be a list of messages")
    for at, message in enumerate(messages):
        if not is_dict(message) or message.get("role") not in _ROLES:
            raise _unfit(file, f"message {at} must be an object with a role: {', '.join(_ROLES)}")
        content = message.get("content")
        if not isinstance(content, (str, list)) and (content is not None or not message.get("tool_calls")):
            raise _unfit(file, f"the content of message {at} must be text")
    return messages


def _unfit(file: str, reason: str) -> InvalidArgumentError:
    message = f"{file} is not a saved conversation: {reason}"
    return InvalidArgumentError(message, hint="Pass a file that /save wrote.")


def load_tools(file: str) -> Tools:
    """The public functions of a Python file, in their order; or those that its ``__all__`` names.

    Raises:
        FileMissingError: There is no such file.
        ToolError: The file cannot be run, has no functions, or one of them cannot be a tool.
    """
    read_text(file)  # says plainly what is wrong with the file itself
    module = _run(os.path.abspath(os.path.expanduser(file)), file)
    names: Any = getattr(module, "__all__", None)
    if names is None:
        functions = [value for name, value in vars(module).items() if _is_own(module, name, value)]
    else:
        try:
            functions = [getattr(module, name) for name in names]
        except (AttributeError, TypeError) as error:
            message = f"__all__ of {file} must list names of functions in it: {error}"
            raise ToolError(message, hint="Remove the name, or define the function.") from error
    if not functions:
        message = f"{file} has no functions"
        raise ToolError(message, hint="Define functions with type hints and docstrings in it.")
    return Tools(functions)


def _is_own(module: ModuleType, name: str, value: Callable[..., Any] | object) -> bool:
    """Whether something is a public function that the module itself defines."""
    import inspect

    return not name.startswith("_") and inspect.isfunction(value) and value.__module__ == module.__name__


def _run(path: str, file: str) -> ModuleType:
    """Runs a Python file as a module."""
    import importlib.machinery
    import importlib.util

    name = f"rkllm_rs_tools_{os.path.splitext(os.path.basename(path))[0]}"
    loader = importlib.machinery.SourceFileLoader(name, path)
    spec = importlib.util.spec_from_loader(name, loader)
    if spec is None:
        raise RuntimeError  # there is a loader
    module = importlib.util.module_from_spec(spec)
    # Types of annotations are looked up there, and neighbours are imported as by a program.
    sys.modules[name] = module
    sys.path.append(os.path.dirname(path))
    wrote, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:
        line = _line(error, path)
        where = f", line {line}" if line else ""
        reason = error.msg if isinstance(error, SyntaxError) else error
        message = f"{file} cannot be run: {type(error).__name__}: {reason}{where}"
        raise ToolError(message, hint=f"Run `python {file}` to see all of it.") from error
    finally:
        sys.dont_write_bytecode = wrote
    return module


def _line(error: BaseException, path: str) -> int | None:
    """The last line of a file that an error passed."""
    if isinstance(error, SyntaxError):
        return error.lineno
    line, traceback = None, error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == path:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
