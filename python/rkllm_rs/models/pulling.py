"""Downloads a model from the Hugging Face hub into the hub's cache, where all programs of the hub find it."""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import shutil
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from rkllm_rs._typed import expect, typed
from rkllm_rs.errors import DownloadError, ModelNotFoundError

from . import choosing, finding, hub_cache, places
from .choosing import Candidate
from .hub import Hub
from .hub_files import RemoteFile, Repository
from .hub_user import is_offline
from .scan import is_model_name, stem
from .transfer import Transfer

if TYPE_CHECKING:
    from .hub_cache import Address

#: Told the file, the bytes that are there, and the bytes in all, if known.
Progress = Callable[[str, int, "int | None"], object]
#: The largest of those in use have some 30 MB.
_SMALL: Final = 100 << 20
#: What has to stay free on the disk.
_SPARE: Final = 64 << 20


@typed
def pull(
    name: str,
    *,
    chip: str | None = None,
    choose: Callable[[list[Candidate]], Candidate] | None = None,
    progress: Progress | None = None,
    say: Callable[[str], object] | None = None,
) -> str:
    """Downloads a model from the Hugging Face hub, with the tokenizer and the chat template beside it.

    The model goes to the hub's cache: ``hub:OWNER/NAME`` then stands for it, as for what other programs of
    the hub have downloaded. The content is compared with the hash that the hub has for it. A connection that
    breaks is made anew where it ended, and a download that an earlier call did not finish goes on.

    ``HF_HOME``, ``HF_HUB_CACHE``, ``HF_ENDPOINT``, ``HF_TOKEN`` and ``HF_HUB_OFFLINE`` have the meaning that
    they have for ``huggingface_hub``, which need not be installed. The token is sent to the hub only.

    It blocks. Any number of threads and processes may call it; those that want the same file wait for each
    other.

    Args:
        name: ``hub:OWNER/NAME`` or ``hub:OWNER/NAME/FILE``, with ``@REVISION`` behind the name or not.
        chip: The chip of the board that the model is for, such as ``"rk3588"``. Default: that of this board.
            A machine without one gets ``.gguf`` models.
        choose: Called with the models that fit if there are several; returns one of them. Without it, that
            is an error.
        progress: Called with a file's name, the bytes that are there, and those in all or ``None``.
        say: Called with what a user should know, such as the licence and connections that broke.

    Returns:
        The path of the model's file.

    Raises:
        DownloadError: The download failed, or there is no room on the disk.
        ModelNotFoundError: There is no such repository or file, nothing in it fits, or several models fit.
        InvalidArgumentError: ``name`` is not an address of the hub, or ``chip`` is not known.

    Example:
        >>> from rkllm_rs import models
        >>> models.pull("hub:HuggingFaceTB/SmolLM2-135M-Instruct-GGUF")  # doctest: +SKIP
    """
    expect("name", name, str, "a str", 'Pass the address of a model, such as "hub:OWNER/NAME".')
    if chip is not None:
        expect("chip", chip, str, "a str", 'Pass the name of a chip, such as "rk3588".')
        chip = choosing.chip_named(chip)
    address = hub_cache.address(name)
    tell = say or _silent
    if is_offline():
        return _offline(address)
    hub = Hub(tell)
    repository = hub.repository(address)
    models = choosing.models(address, repository)
    if address.file is None:
        chosen = _choose(address, models, chip or choosing.chip_here(), choose)
    else:
        chosen = _named(address, models, repository)
        here = chip or choosing.chip_here()
        if chosen.chip and here and chosen.chip != here:
            tell(f"warning: {chosen.path} is for {chosen.chip.upper()}, not for {here.upper()}")
    if repository.license:
        tell(f"licence of hub:{address.repo}: {repository.license}")
    return _Download(hub, address, repository, progress or _silent).run(chosen)


def _silent(*_told: object) -> None:
    """Does nothing, for callers that gave nothing to call."""


def _offline(address: Address) -> str:
    """The model in the cache, where no request is allowed."""
    try:
        return finding.find(str(address))
    except ModelNotFoundError as error:
        message = f"{address} is not in the cache, and HF_HUB_OFFLINE forbids downloads"
        raise DownloadError(message, hint="Unset HF_HUB_OFFLINE, and run the command again.") from error


def _error(message: str, address: Address, hint: str) -> ModelNotFoundError:
    error = ModelNotFoundError(message, hint=hint)
    error.errno, error.filename = errno.ENOENT, str(address)
    return error


