"""What servers of this machine tell of their models, for ``rkllm-rs ps``: a locked file for each server."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import stat
import tempfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from typing_extensions import Self

_MOST_BYTES = 1 << 20
#: Of all users who have a session, and of the service docker/rkllm-rs.service.
_ALL_PLACES = ("/run/user/*/rkllm_rs", "/run/rkllm-rs/rkllm_rs")


class Presence:
    """The file of one server. Its lock says that the server lives: the kernel frees it with the process."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def begin(cls) -> Self | None:
        """Makes the file; ``None`` where there is no safe place for it."""
        folder = next((place for place in _places() if _is_ours(place)), None)
        if folder is None:
            return None
        try:
            descriptor, path = tempfile.mkstemp(".json", f"server-{os.getpid()}-", folder)
        except OSError:
            return None
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return cls(path, descriptor)

    def tell(self, models: Sequence[dict[str, Any]]) -> None:
        """Replaces what the file says.

        Args:
            models: ``name``, ``path``, ``state`` and ``worker_pid`` of each model.
        """
        data = json.dumps({"pid": os.getpid(), "models": list(models)}).encode()
        with contextlib.suppress(OSError):
            # Readers take the first value, so that a longer text of before does not matter.
            os.pwrite(self._descriptor, data + b"\n", 0)
            os.ftruncate(self._descriptor, len(data) + 1)

    def end(self) -> None:
        """Removes the file."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        os.close(self._descriptor)


def servers() -> list[dict[str, Any]]:
    """What the servers tell that live and whose files can be read.

    Returns:
        For each: ``pid``, and ``models`` as in ``Presence.tell``.
    """
    return [found for folder in _known_places() for found in _told(folder)]


def _places() -> list[str]:
    """Where the user's servers have their files."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    there = [os.path.join(runtime, "rkllm_rs")] if runtime and os.path.isdir(runtime) else []
    return [*there, *(os.path.join(folder, f"rkllm_rs-{os.getuid()}") for folder in _temporary())]


def _temporary() -> list[str]:
    """The folder for temporary files; none where no such folder can be written to, as in a strict unit."""
    try:
        return [tempfile.gettempdir()]
    except OSError:
        return []


def _known_places() -> list[str]:
    """Where servers have their files; those of all users for root."""
    places = _places()
    if os.getuid() == 0:
        places += [place for pattern in _ALL_PLACES for place in glob.glob(pattern)]
        places += [place for folder in _temporary() for place in glob.glob(f"{folder}/rkllm_rs-*")]
    return list(dict.fromkeys(places))


def _is_ours(folder: str) -> bool:
    """Whether a folder is there, made if need be, and nobody else can write to it."""
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        about = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not about.st_mode & 0o077


def _told(folder: str) -> Iterator[dict[str, Any]]:
    try:
        owner = os.lstat(folder).st_uid
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            found = _read(os.path.join(folder, name), owner)
            if found is not None:
                yield found


def _read(path: str, owner: int) -> dict[str, Any] | None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != owner:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            text = os.read(descriptor, _MOST_BYTES).decode()
        else:
            # Its server has been killed.
            if owner == os.getuid():
                os.unlink(path)
            return None
    finally:
        os.close(descriptor)
    data: Any = json.JSONDecoder().raw_decode(text)[0]
    models = [
        {
            "name": str(one["name"]),
            "path": str(one["path"]),
            "state": str(one["state"]),
            "worker_pid": None if one["worker_pid"] is None else int(one["worker_pid"]),
        }
        for one in data["models"]
    ]
    return {"pid": int(data["pid"]), "models": models}
