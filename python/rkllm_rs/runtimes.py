"""The vendor's library, managed: which releases there are, which are installed, and which one is used.

>>> from rkllm_rs import runtimes
>>> runtimes.official()[-1].release
'1.3.1'
>>> runtimes.install("1.3.0", arch="aarch64")  # doctest: +SKIP
>>> runtimes.use("1.3.0")  # doctest: +SKIP

Every file is known by its Git blob id or its SHA-256 before it is put in place, and everything lies in
the user's own data folder: ``$RKLLM_RS_HOME``, else ``$XDG_DATA_HOME/rkllm_rs``, else
``~/.local/share/rkllm_rs``. The command ``rkllm-rs runtime`` does the same.
"""

from __future__ import annotations

import contextlib
import os
import shutil

from . import _native
from . import _runtime_fetch as fetch
from ._library import PACKAGE
from ._runtime_folder import (
    downloads,
    expanded,
    folder,
    home,
    installed,
    locked,
    no_link,
    require,
    verify,
    write_new,
)
from ._runtime_install import install
from ._runtime_table import VERSION, InstalledRuntime, OfficialFile, VerifiedFile, machine, official
from ._runtime_table import version as checked
from .errors import InvalidArgumentError, RuntimeInstallError

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
_MODEL_SUFFIX = ".runtime"
_PIN_LIMIT = 64


def current() -> str | None:
    """The version that the user has selected, or ``None``: then the newest installed one is used."""
    try:
        name = os.readlink(os.path.join(folder(), "current"))
    except OSError:
        return None
    return name if VERSION.fullmatch(name) else None


def _pin(project: str | os.PathLike[str] | None, model: str | os.PathLike[str] | None) -> str:
    if model is not None:
        return f"{expanded(model)}{_MODEL_SUFFIX}"
    return os.path.join(expanded(project or "."), _PROJECT_FILE)


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
    return text if VERSION.fullmatch(text) else None


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
        version = checked(version)
        require(version)
    if project is None and model is None:
        return _use_for_user(version)
    if project is not None and model is not None:
        message = "project: cannot be given together with model"
        raise InvalidArgumentError(message)
    if model is not None and not os.path.exists(expanded(model)):
        message = f"{os.fspath(model)}: no such model"
        raise fetch.failed(message)
    path = _pin(project, model)
    with fetch.storing(path):
        if version is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        else:
            write_new(path, f"{version}\n")
    return path


def _use_for_user(version: str | None) -> str:
    link = os.path.join(folder(), "current")
    with locked(), fetch.storing(link):
        if os.path.lexists(link) and not os.path.islink(link):
            message = f"{link} is not a link of this command's making"
            raise fetch.failed(message, "Move it away first.")
        if version is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(link)
        else:
            draft = os.path.join(downloads(), f"current.{os.getpid()}.new")
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
    found, _ = _native.find_library(None if model is None else expanded(model), PACKAGE)
    return found


def remove(version: str) -> None:
    """Removes an installed version; if the user had selected it, the selection too.

    Raises:
        RuntimeInstallError: It is not installed, or not to be removed.
    """
    version = checked(version)
    at = os.path.join(folder(), version)
    with locked(), fetch.storing(at):
        if not os.path.lexists(at):
            require(version)
        no_link(at)
        if current() == version:
            os.unlink(os.path.join(folder(), "current"))
        # Out of the way at once, so that no half of it is ever found.
        old = os.path.join(downloads(), f"{version}.{os.getpid()}.old")
        os.rename(at, old)
        shutil.rmtree(old)
