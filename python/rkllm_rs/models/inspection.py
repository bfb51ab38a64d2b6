"""What a model's file is."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from rkllm_rs import _native
from rkllm_rs._typed import typed

if TYPE_CHECKING:
    from rkllm_rs._library import Path

Kind: TypeAlias = Literal[
    "rkllm",
    "gguf",
    "rknn",
    "rknn3",
    "adapter",
    "projector",
    "lfs-pointer",
    "html",
    "part",
    "empty",
    "unknown",
]


@dataclass(frozen=True)
class Problem:
    """Something that is wrong, or may be.

    Attributes:
        summary: What it is.
        fix: What to do about it, or ``None``.
    """

    summary: str
    fix: str | None


@dataclass(frozen=True)
class Inspection:
    """What can be told of a model's file without loading it; :func:`inspect` returns it.

    Immutable; any number of threads and tasks may use it at the same time.

    Attributes:
        path: The file.
        kind: What the file is: ``"rkllm"`` or ``"gguf"`` for a model, ``"adapter"`` and ``"projector"`` for
            parts of one in a GGUF file, ``"rknn"`` and ``"rknn3"`` for models of Rockchip's other libraries,
            ``"lfs-pointer"``, ``"html"``, ``"part"`` and ``"empty"`` for what is left of a download, else
            ``"unknown"``.
        loadable: Whether ``RKLLM(path)`` accepts the file. The vendor's library may still refuse it.
        truncated: Whether the file is shorter than its directory says; ``None`` if it has no directory.
        size: Size in bytes, or ``None`` if there is no such file.
        problems: What is wrong. With ``loadable``, they are doubts.
        facts: What the file proves: ``tensor_count``, ``metadata_count``, ``vocabulary``, ``hidden_size``,
            and of a GGUF file ``architecture``, ``context_length`` and ``context_bytes_per_token``. Unknown
            ones are ``None``.
        hints: What the name says, and what the lengths of masked keys suggest: ``chip``, ``dtype``,
            ``toolkit``, ``max_context``, ``core_num``. They may be wrong. Unknown ones are ``None``.
        last_load: What the library said when this file was last loaded, or ``None``: ``context_limit``,
            ``npu_cores``, ``platform``, ``toolkit_version``, ``dtype``, ``driver_version``.
    """

    path: str
    kind: Kind
    loadable: bool
    truncated: bool | None
    size: int | None
    problems: tuple[Problem, ...]
    facts: dict[str, Any]
    hints: dict[str, Any]
    last_load: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """The same as a dictionary, as ``rkllm-rs inspect --json`` prints it."""
        return {**asdict(self), "problems": [asdict(problem) for problem in self.problems]}


@typed
def inspect(path: Path) -> Inspection:
    """Looks at a model's file. It reads the directory at the file's beginning, and nothing else.

    A ``.rkllm`` file has its texts masked; nothing is unmasked. What is found there is not the vendor's word.

    Args:
        path: The file. One that does not exist has ``kind`` ``"unknown"`` and a problem that says so.

    Returns:
        What was found.

    Example:
        >>> found = inspect("model.gguf")
        >>> found.kind, found.loadable, found.facts["hidden_size"]
        ('gguf', True, 576)
    """
    found = json.loads(_native.inspect_file(path))
    found["path"] = os.fsdecode(path)
    found["problems"] = tuple(Problem(**problem) for problem in found["problems"])
    return Inspection(**found)
