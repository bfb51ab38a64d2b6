"""How the bytes of a library come here: by HTTPS, going on where a download was cut, or from a file.

Nothing here decides whether a file is the right one; ``runtimes`` does, from what has been written.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import ipaddress
import os
import re
import shutil
import ssl
import stat
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ._native import __version__
from .errors import InvalidArgumentError, RuntimeInstallError

if TYPE_CHECKING:
    from collections.abc import Generator
    from io import FileIO
    from typing import IO

    from ._runtime_table import OfficialFile

#: Told the bytes that are there, and the bytes in all, if known.
Progress = Callable[[int, "int | None"], object]
OFFICIAL = "https://github.com/airockchip/rknn-llm/raw"
#: The hosts that GitHub keeps the content of its repositories on; a redirect to another is refused.
CONTENT_HOSTS = frozenset(
    {
        "github.com",
        "raw.githubusercontent.com",
        "media.githubusercontent.com",
        "objects.githubusercontent.com",
    }
)
#: No release is anywhere near this; it keeps an endless answer from filling the disk.
LIMIT = 512 << 20
#: Seconds without a byte.
TIMEOUT = 30.0
CHUNK = 1 << 18

_HEAD = 512
_DENIED = (errno.EROFS, errno.EACCES, errno.EPERM)
FULL = (errno.ENOSPC, errno.EDQUOT)


class Origin(NamedTuple):
    """A file to be downloaded, and who may answer for it."""

    url: str
    release: str
    #: Scheme, host and port of every server that a redirect may lead to.
    servers: frozenset[tuple[str, str, int]]

    @property
    def host(self) -> str:
        """Its host, for messages."""
        return urllib.parse.urlsplit(self.url).hostname or self.url


def failed(message: str, hint: str | None = None) -> RuntimeInstallError:
    """The error to raise."""
    return RuntimeInstallError(message, hint=hint)


def official(file: OfficialFile) -> Origin:
    """Where the vendor's repository has a file."""
    servers = frozenset(("https", host, 443) for host in CONTENT_HOSTS)
    return Origin(f"{OFFICIAL}/{file.commit}/{file.path}", file.release, servers)


def mirrored(base: str, file: OfficialFile) -> Origin:
    """Where a mirror has it: the same commit and path below an address of the user's.

    Raises:
        InvalidArgumentError: Not an HTTPS address (HTTP is taken for this machine itself only).
    """
    try:
        server = _server(base)
    except ValueError:
        server = None
    # Neither name and password nor anything behind the path.
    if server is None or any(character in base for character in "@?#"):
        # The address itself may hold a password: it is not repeated.
        message = "mirror: not an address such as https://mirror.example/rknn-llm"
        hint = "Give https://HOST/PATH (RKLLM_RS_MIRROR), without user name, question mark or hash."
        raise InvalidArgumentError(message, hint=hint)
    if server[0] != "https" and not _loopback(server[1]):
        message = f"mirror: {server[0]}://{server[1]} is not protected against changes on the way"
        raise InvalidArgumentError(message, hint="Use https; http is for this machine itself only.")
    return Origin(f"{base.rstrip('/')}/{file.commit}/{file.path}", file.release, frozenset({server}))


