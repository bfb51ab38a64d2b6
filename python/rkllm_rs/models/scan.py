"""What lies in the folders of models: a bounded walk, which looks into files only where it is told to."""

from __future__ import annotations

import os
import re
import warnings

from rkllm_rs import _native
from rkllm_rs.errors import RkllmWarning

from . import hub_cache, places, settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Keep = Callable[[str], bool]

SUFFIXES = (".rkllm", ".gguf")
#: Folders below folders; a hub's repositories are ``OWNER/NAME``, and a few have more inside.
_DEPTH = 4
#: Entries of one folder of models, all told.
_ENTRIES = 50_000
_SHARD = re.compile(r"(?P<stem>.+)-(?P<at>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.gguf)", re.IGNORECASE)
#: What a model's name does not make one.
_OTHER_KINDS = frozenset({"rknn", "rknn3", "adapter", "projector", "lfs-pointer", "html", "part", "empty"})


class Found:
    """A model in one of the places.

    Attributes:
        source: The place: ``"own"``, ``"root"``, ``"rkllama"``, ``"home"``, ``"hub"``, or ``"path"``.
        path: The file; of a model in several files the first.
        files: All its files.
        names: Names that say where it is, the shortest first. The last one is its own.
        aliases: Shorter ones, which others may have as well.
    """

    __slots__ = ("aliases", "files", "names", "path", "source")

    def __init__(self, source: str, files: list[str], names: list[str], aliases: list[str]) -> None:
        """Keeps what was found.

        Args:
            source: The place.
            files: All files, the first one first.
            names: Names that say where it is.
            aliases: Shorter ones.
        """
        self.source = source
        self.path = files[0]
        self.files = files
        self.names = names
        self.aliases = aliases


def is_model_name(name: str) -> bool:
    """Whether a file is named like a model.

    Args:
        name: The file's name.
    """
    return name.lower().endswith(SUFFIXES)


def stem(name: str) -> str:
    """A model's file name without what says the format and the part.

    Args:
        name: The file's name.
    """
    shard = _SHARD.fullmatch(name)
    return shard["stem"] if shard else os.path.splitext(name)[0]


def shard_of(name: str, most: int) -> tuple[int, list[str]] | None:
    """Which part of a split model a file is, and the names of all parts; ``None`` for any other file.

    Args:
        name: The file's name.
        most: How many files there are; a model of more parts has no names here.
    """
    shard = _SHARD.fullmatch(name)
    if shard is None:
        return None
    at, count = int(shard["at"]), int(shard["count"])
    if at != 1 or count > most:
        return at, []
    begin, rest = shard["stem"], f"-of-{shard['count']}{shard['suffix']}"
    return at, [f"{begin}-{part:05}{rest}" for part in range(1, count + 1)]


