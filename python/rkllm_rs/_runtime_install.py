"""Installs a release: fetched or copied, checked by its bytes, and put in place in one step."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import stat
import time
from typing import TYPE_CHECKING

from . import _runtime_fetch as fetch
from ._runtime_folder import (
    NAME,
    RECORD,
    downloads,
    expanded,
    folder,
    hash_of,
    locked,
    look,
    no_link,
    require,
    sync,
    write_new,
)
from ._runtime_table import ARCHES, by_hashes, machine, official, releases
from ._runtime_table import version as checked
from .errors import InvalidArgumentError, RuntimeInstallError

if TYPE_CHECKING:
    from io import FileIO

    from ._runtime_table import Hashes, InstalledRuntime, OfficialFile


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
    Git blob id or SHA-256 is that of the release. A download that was cut goes on where it ended.

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
    version = checked(version)
    if arch is not None and arch not in ARCHES:
        message = f"arch: {arch!r} is not one of {', '.join(ARCHES)}"
        raise InvalidArgumentError(message)
    plan = _Plan(version, arch or machine(), allow_unknown=allow_unknown)
    # Before anything is touched.
    origin = plan.origin(mirror) if source is None else None
    at = os.path.join(folder(), version)
    with locked():
        no_link(at)
        no_link(os.path.join(at, NAME))
        before = look(version)
        if before is not None:
            plan.check_arch(before)
            if before.status == "verified" and not (allow_unknown and source is not None):
                return before
        if origin is not None:
            told = origin.url
            found = _download(plan, origin, progress)
        else:
            told = _local(plan, expanded(source or ""))
            found = _copy(plan, told, progress)
        _place(plan, found, told)
    return require(version)


class _Plan:
    """What is to be installed, and which files will do."""

    def __init__(self, version: str, arch: str | None, *, allow_unknown: bool) -> None:
        self.version, self.arch, self.allow_unknown = version, arch, allow_unknown
        self.files = official(version, arch=arch)
        if not self.files and not allow_unknown:
            raise self._no_release()
        # One for each content, so that the parts of two never mix.
        file = self.files[0] if self.files else None
        key = (file.git_blob_sha1 or file.sha256) if file else version
        #: The file that the bytes come into.
        self.part = os.path.join(downloads(), f"{key}.part")

    def _no_release(self) -> RuntimeInstallError:
        if others := official(self.version):
            known = ", ".join(one.arch for one in others)
            return fetch.failed(
                f"no official {self.version} for {self.arch} is known, only for {known}",
                "A file that you trust is taken with --from FILE --allow-unknown.",
            )
        hint = f"Official ones: {releases()}. Another one is taken from a file: --from FILE --allow-unknown"
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

    def suits(self, found: Hashes) -> bool:
        """Whether it is the official file."""
        return any(one.is_of(found) for one in self.files)

    def check(self, found: Hashes, size: int, what: str) -> None:
        """Refuses a file that is not the right one."""
        if self.suits(found):
            return
        known = by_hashes(found)
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
        message = f"{what} is not the official file: {self._difference(found)}"
        raise fetch.failed(
            message,
            "It was changed or cut short: fetch it again from elsewhere. A file that you trust all the "
            "same is taken with --allow-unknown.",
        )

    def _difference(self, found: Hashes) -> str:
        """The hashes that were found, and those that were expected."""
        if self.files and all(one.git_blob_sha1 is None for one in self.files):
            name, has, wanted = "SHA-256", found.sha256, [(one.sha256, one) for one in self.files]
        else:
            name, has = "Git blob id", found.git_blob_sha1
            wanted = [(one.git_blob_sha1, one) for one in self.files]
        official = " or ".join(f"{value} ({one})" for value, one in wanted) or "none"
        return f"its {name} is {has}, that of the release {official}"


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


def _finish(plan: _Plan, file: FileIO) -> tuple[Hashes, int]:
    """Has what was written on the disk, and says what it is."""
    with fetch.storing(plan.part):
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())
    return hash_of(plan.part, file)


def _download(plan: _Plan, origin: fetch.Origin, progress: fetch.Progress | None) -> Hashes:
    part = plan.part
    # A file that another command could still be writing to is never used: the lock is held.
    with _open_part(part, fresh=False) as file:
        found, _ = _finish(plan, file)
        if plan.suits(found):
            return found
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
            found, size = _finish(plan, file)
            if plan.suits(found) or not (resumed and again):
                break
            # The part that was there was of something else.
            with fetch.storing(part):
                file.truncate(0)
        try:
            plan.check(found, size, f"what {origin.host} sent")
        except RuntimeInstallError:
            _drop(part)
            raise
    return found


def _local(plan: _Plan, source: str) -> str:
    """The file meant by a file or folder of this machine."""
    if not os.path.isdir(source):
        return source
    wanted = plan.one_file() if plan.arch is None or not plan.allow_unknown else None
    arch = plan.arch or (wanted.arch if wanted else "")
    places = [one.path for one in plan.files] + [
        f"{above}{arch}/{NAME}"
        for above in ("rkllm-runtime/Linux/librkllm_api/", "Linux/librkllm_api/", "librkllm_api/", "")
    ]
    places += [f"{plan.version}/{NAME}", NAME]
    for place in dict.fromkeys(places):
        found = os.path.join(source, place)
        if not os.path.lexists(found):
            continue
        inside = os.path.realpath(source)
        if os.path.commonpath([inside, os.path.realpath(found)]) != inside:
            message = f"{found} is a symbolic link that leads out of {source}, to {os.path.realpath(found)}"
            raise fetch.failed(message, "Give that file itself with --from, if it is the one you mean.")
        return found
    message = f"there is no {NAME} in {source}, nor in the vendor's folders below it"
    raise fetch.failed(message, f"Looked for: {', '.join(dict.fromkeys(places))}. Give the file itself.")


def _copy(plan: _Plan, source: str, progress: fetch.Progress | None) -> Hashes:
    # Not the download's: what has come of that is kept.
    part = plan.part = f"{plan.part[:-5]}.{os.getpid()}.new"
    try:
        with _open_part(part, fresh=True) as file:
            fetch.copy(source, file, progress=progress)
            found, size = _finish(plan, file)
            plan.check(found, size, source)
    except BaseException:
        _drop(part)
        raise
    return found


def _place(plan: _Plan, found: Hashes, source: str) -> None:
    """Puts a verified file in place, together with its record, in one step."""
    known = by_hashes(found)
    record = {
        "version": plan.version,
        "arch": known.arch if known else plan.arch,
        "git_blob_sha1": found.git_blob_sha1,
        "official": known is not None,
        "source": source,
        "installed": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    text = json.dumps(record, indent=1) + "\n"
    at = os.path.join(folder(), plan.version)
    with fetch.storing(at):
        if os.path.isdir(at):
            # A running program keeps the file that it has loaded.
            os.replace(plan.part, os.path.join(at, NAME))
            write_new(os.path.join(at, RECORD), text)
            return
        draft = os.path.join(downloads(), f"{plan.version}.{os.getpid()}.folder.new")
        os.mkdir(draft, 0o755)
        write_new(os.path.join(draft, RECORD), text)
        os.rename(plan.part, os.path.join(draft, NAME))
        os.rename(draft, at)
        sync(folder())
