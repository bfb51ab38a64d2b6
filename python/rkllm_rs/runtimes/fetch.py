"""Fetches an official file by HTTPS. Whether it is the right one, its hash tells afterwards."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from rkllm_rs._native import __version__
from rkllm_rs.errors import RuntimeInstallError

from .store import CHUNK

if TYPE_CHECKING:
    from .table import OfficialFile

#: Told the bytes that have come, and the bytes in all, if known.
Progress = Callable[[int, "int | None"], object]
#: No release is anywhere near this; it keeps an endless answer from filling the disk.
LIMIT = 512 << 20
#: Seconds without a byte.
TIMEOUT = 30.0


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urllib.parse.urlsplit(newurl).scheme != "https":
            message = f"redirected to {newurl}, which is not HTTPS"
            raise ValueError(message)
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
        except ValueError:  # of above, or an address that is none
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def download(file: OfficialFile, draft: str, progress: Progress | None) -> None:
    """Writes what is at the file's address.

    Args:
        file: The official file.
        draft: A path where nothing is yet.
        progress: Called with the bytes that have come and the bytes in all, if known.

    Raises:
        RuntimeInstallError: The server was not reached, or did not send all of it.
        OSError: The draft could not be written.
    """
    headers = {"User-Agent": f"rkllm_rs/{__version__}", "Accept-Encoding": "identity"}
    request = urllib.request.Request(file.url, headers=headers)  # noqa: S310 - it is https
    try:
        answer = urllib.request.build_opener(_HttpsOnly()).open(request, timeout=TIMEOUT)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise _failed(file, error) from error
    with answer, open(draft, "xb") as out:
        length = answer.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else file.size
        limit = file.size or LIMIT
        done = 0
        while chunk := _read(file, answer):
            done += len(chunk)
            if done > limit:
                raise _failed(file, f"the server sent more than {limit} bytes")
            out.write(chunk)
            if progress is not None:
                progress(done, total)
        if total is not None and done < total:
            raise _failed(file, f"the connection ended after {done} of {total} bytes")


def _read(file: OfficialFile, answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read1(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _failed(file, error) from error


def _failed(file: OfficialFile, why: BaseException | str) -> RuntimeInstallError:
    reason = why.reason if type(why) is urllib.error.URLError else why
    hint = (
        "Try again, or download the file on another machine, copy it to this one, and run "
        f"`rkllm-rs runtime install {file.release} --from FILE`."
    )
    if isinstance(reason, ssl.SSLCertVerificationError):
        reason = f"the server's certificate was not accepted: {reason.verify_message}"
        hint = (
            "Check the clock with `date`: a board without a battery often starts with a date in the past, "
            "when the certificate is not valid yet."
        )
    return RuntimeInstallError(f"{file.url} could not be downloaded: {reason}", hint=hint)
