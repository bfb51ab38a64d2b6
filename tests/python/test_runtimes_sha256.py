"""Files of which the SHA-256 is known and not the Git blob id, as that of RKLLM 1.3.1."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING

import pytest

from mirror import ARCH, COMMIT, OTHER_ARCH, Mirror, blob_id, library_bytes, official_file
from rkllm_rs import RuntimeInstallError, _runtime_table, runtimes
from rkllm_rs.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = library_bytes("1.3.1")
SHA256 = hashlib.sha256(DATA).hexdigest()
OLDER = library_bytes("1.3.0")


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> tuple[runtimes.OfficialFile, ...]:
    newest = official_file(DATA, "1.3.1", size=len(DATA))
    newest = dataclasses.replace(newest, git_blob_sha1=None, sha256=SHA256)
    table = (official_file(OLDER, "1.3.0"), newest)
    monkeypatch.setattr(_runtime_table, "known", lambda: table)
    return table


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    server = Mirror(DATA)
    monkeypatch.setenv("RKLLM_RS_MIRROR", server.url)
    yield server
    server.close()


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_it_is_fetched_checked_and_put_in_place(mirror: Mirror) -> None:
    mirror.data = DATA[: len(DATA) // 2]
    with pytest.raises(RuntimeInstallError):
        runtimes.install("1.3.1", arch=ARCH)
    mirror.data = DATA
    done = runtimes.install("1.3.1", arch=ARCH)
    assert (done.version, done.arch, done.status) == ("1.3.1", ARCH, "verified")
    assert done.git_blob_sha1 == blob_id(DATA)
    assert mirror.asked[0][0].endswith(f"/{COMMIT}/rkllm-runtime/Linux/librkllm_api/{ARCH}/librkllmrt.so")
    asked = len(mirror.asked)
    assert runtimes.install("1.3.1", arch=ARCH) == done
    assert len(mirror.asked) == asked


def test_another_file_is_refused_and_taken_on_demand(tmp_path: Path) -> None:
    patched = write(tmp_path / "patched.so", DATA[:-1] + b"!")
    with pytest.raises(RuntimeInstallError) as caught:
        runtimes.install("1.3.1", source=patched, arch=ARCH)
    assert SHA256 in str(caught.value)
    assert hashlib.sha256(patched.read_bytes()).hexdigest() in str(caught.value)
    assert "--allow-unknown" in (caught.value.hint or "")
    assert runtimes.installed() == []
    assert runtimes.install("1.3.1", source=patched, arch=ARCH, allow_unknown=True).status == "unknown"
    with pytest.raises(RuntimeInstallError, match=r"official file of 1\.3\.1"):
        runtimes.install("1.3.0", source=write(tmp_path / "whole.so", DATA), arch=ARCH)


def test_a_file_that_nobody_knows_is_refused_and_taken_on_demand(tmp_path: Path) -> None:
    foreign = write(tmp_path / "foreign.so", DATA + b"foreign")
    with pytest.raises(RuntimeInstallError, match=OTHER_ARCH) as caught:
        runtimes.install("1.3.1", source=foreign, arch=OTHER_ARCH)
    assert "--allow-unknown" in (caught.value.hint or "")
    done = runtimes.install("1.3.1", source=foreign, arch=OTHER_ARCH, allow_unknown=True)
    assert (done.status, done.arch) == ("unknown", OTHER_ARCH)


def test_any_file_is_verified_by_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "file.so", DATA)
    found = runtimes.verify(path)
    assert (found.sha256, found.git_blob_sha1) == (SHA256, blob_id(DATA))
    assert str(found.official) == f"1.3.1 for linux {ARCH}"
    assert main(["runtime", "verify", str(path)]) == 0
    assert SHA256 in capsys.readouterr().out
    write(path, DATA[::-1])
    assert runtimes.verify(path).official is None
    # The older one has no SHA-256 to go by.
    assert str(runtimes.verify(write(path, OLDER)).official) == f"1.3.0 for linux {ARCH}"
