"""Gets one file of the hub into the cache: resumed where it ended, and compared with its hash."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import http.client
import os
import re
import time
from typing import IO, TYPE_CHECKING, Any, Final

from rkllm_rs.errors import DownloadError

from .hub import TRIES

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from .hub import Hub
    from .hub_cache import Address
    from .hub_files import RemoteFile

_CHUNK: Final = 1 << 18
#: No file is anywhere near this; it keeps an endless answer from filling the disk where no size is known.
_LIMIT: Final = 1 << 40


class Transfer:
    """The download of one file to its place among the blobs of a repository.

    Attributes:
        file: The file, with its size and hash.
        blob: Where its content goes.
        place: The name that the content gets in the snapshot.
        partial: Where it grows.
    """

    def __init__(
        self, hub: Hub, address: Address, url: str, file: RemoteFile, folder: str, place: str
    ) -> None:
        """Names the places.

        Args:
            hub: Where it comes from.
            address: The repository, for messages.
            url: The file's address.
            file: The file.
            folder: The repository's folder in the cache.
            place: Its path in the snapshot.
        """
        self.hub = hub
        self.address = address
        self.url = url
        self.file = file
        self.place = place
        name = file.etag or hashlib.sha256(url.encode()).hexdigest()
        self.blob = os.path.join(folder, "blobs", name)
        self.partial = f"{self.blob}.incomplete"
        top, repository = os.path.split(folder)
        # The lock of the hub's own programs, so that two downloads of one file wait for each other.
        self._lock = os.path.join(top, ".locks", repository, f"{name}.lock")
        self._hasher = self._new_hasher()
        self._done = 0

    def _new_hasher(self) -> Any:
        if self.file.sha256 is None and self.file.git_blob_sha1 is not None and self.file.size is not None:
            return hashlib.sha1(b"blob %d\0" % self.file.size, usedforsecurity=False)
        return hashlib.sha256()

    def _fits(self, path: str) -> bool:
        try:
            return self.file.size in (None, os.path.getsize(path))
        except OSError:
            return False

    @property
    def is_in_place(self) -> bool:
        """Whether the snapshot has the file: a link to its content, or itself where there are no links."""
        linked = os.path.realpath(self.place) == os.path.realpath(self.blob)
        return (linked or not os.path.islink(self.place)) and self._fits(self.place)

    @property
    def is_there(self) -> bool:
        """Whether the file has been downloaded before; it was compared with its hash then."""
        return self._fits(self.blob) or self.is_in_place

    @property
    def left(self) -> int:
        """How many bytes are to come, as far as it is known."""
        if self.is_there:
            return 0
        with contextlib.suppress(OSError):
            return max(0, (self.file.size or 0) - os.path.getsize(self.partial))
        return self.file.size or 0

    def run(self, progress: Callable[[int, int | None], object]) -> None:
        """Downloads what is missing.

        Args:
            progress: Called with the bytes that are there, and those in all, if known.

        Raises:
            DownloadError: It failed. What has come stays for the next call, unless its hash is wrong.
        """
        for folder in (os.path.dirname(self.blob), os.path.dirname(self._lock)):
            os.makedirs(folder, exist_ok=True)
        with self._locked():
            if self.is_there:
                return
            resumed = self._resume(progress)
            self._all(progress)
            if not self._is_right() and resumed:
                self.hub.say("what an earlier download left was damaged; starting again")
                self._start_again()
                self._all(progress)
            if not self._is_right():
                wrong = self._wrong()
                os.unlink(self.partial)
                raise wrong
            os.replace(self.partial, self.blob)

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            told = False
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as error:
                    if error.errno not in (errno.EAGAIN, errno.EWOULDBLOCK):
                        break  # a file system without locks
                    if not told:
                        self.hub.say(f"waiting for another download of {self.file.path}")
                    told = True
                    time.sleep(0.2)
            yield
        finally:
            os.close(descriptor)

    def _start_again(self) -> None:
        self._done, self._hasher = 0, self._new_hasher()
        with open(self.partial, "wb"):
            pass

    def _resume(self, progress: Callable[[int, int | None], object]) -> bool:
        """Takes up what an earlier call has left; whether there was something."""
        try:
            with open(self.partial, "rb") as file:
                while chunk := file.read(_CHUNK):
                    self._hasher.update(chunk)
                    self._done += len(chunk)
        except FileNotFoundError:
            return False
        if self._done > (self.file.size or _LIMIT):
            self._start_again()
        if self._done:
            progress(self._done, self.file.size)
        return self._done > 0

    def _all(self, progress: Callable[[int, int | None], object]) -> None:
        """Asks for the rest until it is there; a connection that breaks is made anew where it ended."""
        attempt, most = 0, self._done
        while self._done != self.file.size:
            most = max(most, self._done)
            try:
                if self._some(progress):
                    return
                raise self._broken()
            except (OSError, http.client.HTTPException, ValueError) as error:
                attempt = 1 if self._done > most else attempt + 1
                if (
                    getattr(error, "code", None) == http.client.REQUESTED_RANGE_NOT_SATISFIABLE
                    and attempt < TRIES
                ):
                    self._start_again()
                else:
                    self.hub.wait_or_raise(self.address, error, attempt)

    def _some(self, progress: Callable[[int, int | None], object]) -> bool:
        """One request; whether the file is complete after it."""
        answer, headers = self.hub.open(self.url, begin=self._done)
        if answer is None:
            return False
        with answer:
            if self._done and not _begins_at(answer.status, headers.get("Content-Range", ""), self._done):
                self._start_again()  # the server sends all of it
            length = headers.get("Content-Length", "")
            total = self._done + int(length) if length.isdecimal() else None
            expected = self.file.size if self.file.size is not None else total
            with open(self.partial, "ab") as out:
                while chunk := answer.read1(_CHUNK):
                    _write(out, chunk)
                    self._hasher.update(chunk)
                    self._done += len(chunk)
                    if self._done > (expected or _LIMIT):
                        message = f"the server sent more than {expected} bytes of {self.file.path}"
                        raise DownloadError(message, hint="Try again later.")
                    progress(self._done, expected)
                out.flush()
                os.fsync(out.fileno())
        return expected is None or self._done == expected

    def _broken(self) -> ConnectionError:
        return ConnectionError(f"the connection ended after {self._done} bytes")

    def _is_right(self) -> bool:
        wanted = self.file.etag
        return wanted is None or self._digest() == wanted

    def _digest(self) -> str:
        """The content's hash, of the kind that the hub has."""
        if self.file.sha256 is None and self.file.git_blob_sha1 is not None and self.file.size is None:
            # Git hashes the size first, which was not known then; only small files have such a hash.
            blob = hashlib.sha1(b"blob %d\0" % self._done, usedforsecurity=False)
            with open(self.partial, "rb") as file:
                while chunk := file.read(_CHUNK):
                    blob.update(chunk)
            return blob.hexdigest()
        digest: str = self._hasher.hexdigest()
        return digest

    def _wrong(self) -> DownloadError:
        kind = "SHA-256" if self.file.sha256 else "Git blob id"
        message = (
            f"{self.file.path} has another {kind} than the hub says: {self._digest()} in place of "
            f"{self.file.etag}; it was removed"
        )
        return DownloadError(message, hint="Run the command again. If it fails again, the mirror is damaged.")


def _write(out: IO[bytes], chunk: bytes) -> None:
    try:
        out.write(chunk)
        out.flush()
    except OSError as error:  # which is not one of the connection
        message = f"{out.name} cannot be written: {error.strerror}"
        hint = "Free some space, or set HF_HOME to a folder on another disk. The next call goes on from here."
        raise DownloadError(message, hint=hint) from error


def _begins_at(status: int, content_range: str, begin: int) -> bool:
    """Whether a server's answer begins where it was asked to."""
    match = re.match(r"bytes (\d+)-", content_range)
    return status == http.client.PARTIAL_CONTENT and (match is None or int(match[1]) == begin)