class _Walk:
    """A walk through a folder and those below it, with an end."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.left = _ENTRIES
        self.seen: set[tuple[int, int]] = set()

    def look(self, relative: str) -> tuple[list[str], list[str]]:
        """The files in one folder that are named like models, and the folders in it."""
        at = os.path.join(self.folder, relative)
        files: list[str] = []
        below: list[str] = []
        try:
            data = os.stat(at)
            key = data.st_dev, data.st_ino
            if key in self.seen:  # links in a circle
                return [], []
            self.seen.add(key)
            with os.scandir(at) as entries:
                for one in entries:
                    self.left -= 1
                    if self.left < 0:
                        break
                    if one.name.startswith("."):
                        continue
                    if is_model_name(one.name) and one.is_file():
                        files.append(one.name)
                    elif one.is_dir():
                        below.append(os.path.join(relative, one.name))
        except OSError:  # without rights, or gone meanwhile
            return [], []
        return sorted(files), sorted(below)


def walk(folder: str) -> Iterator[tuple[str, list[str]]]:
    """Goes through a folder and those below it; what cannot be read and what is hidden is left out.

    Args:
        folder: The folder.

    Yields:
        A folder's path relative to the first one, ``""`` for itself, and the files named like models in it.
    """
    going = _Walk(folder)
    waiting = [""]
    while waiting and going.left >= 0:
        relative = waiting.pop()
        files, below = going.look(relative)
        if files:
            yield relative, files
        if relative.count(os.sep) < _DEPTH - 1:
            waiting += reversed(below)
    if going.left < 0:
        text = f"{folder} has more than {_ENTRIES} entries; not all of them were searched for models"
        warnings.warn(text, RkllmWarning, stacklevel=2)


def _grouped(folder: str, names: list[str], keep: Keep) -> list[list[str]]:
    """The models in a folder, each as its files in their order; one that lacks a part is left out."""
    there = set(names)
    found: list[list[str]] = []
    for name in names:
        files = [name]
        if shard := shard_of(name, len(names)):
            _, files = shard
            if not files or not there.issuperset(files):
                continue
        if keep(os.path.join(folder, name)):
            found.append(files)
    return found


def anything(_path: str) -> bool:
    """Keeps each file that is named like a model, without a look into it."""
    return True


def in_folder(source: str, folder: str, keep: Keep = anything) -> list[Found]:
    """The models in a folder and those below it.

    Args:
        source: What the place is called; it stands before the longer names.
        folder: The folder.
        keep: Whether a file counts as a model.
    """
    found: list[Found] = []
    for relative, there in walk(folder):
        at = os.path.join(folder, relative) if relative else folder
        groups = _grouped(at, there, keep)
        told = settings.in_folder(at) if groups else None
        firsts = [files[0] for files in groups]
        chosen = told.model if told and told.model in firsts else None
        if len(groups) == 1:
            chosen = firsts[0]
        stems = [stem(first) for first in firsts]
        count: dict[str, int] = {}
        for one in stems:
            count[one] = count.get(one, 0) + 1
        for files, short in zip(groups, stems, strict=True):
            first = files[0]
            own = [short, first] if count[short] == 1 else [first]
            aliases = [*own, short]
            names = [os.path.join(relative, name) for name in own]
            if relative and chosen == first:
                names.insert(0, relative)
            if relative and chosen in (first, None):
                aliases += [relative, f"{source}:{relative}", os.path.basename(relative)]
            names += [f"{source}:{name}" for name in names]
            found.append(Found(source, [os.path.join(at, name) for name in files], names, aliases))
    return found


def in_repository(repo: str, folder: str, revision: str | None = None, keep: Keep = anything) -> list[Found]:
    """The models of a repository in the hub's cache; of several snapshots the best one that has the file.

    Args:
        repo: ``OWNER/NAME``.
        folder: The repository's folder in the cache.
        revision: Only those of this branch, tag or commit.
        keep: Whether a file counts as a model.
    """
    groups: dict[str, list[str]] = {}
    for snapshot in hub_cache.snapshots(folder, revision):
        for relative, names in walk(snapshot):
            at = os.path.join(snapshot, relative)
            for files in _grouped(at, names, keep):
                paths = [os.path.normpath(os.path.join(at, name)) for name in files]
                groups.setdefault(os.path.join(relative, files[0]), paths)
    found: list[Found] = []
    for file, paths in groups.items():
        name, whole = os.path.basename(file), f"{repo}/{file}"
        names = [whole, f"hub:{whole}"] if len(groups) > 1 else [repo, whole, f"hub:{repo}", f"hub:{whole}"]
        aliases = [repo, f"hub:{repo}", repo.rpartition("/")[2], stem(name), name]
        found.append(Found(places.HUB, paths, names, aliases))
    return found


def everywhere(keep: Keep = anything) -> list[Found]:
    """All models in all places, those of the user's own folder first.

    Args:
        keep: Whether a file counts as a model.
    """
    found = [one for source, folder in places.folders() for one in in_folder(source, folder, keep)]
    for repo, folder in hub_cache.repositories():
        found += in_repository(repo, folder, keep=keep)
    return found


def is_whole(path: str) -> bool:
    """Whether a file is a model to its end, as far as its own directory tells. It reads some megabytes.

    Args:
        path: The model's file.
    """
    import json

    if not os.access(path, os.R_OK):
        return False
    found = json.loads(_native.inspect_file(path))
    return bool(found["loadable"]) and found["kind"] not in _OTHER_KINDS and not found["truncated"]
