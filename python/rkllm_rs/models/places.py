"""Where models are looked for: folders that users of this field have, and the cache of the hub."""

from __future__ import annotations

import os

from rkllm_rs._home import own_home

#: Before the name of a model where the short name is not enough; those of the hub are complete with it.
OWN, ROOT, RKLLAMA, HOME, HUB = "own", "root", "rkllama", "home", "hub"


def own_folder() -> str | None:
    """The package's own folder of models, or ``None`` if the user has no home folder."""
    home = own_home()
    return home and os.path.join(home, "models")


def folders() -> list[tuple[str, str]]:
    """The folders of models, each with its source, in the order in which they are searched.

    They need not exist. A folder that has two names is there once.
    """
    named = [(OWN, own_folder()), (ROOT, os.environ.get("RKLLM_MODELS_ROOT"))]
    named += [(RKLLAMA, os.environ.get("RKLLAMA_PATHS_MODELS")), (RKLLAMA, "~/RKLLAMA/models")]
    named += [(HOME, "~/models")]
    found: dict[str, tuple[str, str]] = {}
    for source, folder in named:
        path = os.path.expanduser(folder or "~")
        if folder and not path.startswith("~"):
            path = os.path.abspath(path)
            found.setdefault(os.path.realpath(path), (source, path))
    return list(found.values())


def _variable(name: str) -> str:
    return os.path.expandvars(os.path.expanduser(os.environ.get(name) or ""))


def hub_home() -> str:
    """The folder of the hub's programs: the token lies there, and usually the cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.abspath(_variable("HF_HOME") or os.path.join(base, "huggingface"))


def hub_cache() -> str:
    """The hub's cache, where its own programs have it too."""
    named = _variable("HF_HUB_CACHE") or _variable("HUGGINGFACE_HUB_CACHE")
    return os.path.abspath(named or os.path.join(hub_home(), "hub"))
