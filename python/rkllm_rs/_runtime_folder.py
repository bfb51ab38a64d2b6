"""The user's folder of runtimes: where it is, what is in it, and how it is changed one command at a time."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from typing import TYPE_CHECKING, Any, Literal

from . import _runtime_fetch as fetch
from ._runtime_table import VERSION, Hashes, InstalledRuntime, VerifiedFile, by_hashes
from .errors import RuntimeInstallError

if TYPE_CHECKING:
    from collections.abc import Generator
    from io import FileIO

NAME = "librkllmrt.so"
RECORD = "runtime.json"


def home() -> str:
    """The user's data folder of this package.

    Raises:
        RuntimeInstallError: No variable says where it is.
    """
    if named := os.environ.get("RKLLM_RS_HOME"):
        return os.path.abspath(named)
    data = os.environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(data):
        user = os.environ.get("HOME")
        if not user:
            message = "there is no home folder: HOME is not set"
            raise fetch.failed(message, "Name a folder of yours with RKLLM_RS_HOME.")
        data = os.path.join(user, ".local/share")
    return os.path.abspath(os.path.join(data, "rkllm_rs"))


def folder() -> str:
    """The folder that has one folder for each installed version."""
    return os.path.join(home(), "runtimes")


def downloads() -> str:
    """The folder for what is not in place yet."""
    return os.path.join(home(), "downloads")


def no_link(path: str) -> None:
    """Refuses to write through a link, which may lead anywhere."""
    if os.path.islink(path):
        message = (
            f"{path} is a symbolic link to {os.readlink(path)}, out of the data folder; nothing is written "
            "through it"
        )
        raise fetch.failed(
            message,
            "Remove the link. To keep runtimes elsewhere, name that folder with RKLLM_RS_HOME.",
        )


def _make_folder(path: str) -> None:
    """Makes a folder, and those above it, that nobody else can write to."""
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    if above != path:
        _make_folder(above)
    with fetch.storing(path), contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o755)


def _prepare() -> None:
    """Makes the folders."""
    _make_folder(home())
    for path in (folder(), downloads()):
        no_link(path)
        _make_folder(path)


@contextlib.contextmanager
def locked() -> Generator[None]:
    """Nobody else changes the folder meanwhile; the system lets go of it even after a kill."""
    _prepare()
    path = os.path.join(downloads(), "lock")
    with fetch.storing(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with open(descriptor, "r+", encoding="ascii", errors="replace") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = lock.read(20).strip()
            who = f" (process {who})" if who.isdecimal() else ""
            message = f"another rkllm-rs runtime command{who} is changing {home()}"
            raise fetch.failed(message, "Wait until it is done, and try again.") from None
        with fetch.storing(path):
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
        _sweep()
        yield


def _sweep() -> None:
    """Removes what a command that was killed has left."""
    with os.scandir(downloads()) as entries:
        left = [one.path for one in entries if one.name.endswith((".new", ".old"))]
    for path in left:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(path)


def hash_of(path: str, file: FileIO) -> tuple[Hashes, int]:
    """Hashes and size of an open file."""
    before = os.fstat(file.fileno())
    blob = hashlib.sha1(b"blob %d\0" % before.st_size, usedforsecurity=False)
    sha256 = hashlib.sha256()
    file.seek(0)
    done = 0
    while chunk := fetch.reading(path, file):
        blob.update(chunk)
        sha256.update(chunk)
        done += len(chunk)
    after = os.fstat(file.fileno())
    if done != before.st_size or before.st_mtime_ns != after.st_mtime_ns:
        message = f"{path} changed while it was read"
        raise fetch.failed(message, "Wait until whatever writes it is done.")
    return Hashes(blob.hexdigest(), sha256.hexdigest()), done


def expanded(path: str | os.PathLike[str]) -> str:
    """A path of the user's as an absolute one, ``~`` written out."""
    return os.path.abspath(os.path.expanduser(os.fspath(path)))


def verify(file: str | os.PathLike[str]) -> VerifiedFile:
    """Hashes a file and looks it up among the official ones.

    Args:
        file: A library's file, or a folder with ``librkllmrt.so`` in it.

    Raises:
        RuntimeInstallError: It cannot be read.
    """
    path = expanded(file)
    if os.path.isdir(path):
        path = os.path.join(path, NAME)
    with fetch.open_file(path) as opened:
        found, size = hash_of(path, opened)
    return VerifiedFile(path, size, found.git_blob_sha1, by_hashes(found), found.sha256)


def _record(path: str) -> dict[str, Any]:
    """What was written down about a file; nothing, if that is damaged."""
    try:
        with open(path, encoding="utf-8") as file:
            record: dict[str, Any] = json.loads(file.read(1 << 16))
    except (OSError, ValueError):
        return {}
    return record if type(record) is dict else {}


def look(version: str) -> InstalledRuntime | None:
    """What is installed under a version, hashed anew."""
    at = os.path.join(folder(), version)
    path = os.path.join(at, NAME)
    if not os.path.lexists(path):
        return None
    record = _record(os.path.join(at, RECORD))

    def told(key: str) -> str | None:
        value = record.get(key)
        return value if isinstance(value, str) else None

    try:
        found = verify(path)
    except RuntimeInstallError:
        return InstalledRuntime(version, path, told("arch"), None, "unreadable", told("source"))
    known, blob, expected = found.official, found.git_blob_sha1, told("git_blob_sha1")
    status: Literal["verified", "unknown", "changed"] = "unknown"
    if known is not None and known.release == version:
        status = "verified"
    elif expected not in (None, blob):
        status = "changed"
    arch = known.arch if known is not None else told("arch")
    return InstalledRuntime(version, path, arch, blob, status, told("source"))


def installed() -> list[InstalledRuntime]:
    """The versions in the runtimes folder, hashed anew, oldest first."""
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
    """The same, where nothing would be an error."""
    one = look(version)
    if one is None:
        message = f"version {version} is not installed in {folder()}"
        raise fetch.failed(message, f"Install it: rkllm-rs runtime install {version}")
    return one


def write_new(path: str, text: str) -> None:
    """Replaces a file, or a link of its name, at once."""
    draft = f"{path}.{os.getpid()}.new"
    try:
        with open(draft, "x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise


def sync(path: str) -> None:
    """Has a folder's entries on the disk, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
