"""The models that are on this machine."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from rkllm_rs._typed import typed

from . import finding, scan


@dataclass(frozen=True)
class InstalledModel:
    """A model in one of the folders where :func:`find` looks; :func:`installed` returns it.

    Immutable; any number of threads and tasks may use it at the same time.

    Attributes:
        name: A name that stands for this model only: :func:`find` and the command ``rkllm-rs`` take it.
        path: The file; of a model in several files, the first.
        source: Where it is: ``"own"`` (the package's own folder), ``"root"`` (``RKLLM_MODELS_ROOT``),
            ``"rkllama"``, ``"home"`` (``~/models``) or ``"hub"`` (the cache of the Hugging Face hub).
        size_bytes: Size of all its files.
        kind: ``"rkllm"`` or ``"gguf"``, from the file's name.
        files: All its files: more than one for a GGUF model that was split.
        modified: When the file was last changed, in seconds since 1970.
    """

    name: str
    path: str
    source: str
    size_bytes: int
    kind: str
    files: tuple[str, ...]
    modified: float

    def to_dict(self) -> dict[str, Any]:
        """The same as a dictionary, for JSON."""
        return {**asdict(self), "files": list(self.files)}


@typed
def installed() -> list[InstalledModel]:
    """Lists the models in all folders where :func:`find` looks, by source and name.

    Files that are not whole models are left out: downloads that have not ended, Git LFS pointers, web pages,
    adapters and encoders.

    Any number of threads may call it at the same time.

    Returns:
        The models.

    Example:
        >>> from rkllm_rs import models
        >>> [model.name for model in models.installed()]  # doctest: +SKIP
        ['qwen3-0.6b', 'HuggingFaceTB/SmolLM2-135M-Instruct-GGUF']
    """
    found = scan.everywhere(scan.is_whole)
    models: list[InstalledModel] = []
    for one, name in zip(found, finding.unique(found), strict=True):
        try:
            data = [os.stat(path) for path in one.files]
        except OSError:  # removed meanwhile
            continue
        size, kind = sum(each.st_size for each in data), os.path.splitext(one.path)[1][1:].lower()
        models.append(
            InstalledModel(name, one.path, one.source, size, kind, tuple(one.files), data[0].st_mtime)
        )
    return models
