"""Which of a repository's files are models, and which of them fit this machine."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from rkllm_rs.errors import InvalidArgumentError

from .inspection import inspect
from .scan import is_model_name, shard_of

if TYPE_CHECKING:
    from .hub_cache import Address
    from .hub_files import RemoteFile, Repository

#: The chips that RKLLM is for; those with parts fused off run the models of the whole one.
CHIPS: Final = ("rk3588", "rk3576", "rk3562", "rv1126b")
_SAME: Final = {"rk3588s": "rk3588", "rk3582": "rk3588", "rk3583": "rk3588"}
#: What a file's name says if it is a part of a model.
_PARTS: Final = re.compile(
    r"(^|[-_.])(mmproj|projector|lora|adapter|imatrix|vision|encoder)([-_.]|$)", re.IGNORECASE
)


class Candidate:
    """A model of a repository.

    Attributes:
        files: Its files; more than one for a GGUF model that was split.
        path: The first one's path in the repository.
        chip: The chip that the names hint at, or ``None``.
    """

    __slots__ = ("chip", "files", "path")

    def __init__(self, files: list[RemoteFile], chip: str | None) -> None:
        """Keeps what was found.

        Args:
            files: Its files.
            chip: The chip that the names hint at.
        """
        self.files = files
        self.path = files[0].path
        self.chip = chip

    @property
    def is_gguf(self) -> bool:
        """Whether it is for the CPU runtime."""
        return self.path.lower().endswith(".gguf")

    @property
    def size_bytes(self) -> int | None:
        """Size of all its files, or ``None`` if the hub does not tell."""
        sizes = [one.size for one in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)


def chip_named(chip: str) -> str:
    """The chip as models are named after it.

    Args:
        chip: The user's word, such as ``RK3588S``.

    Raises:
        InvalidArgumentError: RKLLM does not support it.
    """
    name = chip.strip().lower()
    name = _SAME.get(name, name)
    if name not in CHIPS:
        message = f"chip must be {', '.join(CHIPS[:-1])} or {CHIPS[-1]}, got {chip!r}"
        raise InvalidArgumentError(message, hint="Run `rkllm-rs doctor` on the board to see its chip.")
    return name


def chip_here() -> str | None:
    """The chip of this board, or ``None`` on a machine without one that RKLLM supports."""
    from rkllm_rs.doctor.facts import Facts
    from rkllm_rs.doctor.root import Root

    found = Facts(Root("/")).chip_name or ""
    found = _SAME.get(found, found)
    return found if found in CHIPS else None


def _hinted(word: str) -> str | None:
    """The chip that a name hints at."""
    found = inspect(os.path.join("/nonexistent", os.path.basename(word))).hints["chip"]
    return None if found is None else _SAME.get(str(found), str(found))


def _chip(path: str, address: Address, repository: Repository) -> str | None:
    """The chip that a file is for, by its name, its folders, the branch, the repository or its tags."""
    for word in (*reversed(path.split("/")), address.revision or "", address.repo):
        if chip := _hinted(word):
            return chip
    tags = {chip for tag in repository.tags if (chip := _hinted(tag))}
    return tags.pop() if len(tags) == 1 else None


def models(address: Address, repository: Repository) -> list[Candidate]:
    """All models of a repository.

    Args:
        address: Its address.
        repository: What the hub tells of it.
    """
    by_path = {one.path: one for one in repository.files}
    found: list[Candidate] = []
    for path, file in sorted(by_path.items()):
        name = path.rpartition("/")[2]
        if not is_model_name(name) or _PARTS.search(os.path.splitext(name)[0]):
            continue
        files = [file]
        if shards := shard_of(name, len(by_path)):
            _, names = shards
            folder = path.removesuffix(name)
            if not names or not all(folder + one in by_path for one in names):
                continue
            files = [by_path[folder + one] for one in names]
        found.append(
            Candidate(files, None if name.lower().endswith(".gguf") else _chip(path, address, repository))
        )
    return found


def fitting(found: list[Candidate], chip: str | None) -> list[Candidate]:
    """The models that fit a machine.

    On a board these are ``.rkllm`` models for its chip, else those that name no chip, and ``.gguf`` models
    only where there are no others. Elsewhere they are ``.gguf`` models, or else all.

    Args:
        found: The models.
        chip: The board's chip, or ``None`` on another machine.
    """
    npu = [one for one in found if not one.is_gguf]
    cpu = [one for one in found if one.is_gguf]
    if chip is None:
        return cpu or npu
    if not npu:
        return cpu
    return [one for one in npu if one.chip == chip] or [one for one in npu if one.chip is None]
