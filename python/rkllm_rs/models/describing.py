"""All that is known of a model on this machine before it is loaded, and from where."""

from __future__ import annotations

import mmap
import os
from typing import Any, Final

from rkllm_rs import _native, _tokenizer
from rkllm_rs._typed import typed
from rkllm_rs.errors import RkllmError

from . import finding
from .inspection import inspect
from .listing import installed
from .planning import plan
from .settings import modelfile

#: Files beside a model that may have its chat template, in the order in which they are asked.
_TEMPLATES: Final = ("chat_template.jinja", "tokenizer_config.json", "chat_template.json")
#: A GGUF file's metadata ends before this, also with the largest vocabularies.
_METADATA: Final = 64 << 20


def _template(path: str) -> dict[str, Any]:
    """Where the chat template comes from, and the family whose form answers have."""
    found: dict[str, Any] = {"from": None, "path": None, "family": None, "problem": None}
    try:
        found["family"] = _native.Chat(path).family
    except RkllmError as error:
        found["problem"] = str(error.args[0])
    for name in _TEMPLATES:
        beside = os.path.join(os.path.dirname(path), name)
        try:
            with open(beside, "rb") as file:
                if name.endswith(".jinja") or b'"chat_template"' in file.read(16 << 20):
                    return {**found, "from": "file", "path": beside}
        except OSError:
            continue
    if _has_template(path):
        return {**found, "from": "model", "path": path}
    if found["family"] not in (None, "generic"):
        return {**found, "from": "family"}
    return found


def _has_template(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"GGUF":
                return False
            # Not the whole file, which may be larger than the addresses of a 32-bit system.
            length = min(os.fstat(file.fileno()).st_size, _METADATA)
            with mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ) as data:
                return data.find(b"tokenizer.chat_template") >= 0
    except (OSError, ValueError):
        return False


@typed
def describe(name: str) -> dict[str, Any]:
    """Tells what is known of a model, without loading it; ``rkllm-rs show --json`` prints the same.

    Args:
        name: A name, path or address, as :func:`find` takes it.

    Returns:
        The keys of :meth:`Inspection.to_dict`, and besides:

        - ``name``, ``source``, ``size_bytes``, ``files``: as in :class:`InstalledModel`; ``source`` is
          ``"path"`` for a model elsewhere;
        - ``system``: the system prompt of the ``Modelfile``, or ``None``;
        - ``modelfile``: ``path``, ``model``, ``system`` and ``settings``, or ``None``;
        - ``chat_template``: ``from`` (``"file"``, ``"model"``, ``"family"`` or ``None``), ``path``,
          ``family`` and ``problem``;
        - ``tokenizer``: the path of ``tokenizer.json`` beside the model, or ``None``;
        - ``plan``: the keys of :meth:`Plan.to_dict`.

    Raises:
        ModelNotFoundError: No model has the name, or several have it.
        InvalidArgumentError: It is not a name.

    Example:
        >>> from rkllm_rs import models
        >>> models.describe("model.gguf")["chat_template"]["from"]
        'model'
    """
    found = finding.resolved(name)
    told = modelfile(found.path)
    tokenizer = _tokenizer.path_beside(found.path)
    return {
        "name": name_of(found.path),
        **inspect(found.path).to_dict(),
        "source": found.source,
        "size_bytes": sum(os.path.getsize(file) for file in found.files),
        "files": found.files,
        "system": told.system if told else None,
        "modelfile": told.to_dict() if told else None,
        "chat_template": _template(found.path),
        "tokenizer": tokenizer if os.path.isfile(tokenizer) else None,
        "plan": plan(found.path).to_dict(),
    }


def name_of(path: str) -> str:
    """The name that ``list`` prints for a model; its path if it is elsewhere.

    Args:
        path: The model's file, as ``find()`` gives it.
    """
    return next((one.name for one in installed() if one.path == path), path)
