"""Takes this machine's paths out of the bills of materials that maturin puts into a wheel.

    python scripts/tidy_wheel.py <wheel>...

Everything else stays byte for byte; times are those that the wheel has already.
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


def tidy(wheel: Path) -> None:
    """Rewrites a wheel in one step."""
    with zipfile.ZipFile(wheel) as archive:
        members = [(entry, tidied(entry.filename, archive.read(entry))) for entry in archive.infolist()]
    lines: list[str] = []
    fresh = wheel.with_suffix(".new")
    with zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for entry, data in members:
            if entry.filename.endswith(".dist-info/RECORD"):
                lines.append(f"{entry.filename},,\n")
                archive.writestr(entry, "\n".join(lines), zipfile.ZIP_DEFLATED, 9)
            else:
                if not entry.is_dir():
                    lines.append(record_line(entry.filename, data))
                archive.writestr(entry, data, zipfile.ZIP_DEFLATED, 9)
    os.replace(fresh, wheel)


if __name__ == "__main__":
    for word in sys.argv[1:]:
        tidy(Path(word))
