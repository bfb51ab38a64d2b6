"""The files that are read, below one folder: bounded, never blocking, and never outside of it."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
from collections import deque
from fnmatch import fnmatchcase
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Generator

#: Bytes that are read of a file, where nothing else is said.
LIMIT = 1 << 16
#: Entries that are read of a folder.
ENTRIES = 4096
_LINKS = 40
_DENIED = (errno.EACCES, errno.EPERM)


class Reading(NamedTuple):
    """What a file holds, or why that is not known."""

    data: bytes | None
    problem: Literal["missing", "denied", "unusable"] | None = None


class Root:
    """The folder that stands for ``/``.

    In any other than ``/`` itself, links are resolved as if it were, device nodes are plain files, and
    answers of drivers stand in ``ioctl/drm_version.json``, by node. What only root may read there is listed
    in ``unreadable.txt``, for whoever tests this may be root.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.realpath(path)
        self.live = self.path == "/"
        self._secret: list[str] = []
        if not self.live:
            listed = self.text("unreadable.txt") or ""
            self._secret = [line.strip().strip("/") for line in listed.splitlines() if line.strip()]

    def look(self, path: str, limit: int = LIMIT) -> Reading:
        """Reads the beginning of a regular file."""
        real = self._real(path)
        if real is None:
            return Reading(None, "missing")
        if self._hidden(path, real):
            return Reading(None, "denied")
        try:
            # A pipe or a device is not even opened: that alone can wait, or do something.
            if not stat.S_ISREG(os.stat(real).st_mode):
                return Reading(None, "unusable")
            opened = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            return Reading(None, _problem(error))
        try:
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                return Reading(None, "unusable")
            parts: list[bytes] = []
            while limit > 0 and (part := os.read(opened, limit)):
                parts.append(part)
                limit -= len(part)
            return Reading(b"".join(parts))
        except OSError as error:  # some files of the kernel open, and then do not read
            return Reading(None, _problem(error))
        finally:
            os.close(opened)

    def bytes(self, path: str, limit: int = LIMIT) -> bytes | None:
        """The beginning of a file, or ``None``."""
        return self.look(path, limit).data

    def text(self, path: str, limit: int = LIMIT) -> str | None:
        """The beginning of a file as text without the ends of its last line, or ``None``."""
        data = self.bytes(path, limit)
        return None if data is None else clean(data)

    def line(self, path: str) -> str | None:
        """The first line of a file that should have no other, or ``None``."""
        lines = (self.text(path, 256) or "").splitlines()
        return lines[0] if lines and lines[0] else None

    def number(self, path: str) -> int | None:
        """The number that a file begins with, or ``None``."""
        found = re.match(r"-?\d{1,19}(?!\d)", self.text(path, 64) or "")
        return int(found[0]) if found else None

    def strings(self, path: str) -> list[str]:
        """The texts of a property of the device tree, which end with NUL."""
        data = self.bytes(path, 4096) or b""
        return [text for part in data.split(b"\0") if (text := clean(part))]

    def listing(self, folder: str) -> list[str] | None:
        """The names in a folder, by their numbers; ``None`` without the right to read it."""
        real = self._real(folder)
        if real is None or self._hidden(folder, real):
            return [] if real is None else None
        found: list[str] = []
        try:
            with os.scandir(real) as entries:
                found += (entry.name for entry in islice(entries, ENTRIES))
        except (OSError, ValueError) as error:
            return None if _problem(error) == "denied" else []
        return sorted(found, key=_natural)

    def names(self, folder: str) -> list[str]:
        """The names in a folder; none if it cannot be read."""
        return self.listing(folder) or []

    def glob(self, pattern: str) -> list[str]:
        """The paths that fit a pattern, in which ``*`` does not stand for ``/``."""
        found = [""]
        for word in pattern.strip("/").split("/"):
            if "*" in word:
                found = [
                    f"{at}/{name}"
                    for at in found
                    for name in self.names(at or "/")
                    if fnmatchcase(name, word)
                ]
            else:
                found = [f"{at}/{word}" for at in found]
            del found[ENTRIES:]
        return [path for path in found if self.exists(path)]

    def status(self, path: str) -> os.stat_result | None:
        """What the system says of a file, behind its links."""
        real = self._real(path)
        try:
            return None if real is None else os.stat(real)
        except (OSError, ValueError):
            return None

    def exists(self, path: str) -> bool:
        """Whether there is such a file, link or folder."""
        return self.status(path) is not None

    def link(self, path: str) -> str | None:
        """Where a link points, as it says itself."""
        folder, _, name = path.rstrip("/").rpartition("/")
        real = self._real(folder or "/")
        try:
            return None if real is None else os.readlink(f"{real}/{name}")
        except (OSError, ValueError):
            return None

    def usable(self, node: str) -> bool:
        """Whether the user may open a device node.

        In a tree, the node's owner is another one, and the user is one of its group.
        """
        if self.live:
            return os.access(node, os.R_OK | os.W_OK)
        found = self.status(node)
        mode = found.st_mode if found else 0
        real = self._real(node)
        return any(mode & both == both for both in (0o006, 0o060)) and not self._hidden(node, real or "")

    def drm(self, node: str) -> dict[str, str]:
        """What a DRM node's driver says of itself: ``name``, ``version``, ``date``; may be empty."""
        if self.live:
            from .drm import version

            return version(node)
        import json

        try:
            told: Any = json.loads(self.bytes("ioctl/drm_version.json") or b"{}")
            answer: Any = told.get(node) or told.get(node.rpartition("/")[2])
            return {str(key): str(value) for key, value in answer.items()}
        except (ValueError, AttributeError, RecursionError):  # what is no JSON, or no object
            return {}

    def kernel_records(self, seconds: float = 0.3) -> Reading:
        """The records of ``/dev/kmsg``."""
        if not self.live:
            return self.look("dev/kmsg", 1 << 20)
        try:
            opened = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            return Reading(None, _problem(error))
        try:
            return Reading(b"".join(_records(opened, time.monotonic() + seconds)))
        except OSError as error:
            return Reading(None, _problem(error))
        finally:
            os.close(opened)

    def _real(self, path: str) -> str | None:
        """Where a path leads; ``None`` if its links go round in a circle."""
        if self.live:
            return "/" + path.lstrip("/")
        left, done, links = deque(path.split("/")), list[str](), 0
        while left:
            word = left.popleft()
            if word in ("", "."):
                continue
            if word == "..":
                del done[-1:]
                continue
            try:
                target = os.readlink("/".join([self.path, *done, word]))
            except (OSError, ValueError):
                done.append(word)
                continue
            links += 1
            if links > _LINKS:
                return None
            if target.startswith("/"):
                done.clear()
            left.extendleft(reversed(target.split("/")))
        return "/".join([self.path, *done])

    def _hidden(self, path: str, real: str) -> bool:
        """Whether a tree says that only root may read this."""
        behind = real[len(self.path) :]
        told = path.strip("/"), behind.strip("/")
        return any(one == secret or one.startswith(secret + "/") for secret in self._secret for one in told)


#: What would move the cursor, end a line or turn the direction of writing.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def clean(data: bytes) -> str:
    """Bytes of a file as text that can be printed."""
    text = data.rstrip(b"\0\n\r\t ").decode("utf-8", "replace")
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _records(opened: int, until: float) -> Generator[bytes]:
    """The records of the kernel's log that are there already."""
    while time.monotonic() < until:
        with contextlib.suppress(BrokenPipeError):  # this one was overwritten; the next is read
            try:
                yield os.read(opened, 8192)
            except BlockingIOError:  # that was the last one
                return


def _natural(name: str) -> list[tuple[int, str]]:
    return [
        (int(word[:18]) if word.isdecimal() and word.isascii() else -1, word)
        for word in re.split(r"(\d+)", name)
    ]


def _problem(error: Exception) -> Literal["missing", "denied", "unusable"]:
    if isinstance(error, OSError) and error.errno in _DENIED:
        return "denied"
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return "missing"
    return "unusable"
