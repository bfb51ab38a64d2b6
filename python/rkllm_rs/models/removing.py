"""Removes models from the folders in which they are found by name; nothing elsewhere is touched."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from rkllm_rs._typed import typed
from rkllm_rs.errors import InvalidArgumentError, ModelError, ModelNotFoundError

from . import finding, hub_cache, places, scan

if TYPE_CHECKING:
    from .scan import Found

#: What is downloaded beside a model of the hub, and is of no use without one; in lower case.
COMPANIONS = hub_cache.BESIDE | {"readme.md", ".gitattributes"}


class Removal:
    """What is removed with a model; :func:`remove` returns it.

    Attributes:
        name: A name of the model.
        path: The model's file.
        files: All files and links that are removed.
        freed_bytes: Bytes that become free. 0 for a link to a file elsewhere, which stays.
        kept: The file that a link points to, or ``None``.
    """

    __slots__ = ("_root", "files", "freed_bytes", "kept", "name", "path")

    def __init__(self, name: str, files: list[str], root: str, *, kept: str | None = None) -> None:
        """Counts what becomes free.

        Args:
            name: A name of the model.
            files: The files and links.
            root: The folder that stays, whatever becomes empty.
            kept: The file that a link points to.
        """
        self.name = name
        self.path = files[0]
        self.files = files
        self.kept = kept
        self._root = root
        self.freed_bytes = 0
        for file in files:
            with contextlib.suppress(OSError):
                data = os.lstat(file)
                self.freed_bytes += data.st_size if data.st_nlink == 1 and not os.path.islink(file) else 0

    def to_dict(self) -> dict[str, Any]:
        """The same as a dictionary, as ``rkllm-rs rm --json`` prints it."""
        return {one: getattr(self, one) for one in ("name", "path", "files", "freed_bytes", "kept")}

    def carry_out(self) -> None:
        """Removes the files, and the folders that are empty then.

        Raises:
            ModelError: A file cannot be removed.
        """
        try:
            for file in self.files:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(file)
        except OSError as error:
            message = f"{error.filename} cannot be removed: {error.strerror}"
            hint = "Check the rights of its folder with `ls -ld`."
            raise ModelError(message, hint=hint) from error
        for folder in sorted({os.path.dirname(file) for file in self.files}, key=len, reverse=True):
            self._prune(folder)

    def _prune(self, folder: str) -> None:
        """Removes folders that have become empty, up to the one that stays."""
        with contextlib.suppress(OSError):
            while folder != self._root and folder.startswith(self._root + os.sep):
                os.rmdir(folder)
                folder = os.path.dirname(folder)


@typed
def remove(name: str) -> Removal:
    """Removes a model from the folder in which it was found, without asking.

    Only models that :func:`installed` lists can be removed. In the hub's cache, the data is removed with the
    names that point to it; once a repository has no model left, so are the small files that were downloaded
    with it. A link is removed, and the file that it points to stays.

    Args:
        name: A name, path or address, as :func:`find` takes it.

    Returns:
        What was removed.

    Raises:
        ModelNotFoundError: No model has the name, or several have it.
        ModelError: A file could not be removed.
        InvalidArgumentError: The model is not in a folder in which models are found by name.
    """
    found = removal(name)
    found.carry_out()
    return found


def removal(name: str) -> Removal:
    """What ``remove()`` would remove.

    Args:
        name: A name, path or address.

    Raises:
        ModelNotFoundError: No model has the name, or several have it.
        InvalidArgumentError: The model is not in a folder in which models are found by name.
    """
    try:
        found = finding.resolved(name)
    except ModelNotFoundError:
        if left := _left_over(name):
            return left
        raise
    if found.source == "path":
        inside = [one for one in scan.everywhere() if _same(one.path, found.path)]
        if not inside:
            message = f"name must be that of an installed model; {found.path} is not in a folder of models"
            hint = "Remove the file itself with `rm`, or run `rkllm-rs list` for what can be removed."
            raise InvalidArgumentError(message, hint=hint)
        found = inside[0]
    if found.source == places.HUB:
        return _of_hub(found)
    root = next(folder for _, folder in places.folders() if _below(found.path, folder))
    kept = os.path.realpath(found.path) if os.path.islink(found.path) else None
    return Removal(found.names[0], found.files, root, kept=kept)


def _left_over(name: str) -> Removal | None:
    """What a download has left that did not end, where the cache has nothing else of the repository."""
    if not hub_cache.is_address(name):
        return None
    repo = hub_cache.address(name).repo
    folder = hub_cache.folder_of(repo)
    files = _entries(folder)
    if not any(one.endswith(".incomplete") for one in files) or any(map(scan.is_model_name, files)):
        return None
    if not all(_is_companion(one) for top in hub_cache.snapshots(folder) for one in _entries(top)):
        return None
    return Removal(f"hub:{repo}", files, os.path.dirname(folder))


def _same(one: str, other: str) -> bool:
    """Whether two paths name the same entry of a folder; a link and the file it points to are two."""
    here, there = os.path.split(one), os.path.split(other)
    return here[1] == there[1] and os.path.realpath(here[0]) == os.path.realpath(there[0])


def _below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def _of_hub(found: Found) -> Removal:
    """A model of the hub's cache: its links in all snapshots, and the data that nothing else points to."""
    repo = next(one for one, folder in hub_cache.repositories() if _below(found.path, folder))
    folder = hub_cache.folder_of(repo)
    snapshot = next(one for one in hub_cache.snapshots(folder) if _below(found.path, one))
    going = {os.path.relpath(file, snapshot) for file in found.files}
    entries = [
        (os.path.relpath(entry, top), entry) for top in hub_cache.snapshots(folder) for entry in _entries(top)
    ]
    if all(_is_companion(relative) for relative, _ in entries if relative not in going):
        going = {relative for relative, _ in entries}
    gone = [entry for relative, entry in entries if relative in going]
    used = {os.path.realpath(entry) for relative, entry in entries if relative not in going}
    blobs = {os.path.realpath(entry) for entry in gone if os.path.islink(entry)} - used
    inside = os.path.realpath(os.path.join(folder, "blobs")) + os.sep
    files = [*found.files, *(entry for entry in gone if entry not in found.files)]
    files += sorted(blob for blob in blobs if blob.startswith(inside) and os.path.exists(blob))
    if len(gone) == len(entries):  # and with them what is left of downloads, and the names of branches
        for name in ("blobs", "refs"):
            files += _entries(os.path.join(folder, name))
    name = f"hub:{found.names[0].removeprefix('hub:')}"
    return Removal(name, list(dict.fromkeys(files)), os.path.dirname(folder))


def _is_companion(relative: str) -> bool:
    name = os.path.basename(relative).lower()
    return name in COMPANIONS or os.path.dirname(relative).endswith("additional_chat_templates")


def _entries(folder: str) -> list[str]:
    """All files and links below a folder."""
    return [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
