"""Speaks to the Hugging Face hub: what a repository has, and the bytes of its files.

It uses three requests of the hub's HTTP API and Python's standard library. The package ``huggingface_hub``
is not used: when its download breaks, the next call begins anew, and a model is gigabytes on a board's slow
line; a board also needs seconds to import it. Cache, token and environment variables are those of the
package.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any, Final

from rkllm_rs._native import __version__
from rkllm_rs.errors import DownloadError, ModelNotFoundError

from .hub_files import RemoteFile, Repository, entry, is_inside, sibling, table, texts_in
from .hub_user import token

if TYPE_CHECKING:
    from collections.abc import Callable
    from email.message import Message

    from .hub_cache import Address

#: A list of files is not longer.
_LONGEST: Final = 64 << 20
_PAGES: Final = 100
_REDIRECTS: Final = 10
#: Seconds without a byte, unless HF_HUB_DOWNLOAD_TIMEOUT says otherwise.
_TIMEOUT: Final = 30.0
#: Tries without a byte more before a download is given up, and the longest wait between two in seconds.
TRIES: Final = 5
#: Seconds of the first wait between two tries; each further one is twice as long.
PAUSE = 0.5
_LONGEST_PAUSE: Final = 30.0


def _opener() -> urllib.request.OpenerDirector:
    """Makes requests, through the user's proxy, and leaves redirects to :class:`Hub`."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    return opener


