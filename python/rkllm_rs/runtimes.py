"""The vendor's library, managed: which releases there are, which are installed, and which one is used.

>>> from rkllm_rs import runtimes
>>> runtimes.official()[-1].release
'1.3.0'
>>> runtimes.install("1.3.0", arch="aarch64")  # doctest: +SKIP
>>> runtimes.use("1.3.0")  # doctest: +SKIP

Every file is known by its Git blob id before it is put in place, and everything lies in the user's own
data folder: ``$RKLLM_RS_HOME``, else ``$XDG_DATA_HOME/rkllm_rs``, else ``~/.local/share/rkllm_rs``. The
command ``rkllm-rs runtime`` does the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import stat
import struct
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from . import _native
from . import _runtime_fetch as fetch
from ._library import PACKAGE
from .errors import InvalidArgumentError, RuntimeInstallError

if TYPE_CHECKING:
    from collections.abc import Generator
    from io import FileIO

__all__ = [
    "InstalledRuntime",
    "OfficialFile",
    "VerifiedFile",
    "chosen",
    "current",
    "folder",
    "home",
    "install",
    "installed",
    "machine",
    "official",
    "path",
    "remove",
    "use",
    "verify",
]

_NAME = "librkllmrt.so"
_RECORD = "runtime.json"
_PROJECT_FILE = ".rkllm-runtime"
_MODEL_SUFFIX = ".runtime"
_VERSION = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}[0-9A-Za-z]{0,16}")
_ARCHES = ("aarch64", "armhf")
_PIN_LIMIT = 64


@dataclass(frozen=True)
class OfficialFile:
    """One library file of the vendor's.

    Attributes:
        release: Such as ``"1.2.1b1"``.
        generation: The C layouts that it speaks, such as ``"v1_2_1"``.
        os: ``"linux"`` or ``"android"``.
        arch: The vendor's folder: ``"aarch64"``, ``"armhf"``, ``"arm64-v8a"`` or ``"armeabi-v7a"``.
        git_blob_sha1: The Git blob id of its bytes.
        commit: The commit of the vendor's repository that has it.
        path: Where it lies there.
        size: Bytes, where known.
    """

    release: str
    generation: str
    os: str
    arch: str
    git_blob_sha1: str
    commit: str
    path: str
    size: int | None = None

    @property
    def url(self) -> str:
        """Its address in the vendor's repository."""
        return fetch.official(self).url

    @property
    def usable(self) -> bool:
        """Whether this package speaks its generation: all but 1.0.x."""
        return not self.generation.startswith("v1_0_")

    def __str__(self) -> str:
        return f"{self.release} for {self.os} {self.arch}"


@dataclass(frozen=True)
class VerifiedFile:
    """What a file is, by its bytes.

    Attributes:
        path: The file.
        size: Its bytes.
        git_blob_sha1: The Git blob id of its bytes.
        official: The official file that has the same, or ``None``.
    """

    path: str
    size: int
    git_blob_sha1: str
    official: OfficialFile | None


@dataclass(frozen=True)
class InstalledRuntime:
    """A version in the runtimes folder.

    Attributes:
        version: The release that it was installed as.
        path: Its file.
        arch: The vendor's folder name, if known.
        git_blob_sha1: The Git blob id of its bytes as they are now; ``None`` if they cannot be read.
        status: ``"verified"``: the official file of that release; ``"unknown"``: another one, as it
            came; ``"changed"``: no longer the one that was installed; ``"unreadable"``.
        source: Where it came from, if that was recorded.
    """

    version: str
    path: str
    arch: str | None
    git_blob_sha1: str | None
    status: Literal["verified", "unknown", "changed", "unreadable"]
    source: str | None


def _known() -> tuple[OfficialFile, ...]:
    return tuple(OfficialFile(**entry) for entry in _native.known_libraries())


def _by_id(git_blob_sha1: str | None) -> OfficialFile | None:
    return next((one for one in _known() if one.git_blob_sha1 == git_blob_sha1), None)


def official(
    release: str | None = None, *, os: str | None = "linux", arch: str | None = None
) -> list[OfficialFile]:
    """The official files, oldest release first.

    Args:
        release: Only that release's.
        os: ``"linux"``, ``"android"``, or ``None`` for both.
        arch: Only those of one of the vendor's folders.
    """
    return [
        one
        for one in _known()
        if release in (None, one.release) and os in (None, one.os) and arch in (None, one.arch)
    ]


