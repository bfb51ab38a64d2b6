"""Gets the chat templates that the conformance test renders: those of llama.cpp and of vLLM.

They come out of the source distributions of ``llama-cpp-python`` (MIT) and ``vllm`` (Apache-2.0), which are
verified by their SHA-256; nothing is built. Only the templates stay, in the user's cache. Prints the folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fetch_model import cache_folder, digest


@dataclass(frozen=True)
class Distribution:
    """A source distribution, and the folders in it that have templates."""

    requirement: str
    sha256: str
    folders: tuple[str, ...]
    #: Copies of the others.
    without: str = ""


DISTRIBUTIONS = (
    Distribution(
        "llama-cpp-python==0.3.36",
        "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e",
        ("vendor/llama.cpp/models/templates",),
    ),
    Distribution(
        "vllm==0.33.0",
        "f4c33c2503d52bb411146afa9618a4f48bed68912f617e6803ac8d76e4c74112",
        ("examples", "vllm/transformers_utils/chat_templates", "rust/src/chat/tests/templates"),
        "rust/src/chat/tests/templates/vllm_examples",
    ),
)


def templates(archive: tarfile.TarFile, distribution: Distribution) -> dict[str, bytes]:
    """The templates of a distribution by their paths in it."""
    found = {}
    for member in archive:
        path = PurePosixPath(*PurePosixPath(member.name).parts[1:])
        inside = any(path.is_relative_to(folder) for folder in distribution.folders)
        left_out = distribution.without and path.is_relative_to(distribution.without)
        content = archive.extractfile(member) if path.suffix == ".jinja" and inside and not left_out else None
        if content is not None:
            found[str(path)] = content.read()
    return found


def download(distribution: Distribution, folder: str) -> str:
    """Downloads the file alone: pip would build what it downloads, and vLLM needs PyTorch for that."""
    command = [sys.executable, "-m", "unearth", "--no-binary", "--py", "3.12", "--download", folder]
    if index := os.environ.get("PIP_INDEX_URL"):
        command += ["--index-url", index]
    subprocess.run([*command, distribution.requirement], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    (name,) = os.listdir(folder)
    path = os.path.join(folder, name)
    found = digest(path)
    if found != distribution.sha256:
        message = f"{name} has SHA-256 {found}, expected {distribution.sha256}: not used"
        raise SystemExit(message)
    return path


def fetch() -> Path:
    """Returns the folder with the templates, after downloading what is not there."""
    root = Path(cache_folder()).parent / "templates"
    for distribution in DISTRIBUTIONS:
        target = root / distribution.sha256[:16]
        if target.exists():
            continue
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root) as work:
            sys.stderr.write(f"fetching the chat templates of {distribution.requirement} ...\n")
            packed, unpacked = Path(work) / "packed", Path(work) / "unpacked"
            packed.mkdir()
            with tarfile.open(download(distribution, str(packed))) as archive:
                for name, content in templates(archive, distribution).items():
                    path = unpacked / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
            try:
                # In place whole or not at all, also when two of us run at once.
                unpacked.rename(target)
            except OSError:
                if not target.exists():
                    raise
    return root


def sources() -> dict[str, str]:
    """The text of every template, by its distribution's name and its path there."""
    root = fetch()
    found = {}
    for distribution in DISTRIBUTIONS:
        folder = root / distribution.sha256[:16]
        name = distribution.requirement.partition("==")[0]
        for path in sorted(folder.rglob("*.jinja")):
            # As it is: line ends are part of a template.
            found[f"{name}/{path.relative_to(folder).as_posix()}"] = path.read_bytes().decode()
    return found


if __name__ == "__main__":
    sys.stdout.write(f"{fetch()}\n")
