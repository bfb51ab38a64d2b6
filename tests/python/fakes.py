"""Scripted stand-ins for the vendor's library, made from the prebuilt fakes.

Nothing is built here. The folder of built fakes is named by the environment variable
``RKLLM_RS_FAKES``; ``tests/fake_rkllm/README.md`` describes both script formats.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Every layout that is spoken, oldest first.
LAYOUTS: Final = ("v1_1_0", "v1_2_0", "v1_2_1", "v1_3_0", "v1_3_1")

#: One for each way in which the library is called. 1.3.0 differs from 1.3.1 in the size of the input
#: alone: tests of that, and of what tells the two apart, take ``LAYOUTS``.
ABI_VERSIONS: Final = ("v1_1_0", "v1_2_0", "v1_2_1", "v1_3_1")

BANNERS: Final[Mapping[str, str | None]] = {
    "v1_0_1": None,
    "v1_1_0": "RKLLM SDK (version: 1.1.4 | target: Linux | build: fake)",
    "v1_2_0": "RKLLM SDK (version: 1.2.0 | target: Linux | build: fake)",
    "v1_2_1": "RKLLM SDK (version: 1.2.3 | target: Linux | build: fake)",
    "v1_3_0": "RKLLM SDK (version: 1.3.0 | target: Linux | build: fake)",
    "v1_3_1": "RKLLM SDK (version: 1.3.1 | target: Linux | build: fake)",
}

DEFAULT_BANNER: Final = "<the layout's own>"

BUILD_COMMAND: Final = (
    "cargo build --release -p fake-rkllm-v1_0_1 -p fake-rkllm-v1_1_0 -p fake-rkllm-v1_2_0 "
    "-p fake-rkllm-v1_2_1 -p fake-rkllm-v1_3_0 -p fake-rkllm-v1_3_1"
)

_TAG: Final = b"FAKE_RKLLM_CONFIG:"
_BLOB_LEN: Final = 4096


def built_library(abi_version: str) -> Path:
    """The prebuilt library of a layout.

    Args:
        abi_version: One of ``LAYOUTS``, or ``"v1_0_1"``.

    Raises:
        ValueError: There is no such ABI version.
        FileNotFoundError: ``RKLLM_RS_FAKES`` is not set, or has no such file.
    """
    if abi_version not in BANNERS:
        message = f"no fake of ABI version {abi_version!r}; there are {', '.join(BANNERS)}"
        raise ValueError(message)
    advice = f"build the fakes with `{BUILD_COMMAND}` and set RKLLM_RS_FAKES to target/release"
    folder = os.environ.get("RKLLM_RS_FAKES")
    if not folder:
        message = f"RKLLM_RS_FAKES is not set: {advice}"
        raise FileNotFoundError(message)
    path = Path(folder) / f"libfake_rkllm_{abi_version}.so"
    if not path.is_file():
        message = f"{path} does not exist: {advice}"
        raise FileNotFoundError(message)
    return path


def fake_library(
    tmp_path: Path,
    abi_version: str,
    *,
    banner: str | None = DEFAULT_BANNER,
    defaults: str | Mapping[str, Any] = "normal",
    drop_symbols: Sequence[str] = (),
    name: str = "librkllmrt.so",
    record: Path | str | None = None,
    constructor_log: str | None = None,
    constructor_touch: Path | str | None = None,
    constructor_wait: Path | str | None = None,
    quiet: bool = False,
) -> Path:
    """Makes a copy of a fake with a configuration of its own.

    The dynamic loader tells libraries apart by inode, so each copy has its own state.

    Args:
        tmp_path: Folder for the copy; made if it is missing.
        abi_version: One of ``LAYOUTS``, or ``"v1_0_1"``.
        banner: The whole banner, or None for a file without one.
        defaults: ``"normal"``, ``"garbage"``, or fields to override; the key ``"as"`` names a
            ABI version whose layout is written.
        drop_symbols: Functions that the copy shall not export.
        name: File name of the copy.
        record: JSONL file to which every call is appended.
        constructor_log: Line printed to stderr while the library is loaded.
        constructor_touch: File created while the library is loaded.
        constructor_wait: File that the library waits for, after that, while it is loaded.
        quiet: Leave out the line that every ``rkllm_init`` prints.

    Returns:
        Path of the copy.
    """
    image = bytearray(built_library(abi_version).read_bytes())
    config = {
        "banner": BANNERS[abi_version] if banner == DEFAULT_BANNER else banner,
        "defaults": defaults if isinstance(defaults, str) else dict(defaults),
        "record": _text(record),
        "constructor_log": constructor_log,
        "constructor_touch": _text(constructor_touch),
        "constructor_wait": _text(constructor_wait),
        "quiet": quiet,
    }
    # Keys of no value are left out: the blob has little room.
    _write_config(image, {key: value for key, value in config.items() if value is not None})
    for symbol in drop_symbols:
        _rename_symbol(image, symbol)
    tmp_path.mkdir(parents=True, exist_ok=True)
    path = tmp_path / name
    # A new file, never one written over: a copy that is mapped already must not change.
    path.unlink(missing_ok=True)
    path.write_bytes(image)
    path.chmod(0o755)
    return path


def fake_model(tmp_path: Path, name: str = "model.rkllm", **script: Any) -> Path:
    """Writes a model's script.

    Args:
        tmp_path: Folder for the file; made if it is missing.
        name: File name.
        **script: The script's keys; paths become text.

    Returns:
        Path of the file, to be given as ``model_path``.
    """
    tmp_path.mkdir(parents=True, exist_ok=True)
    path = tmp_path / name
    path.write_text(json.dumps(script, default=os.fspath), encoding="utf-8")
    return path


def calls(record: Path | str, function: str | None = None) -> list[dict[str, Any]]:
    """Reads a record.

    Args:
        record: The JSONL file; a missing one is an empty record.
        function: Only the lines whose ``fn`` is this.

    Returns:
        One dictionary for each line, in order.
    """
    path = Path(record)
    if not path.exists():
        return []
    # The last line may be on its way, and is for the next look.
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    lines = [json.loads(line) for line in whole.splitlines()]
    return [line for line in lines if function is None or line["fn"] == function]


def _text(path: Path | str | None) -> str | None:
    return None if path is None else os.fspath(path)


def _write_config(image: bytearray, config: Mapping[str, Any]) -> None:
    """Overwrites the configuration inside a library's file."""
    if image.count(_TAG) != 1:
        message = "the library has no configuration blob; is it a fake?"
        raise ValueError(message)
    # Raw, not escaped: the banner must stand in the file as it is.
    blob = _TAG + json.dumps(config, ensure_ascii=False, separators=(",", ":")).encode()
    if len(blob) >= _BLOB_LEN:
        message = f"the configuration takes {len(blob)} bytes of {_BLOB_LEN}"
        raise ValueError(message)
    start = image.index(_TAG)
    image[start : start + _BLOB_LEN] = blob.ljust(_BLOB_LEN, b"\0")


def _rename_symbol(image: bytearray, symbol: str) -> None:
    """Renames a function in the string table of the dynamic loader, so that none finds it."""
    offset, size = _section(image, ".dynstr")
    old = b"\0" + symbol.encode() + b"\0"
    at = image.find(old, offset, offset + size)
    if at < 0 or not symbol.startswith("rkllm_"):
        message = f"the library does not export {symbol}"
        raise ValueError(message)
    image[at + 1 : at + 6] = b"rkllx"


def _section(image: bytearray, name: str) -> tuple[int, int]:
    """File offset and size of an ELF section of a little-endian file."""
    wide = image[4] == 2
    (table,) = struct.unpack_from("<Q" if wide else "<I", image, 40 if wide else 32)
    entry, count, names = struct.unpack_from("<HHH", image, 58 if wide else 46)
    shape = "<IIQQQQ" if wide else "<IIIIII"
    headers = [struct.unpack_from(shape, image, table + at * entry) for at in range(count)]
    strings = headers[names][4]
    for header in headers:
        start = strings + header[0]
        if image[start : image.index(0, start)] == name.encode():
            return header[4], header[5]
    message = f"the library has no section {name}"
    raise ValueError(message)