def machine() -> str | None:
    """The vendor's folder name for this process: ``"aarch64"``, ``"armhf"``, or ``None`` for others."""
    # Termux calls itself Linux, but cannot load what is built for that.
    if not sys.platform.startswith("linux") or hasattr(sys, "getandroidapilevel"):
        return None
    name = platform.machine().lower()
    # A 32-bit system may run on a 64-bit kernel, which is what the name is of.
    if struct.calcsize("P") == 8:  # noqa: PLR2004 - the bytes of a pointer
        return "aarch64" if name in ("aarch64", "arm64") else None
    return "armhf" if name in ("armv7l", "armv8l", "aarch64", "arm64") else None


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


def _downloads() -> str:
    return os.path.join(home(), "downloads")


def _version(text: str) -> str:
    version = text.strip().removeprefix("v")
    if not _VERSION.fullmatch(version):
        message = f"version: {text!r} is no release such as 1.2.3"
        raise InvalidArgumentError(message, hint=f"Official ones: {_releases()}.")
    return version


def _releases() -> str:
    return ", ".join(dict.fromkeys(one.release for one in official()))


def _no_link(path: str) -> None:
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
    _make_folder(home())
    for path in (folder(), _downloads()):
        _no_link(path)
        _make_folder(path)


@contextlib.contextmanager
def _locked() -> Generator[None]:
    """Nobody else changes the folder meanwhile; the system lets go of it even after a kill."""
    _prepare()
    path = os.path.join(_downloads(), "lock")
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
    with os.scandir(_downloads()) as entries:
        left = [one.path for one in entries if one.name.endswith((".new", ".old"))]
    for path in left:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(path)


def _hash(path: str, file: FileIO) -> tuple[str, int]:
    """Git blob id and size of an open file."""
    before = os.fstat(file.fileno())
    digest = hashlib.sha1(b"blob %d\0" % before.st_size, usedforsecurity=False)
    file.seek(0)
    done = 0
    while chunk := fetch.reading(path, file):
        digest.update(chunk)
        done += len(chunk)
    after = os.fstat(file.fileno())
    if done != before.st_size or before.st_mtime_ns != after.st_mtime_ns:
        message = f"{path} changed while it was read"
        raise fetch.failed(message, "Wait until whatever writes it is done.")
    return digest.hexdigest(), done


def verify(file: str | os.PathLike[str]) -> VerifiedFile:
    """Hashes a file and looks it up among the official ones.

    Args:
        file: A library's file, or a folder with ``librkllmrt.so`` in it.

    Raises:
        RuntimeInstallError: It cannot be read.
    """
    path: str = os.path.abspath(file)
    if os.path.isdir(path):
        path = os.path.join(path, _NAME)
    with fetch.open_file(path) as opened:
        blob, size = _hash(path, opened)
    return VerifiedFile(path, size, blob, _by_id(blob))


