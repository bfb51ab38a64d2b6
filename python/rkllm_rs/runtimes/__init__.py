"""The vendor's library: install, verify, select and remove releases.

>>> from rkllm_rs import runtimes
>>> runtimes.official()[-1].release
'1.3.1'
>>> runtimes.install("1.3.0", arch="aarch64")  # doctest: +SKIP
>>> runtimes.use("1.3.0")  # doctest: +SKIP

Every file is verified by its Git blob id or its SHA-256 before it is installed. Everything is stored in the
user's data folder: ``$RKLLM_RS_HOME``, else ``$XDG_DATA_HOME/rkllm_rs``, else ``~/.local/share/rkllm_rs``.
The command ``rkllm-rs runtime`` does the same.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
from typing import TYPE_CHECKING

from rkllm_rs import _native
from rkllm_rs._cpu_runtime import GET_CPU_RUNTIME
from rkllm_rs._library import PACKAGE
from rkllm_rs._typed import expect, typed
from rkllm_rs.errors import InvalidArgumentError, RuntimeInstallError

from . import store, table
from .fetch import download
from .store import folder, home, installed, verify
from .table import InstalledRuntime, OfficialFile, VerifiedFile, machine, official

if TYPE_CHECKING:
    from .fetch import Progress

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

_PROJECT_FILE = ".rkllm-runtime"


@typed
def install(
    version: str,
    *,
    source: str | os.PathLike[str] | None = None,
    arch: str | None = None,
    allow_unknown: bool = False,
    progress: Progress | None = None,
) -> InstalledRuntime:
    """Installs a release in the user's runtimes folder.

    The file comes from the vendor's repository, or from ``source``. It is installed only if its Git blob id
    or SHA-256 is that of the release.

    Args:
        version: The release, such as ``"1.2.3"``.
        source: A local file, or the folder that contains it. Default: download it.
        arch: ``"aarch64"`` or ``"armhf"``. Default: that of this process.
        allow_unknown: Accept a file that is not official.
        progress: Called during a download with the number of bytes received, and the total or ``None``.

    Returns:
        The installed version.

    Raises:
        RuntimeInstallError: The file could not be downloaded, is not the official file, or could not be
            stored. Versions that were installed before are unchanged.
        InvalidArgumentError: ``version`` or ``arch`` is not valid.
    """
    version = table.checked(version)
    if source is not None:
        source = store.expanded("source", source)
    expect("allow_unknown", allow_unknown, bool, "a bool", "Pass True or False.")
    if progress is not None and not callable(progress):
        hint = "Pass the function itself: progress=function, without parentheses."
        expect("progress", progress, (), "a callable", hint)
    if arch is not None and arch not in table.ARCHES:
        message = f"arch must be one of {', '.join(table.ARCHES)}, got {arch!r}"
        raise InvalidArgumentError(message, hint="Omit arch for the architecture of this machine.")
    arch = arch or machine()
    wanted = official(version, arch=arch)
    if (not wanted and not (allow_unknown and source)) or (source is None and arch is None):
        raise _not_known(version, arch)
    before = store.look(version)
    if before is not None:
        if arch is not None and before.arch not in (None, arch):
            message = f"{version} is already installed, for {before.arch}"
            hint = f"Remove it first: `rkllm-rs runtime remove {version}`."
            raise RuntimeInstallError(message, hint=hint)
        if before.status == "verified" and not (allow_unknown and source):
            return before
    given = verify(source).path if source is not None else None
    with store.replacing(os.path.join(folder(), version, store.NAME), drafts=folder()) as draft:
        store.sweep()
        if given is None:
            download(wanted[0], draft, progress)
        else:
            shutil.copyfile(given, draft)
        os.chmod(draft, 0o644)
        with open(draft, "rb") as file:
            os.fsync(file.fileno())
        _check(verify(draft), given or wanted[0].url, version, wanted, allow_unknown=allow_unknown)
    return store.require(version)


def _not_known(version: str, arch: str | None) -> RuntimeInstallError:
    hint = (
        "To install a file that you trust, run "
        f"`rkllm-rs runtime install {version} --from FILE --allow-unknown`."
    )
    known = official(version)
    if not known:
        message = f"{version} is not an official release known to this version of rkllm_rs"
        hint = f"Official releases: {table.releases()}. {hint}"
    elif arch is not None:
        message = f"RKLLM {version} was released for {', '.join(one.arch for one in known)} only, got {arch}"
    else:
        message = f"the vendor provides no library for this machine ({platform.machine()})"
        hint = (
            f"Use the CPU runtime on this machine: {GET_CPU_RUNTIME}. To download a library for a board, "
            "add `--arch aarch64` or `--arch armhf`."
        )
    return RuntimeInstallError(message, hint=hint)


def _check(
    found: VerifiedFile, what: str, version: str, wanted: list[OfficialFile], *, allow_unknown: bool
) -> None:
    """Refuses a file that is not one of those wanted, nor an unknown one where that is allowed."""
    if found.official in wanted:
        return
    if found.official is not None:
        expected = " or ".join(map(str, wanted)) or version
        message = f"{what} is the official file of {found.official}; expected {expected}"
        hint = "Install it under its own version, with its own --arch."
    elif not store.is_elf(found.path):
        message = f"{what} is not a shared library ({found.size} bytes)"
        hint = (
            'Check the file: if it is a web page, use the "raw" link, and log in to the network if it asks '
            "for it; if it is a Git LFS pointer, run `git lfs pull`."
        )
    elif not allow_unknown:
        expected = " or ".join(f"{one.digest} ({one})" for one in wanted)
        message = (
            f"{what} is not the official file: it has {found.size} bytes, Git blob id {found.git_blob_sha1} "
            f"and SHA-256 {found.sha256}; expected {expected}"
        )
        hint = (
            "Download it again: it is incomplete or was changed. To install it anyway, add `--allow-unknown`."
        )
    else:
        return
    raise RuntimeInstallError(message, hint=hint)


@typed
def current() -> str | None:
    """The version that the user has selected, or ``None``, which means the newest installed one."""
    try:
        name = os.readlink(os.path.join(folder(), "current"))
    except OSError:
        return None
    return name if table.VERSION.fullmatch(name) else None


@typed
def chosen(*, project: str | os.PathLike[str] | None = None) -> str | None:
    """The version that is selected for a project, or ``None``.

    Args:
        project: The project's folder. Default: the working folder.
    """
    path = os.path.join(store.expanded("project", "." if project is None else project), _PROJECT_FILE)
    try:
        if not os.path.isfile(path):
            return None
        with open(path, encoding="ascii", errors="replace") as file:
            text = file.read(64).strip()
    except OSError:
        return None
    return text if table.VERSION.fullmatch(text) else None


@typed
def use(version: str | None, *, project: str | os.PathLike[str] | None = None) -> str:
    """Selects an installed version for the user or for a project. A project's selection wins.

    Args:
        version: The release; ``None`` removes the selection.
        project: A folder; programs started in it use the version. The file ``.rkllm-runtime`` is written
            there.

    Returns:
        Path of the link or file that stores the selection.

    Raises:
        RuntimeInstallError: The version is not installed, or the selection cannot be written.
    """
    at = os.path.join(folder(), "current")
    if project is not None:
        at = os.path.join(store.expanded("project", project), _PROJECT_FILE)
    if version is None:
        with store.storing(at), contextlib.suppress(FileNotFoundError):
            os.unlink(at)
        return at
    version = table.checked(version)
    store.require(version)
    if project is not None and not os.path.isdir(os.path.dirname(at)):
        message = f"{os.path.dirname(at)} is not a folder"
        raise RuntimeInstallError(message, hint="Pass the project's folder.")
    with store.replacing(at) as draft:
        if project is None:
            os.symlink(version, draft)
        else:
            with open(draft, "x", encoding="ascii") as file:
                file.write(f"{version}\n")
    return at


@typed
def path(*, model: str | os.PathLike[str] | None = None) -> str:
    """Path of the vendor's library that would be loaded. It is examined, but not loaded.

    Args:
        model: Search as for this model. Default: as ``Runtime.load(backend="npu")`` does.

    Raises:
        LibraryNotFoundError: No library was found; the message lists every place searched and the reason.
        UnsupportedRuntimeError: The library's release is not supported.
    """
    found, _ = _native.find_library(None if model is None else store.expanded("model", model), PACKAGE)
    return found


@typed
def remove(version: str) -> None:
    """Removes an installed version, and the user's selection of it.

    Raises:
        RuntimeInstallError: The version is not installed, or could not be removed.
    """
    version = table.checked(version)
    at = os.path.join(folder(), version)
    if not os.path.lexists(at):
        store.require(version)
    with store.storing(at):
        if current() == version:
            use(None)
        if os.path.islink(at):
            os.unlink(at)
        else:
            shutil.rmtree(at)
