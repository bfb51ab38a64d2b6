"""What the hub tells of a repository and its files, as data."""

from __future__ import annotations

import re
from typing import Any, NamedTuple


class RemoteFile(NamedTuple):
    """A file of a repository: path, size, and the hash of its content; what is not known is ``None``."""

    path: str
    size: int | None
    sha256: str | None
    git_blob_sha1: str | None

    @property
    def etag(self) -> str | None:
        """The name that its content has in the cache."""
        return self.sha256 or self.git_blob_sha1


class Repository(NamedTuple):
    """What the hub tells of a repository."""

    commit: str | None
    files: list[RemoteFile]
    license: str | None
    tags: list[str]


def texts_in(given: Any) -> list[str]:
    """The texts in a list, or the one text that is there in its place.

    Args:
        given: Of an answer of the hub.
    """
    found: Any = [given] if isinstance(given, str) or not hasattr(given, "__iter__") else given
    return [one for one in found if isinstance(one, str)]


def table(given: Any) -> Any:
    """A JSON object, or an empty one in place of anything else.

    Args:
        given: Of an answer of the hub.
    """
    return given if hasattr(given, "get") else {}


def is_inside(path: str) -> bool:
    """Whether a path stays in its repository.

    Args:
        path: The path.
    """
    steps = path.split("/")
    return bool(path) and not {"", ".", ".."} & set(steps) and "\0" not in path and "\\" not in path


def _hash(text: object, count: int) -> str | None:
    return text if isinstance(text, str) and re.fullmatch(f"[0-9a-f]{{{count}}}", text) else None


def _size(*given: object) -> int | None:
    return next((one for one in given if isinstance(one, int) and not isinstance(one, bool)), None)


def sibling(given: Any) -> RemoteFile:
    """Reads an entry of the list that comes with a repository.

    Args:
        given: The entry.
    """
    one = table(given)
    large: Any = table(one.get("lfs"))
    sha256 = _hash(large.get("sha256"), 64)
    blob = None if large else _hash(one.get("blobId"), 40)
    return RemoteFile(
        str(one.get("rfilename") or ""), _size(large.get("size"), one.get("size")), sha256, blob
    )


def entry(given: Any) -> RemoteFile:
    """Reads an entry of the list of a repository's tree.

    Args:
        given: The entry.
    """
    one = table(given)
    large: Any = table(one.get("lfs"))
    sha256 = _hash(str(large.get("oid", "")).removeprefix("sha256:"), 64)
    blob = None if large else _hash(one.get("oid"), 40)
    return RemoteFile(str(one.get("path") or ""), _size(large.get("size"), one.get("size")), sha256, blob)
