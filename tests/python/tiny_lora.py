"""Makes a tiny LoRA adapter for a model, and reads and writes as much of GGUF files as that takes.

No download and nothing to install: the weights are random, of a rank of a few.
"""

from __future__ import annotations

import random
import shutil
import struct
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

F32: Final = 0
Q4_1: Final = 3
Q8_0: Final = 8
ALIGNMENT: Final = 32
#: struct's letters for the types of metadata, but for text and lists.
SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT: Final = 8
LIST: Final = 9


@dataclass(frozen=True)
class Tensor:
    """Where a tensor is; the first dimension is the one that runs fastest."""

    dimensions: tuple[int, ...]
    kind: int
    offset: int


def _take(file: BinaryIO, letters: str) -> Any:
    content = file.read(struct.calcsize("<" + letters))
    return struct.unpack("<" + letters, content)[0]


def _text(file: BinaryIO) -> str:
    return file.read(_take(file, "Q")).decode(errors="replace")


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == TEXT:
        return _text(file)
    if kind == LIST:
        inner = _take(file, "I")
        return [_value(file, inner) for _ in range(_take(file, "Q"))]
    return _take(file, SCALARS[kind])


def read_gguf(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The metadata of a file, and its tensors with their places in it."""
    with path.open("rb") as file:
        assert file.read(4) == b"GGUF", path
        assert _take(file, "I") == 3, "another version of GGUF"
        tensor_count, value_count = _take(file, "Q"), _take(file, "Q")
        metadata = {}
        for _ in range(value_count):
            name = _text(file)
            metadata[name] = _value(file, _take(file, "I"))
        tensors = {}
        for _ in range(tensor_count):
            name = _text(file)
            dimensions = tuple(_take(file, "Q") for _ in range(_take(file, "I")))
            kind = _take(file, "I")
            tensors[name] = Tensor(dimensions, kind, _take(file, "Q"))
        alignment = metadata.get("general.alignment", ALIGNMENT)
        start = -file.tell() % alignment + file.tell()
    placed = {
        name: Tensor(tensor.dimensions, tensor.kind, start + tensor.offset)
        for name, tensor in tensors.items()
    }
    return metadata, placed


def _named(name: str) -> bytes:
    return struct.pack("<Q", len(name.encode())) + name.encode()


def write_gguf(
    path: Path,
    metadata: Mapping[str, str | float],
    tensors: Mapping[str, tuple[tuple[int, ...], array[float]]],
) -> Path:
    """A file of texts, floats and float32 tensors."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for name, value in metadata.items():
        head += _named(name)
        head += (
            struct.pack("<I", TEXT) + _named(value)
            if isinstance(value, str)
            else struct.pack("<If", 6, value)
        )
    body = b""
    for name, (dimensions, values) in tensors.items():
        head += _named(name) + struct.pack("<I", len(dimensions))
        head += struct.pack(f"<{len(dimensions)}QIQ", *dimensions, F32, len(body))
        body += values.tobytes()
        body += bytes(-len(body) % ALIGNMENT)
    path.write_bytes(head + bytes(-len(head) % ALIGNMENT) + body)
    return path


def changed_gguf(source: Path, out: Path, texts: Mapping[str, str]) -> Path:
    """A copy of a file whose metadata has other texts."""
    with source.open("rb") as file:
        lead = file.read(8)
        tensor_count, value_count = _take(file, "Q"), _take(file, "Q")
        values = {}
        for _ in range(value_count):
            start = file.tell()
            name = _text(file)
            _value(file, _take(file, "I"))
            end = file.tell()
            file.seek(start)
            values[name] = file.read(end - start)
        start = file.tell()
        for _ in range(tensor_count):
            _text(file)
            file.seek(8 * _take(file, "I") + 12, 1)
        end = file.tell()
        file.seek(start)
        places = file.read(end - start)
        file.seek(-end % ALIGNMENT, 1)
        for name, text in texts.items():
            values[name] = _named(name) + struct.pack("<I", TEXT) + _named(text)
        head = lead + struct.pack("<QQ", tensor_count, len(values)) + b"".join(values.values()) + places
        with out.open("wb") as written:
            written.write(head + bytes(-len(head) % ALIGNMENT))
            shutil.copyfileobj(file, written, 1 << 20)
    return out


def make_lora(
    model_gguf: Path,
    out: Path,
    *,
    seed: int = 0,
    size: float = 0.5,
    rank: int = 2,
    layers: Iterable[int] | None = None,
) -> Path:
    """Writes an adapter for a model and returns its path.

    Args:
        model_gguf: The model, of which only names and shapes are used.
        out: The adapter.
        seed: Another one gives another adapter.
        size: How much it changes. 0 changes nothing; 0.5 is enough for other tokens, and leaves numbers
            finite.
        rank: The rank of each change.
        layers: Which layers are changed; all if not given.
    """
    metadata, tensors = read_gguf(model_gguf)
    chance = random.Random(seed)  # noqa: S311 - not a secret

    def noise(count: int, deviation: float) -> array[float]:
        return array("f", (chance.gauss(0.0, deviation) for _ in range(count)))

    changes = {}
    for layer in range(metadata["llama.block_count"]) if layers is None else layers:
        name = f"blk.{layer}.attn_output.weight"
        width, height = tensors[name].dimensions
        changes[f"{name}.lora_a"] = ((width, rank), noise(width * rank, width**-0.5))
        changes[f"{name}.lora_b"] = ((rank, height), noise(rank * height, size))
    about = {
        "general.type": "adapter",
        "general.architecture": metadata["general.architecture"],
        "adapter.type": "lora",
        "adapter.lora.alpha": float(rank),
    }
    return write_gguf(out, about, changes)
