"""The processes of this machine that have a library of RKLLM loaded, and their models, read from /proc.

Nothing here waits for another process. What cannot be read is left out: processes end meanwhile, and those of
other users are theirs.
"""

from __future__ import annotations

import itertools
import os
from typing import Any

_MODELS = (".rkllm", ".gguf")


def processes(root: str = "/proc") -> tuple[list[dict[str, Any]], int]:
    """Looks for processes that have a library of RKLLM loaded.

    Args:
        root: Where the system shows its processes.

    Returns:
        What is known of each, and how many processes could not be looked into.
    """
    found: list[dict[str, Any]] = []
    hidden = 0
    try:
        numbers = sorted(int(name) for name in os.listdir(root) if name.isdecimal())
    except OSError:
        return [], 0
    for pid in numbers:
        words = _words(root, pid)
        if not words or pid == os.getpid():  # it has ended, or is the kernel's
            continue
        worker = _worker_of(words)
        try:
            mapped = _mapped(root, pid, unnamed=worker is not None)
        except PermissionError:
            hidden += 1
            continue
        except OSError:
            continue
        library = next((path for path in mapped if _is_library(path)), None)
        if library is not None or worker is not None:
            found.append(_process(root, pid, words, library, mapped))
    return found, hidden


def _process(root: str, pid: int, words: list[str], library: str | None, mapped: list[str]) -> dict[str, Any]:
    parent = _worker_of(words)
    model, told_by = next((path for path in mapped if path.endswith(_MODELS)), None), "memory map"
    if model is None:
        model, told_by = _opened(root, pid), "open file"
    if model is None:
        # A worker is told its model by the program that started it.
        asked = pid if parent is None else parent
        model, told_by = (
            _named(root, asked, words if parent is None else _words(root, parent)),
            "command line",
        )
    return {
        "pid": pid,
        "user": user(_owner(root, pid)),
        "program": words,
        "model": model,
        "model_from": told_by if model is not None else None,
        "library": library,
        "worker_of": parent,
        "resident_bytes": _resident(root, pid),
    }


def user(uid: int | None) -> str | None:
    """The name of a user; the number for one of another machine's, or of a container."""
    import pwd

    if uid is None:
        return None
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _read(path: str) -> bytes:
    with open(path, "rb") as opened:
        return opened.read()


def _words(root: str, pid: int) -> list[str]:
    """The command line of a process; empty if it has ended."""
    try:
        data = _read(f"{root}/{pid}/cmdline")
    except OSError:
        return []
    return [os.fsdecode(word) for word in data.rstrip(b"\0").split(b"\0") if word]


def _mapped(root: str, pid: int, *, unnamed: bool) -> list[str]:
    """The files that a process has in its memory, if the vendor's or a library without its name is there."""
    data = _read(f"{root}/{pid}/maps")
    if not unnamed and b"librkllmrt" not in data:
        return []
    fields = (line.split(None, 5) for line in data.splitlines())
    paths = {one[5]: None for one in fields if len(one) == 6 and one[5].startswith(b"/")}  # noqa: PLR2004
    return [os.fsdecode(path).removesuffix(" (deleted)") for path in paths]


def _is_library(path: str) -> bool:
    name = os.path.basename(path)
    return name.startswith("librkllmrt") and ".so" in name


def _worker_of(words: list[str]) -> int | None:
    """The process that started a worker, from the worker's command line."""
    for word, after in itertools.pairwise(words):
        if word.endswith("rkllm_rs/worker.py") and after.isdecimal():
            return int(after)
    return None


def _opened(root: str, pid: int) -> str | None:
    """A model among the open files of a process."""
    folder = f"{root}/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return None
    for name in names:
        try:
            path = os.readlink(f"{folder}/{name}")
        except OSError:
            continue
        if path.endswith(_MODELS):
            return path
    return None


def _named(root: str, pid: int, words: list[str]) -> str | None:
    """A model that the command line of a process names."""
    name = next((word for word in words[1:] if word.endswith(_MODELS)), None)
    if name is None or os.path.isabs(name):
        return name
    try:
        return os.path.normpath(os.path.join(os.readlink(f"{root}/{pid}/cwd"), name))
    except OSError:
        return name


def _owner(root: str, pid: int) -> int | None:
    try:
        return os.stat(f"{root}/{pid}").st_uid
    except OSError:
        return None


def _resident(root: str, pid: int) -> int | None:
    """The memory that a process has, as the system counts it."""
    try:
        return int(_read(f"{root}/{pid}/statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
