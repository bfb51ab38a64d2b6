"""The vendor's releases: which files there are, and which of them this process could load."""

from __future__ import annotations

import platform
import re
import struct
import sys
from dataclasses import dataclass
from typing import Literal

from rkllm_rs import _native
from rkllm_rs._typed import expect, typed, typed_class
from rkllm_rs.errors import InvalidArgumentError, InvalidTypeError

#: What a version may look like; whatever else is given never becomes a part of a path.
VERSION = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}[0-9A-Za-z]{0,16}")
ARCHES = ("aarch64", "armhf")
_REPOSITORY = "https://github.com/airockchip/rknn-llm/raw"


@typed_class
@dataclass(frozen=True)
class OfficialFile:
    """An official library file. Immutable; any number of threads may use it.

    Attributes:
        release: The release, such as ``"1.2.1b1"``.
        abi: Its ABI version, such as ``"v1_2_1"``.
        os: ``"linux"`` or ``"android"``.
        arch: The vendor's name of the architecture: ``"aarch64"``, ``"armhf"``, ``"arm64-v8a"`` or
            ``"armeabi-v7a"``.
        git_blob_sha1: Git blob id of the file; ``None`` if only the SHA-256 is known.
        commit: Commit of the vendor's repository that contains it.
        path: Its path in that repository.
        size: Size in bytes, or ``None`` if unknown.
        sha256: SHA-256 of the file, or ``None`` if unknown.
    """

    release: str
    abi: str
    os: str
    arch: str
    git_blob_sha1: str | None
    commit: str
    path: str
    size: int | None = None
    sha256: str | None = None

    @property
    def generation(self) -> str:
        """The former name of ``abi``."""
        return self.abi

    @property
    def url(self) -> str:
        """URL of the file in the vendor's repository."""
        return f"{_REPOSITORY}/{self.commit}/{self.path}"

    @property
    def usable(self) -> bool:
        """Whether this package supports the release: all except 1.0.x."""
        return not self.abi.startswith("v1_0_")

    @property
    def digest(self) -> str:
        """The hash by which it is recognised, as text."""
        if self.git_blob_sha1 is not None:
            return f"Git blob id {self.git_blob_sha1}"
        return f"SHA-256 {self.sha256}"

    def __str__(self) -> str:
        return f"{self.release} for {self.os} {self.arch}"


@typed_class
@dataclass(frozen=True)
class VerifiedFile:
    """A file and its hashes. Immutable; any number of threads may use it.

    Attributes:
        path: Path of the file.
        size: Size in bytes.
        git_blob_sha1: Git blob id of the file.
        official: The official file with the same hash, or ``None``.
        sha256: SHA-256 of the file.
    """

    path: str
    size: int
    git_blob_sha1: str
    official: OfficialFile | None
    sha256: str


@typed_class
@dataclass(frozen=True)
class InstalledRuntime:
    """An installed version. Immutable; any number of threads may use it.

    Attributes:
        version: The release under which it is installed.
        path: Path of the library.
        arch: The vendor's name of the architecture; ``None`` if the file is not official.
        git_blob_sha1: Git blob id of the file; ``None`` if it cannot be read.
        status: ``"verified"`` (the official file of that release), ``"unknown"`` (another file, or a modified
            one) or ``"unreadable"``.
    """

    version: str
    path: str
    arch: str | None
    git_blob_sha1: str | None
    status: Literal["verified", "unknown", "unreadable"]


@typed
def official(
    release: str | None = None, *, os: str | None = "linux", arch: str | None = None
) -> list[OfficialFile]:
    """The known official files, oldest release first.

    Args:
        release: Only files of this release.
        os: ``"linux"``, ``"android"``, or ``None`` for both.
        arch: Only files for this architecture.
    """
    given = (("release", release, "1.3.0"), ("os", os, "linux"), ("arch", arch, "aarch64"))
    for name, value, example in given:
        if value is not None:
            expect(name, value, str, "a str", f'Pass text in quotes, such as "{example}".')
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


@typed
def machine() -> str | None:
    """The vendor's name of this process's architecture: ``"aarch64"``, ``"armhf"``, or ``None``."""
    # Termux calls itself Linux, but cannot load what is built for that.
    if not sys.platform.startswith("linux") or hasattr(sys, "getandroidapilevel"):
        return None
    name = platform.machine().lower()
    # A 32-bit system may run on a 64-bit kernel, which is what the name is of.
    if struct.calcsize("P") == 8:  # noqa: PLR2004 - the bytes of a pointer
        return "aarch64" if name in ("aarch64", "arm64") else None
    return "armhf" if name in ("armv7l", "armv8l", "aarch64", "arm64") else None


def checked(version: object) -> str:
    """A version as the user may write it, in the form that folders have."""
    if not isinstance(version, str):
        message = f"version must be a str, got {type(version).__name__}"
        raise InvalidTypeError(message, hint='Pass a release, such as "1.3.0".')
    found = version.strip().removeprefix("v")
    if not VERSION.fullmatch(found):
        message = f"version must be a release such as 1.2.3, got {version!r}"
        raise InvalidArgumentError(message, hint=f"Official releases: {releases()}.")
    return found


def releases() -> str:
    """The official releases, for messages."""
    return ", ".join(dict.fromkeys(one.release for one in official()))
