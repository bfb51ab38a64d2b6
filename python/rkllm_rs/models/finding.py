"""From the name of a model to its file."""

from __future__ import annotations

import errno
import os

from rkllm_rs._typed import expect, typed
from rkllm_rs.errors import InvalidArgumentError, ModelNotFoundError

from . import hub_cache, places, scan, settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .scan import Found

#: Names that an error lists.
_MOST = 10
_LIST = "Run `rkllm-rs list` for all models that are installed."


@typed
def find(name: str) -> str:
    """Finds the file of a model.

    A name is looked for in these places:

    - the package's own folder: ``models`` in ``$RKLLM_RS_HOME``, by default ``~/.local/share/rkllm_rs``;
    - the folder that the environment variable ``RKLLM_MODELS_ROOT`` names;
    - rkllama's folder ``~/RKLLAMA/models``, where a ``Modelfile`` may say which file to use;
    - ``~/models``;
    - the cache of the Hugging Face hub.

    Any number of threads may call it at the same time.

    Args:
        name: One of these:

            - a name that ``rkllm-rs list`` prints, or the name of a model's folder or file, with or without
              its suffix; upper and lower case make no difference;
            - the path of a file, with or without its suffix, or of a folder with one model in it. A text
              without ``/`` that does not end in ``.rkllm`` or ``.gguf`` is a path only if no model has that
              name;
            - ``hub:OWNER/NAME``, ``hub:OWNER/NAME/FILE`` or ``hub:OWNER/NAME@REVISION`` for a model that was
              downloaded from the hub.

    Returns:
        The absolute path of the file; of a model in several files, the first.

    Raises:
        ModelNotFoundError: No model has the name, and the message lists similar ones; or several have it,
            and the message lists them.
        InvalidArgumentError: The name is empty, has a NUL character, or is not an address of the hub.

    Example:
        >>> from rkllm_rs import models
        >>> models.find("qwen3-0.6b")  # doctest: +SKIP
        '/home/user/.local/share/rkllm_rs/models/Qwen3-0.6B.rkllm'
    """
    return resolved(name).path


def resolved(name: str) -> Found:
    """``find()`` with all that is known of where the model is.

    Args:
        name: The name, path or address.

    Raises:
        ModelNotFoundError: As in ``find()``.
        InvalidArgumentError: Likewise.
    """
    expect("name", name, str, "a str", 'Pass the name of a model, such as "qwen3-0.6b", or its path.')
    if not name.strip() or "\0" in name:
        wrong = "contain a NUL character" if "\0" in name else "be empty"
        message = f"name must not {wrong}"
        raise InvalidArgumentError(message, hint=_LIST)
    if hub_cache.is_address(name):
        return _of_hub(name)
    only_path = name.startswith(("/", "./", "../", "~")) or name in (".", "..")
    like_path = only_path or "/" in name or scan.is_model_name(name)
    path = os.path.abspath(os.path.expanduser(name))
    # As RKLLM() takes it: with a suffix added, too.
    there = next((one for one in (path, path + ".rkllm", path + ".gguf") if os.path.lexists(one)), None)
    if like_path and there:
        return _at(there)
    if only_path:
        raise _missing(name, _beside(path), path)
    models = scan.everywhere()
    found = named(name, models)
    if not found:
        if there:
            return _at(there)
        others = [*(one.names[0] for one in models), *_beside(path)]
        raise _missing(name, others)
    return _single(name, found)


def named(name: str, models: list[Found]) -> list[Found]:
    """The models that have a name; upper and lower case count only where they tell models apart.

    Files that are not whole are passed over where others have the name. Where all are so, they are returned:
    what is wrong with a file, its load tells.

    Args:
        name: The name.
        models: All models.
    """
    refused: list[Found] = []
    for found in (
        [one for one in models if name in one.names],
        [one for one in models if name in one.aliases],
        [one for one in models if name.casefold() in map(str.casefold, (*one.names, *one.aliases))],
    ):
        # It takes a while for large files, so only those that have the name are looked at.
        whole = [one for one in found if scan.is_whole(one.path)]
        if whole:
            return whole
        refused = refused or found
    return refused