def _record(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            record: dict[str, Any] = json.loads(file.read(1 << 16))
    except (OSError, ValueError):
        return {}
    return record if type(record) is dict else {}


def _look(version: str) -> InstalledRuntime | None:
    at = os.path.join(folder(), version)
    path = os.path.join(at, _NAME)
    if not os.path.lexists(path):
        return None
    record = _record(os.path.join(at, _RECORD))

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
        names = [name for name in os.listdir(folder()) if _VERSION.fullmatch(name)]
    except OSError:
        return []

    def key(name: str) -> tuple[list[int], bool, str]:
        numbers, suffix = re.split(r"(?<=[0-9])(?=[A-Za-z]|$)", name, maxsplit=1)
        # A suffix marks a preview, which comes before the release.
        return [int(number) for number in numbers.split(".")], not suffix, suffix

    found = (_look(name) for name in sorted(names, key=key))
    return [one for one in found if one is not None]


def _require(version: str) -> InstalledRuntime:
    one = _look(version)
    if one is None:
        message = f"version {version} is not installed in {folder()}"
        raise fetch.failed(message, f"Install it: rkllm-rs runtime install {version}")
    return one


def current() -> str | None:
    """The version that the user has selected, or ``None``: then the newest installed one is used."""
    try:
        name = os.readlink(os.path.join(folder(), "current"))
    except OSError:
        return None
    return name if _VERSION.fullmatch(name) else None


def _pin(project: str | os.PathLike[str] | None, model: str | os.PathLike[str] | None) -> str:
    if model is not None:
        return f"{os.path.abspath(model)}{_MODEL_SUFFIX}"
    return os.path.join(os.path.abspath(project or "."), _PROJECT_FILE)


def chosen(
    *, project: str | os.PathLike[str] | None = None, model: str | os.PathLike[str] | None = None
) -> str | None:
    """The version that a project's or a model's file names, or ``None``.

    Args:
        project: The project's folder; the working folder without it.
        model: The model's file, in place of a project.
    """
    try:
        with fetch.open_file(_pin(project, model)) as file:
            text = (file.read(_PIN_LIMIT) or b"").decode("ascii", "replace").strip()
    except (RuntimeInstallError, OSError):
        return None
    return text if _VERSION.fullmatch(text) else None


def use(
    version: str | None,
    *,
    project: str | os.PathLike[str] | None = None,
    model: str | os.PathLike[str] | None = None,
) -> str:
    """Selects an installed version: for the user, or for a project or a model, which count for more.

    Args:
        version: The release; ``None`` takes the selection back.
        project: A folder; programs started in it use the version. It gets a file ``.rkllm-runtime``.
        model: A model's file, which is then opened with the version. A file with ``.runtime`` behind
            the model's name is put beside it.

    Returns:
        The link or file that has the selection.

    Raises:
        RuntimeInstallError: It is not installed, or the selection cannot be written.
    """
    if version is not None:
        version = _version(version)
        _require(version)
    if project is None and model is None:
        return _use_for_user(version)
    if project is not None and model is not None:
        message = "project: cannot be given together with model"
        raise InvalidArgumentError(message)
    if model is not None and not os.path.exists(model):
        message = f"{os.fspath(model)}: no such model"
        raise fetch.failed(message)
    path = _pin(project, model)
    with fetch.storing(path):
        if version is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        else:
            _write_new(path, f"{version}\n")
    return path


def _write_new(path: str, text: str) -> None:
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


def _use_for_user(version: str | None) -> str:
    link = os.path.join(folder(), "current")
    with _locked(), fetch.storing(link):
        if os.path.lexists(link) and not os.path.islink(link):
            message = f"{link} is not a link of this command's making"
            raise fetch.failed(message, "Move it away first.")
        if version is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(link)
        else:
            draft = os.path.join(_downloads(), f"current.{os.getpid()}.new")
            os.symlink(version, draft)
            os.replace(draft, link)
    return link


def path(*, model: str | os.PathLike[str] | None = None) -> str:
    """The vendor's library that would be loaded, examined but not loaded.

    Args:
        model: As if for this model; without it, as ``Runtime.load(backend="npu")`` would.

    Raises:
        LibraryNotFoundError: There is none; the message lists every place tried and why not.
        UnsupportedRuntimeError: There is one, but of a release that cannot be used.
    """
    found, _ = _native.find_library(None if model is None else os.fspath(model), PACKAGE)
    return found


def remove(version: str) -> None:
    """Removes an installed version; if the user had selected it, the selection too.

    Raises:
        RuntimeInstallError: It is not installed, or not to be removed.
    """
    version = _version(version)
    at = os.path.join(folder(), version)
    with _locked(), fetch.storing(at):
        if not os.path.lexists(at):
            _require(version)
        _no_link(at)
        if current() == version:
            os.unlink(os.path.join(folder(), "current"))
        # Out of the way at once, so that no half of it is ever found.
        old = os.path.join(_downloads(), f"{version}.{os.getpid()}.old")
        os.rename(at, old)
        shutil.rmtree(old)


def install(
    version: str,
    *,
    source: str | os.PathLike[str] | None = None,
    mirror: str | None = None,
    arch: str | None = None,
    allow_unknown: bool = False,
    progress: fetch.Progress | None = None,
) -> InstalledRuntime:
    """Installs a release in the user's runtimes folder.

    The file is taken from the vendor's repository, unless told otherwise, and put in place only when its
    Git blob id is that of the release. A download that was cut goes on where it ended.

    Args:
        version: The release, such as ``"1.2.3"``.
        source: A file of this machine, or a folder with the vendor's layout, in place of a download.
        mirror: The address (HTTPS) of a mirror with the same commits and paths; ``RKLLM_RS_MIRROR``
            without it.
        arch: ``"aarch64"`` or ``"armhf"``; this process's own without it.
        allow_unknown: Take a file that is none of the official ones, and record it as unknown.
        progress: Called with the bytes that have come and the bytes in all, if known.

    Returns:
        What is installed now.

    Raises:
        RuntimeInstallError: It could not be had, is another file, or cannot be put in place. What was
            installed before stays as it was.
        InvalidArgumentError: A version or an architecture that does not exist.
    """
    version = _version(version)
    if arch is not None and arch not in _ARCHES:
        message = f"arch: {arch!r} is not one of {', '.join(_ARCHES)}"
        raise InvalidArgumentError(message)
    plan = _Plan(version, arch or machine(), allow_unknown=allow_unknown)
    # Before anything is touched.
    origin = plan.origin(mirror) if source is None else None
    at = os.path.join(folder(), version)
    with _locked():
        _no_link(at)
        _no_link(os.path.join(at, _NAME))
        before = _look(version)
        if before is not None:
            plan.check_arch(before)
            if before.status == "verified" and not (allow_unknown and source is not None):
                return before
        if origin is not None:
            told = origin.url
            blob = _download(plan, origin, progress)
        else:
            told = _local(plan, os.path.abspath(source or ""))
            blob = _copy(plan, told, progress)
        _place(plan, blob, told)
    return _require(version)


class _Plan:
    """What is to be installed, and which files will do."""

    def __init__(self, version: str, arch: str | None, *, allow_unknown: bool) -> None:
        self.version, self.arch, self.allow_unknown = version, arch, allow_unknown
        self.files = official(version, arch=arch)
        if not self.files and not allow_unknown:
            raise self._no_release()
        # One for each content, so that the parts of two never mix.
        key = self.files[0].git_blob_sha1 if self.files else version
        #: The file that the bytes come into.
        self.part = os.path.join(_downloads(), f"{key}.part")

    def _no_release(self) -> RuntimeInstallError:
        if others := official(self.version):
            built = ", ".join(one.arch for one in others)
            return fetch.failed(f"there is no {self.version} for {self.arch}; it was built for {built}")
        hint = f"Official ones: {_releases()}. Another one is taken from a file: --from FILE --allow-unknown"
        return fetch.failed(f"{self.version} is no official release", hint)

    def one_file(self) -> OfficialFile:
        """The file that a download is of."""
        if self.arch is None:
            message = f"the vendor has no library for this machine ({platform.machine()})"
            raise fetch.failed(
                message,
                "To install one for a board, name it: --arch aarch64 or --arch armhf. On this machine "
                "models run on the CPU runtime: pip install 'rkllm_rs[cpu]'",
            )
        if not self.files:
            raise self._no_release()
        return self.files[0]

    def origin(self, mirror: str | None) -> fetch.Origin:
        """Where a download is from."""
        wanted = self.one_file()
        base = mirror or os.environ.get("RKLLM_RS_MIRROR")
        if base:
            return fetch.mirrored(base, wanted)
        return fetch.official(wanted)

    @property
    def size(self) -> int | None:
        """The bytes that it must have, where only one will do."""
        return self.files[0].size if len(self.files) == 1 and not self.allow_unknown else None

    def check_arch(self, before: InstalledRuntime) -> None:
        """Refuses to put one architecture's file in place of another's."""
        if self.arch is not None and before.arch not in (None, self.arch):
            message = f"{self.version} is installed already, for {before.arch}"
            raise fetch.failed(message, f"Remove it first: rkllm-rs runtime remove {self.version}")

    def suits(self, blob: str) -> bool:
        """Whether it is the official file."""
        return any(one.git_blob_sha1 == blob for one in self.files)

    def check(self, blob: str, size: int, what: str) -> None:
        """Refuses a file that is not the right one."""
        if self.suits(blob):
            return
        wanted = " or ".join(f"{one.git_blob_sha1} ({one})" for one in self.files) or "none"
        known = _by_id(blob)
        if known is not None:
            message = f"{what} is the official file of {known}, not of {self.version}"
            if known.release == self.version:
                message = f"{what} is the official file of {known}, but {self.arch} is wanted"
            raise fetch.failed(message, "Install it as what it is: give its own VERSION and --arch.")
        if self.allow_unknown:
            return
        if self.size is not None and size != self.size:
            message = f"{what} has {size} bytes, but the official {self.files[0]} has {self.size}"
            raise fetch.failed(message, "It was cut short or changed: fetch it again.")
        message = f"{what} is not the official file: its Git blob id is {blob}, that of the release {wanted}"
        raise fetch.failed(
            message,
            "It was changed or cut short: fetch it again from elsewhere. A file that you trust all the "
            "same is taken with --allow-unknown.",
        )


def _open_part(part: str, *, fresh: bool) -> FileIO:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_TRUNC if fresh else 0)
    with fetch.storing(part):
        descriptor = os.open(part, flags, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        message = f"{part} is not a regular file"
        raise fetch.failed(message, "Remove it.")
    return open(descriptor, "r+b", buffering=0)


def _drop(part: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(part)


def _finish(plan: _Plan, file: FileIO) -> tuple[str, int]:
    """Has what was written on the disk, and says what it is."""
    with fetch.storing(plan.part):
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())
    return _hash(plan.part, file)


def _download(plan: _Plan, origin: fetch.Origin, progress: fetch.Progress | None) -> str:
    part = plan.part
    # A file that another command could still be writing to is never used: the lock is held.
    with _open_part(part, fresh=False) as file:
        blob, _ = _finish(plan, file)
        if plan.suits(blob):
            return blob
        for again in (True, False):
            try:
                resumed = fetch.download(origin, file, size=plan.size, progress=progress)
            except RuntimeInstallError as error:
                cause = error.__cause__
                full = isinstance(cause, OSError) and cause.errno in fetch.FULL
                # What has come is worth keeping, though not on a disk that has no room for it.
                if full or os.fstat(file.fileno()).st_size == 0:
                    _drop(part)
                raise
            blob, size = _finish(plan, file)
            if plan.suits(blob) or not (resumed and again):
                break
            # The part that was there was of something else.
            with fetch.storing(part):
                file.truncate(0)
        try:
            plan.check(blob, size, f"what {origin.host} sent")
        except RuntimeInstallError:
            _drop(part)
            raise
    return blob


def _local(plan: _Plan, source: str) -> str:
    """The file meant by a file or folder of this machine."""
    if not os.path.isdir(source):
        return source
    wanted = plan.one_file() if plan.arch is None or not plan.allow_unknown else None
    arch = plan.arch or (wanted.arch if wanted else "")
    places = [one.path for one in plan.files] + [
        f"{above}{arch}/{_NAME}"
        for above in ("rkllm-runtime/Linux/librkllm_api/", "Linux/librkllm_api/", "librkllm_api/", "")
    ]
    places += [f"{plan.version}/{_NAME}", _NAME]
    for place in dict.fromkeys(places):
        found = os.path.join(source, place)
        if not os.path.lexists(found):
            continue
        inside = os.path.realpath(source)
        if os.path.commonpath([inside, os.path.realpath(found)]) != inside:
            message = f"{found} is a symbolic link that leads out of {source}, to {os.path.realpath(found)}"
            raise fetch.failed(message, "Give that file itself with --from, if it is the one you mean.")
        return found
    message = f"there is no {_NAME} in {source}, nor in the vendor's folders below it"
    raise fetch.failed(message, f"Looked for: {', '.join(dict.fromkeys(places))}. Give the file itself.")


def _copy(plan: _Plan, source: str, progress: fetch.Progress | None) -> str:
    # Not the download's: what has come of that is kept.
    part = plan.part = f"{plan.part[:-5]}.{os.getpid()}.new"
    try:
        with _open_part(part, fresh=True) as file:
            fetch.copy(source, file, progress=progress)
            blob, size = _finish(plan, file)
            plan.check(blob, size, source)
    except BaseException:
        _drop(part)
        raise
    return blob


def _place(plan: _Plan, blob: str, source: str) -> None:
    """Puts a verified file in place, together with its record, in one step."""
    known = _by_id(blob)
    record = {
        "version": plan.version,
        "arch": known.arch if known else plan.arch,
        "git_blob_sha1": blob,
        "official": known is not None,
        "source": source,
        "installed": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    text = json.dumps(record, indent=1) + "\n"
    at = os.path.join(folder(), plan.version)
    with fetch.storing(at):
        if os.path.isdir(at):
            # A running program keeps the file that it has loaded.
            os.replace(plan.part, os.path.join(at, _NAME))
            _write_new(os.path.join(at, _RECORD), text)
            return
        draft = os.path.join(_downloads(), f"{plan.version}.{os.getpid()}.folder.new")
        os.mkdir(draft, 0o755)
        _write_new(os.path.join(draft, _RECORD), text)
        os.rename(plan.part, os.path.join(draft, _NAME))
        os.rename(draft, at)
        _sync(folder())


def _sync(path: str) -> None:
    """Has a folder's entries on the disk, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
