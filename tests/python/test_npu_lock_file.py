"""The NPU lock's file on file systems that are full, or that cannot be written to."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from fakes import fake_library
from support import SLOW, command, newest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RUN = {"runs": [{"steps": ["a"]}]}
APART = ["unshare", "--map-root-user", "--mount"]


def mounting() -> bool:
    """Whether a program can have mounts of its own here."""
    try:
        return subprocess.run([*APART, "true"], capture_output=True, check=False, timeout=60).returncode == 0
    except FileNotFoundError:
        return False


pytestmark = [newest, pytest.mark.skipif(not mounting(), reason="this machine lets no program mount")]


def behind(mounts: str, code: str, library: Path, model: Path, *arguments: object) -> list[str]:
    """Runs a program that sees these mounts; gives its lines."""
    words = [*APART, "sh", "-ec", f'{mounts}\nexec "$@"', "sh"]
    words += command(code, library, model, *arguments)
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120 * SLOW)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def library(tmp_path: Path, abi_version: str) -> Path:
    """A library that records nothing, since it could not."""
    return fake_library(tmp_path / "lib", abi_version, quiet=True)


@pytest.mark.parametrize("there", ["missing", "there"])
def test_a_full_disk_costs_the_records_and_not_the_lock(
    library: Path,
    make_model: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: str,
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    monkeypatch.setenv("RKLLM_RS_NPU_LOCK", str(disk / "npu.lock"))
    made = f"touch {disk}/npu.lock" if there == "there" else "true"
    full = f"""
    mount -t tmpfs -o size=4k none {disk}
    {made}
    ! dd if=/dev/zero of={disk}/rest bs=64k count=1 2>/dev/null
    """
    code = """
    import subprocess
    llm = RKLLM(model, library=library)
    say(llm.generate("x").text)
    other = "from rkllm_rs import *\\ntry: npu_lock(timeout=0).__enter__()\\nexcept BusyError: print('busy')"
    with npu_lock():
        say(llm.generate("x").text)
        say(subprocess.run([sys.executable, "-c", other], capture_output=True, text=True).stdout.strip())
        from rkllm_rs import _native
        say(_native.npu_line()[2])
    say(_native.npu_line()[2])
    """
    assert behind(full, code, library, make_model(RUN)) == ["a", "a", "busy", "[None]", "[]"]


READ_ONLY = """
mount --bind {at} {at}
mount -o remount,bind,ro {at}
"""


def test_a_named_file_on_a_disk_that_cannot_be_written_to(
    library: Path, make_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "there").touch()
    code = """
    for call in (lambda: RKLLM(model, library=library), npu_lock().__enter__):
        try:
            call()
        except InvalidArgumentError as error:
            say("RKLLM_RS_NPU_LOCK" in str(error))
    """
    for name in ("there", "missing"):
        monkeypatch.setenv("RKLLM_RS_NPU_LOCK", str(disk / name))
        found = behind(READ_ONLY.format(at=disk), code, library, make_model(RUN))
        assert found == ["True", "True"]


def test_no_file_anywhere(
    library: Path, make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RKLLM_RS_NPU_LOCK")
    code = """
    import warnings
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        llm = RKLLM(model, library=library)
    say(sum("NPU lock" in str(one.message) for one in told))
    # Models of one process take turns all the same.
    say(llm.generate("x").text, RKLLM(model, library=library, isolate=True).generate("x").text)
    try:
        npu_lock().__enter__()
    except UnsupportedFeatureError as error:
        say(bool(error.hint))
    try:
        RKLLM(model, library=library, strict=True)
    except UnsupportedFeatureError as error:
        say("lock" in str(error))
    """
    places = "".join(READ_ONLY.format(at=at) for at in ("/run", "/tmp"))  # noqa: S108 - where it is
    empty = "mount -t tmpfs none /run; mkdir /run/lock"
    assert behind(empty + places, code, library, make_model(RUN)) == ["1", "a a", "True", "True"]