class Hub:
    """The hub at ``HF_ENDPOINT``, with the user's token."""

    def __init__(self, say: Callable[[str], object]) -> None:
        """Reads the settings.

        Args:
            say: Called with what a user should know of a connection that breaks.
        """
        self.say = say
        self.endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        self.token = token()
        self._opener = _opener()
        try:
            self.timeout = float(os.environ.get("HF_HUB_DOWNLOAD_TIMEOUT") or _TIMEOUT)
        except ValueError:
            self.timeout = _TIMEOUT

    def page(self, repo: str) -> str:
        """The repository's page, for people."""
        return f"{self.endpoint}/{repo}"

    def url(self, repo: str, revision: str, file: str) -> str:
        """The address of a file."""
        quoted = urllib.parse.quote(revision, safe="")
        return f"{self.endpoint}/{repo}/resolve/{quoted}/{urllib.parse.quote(file)}"

    def _is_hub(self, url: str) -> bool:
        here, there = urllib.parse.urlsplit(self.endpoint), urllib.parse.urlsplit(url)
        return (here.scheme, here.netloc) == (there.scheme, there.netloc)

    def open(
        self, url: str, *, method: str = "GET", begin: int = 0, to_link: bool = False
    ) -> tuple[http.client.HTTPResponse | None, Message]:
        """Makes a request, and follows where it leads; the token is sent to the hub itself and nowhere else.

        Args:
            url: The address.
            method: ``"GET"`` or ``"HEAD"``.
            begin: The first byte that is wanted.
            to_link: End where the hub leads to a large file, since the hub tells its size and hash.

        Returns:
            The answer, ``None`` for a redirect to a large file, and its headers.

        Raises:
            HTTPError: The server refuses.
            OSError: It cannot be reached.
            ValueError: It leads nowhere.
        """
        for _ in range(_REDIRECTS):
            headers = {"User-Agent": f"rkllm_rs/{__version__}", "Accept-Encoding": "identity"}
            if begin:
                headers["Range"] = f"bytes={begin}-"
            request = urllib.request.Request(url, headers=headers, method=method)  # noqa: S310 - http too, for mirrors
            if self.token and self._is_hub(url):
                request.add_unredirected_header("Authorization", f"Bearer {self.token}")
            try:
                answer: http.client.HTTPResponse = self._opener.open(request, timeout=self.timeout)
            except urllib.error.HTTPError as error:
                if error.code not in (301, 302, 303, 307, 308):
                    raise
                error.close()
                target = urllib.parse.urljoin(url, error.headers.get("Location", ""))
                scheme = urllib.parse.urlsplit(target).scheme
                if scheme not in ("http", "https") or (url.startswith("https:") and scheme != "https"):
                    message = f"redirected to {target}, which is not HTTPS"
                    raise ValueError(message) from None
                if to_link and (error.headers.get("X-Linked-Etag") or not self._is_hub(target)):
                    return None, error.headers
                url = target
                continue
            return answer, answer.headers
        message = f"redirected {_REDIRECTS} times"
        raise ValueError(message)

    def trying(self, address: Address, what: Callable[[], Any]) -> Any:
        """Does something that may fail for a while, a few times.

        Args:
            address: What it is about.
            what: Makes the request.

        Raises:
            DownloadError: It failed for good.
            ModelNotFoundError: There is no such repository or file.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return what()
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.wait_or_raise(address, error, attempt)

    def wait_or_raise(self, address: Address, error: Exception, attempt: int) -> None:
        """Waits before another try where that can help, and else raises what is wrong.

        Args:
            address: What the request was about.
            error: Why it failed.
            attempt: Which try in a row it was, from 1 on.

        Raises:
            DownloadError: It failed for good.
            ModelNotFoundError: There is no such repository or file.
        """
        pause = min(PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE)
        passing = isinstance(error, (OSError, http.client.HTTPException)) and not _is_final(error)
        if isinstance(error, urllib.error.HTTPError):
            error.close()
            # 403 of another host: the address that the hub gave has expired, and it gives a new one.
            expired = error.code == http.client.FORBIDDEN and not self._is_hub(error.url)
            passing = expired or error.code in (408, 429, 500, 502, 503, 504)
            after = error.headers.get("Retry-After", "")
            pause = min(float(after), _LONGEST_PAUSE) if after.isdecimal() else pause
        if not passing or attempt >= TRIES:
            raise self.failed(address, error) from error
        self.say(f"{_reason(error)}; trying again in {pause:g} s")
        time.sleep(pause)

    def failed(self, address: Address, error: Exception) -> DownloadError | ModelNotFoundError:
        """What a user is told of a request that failed.

        Args:
            address: What the request was about.
            error: Why it failed.
        """
        if isinstance(error, urllib.error.HTTPError):
            return self._refused(address, error)
        if isinstance(error, OSError) and error.filename is not None:
            message = f"{os.fsdecode(error.filename)} cannot be written: {error.strerror}"
            return DownloadError(message, hint="Set HF_HOME to a folder that you can write to.")
        message = f"{address} could not be downloaded from {self.endpoint}: {_reason(error)}"
        hint = "Check the network, and run the command again: it goes on where it ended."
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            hint = (
                "Check the clock with `date`: a board without a battery often starts with a date in the past."
            )
        return DownloadError(message, hint=hint)

    def _refused(self, address: Address, error: urllib.error.HTTPError) -> DownloadError | ModelNotFoundError:
        code = error.headers.get("X-Error-Code", "")
        page = self.page(address.repo)
        tokens = "https://huggingface.co/settings/tokens"
        forbidden = error.code == http.client.FORBIDDEN and self._is_hub(error.url)
        if code == "GatedRepo" or (forbidden and not code):
            message = f"hub:{address.repo} is gated: its owner asks you to accept a licence first"
            hint = f"Accept it at {page}, then set HF_TOKEN to a token of yours from {tokens}."
            if self.token:
                hint = (
                    f"Accept it at {page} with the account of your token, and wait until access is granted."
                )
            return DownloadError(message, hint=hint)
        if error.code in (401, 404):
            hint = f"Check the name at {page}. A private repository needs HF_TOKEN, a token from {tokens}."
            what = f"hub:{address.repo}"
            if self.token and error.code == http.client.UNAUTHORIZED:
                what, hint = what + " for your token", f"Check HF_TOKEN; tokens are made at {tokens}."
            elif code == "RevisionNotFound" or (code != "RepoNotFound" and address.revision):
                what, hint = (
                    f"branch, tag or commit {address.revision!r} in {what}",
                    f"Look at {page}/tree/main.",
                )
            elif code == "EntryNotFound":
                what, hint = f"{address.file} in {what}", f"Look at {page}/tree/main."
            missing = ModelNotFoundError(f"{self.endpoint} has no {what}", hint=hint)
            missing.errno, missing.filename = 2, str(address)
            return missing
        text = error.headers.get("X-Error-Message") or error.reason
        message = f"{address} could not be downloaded from {self.endpoint}: {error.code} {text}"
        return DownloadError(message, hint="Try again later, or set HF_TOKEN: its limits are higher.")

    def _json(self, address: Address, path: str) -> tuple[Any, Message]:
        """Asks the API."""
        url = path if path.startswith(("http:", "https:")) else f"{self.endpoint}/api/models/{path}"

        def ask() -> tuple[Any, Message]:
            answer, headers = self.open(url)
            if answer is None:
                return {}, headers
            with answer:
                try:
                    return json.loads(answer.read(_LONGEST)), headers
                except ValueError as error:
                    message = "the answer is not that of a hub; a network may ask for a login"
                    raise ValueError(message) from error

        found: tuple[Any, Message] = self.trying(address, ask)
        return found

    def repository(self, address: Address) -> Repository:
        """Asks what a repository has.

        Args:
            address: The repository, and its revision.

        Raises:
            DownloadError: The hub cannot be reached, or refuses.
            ModelNotFoundError: There is no such repository or revision.
        """
        revision = urllib.parse.quote(address.revision or "main", safe="")
        told, missing = self._told(address, revision)
        files = [sibling(one) for one in told.get("siblings") or ()]
        if not files or any(one.etag is None or one.size is None for one in files):
            files = self._tree(address, revision) or files
        if missing is not None and not files:
            raise missing
        tags = texts_in(told.get("tags"))
        card = table(told.get("cardData"))
        named = [tag.removeprefix("license:") for tag in tags if tag.startswith("license:")]
        licence = ", ".join(texts_in(card.get("license")) or named) or None
        return Repository(
            _commit(told.get("sha")),
            [one for one in files if is_inside(one.path)],
            licence,
            tags,
        )

    def _told(self, address: Address, revision: str) -> tuple[Any, ModelNotFoundError | None]:
        """What is known of the repository as a whole; nothing, and why, where a mirror has only the tree."""
        place = f"{address.repo}/revision/{revision}?blobs=true"
        try:
            told, _ = self._json(address, place if address.revision else f"{address.repo}?blobs=true")
        except ModelNotFoundError as error:
            if not _is_lacking(error):
                raise
            try:
                told, _ = self._json(address, place)
            except ModelNotFoundError:
                return {}, error
        if not hasattr(told, "get"):
            raise self.failed(address, ValueError("the answer is not that of a hub"))
        return told, None

    def _tree(self, address: Address, revision: str) -> list[RemoteFile]:
        """The list of files with sizes and hashes, which comes in pages."""
        path = f"{address.repo}/tree/{revision}?recursive=true"
        found: list[RemoteFile] = []
        for _ in range(_PAGES):
            try:
                entries, headers = self._json(address, path)
            except ModelNotFoundError:  # a mirror without it
                return []
            found += [entry(one) for one in entries if table(one).get("type") == "file"]
            following = re.search(r'<([^>]+)>;\s*rel="next"', headers.get("Link", ""))
            if following is None or not self._is_hub(following[1]):
                break
            path = following[1]
        return found

    def head(self, address: Address, url: str) -> tuple[RemoteFile, str | None]:
        """Asks for a file's size and hash, for what the lists did not tell.

        Args:
            address: What it is about.
            url: The file's address.

        Returns:
            The file, without its path, and the commit.
        """

        def ask() -> tuple[RemoteFile, str | None]:
            try:
                answer, headers = self.open(url, method="HEAD", to_link=True)
            except urllib.error.HTTPError as error:
                if error.code not in (405, 501):  # a mirror that does not have it
                    raise
                error.close()
                answer, headers = self.open(url, to_link=True)
            if answer is not None:
                answer.close()
            etag = (
                (headers.get("X-Linked-Etag") or headers.get("ETag") or "")
                .removeprefix("W/")
                .strip('"')
                .lower()
            )
            size = headers.get("X-Linked-Size") or (headers.get("Content-Length") if answer else None) or ""
            sha256, sha1 = (
                etag if re.fullmatch(f"[0-9a-f]{{{count}}}", etag) else None for count in (64, 40)
            )
            file = RemoteFile("", int(size) if size.isdecimal() else None, sha256, sha1)
            return file, _commit(headers.get("X-Repo-Commit"))

        found: tuple[RemoteFile, str | None] = self.trying(address, ask)
        return found


def _is_lacking(error: ModelNotFoundError) -> bool:
    """Whether a server does not know the request; the hub itself says what it does not have."""
    cause = error.__cause__
    return isinstance(cause, urllib.error.HTTPError) and "X-Error-Code" not in cause.headers


def _commit(given: object) -> str | None:
    """A commit that can be the name of a folder."""
    return given if isinstance(given, str) and re.fullmatch("[0-9A-Za-z]{1,64}", given) else None


def _is_final(error: Exception) -> bool:
    """Whether another try cannot help."""
    reason = getattr(error, "reason", error)
    return isinstance(reason, ssl.SSLCertVerificationError) or (
        isinstance(error, OSError) and error.filename is not None  # of a file of ours, not of the connection
    )


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return "the server did not answer in time"
    return str(reason) or type(error).__name__
