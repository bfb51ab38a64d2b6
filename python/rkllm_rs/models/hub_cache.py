"""The cache of the Hugging Face hub on this machine: its repositories, snapshots and blobs.

The layout is documented at https://huggingface.co/docs/hub/local-cache.
"""

from __future__ import annotations

import os
import re

from rkllm_rs.errors import InvalidArgumentError

from . import places

_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_ADDRESS = re.compile(
    rf"(?P<repo>{_PART}(?:/{_PART})?)(?:@(?P<revision>[^/@]+(?:/[^/@]+)*?))?(?:/(?P<file>[^@]+))?"
)
_PREFIXES = ("hub:", "hf:", "hf://", "https://huggingface.co/", "huggingface.co/", "https://hf.co/", "hf.co/")
#: What this package uses beside a model, in the model's folder; in lower case.
BESIDE = frozenset(
    {
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "chat_template.json",
        "special_tokens_map.json",
        "generation_config.json",
        "config.json",
        "license",
        "license.txt",
        "license.md",
    }
)
#: Names in the cache are made of hashes and branches; nothing else gets into a path.
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


class Address:
    """A repository of the hub, or a file in it.

    Attributes:
        repo: ``OWNER/NAME``.
        revision: The branch, tag or commit, or ``None`` for the usual one.
        file: The file's path in the repository, or ``None``.
    """

    __slots__ = ("file", "repo", "revision")

    def __init__(self, repo: str, revision: str | None = None, file: str | None = None) -> None:
        """Keeps the parts.

        Args:
            repo: ``OWNER/NAME``.
            revision: The branch, tag or commit.
            file: The file's path in the repository.
        """
        self.repo = repo
        self.revision = revision
        self.file = file

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"hub:{self.repo}{revision}" + (f"/{self.file}" if self.file else "")


def is_address(name: str) -> bool:
    """Whether a text says that it is an address of the hub.

    Args:
        name: The text.
    """
    return name.startswith(_PREFIXES)


def address(name: str) -> Address:
    """Reads ``hub:OWNER/NAME``, with ``@REVISION`` and ``/FILE`` behind it or not, or the address of a page.

    Args:
        name: The text.

    Raises:
        InvalidArgumentError: It is none of these, or leads out of the repository.
    """
    prefix = max((one for one in _PREFIXES if name.startswith(one)), key=len, default="")
    text = name.removeprefix(prefix).strip("/")
    if "://" in prefix or prefix.endswith("/"):
        text = re.sub(r"^([^/]+/[^/]+)/(?:resolve|blob|tree|raw)/([^/]+)", r"\1@\2", text.split("?")[0])
    match = _ADDRESS.fullmatch(text)
    if match and "/" in match["repo"] and "--" not in match["repo"]:
        revision, file = match["revision"], match["file"]
        steps = [*(revision or "").split("/"), *(file or "").split("/")]
        if not {"..", "."} & set(steps) and "\0" not in text and "\\" not in text and "//" not in text:
            return Address(match["repo"], revision, file)
    message = f"name must be hub:OWNER/NAME or hub:OWNER/NAME/FILE, got {name!r}"
    raise InvalidArgumentError(message, hint="Copy OWNER/NAME from the model's page on the hub.")


def folder_of(repo: str) -> str:
    """The folder of a repository in the cache, whether it is there or not.

    Args:
        repo: ``OWNER/NAME``.
    """
    return os.path.join(places.hub_cache(), "models--" + repo.replace("/", "--"))


def repositories() -> list[tuple[str, str]]:
    """The repositories of models in the cache: ``OWNER/NAME`` and folder."""
    try:
        with os.scandir(places.hub_cache()) as entries:
            names = [one.name for one in entries if one.name.startswith("models--")]
    except OSError:
        return []
    return [
        (name.removeprefix("models--").replace("--", "/", 1), os.path.join(places.hub_cache(), name))
        for name in sorted(names)
    ]


def commit_of(folder: str, revision: str) -> str | None:
    """The commit that a branch or tag stood for when it was last downloaded.

    Args:
        folder: The repository's folder in the cache.
        revision: The branch, tag or commit.
    """
    if not _REVISION.fullmatch(revision) or ".." in revision:
        return None
    try:
        with open(os.path.join(folder, "refs", revision), encoding="ascii", errors="replace") as file:
            commit = file.read(64).strip()
    except OSError:
        return revision if os.path.isdir(os.path.join(folder, "snapshots", revision)) else None
    return commit if re.fullmatch("[A-Za-z0-9]{1,64}", commit) else None


def snapshots(folder: str, revision: str | None = None) -> list[str]:
    """The folders of a repository's snapshots: that of ``main`` first, then the newest.

    Args:
        folder: The repository's folder in the cache.
        revision: Only the snapshot of this branch, tag or commit.
    """
    main = commit_of(folder, revision or "main")
    top = os.path.join(folder, "snapshots")
    if revision:
        return [os.path.join(top, main)] if main else []
    try:
        with os.scandir(top) as entries:
            found = [(one.name == main, one.stat().st_mtime, one.path) for one in entries if one.is_dir()]
    except OSError:
        return []
    return [path for _, _, path in sorted(found, reverse=True)]
