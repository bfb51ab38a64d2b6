"""The user's folder of runtimes: where it is, what is in it, and how a file gets into it in one step."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import time
from typing import TYPE_CHECKING

from rkllm_rs._home import own_home
from rkllm_rs._typed import expect, typed
from rkllm_rs.errors import RuntimeInstallError

from .table import VERSION, InstalledRuntime, VerifiedFile, recognised

if TYPE_CHECKING:
    from collections.abc import Generator

NAME = "librkllmrt.so"
CHUNK = 1 << 18
#: Seconds after which a draft is not one of a command that still runs.
_ABANDONED = 24 * 60 * 60


@typed
def home() -> str:
    """The user's data folder of this package.

    Raises:
        RuntimeInstallError: None of the variables ``RKLLM_RS_HOME``, ``XDG_DATA_HOME`` and ``HOME`` is set.
    """
    found = own_home()
    if found is None:
        message = "the home folder is unknown, because HOME is not set"
        raise RuntimeInstallError(message, hint="Set RKLLM_RS_HOME to a folder that you can write to.")
    return found


@typed
def folder() -> str:
    """The runtimes folder, with one folder per installed version."""
    return os.path.join(home(), "runtimes")


def expanded(name: str, path: str | os.PathLike[str]) -> str:
    """A path of the user's as an absolute one, ``~`` written out; ``name`` is that of the argument."""
    hint = 'Pass the name of a file or folder as text, such as "folder/file".'
    expect(name, path, (str, bytes, os.PathLike), "a path (str, bytes or os.PathLike)", hint)
    return os.path.abspath(os.path.expanduser(os.fsdecode(path)))


@contextlib.contextmanager
def storing(path: str) -> Generator[None]:
    """Says of a failure to write what helps."""
    try:
        yield
    except OSError as error:
        message = f"{error.filename or path} cannot be written: {error.strerror or error}"
        hint = (
            "Free some space, or set RKLLM_RS_HOME to a folder that you can write to; root is not required."
        )
        raise RuntimeInstallError(message, hint=hint) from error


def make_folder(path: str) -> None:
    """Makes a folder, and those above it, that nobody else can write to, as the loader demands."""
    if os.path.isdir(path):
        return
    make_folder(os.path.dirname(path))
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o755)


@contextlib.contextmanager
def replacing(path: str, *, drafts: str | None = None) -> Generator[str]:
    """Names a draft, which takes the place of ``path`` in one step if all goes well, and else goes away.

    Whoever opens ``path`` meanwhile finds the old file or the new one, also when two processes do this.

    Args:
        path: The file or link; its folder is made if needed.
        drafts: The folder that the draft lies in until then; that of ``path`` without it.
    """
    drafts = drafts or os.path.dirname(path)
    draft = os.path.join(drafts, f".{os.path.basename(path)}.{secrets.token_hex(8)}.new")
    try:
        with storing(path):
            make_folder(drafts)
            yield draft
            make_folder(os.path.dirname(path))
            os.replace(draft, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(draft)


def sweep() -> None:
    """Removes the drafts of commands that were killed."""
    with contextlib.suppress(OSError), os.scandir(folder()) as entries:
        for one in entries:
            if one.name.startswith(".") and one.name.endswith(".new"):
                with contextlib.suppress(OSError):
                    if one.stat(follow_symlinks=False).st_mtime < time.time() - _ABANDONED:
                        os.unlink(one.path)


@typed
def verify(file: str | os.PathLike[str]) -> VerifiedFile:
    """Hashes a file and looks it up among the official ones.

    Args:
        file: A library's file, or a folder with ``librkllmrt.so`` in it.

    Raises:
        RuntimeInstallError: The file cannot be read.
    """
    return looked_up(expanded("file", file))


def looked_up(path: str) -> VerifiedFile:
    """``verify()``, for a path that is absolute."""
    if os.path.isdir(path):
        path = os.path.join(path, NAME)
    if os.path.exists(path) and not os.path.isfile(path):
        message = f"{path} is not a regular file"
        raise RuntimeInstallError(message, hint=f"Pass the path of {NAME}.")
    try:
        with open(path, "rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
            sha256 = hashlib.sha256()
            while chunk := opened.read(CHUNK):
                blob.update(chunk)
                sha256.update(chunk)
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise RuntimeInstallError(message, hint=f"Pass the path of a {NAME} that you can read.") from error
    hashes = blob.hexdigest(), sha256.hexdigest()
    return VerifiedFile(path, size, hashes[0], recognised(*hashes), hashes[1])


def is_elf(path: str) -> bool:
    """Whether a file begins as a library does."""
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def look(version: str) -> InstalledRuntime | None:
    """What is installed under a version, hashed anew."""
    path = os.path.join(folder(), version, NAME)
    if not os.path.lexists(path):
        return None
    try:
        found = verify(path)
    except RuntimeInstallError:
        return InstalledRuntime(version, path, None, None, "unreadable")
    known, blob = found.official, found.git_blob_sha1
    if known is None or known.release != version:
        return InstalledRuntime(version, path, None, blob, "unknown")
    return InstalledRuntime(version, path, known.arch, blob, "verified")


@typed
def installed() -> list[InstalledRuntime]:
    """The installed versions, verified again, oldest first."""
    try:
        names = [name for name in os.listdir(folder()) if VERSION.fullmatch(name)]
    except OSError:
        return []

    def key(name: str) -> tuple[list[int], bool, str]:
        numbers, suffix = re.split(r"(?<=[0-9])(?=[A-Za-z]|$)", name, maxsplit=1)
        # A suffix marks a preview, which comes before the release.
        return [int(number) for number in numbers.split(".")], not suffix, suffix

    found = (look(name) for name in sorted(names, key=key))
    return [one for one in found if one is not None]


def require(version: str) -> InstalledRuntime:
    """What is installed under a version; it is an error if nothing is."""
    one = look(version)
    if one is None:
        message = f"version {version} is not installed in {folder()}"
        raise RuntimeInstallError(message, hint=f"Run `rkllm-rs runtime install {version}`.")
    return one
