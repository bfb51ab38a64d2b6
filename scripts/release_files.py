"""Checks that a folder holds the files of a release, all of them and no other, and writes SHA256SUMS.

    python scripts/release_files.py VERSION FOLDER

VERSION is the one in Cargo.toml. The names are told by the rules of Python's packages; whatever is missing
or does not belong there is told on stderr, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from check_version import python_version

SUMS = "SHA256SUMS"
MACHINES = ("aarch64", "armv7l", "x86_64")
#: Interpreters without a GIL that wheels of their own are built for.
FREE_THREADED = ("cp314-cp314t",)


def expected(version: str) -> list[str]:
    """Patterns, each for one file."""
    core = [
        f"rkllm_rs-{version}-{python}-*manylinux_2_17_{machine}.whl"
        for machine in MACHINES
        for python in ("cp310-abi3", *FREE_THREADED)
    ]
    cpu = [f"rkllm_rs_cpu-{version}-py3-none-*manylinux_*_{machine}.whl" for machine in MACHINES]
    bills = [f"{name}-{version}.cdx.json" for name in ("rkllm_rs", "rkllm_rs_cpu")]
    return [*core, *cpu, f"rkllm_rs-{version}.tar.gz", *bills]


def disagreements(names: list[str], version: str) -> list[str]:
    """What is missing, double or does not belong to the release."""
    wrong: list[str] = []
    left = set(names)
    for pattern in expected(version):
        found = fnmatch.filter(names, pattern)
        if len(found) != 1:
            wrong.append(f"{len(found)} files are {pattern}")
        left -= set(found)
    return wrong + [f"{name} does not belong to the release" for name in sorted(left)]


def sums(folder: Path, names: list[str]) -> str:
    """Lines as sha256sum writes them."""
    return "".join(
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in sorted(names)
    )


def main() -> int:
    """Runs the check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("version", help="as in Cargo.toml")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    folder: Path = options.folder
    names = [entry.name for entry in folder.iterdir() if entry.name != SUMS]
    wrong = disagreements(names, python_version(options.version))
    for line in wrong:
        print(f"release_files: {line}", file=sys.stderr)
    if not wrong:
        text = sums(folder, names)
        (folder / SUMS).write_text(text, encoding="utf-8")
        print(text, end="")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
