"""How a command ends that cannot do what it was asked for: a message for people, and its exit status."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys

from rkllm_rs.errors import RkllmError, RkllmWarning

from .parsing import UsageError

#: What a write says if the output cannot be written.
_UNWRITTEN = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


def told(error: BaseException, *, debug: bool) -> int:
    """Tells why a command has failed.

    Args:
        error: What was raised.
        debug: Whether the traceback is to be shown.

    Returns:
        The exit status.
    """
    if isinstance(error, OSError) and error.filename is None and error.errno in _UNWRITTEN:
        return _unwritten(error)
    with contextlib.suppress(OSError):
        if debug:
            import traceback

            traceback.print_exception(error)
        sys.stderr.write(_message(error))
        sys.stderr.flush()
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT  # as the shell says of a command that this signal ends
    return 2 if isinstance(error, UsageError) else 1


def _message(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "\nrkllm-rs: stopped\n"
    if isinstance(error, UsageError) and error.usage:
        return f"{error.usage}\nrkllm-rs: {error}\n"
    if isinstance(error, (RkllmError, RkllmWarning)):  # a warning, where Python was told to raise them
        return f"rkllm-rs: {with_options(str(error))}\n"
    if isinstance(error, OSError) and error.filename is not None:
        return f"rkllm-rs: {os.fsdecode(error.filename)}: {error.strerror or error}\n"
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return f"rkllm-rs: {text}; this is a bug in rkllm_rs, and --debug prints the traceback\n"


def with_options(text: str) -> str:
    """A text with the options of this command in place of Python's arguments, such as ``family=``."""
    import re

    from .opening import OPTIONS

    name = "|".join(OPTIONS)
    return re.sub(rf"\b({name})=(True\b|False\b|(?=(\w|\")?))", lambda found: _flag(*found.groups()), text)


def _flag(name: str, switch: str, value: str | None) -> str:
    return ("--no-" if switch == "False" else "--") + name.replace("_", "-") + (" " if value else "")


def _unwritten(error: OSError) -> int:
    """Ends a command whose output nobody takes; gives its status."""
    # What is left in the buffer goes nowhere, and is not tried again at exit.
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    if isinstance(error, BrokenPipeError):
        return 128 + signal.SIGPIPE  # likewise
    with contextlib.suppress(OSError):
        sys.stderr.write(f"rkllm-rs: cannot write the output: {error.strerror}\n")
    return 1