def _single(name: str, found: list[Found]) -> Found:
    """The one model among those that have a name.

    Raises:
        ModelNotFoundError: There are several, which are not the same file.
    """
    if len({os.path.realpath(one.path) for one in found}) > 1:
        found = [one for one in found if scan.is_whole(one.path)] or found  # the others are not meant
    if len({os.path.realpath(one.path) for one in found}) == 1:
        return found[0]
    lines = [f"  {own}  {one.path}" for one, own in zip(found, unique(found), strict=True)]
    more = f"\n  and {len(lines) - _MOST} more" if len(lines) > _MOST else ""
    message = f"{name!r} stands for {len(found)} models:\n" + "\n".join(lines[:_MOST]) + more
    error = ModelNotFoundError(message, hint="Use one of these names or paths.")
    error.errno, error.filename = errno.ENOENT, name
    raise error


def unique(models: list[Found]) -> list[str]:
    """A name for each model that stands for no other one: the shortest, or else its path.

    Args:
        models: The models.
    """
    count: dict[str, int] = {}
    for one in models:
        for name in {text.casefold() for text in (*one.names, *one.aliases)}:
            count[name] = count.get(name, 0) + 1
    return [next((name for name in one.names if count[name.casefold()] == 1), one.path) for one in models]


def _at(path: str) -> Found:
    """The model at a path: a file, whatever is in it, or a folder's one model."""
    if not os.path.isdir(path):
        if not os.path.exists(path):
            message = f"{path} is a link to {os.readlink(path)}, which does not exist"
            raise _not_found(message, path, "Download the model again, or repair the link.")
        return scan.Found("path", [path], [path], [])
    found = scan.in_folder("path", path)
    for one in found:
        one.names, one.aliases = [one.path], []
    told = settings.in_folder(path)
    if told and told.model:
        found = [one for one in found if one.path == os.path.join(path, told.model)] or found
    if not found:
        message = f"{path} has no model in it: no whole file that ends in .rkllm or .gguf"
        raise _not_found(message, path, "Pass the model's file, or a folder with a model in it.")
    return _single(path, found)


def _of_hub(name: str) -> Found:
    """The model at an address of the hub, from the cache."""
    address = hub_cache.address(name)
    found = scan.in_repository(address.repo, hub_cache.folder_of(address.repo), address.revision)
    if address.file is not None:
        wanted = f"{address.repo}/{address.file}"
        found = [one for one in found if wanted in one.names] or named(address.file, found)
    if not found:
        message = f"{address} has not been downloaded to {places.hub_cache()}"
        raise _not_found(message, name, f"Run `rkllm-rs pull {address}`.")
    return _single(str(address), found)


def _beside(path: str) -> list[str]:
    """The models in the folder of a path that does not exist, as paths."""
    folder = os.path.dirname(path)
    try:
        with os.scandir(folder) as entries:
            return [one.path for one, _ in zip(entries, range(10_000)) if scan.is_model_name(one.name)]  # noqa: B905
    except OSError:
        return []


def _missing(name: str, others: Iterable[str], path: str | None = None) -> ModelNotFoundError:
    import difflib

    listed = list(others)
    known = {os.path.basename(one).casefold(): one for one in listed}
    known |= {one.casefold(): one for one in listed}
    wanted = name.casefold()
    near = [*difflib.get_close_matches(wanted, known, n=_MOST), *(one for one in known if wanted in one)]
    near += difflib.get_close_matches(os.path.basename(wanted), known, n=_MOST)
    similar = list(dict.fromkeys(known[one] for one in near))[:_MOST]
    message = f"no model and no file is called {name!r}" if path is None else f"{path} does not exist"
    if similar:
        message += "; similar: " + ", ".join(similar)
    if path is not None:
        return _not_found(message, name, "Check the path, or use a name that `rkllm-rs list` prints.")
    return _not_found(message, name, f"{_LIST} To download one, use `rkllm-rs pull hub:OWNER/NAME`.")


def _not_found(message: str, name: str, hint: str) -> ModelNotFoundError:
    error = ModelNotFoundError(message, hint=hint)
    error.errno, error.filename = errno.ENOENT, name
    return error