def _server(url: str) -> tuple[str, str, int] | None:
    parts = urllib.parse.urlsplit(url)
    default = {"https": 443, "http": 80}.get(parts.scheme)
    if default is None or not parts.hostname:
        return None
    return parts.scheme, parts.hostname, parts.port or default


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to the origin's own servers and nowhere else."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        try:
            server = _server(newurl)
        except ValueError:
            server = None
        if server not in self.origin.servers:
            fp.close()
            raise _elsewhere(self.origin, newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def http_error_302(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
    ) -> Any:
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except ValueError as error:
            fp.close()
            message = f"{self.origin.host} redirects to an address that is none"
            raise failed(message, by_hand(self.origin)) from error

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _elsewhere(origin: Origin, url: str) -> RuntimeInstallError:
    parts = urllib.parse.urlsplit(url)
    try:
        where = f"{parts.scheme}://{parts.hostname}:{parts.port}" if parts.port else ""
    except ValueError:
        where = ""
    where = where or f"{parts.scheme}://{parts.hostname or ''}"
    return failed(
        f"{origin.host} redirects to another server, {where}, which was not followed",
        "A network that asks for a log-in does that: open a page in a browser first. A mirror has to "
        "serve the files itself.",
    )


def _ask(origin: Origin, start: int) -> http.client.HTTPResponse | None:
    """The answer to a request for the file from ``start`` on; none if it has no such part."""
    headers = {"User-Agent": f"rkllm_rs/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    handlers: list[urllib.request.BaseHandler] = [_Redirects(origin)]
    if _loopback(origin.host):
        handlers.append(urllib.request.ProxyHandler({}))
    # The scheme has been looked at: https, or http to this machine.
    request = urllib.request.Request(origin.url, headers=headers)  # noqa: S310
    try:
        answer: http.client.HTTPResponse = urllib.request.build_opener(*handlers).open(
            request, timeout=TIMEOUT
        )
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
                return None
            raise _refused(origin, error) from None
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        # A UnicodeError is a host name that cannot be one.
        raise unreachable(origin, error) from error
    return answer


def _refused(origin: Origin, error: urllib.error.HTTPError) -> RuntimeInstallError:
    if error.code == http.HTTPStatus.NOT_FOUND:
        return failed(f"{origin.host} has no such file: {origin.url}", by_hand(origin))
    if error.code // 100 == 3:  # noqa: PLR2004 - the redirects
        return _elsewhere(origin, error.headers.get("Location") or error.url or "")
    return failed(
        f"{origin.host} answered {error.code} ({error.reason}) for {origin.url}",
        f"Try again later. {by_hand(origin)}",
    )


def unreachable(origin: Origin, error: BaseException) -> RuntimeInstallError:
    """The error for a server that gives no answer, or a certificate that is not right."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return failed(
            f"the certificate of {origin.host} was not accepted: {reason.verify_message}",
            "Look at the clock first (`date`): a board without battery often starts in the past, where "
            "no certificate is valid yet.",
        )
    return failed(f"{origin.host} could not be reached: {reason}", f"Without network: {by_hand(origin)}")


def by_hand(origin: Origin) -> str:
    """How to do without this machine's network."""
    return (
        f"On a machine that is online, download {origin.url}, copy the file to this one, and run "
        f"`rkllm-rs runtime install {origin.release} --from FILE`, which checks it and puts it in place."
    )


def _total(answer: http.client.HTTPResponse, start: int) -> tuple[int, int | None] | None:
    """Where the answer begins and how long the file is; none for a part that was not asked for."""
    if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
        length = answer.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", answer.headers.get("Content-Range", "").strip())
    if match is None or int(match[1]) != start:
        return None
    return start, None if match[3] == "*" else int(match[3])


def download(origin: Origin, file: FileIO, *, size: int | None, progress: Progress | None) -> bool:
    """Writes the origin's file, after what of it is there already.

    Args:
        origin: Where it is.
        file: Open for reading and writing, with the beginning of an earlier download or nothing.
        size: The size in bytes that it must have, if known.
        progress: Called with the bytes that are there and the bytes in all, if known.

    Returns:
        Whether the beginning was kept.

    Raises:
        RuntimeInstallError: Not reached, not all of it, or plainly no library. What has come of a
            library stays in the file.
    """
    have = os.fstat(file.fileno()).st_size
    if size is not None and have > size:
        have = 0
    found: tuple[int, int | None] | None = None
    answer = None
    for start in (have, 0):
        answer = _ask(origin, start)
        if answer is not None:
            found = _total(answer, start)
            if found is not None:
                break
            answer.close()
    if answer is None or found is None:
        message = f"{origin.host} sent another part of the file than was asked for"
        raise failed(message, f"Try again later. {by_hand(origin)}")
    with answer:
        begin, total = found
        _check_length(origin, total, size)
        _receive(origin, answer, file, begin=begin, total=total, progress=progress)
    return begin > 0


def _check_length(origin: Origin, total: int | None, size: int | None) -> None:
    if total is not None and size is not None and total != size:
        message = f"{origin.host} has a file of {total} bytes, but the official one has {size}"
        raise failed(
            message,
            "The address is of another file, or a page stands in its place.",
        )
    if total is not None and total > LIMIT:
        message = f"{origin.host} announces {total} bytes, more than any library has"
        raise failed(message)


def _receive(
    origin: Origin,
    answer: http.client.HTTPResponse,
    file: FileIO,
    *,
    begin: int,
    total: int | None,
    progress: Progress | None,
) -> None:
    done = begin
    while chunk := _read(origin, answer, done, total):
        if done == begin:
            # A page takes the place of nothing that has come before.
            if not begin or answer.headers.get_content_type() == "text/html":
                check_head(chunk, f"what {origin.host} sent", answer.headers.get_content_type())
            with storing(file.name):
                file.truncate(begin)
                file.seek(begin)
        done += len(chunk)
        if done > (LIMIT if total is None else total):
            message = f"{origin.host} sent more than it announced"
            raise failed(message)
        with storing(file.name):
            write(file, chunk)
        if progress is not None:
            progress(done, total)
    if total is None:
        total = done
    if done < total or not done:
        raise _cut(origin, done, total)


def _read(origin: Origin, answer: http.client.HTTPResponse, done: int, total: int | None) -> bytes:
    try:
        # As much as is there: what has come is kept whatever happens next.
        return answer.read1(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _cut(origin, done, total) from error


def _cut(origin: Origin, done: int, total: int | None) -> RuntimeInstallError:
    of = "" if total is None else f" of {total}"
    return failed(
        f"the download from {origin.host} ended after {done}{of} bytes",
        "Run the same command again: it goes on from there.",
    )


def copy(source: str, file: FileIO, *, progress: Progress | None) -> None:
    """Writes a file of this machine in place of what ``file`` has.

    Raises:
        RuntimeInstallError: It cannot be read, is plainly no library, or changed meanwhile.
    """
    with open_file(source) as opened:
        before = os.fstat(opened.fileno())
        done = 0
        while chunk := reading(source, opened):
            if not done:
                check_head(chunk, source)
            done += len(chunk)
            if done > LIMIT:
                message = f"{source} is larger than any library"
                raise failed(message)
            with storing(file.name):
                write(file, chunk)
            if progress is not None:
                progress(done, before.st_size)
        after = os.fstat(opened.fileno())
    same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    if not same or done != before.st_size:
        message = f"{source} changed while it was read"
        raise failed(message, "Wait until whatever writes it is done.")
    if not done:
        message = f"{source} is empty"
        raise failed(message, "Copy or download it again.")


def open_file(path: str) -> FileIO:
    """Opens a regular file for reading; a pipe under its name does not hold us up."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        message = f"{path}: no such file"
        raise failed(message) from None
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise failed(message) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        message = f"{path} is not a regular file"
        raise failed(message)
    return open(descriptor, "rb", buffering=0)


def reading(path: str, file: FileIO) -> bytes:
    """The next piece of a file."""
    try:
        return file.read(CHUNK) or b""
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise failed(message) from error


def check_head(head: bytes, what: str, content_type: str = "") -> None:
    """Refuses by its first bytes what is plainly no library."""
    start = head[:_HEAD].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if content_type == "text/html" or start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        message = f"{what} is a web page, not a library"
        raise failed(
            message,
            "A network that asks for a log-in answers so: open a page in a browser first. For a file of "
            'your own, take the "raw" link.',
        )
    if start.startswith(b"version https://git-lfs"):
        message = f"{what} is a Git LFS pointer, not the library itself"
        raise failed(message, "Run `git lfs pull` there.")
    if not head.startswith(b"\x7fELF"):
        message = f"{what} is not a library: it does not begin as an ELF file does"
        raise failed(message)


def write(file: FileIO, data: bytes) -> None:
    """Writes all of ``data``; a full disk may take a part of it first."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]


@contextlib.contextmanager
def storing(path: object) -> Generator[None]:
    """Says of a failure to write what it means and what helps."""
    try:
        yield
    except OSError as error:
        where = str(error.filename or path)
        if error.errno in FULL:
            message = f"the disk is full: {where} could not be written"
            raise failed(message, _room(where)) from error
        if error.errno in _DENIED:
            message = f"{where} cannot be written: {error.strerror}"
            raise failed(
                message,
                "Runtimes are kept in your own data folder; name another one that you can write to with "
                "RKLLM_RS_HOME. Root is never needed.",
            ) from error
        if error.errno == errno.ELOOP:
            message = f"{where} is a symbolic link"
            raise failed(message, "Remove it.") from error
        message = f"{where} could not be written: {error.strerror or error}"
        raise failed(message) from error


def _room(path: str) -> str:
    while path and not os.path.isdir(path):
        path = os.path.dirname(path)
    try:
        free = shutil.disk_usage(path or ".").free
    except OSError:
        free = 0
    return f"Free some space ({free >> 20} MiB are left), or name a folder elsewhere with RKLLM_RS_HOME."
