"""Takes this machine's paths out of the bills of materials that maturin puts into a wheel.

    python scripts/tidy_wheel.py [--small] <wheel>...

Everything else stays byte for byte; times are those that the wheel has already. With --small, Zopfli packs
it: half a minute for what is to be published.
"""

from __future__ import annotations

import base64
import hashlib
import os
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: What stands in place of the checkout's folder and of the user's home.
REPLACEMENTS = (
    (f"file://{ROOT}".encode(), b"file:///rkllm_rs"),
    (str(ROOT).encode(), b"/rkllm_rs"),
    (f"{Path.home()}/".encode(), b"/home/"),
)


def tidied(name: str, data: bytes) -> bytes:
    """The file's content as it shall be."""
    if "/sboms/" in name:
        for path, instead in REPLACEMENTS:
            data = data.replace(path, instead)
    return data


def record_line(name: str, data: bytes) -> str:
    """The line that RECORD has for a file."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}"


def archive_of(path: Path, *, small: bool) -> zipfile.ZipFile:
    """An archive to write."""
    if small:
        import zopfli  # of requirements/wheels.txt

        # In as many blocks as it likes: with 15, its default, the module is 7 KB larger.
        packed: zipfile.ZipFile = zopfli.ZipFile(path, "w", zipfile.ZIP_DEFLATED, block_splitting_max=0)
        return packed
    return zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9)


def tidy(wheel: Path, *, small: bool) -> None:
    """Rewrites a wheel in one step."""
    with zipfile.ZipFile(wheel) as archive:
        members = [(entry, tidied(entry.filename, archive.read(entry))) for entry in archive.infolist()]
    lines: list[str] = []
    fresh = wheel.with_suffix(".new")
    with archive_of(fresh, small=small) as archive:
        for entry, data in members:
            if entry.filename.endswith(".dist-info/RECORD"):
                lines.append(f"{entry.filename},,\n")
                archive.writestr(entry, "\n".join(lines), zipfile.ZIP_DEFLATED)
            else:
                if not entry.is_dir():
                    lines.append(record_line(entry.filename, data))
                archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    os.replace(fresh, wheel)


if __name__ == "__main__":
    for word in sys.argv[1:]:
        if word != "--small":
            tidy(Path(word), small="--small" in sys.argv)