def _shown(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 10**8 else f"{size / 1e6:.1f} MB"


def _lines(address: Address, models: list[Candidate]) -> str:
    sizes = (one.size_bytes for one in models)
    return "".join(
        f"\n  hub:{address.repo}{'@' + address.revision if address.revision else ''}/{one.path}"
        + (f"  {_shown(size)}" if size is not None else "")
        for one, size in zip(models, sizes, strict=True)
    )


def _choose(
    address: Address,
    models: list[Candidate],
    chip: str | None,
    choose: Callable[[list[Candidate]], Candidate] | None,
) -> Candidate:
    """The one model that fits."""
    found = choosing.fitting(models, chip)
    if len(found) == 1:
        return found[0]
    if not models:
        message = f"{address} has no model: no file that ends in .rkllm or .gguf"
        raise _error(
            message, address, "Look for a converted model: https://huggingface.co/models?search=rkllm."
        )
    if not found:
        message = f"{address} has no model for {(chip or '').upper()}; it has:{_lines(address, models)}"
        raise _error(message, address, "Pass another --chip, or the whole name of one of them.")
    if choose is not None:
        return choose(found)
    message = f"{address} has {len(found)} models that fit:{_lines(address, found)}"
    raise _error(message, address, f"Choose one: `rkllm-rs pull hub:{address.repo}/{found[0].path}`.")


def _named(address: Address, models: list[Candidate], repository: Repository) -> Candidate:
    """The file that an address names: a model, by a part of it too, or any other file."""
    wanted = address.file or ""
    for one in models:
        if wanted in [file.path for file in one.files]:
            return one
    file = [one for one in repository.files if one.path == wanted]
    if file:
        return Candidate(file, None)
    lower = wanted.lower()
    near = [one for one in models if lower in (one.path.lower(), stem(one.path).lower())]
    if len(near) == 1:
        return near[0]
    others = difflib.get_close_matches(wanted, [one.path for one in repository.files], n=5)
    others = others or [one.path for one in models][:5]
    message = f"hub:{address.repo} has no file {wanted!r}" + (
        f"; it has {', '.join(others)}" if others else ""
    )
    raise _error(message, address, f"Run `rkllm-rs pull hub:{address.repo}` to choose among its models.")


class _Download:
    """Brings files of one revision into the cache."""

    def __init__(self, hub: Hub, address: Address, repository: Repository, progress: Progress) -> None:
        self.hub = hub
        self.address = address
        self.repository = repository
        self.progress = progress
        self.folder = hub_cache.folder_of(address.repo)
        self.commit = repository.commit

    @property
    def _snapshot(self) -> str:
        """The name of the snapshot: the commit, or what is known in its place."""
        return self.commit or self.address.revision or "main"

    def run(self, chosen: Candidate) -> str:
        """Downloads a model and what belongs beside it; gives the path of its file."""
        files = [*chosen.files, *(self._beside(chosen) if is_model_name(chosen.path) else ())]
        try:
            transfers = [self._transfer(file) for file in files]
            left = [one.left for one in transfers if not one.is_there]
            if not left:
                self.hub.say(f"{chosen.path} has already been downloaded")
            self._check_room(sum(left))
            # The model last, so that it is there only with all that belongs to it.
            for one in reversed(transfers):
                if one.file.etag is None:
                    self.hub.say(f"warning: the hub has no hash for {one.file.path}; it cannot be compared")
                one.run(lambda done, total, name=one.file.path: self.progress(name, done, total))  # type: ignore[misc]
            paths = [self._link(one) for one in reversed(transfers)]
            self._name()
        except ModelNotFoundError:  # which is an OSError, and has its own words
            raise
        except OSError as error:
            message = f"{error.filename or self.folder} cannot be written: {error.strerror or error}"
            raise DownloadError(message, hint="Set HF_HOME to a folder that you can write to.") from error
        return paths[-1]

    def _beside(self, chosen: Candidate) -> list[RemoteFile]:
        """The small files that this package uses."""
        folder = chosen.path.rpartition("/")[0]
        found: list[RemoteFile] = []
        for one in self.repository.files:
            at, _, name = one.path.rpartition("/")
            template = at == os.path.join(folder, "additional_chat_templates") and name.endswith(".jinja")
            if (template or (at == folder and name.lower() in hub_cache.BESIDE)) and (one.size or 0) < _SMALL:
                found.append(one)
        return found

    def _transfer(self, file: RemoteFile) -> Transfer:
        url = self.hub.url(self.address.repo, self._snapshot, file.path)
        if file.etag is None or file.size is None or self.commit is None:
            told, commit = self.hub.head(self.address, url)
            sha256, sha1 = file.sha256 or told.sha256, file.git_blob_sha1 or told.git_blob_sha1
            file = RemoteFile(file.path, told.size if file.size is None else file.size, sha256, sha1)
            self.commit = self.commit or commit
        place = os.path.join(self.folder, "snapshots", self._snapshot, file.path)
        return Transfer(self.hub, self.address, url, file, self.folder, place)

    def _check_room(self, needed: int) -> None:
        """Refuses what does not fit on the disk, before the first byte."""
        at = self.folder
        while not os.path.isdir(at) and os.path.dirname(at) != at:
            at = os.path.dirname(at)
        free = shutil.disk_usage(at).free
        if needed and needed + _SPARE > free:
            message = (
                f"{needed / 1e9:.2f} GB are needed in {places.hub_cache()}, and {free / 1e9:.2f} GB are free"
            )
            hint = (
                "Free some space, for example with `rkllm-rs rm`, or set HF_HOME to a folder on another disk."
            )
            raise DownloadError(message, hint=hint)

    def _link(self, one: Transfer) -> str:
        """Gives a blob its name in the snapshot."""
        path = one.place
        os.makedirs(os.path.dirname(path), exist_ok=True)
        target = os.path.relpath(one.blob, os.path.dirname(path))
        if one.is_in_place:
            return path
        draft = _draft(path)
        try:
            os.symlink(target, draft)
        except OSError:  # a file system without links: as the hub's own programs do there
            with contextlib.suppress(FileNotFoundError):  # another thread has done it
                os.replace(one.blob, path)
        else:
            # At once, since other threads and processes may do the same.
            os.replace(draft, path)
        return path

    def _name(self) -> None:
        """Notes which commit the branch stands for."""
        revision = self.address.revision or "main"
        if self.commit is None or self.commit == revision:
            return
        path = os.path.join(self.folder, "refs", revision)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        draft = _draft(path)
        with open(draft, "x", encoding="ascii") as file:
            file.write(self.commit)
        os.replace(draft, path)


def _draft(path: str) -> str:
    """A name beside a file that no other thread or process uses, and nothing is left at."""
    draft = f"{path}.{os.getpid()}.{threading.get_ident()}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft)
    return draft
