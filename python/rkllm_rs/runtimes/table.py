"""The vendor's releases: which files there are, and which of them this process could load."""

from __future__ import annotations

import platform
import re
import struct
import sys
from dataclasses import dataclass
from typing import Literal

from rkllm_rs import _native
from rkllm_rs.errors import InvalidArgumentError

#: What a version may look like; whatever else is given never becomes a part of a path.
VERSION = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}[0-9A-Za-z]{0,16}")
ARCHES = ("aarch64", "armhf")
_REPOSITORY = "https://github.com/airockchip/rknn-llm/raw"


@dataclass(frozen=True)
class OfficialFile:
    """One library file of the vendor's.

    Attributes:
        release: Such as ``"1.2.1b1"``.
        generation: The C layouts that it speaks, such as ``"v1_2_1"``.
        os: ``"linux"`` or ``"android"``.
        arch: The vendor's folder: ``"aarch64"``, ``"armhf"``, ``"arm64-v8a"`` or ``"armeabi-v7a"``.
        git_blob_sha1: The Git blob id of its bytes; ``None`` where only the SHA-256 is known.
        commit: The commit of the vendor's repository that has it.
        path: Where it lies there.
        size: Bytes, where known.
        sha256: The SHA-256 of its bytes, where known.
    """

    release: str
    generation: str
    os: str
    arch: str
    git_blob_sha1: str | None
    commit: str
    path: str
    size: int | None = None
    sha256: str | None = None

    @property
    def url(self) -> str:
        """Its address in the vendor's repository."""
        return f"{_REPOSITORY}/{self.commit}/{self.path}"

    @property
    def usable(self) -> bool:
        """Whether this package speaks its generation: all but 1.0.x."""
        return not self.generation.startswith("v1_0_")

    @property
    def digest(self) -> str:
        """What it is recognised by, for messages."""
        if self.git_blob_sha1 is not None:
            return f"Git blob id {self.git_blob_sha1}"
        return f"SHA-256 {self.sha256}"

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
        sha256: The SHA-256 of its bytes.
    """

    path: str
    size: int
    git_blob_sha1: str
    official: OfficialFile | None
    sha256: str


@dataclass(frozen=True)
class InstalledRuntime:
    """A version in the runtimes folder.

    Attributes:
        version: The release that it was installed as.
        path: Its file.
        arch: The vendor's folder name; ``None`` for a file that is not an official one.
        git_blob_sha1: The Git blob id of its bytes; ``None`` if they cannot be read.
        status: ``"verified"``: the official file of that release; ``"unknown"``: another file, or one
            that was changed; ``"unreadable"``.
    """

    version: str
    path: str
    arch: str | None
    git_blob_sha1: str | None
    status: Literal["verified", "unknown", "unreadable"]


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
        for one in (OfficialFile(**entry) for entry in _native.known_libraries())
        if release in (None, one.release) and os in (None, one.os) and arch in (None, one.arch)
    ]


def recognised(git_blob_sha1: str, sha256: str) -> OfficialFile | None:
    """The official file with these hashes."""
    for one in official(os=None):
        if git_blob_sha1 == one.git_blob_sha1 or (one.git_blob_sha1 is None and sha256 == one.sha256):
            return one
    return None


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


def checked(version: str) -> str:
    """A version as the user may write it, in the form that folders have."""
    found = version.strip().removeprefix("v")
    if not VERSION.fullmatch(found):
        message = f"version must be a release such as 1.2.3, got {version!r}"
        raise InvalidArgumentError(message, hint=f"Official releases: {releases()}.")
    return found


def releases() -> str:
    """The official releases, for messages."""
    return ", ".join(dict.fromkeys(one.release for one in official()))
