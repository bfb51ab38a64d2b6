"""The user's folder of runtimes: what comes in from this machine, what is chosen, and what is loaded.

Long because each thing that may be wrong with a library's file is a test of its own.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fakes import fake_library
from rkllm_rs import (
    InvalidArgumentError,
    InvalidTypeError,
    LibraryNotFoundError,
    Runtime,
    RuntimeInstallError,
    _native,
    runtimes,
)
from rkllm_rs.cli import main
from vendor_site import ARCH, COMMIT, OTHER_ARCH, blob_id, known_by_blob_id, known_by_sha256, library_bytes

NAME = "librkllmrt.so"
DATA = library_bytes("1.3.0")
OLDER = library_bytes("1.2.3")
NEWER = library_bytes("1.3.1")
#: The same release for the architecture that this process is not of.
FOREIGN = OLDER + b"other"
NOBODY = 65534


@pytest.fixture
def table(monkeypatch):
    """Releases that are known: one for both architectures, and one by its SHA-256 alone."""
    entries = [
        known_by_blob_id("1.2.3", OLDER),
        known_by_blob_id("1.2.3", FOREIGN, OTHER_ARCH),
        known_by_blob_id("1.3.0", DATA),
        known_by_sha256("1.3.1", NEWER),
    ]
    monkeypatch.setattr(_native, "known_libraries", lambda: entries)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RKLLM_RS_HOME", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file.so"
    path.write_bytes(DATA)
    return path


def refused(version="1.3.0", **keywords):
    with pytest.raises(RuntimeInstallError) as caught:
        runtimes.install(version, **{"arch": ARCH, **keywords})
    assert not [one for one in Path(runtimes.folder()).rglob("*") if not one.is_dir()]
    assert caught.value.hint
    return caught.value


def command(*words: object) -> int:
    return main(["runtime", *(str(word) for word in words)])


def report(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> Any:
    assert command(*words, "--json") == status
    return json.loads(capsys.readouterr().out)


# The table.


def test_every_official_file_is_known():
    files = runtimes.official(os=None)
    assert len(files) == len({one.git_blob_sha1 or one.sha256 for one in files}) == 37
    assert len({one.commit for one in files}) == 15
    assert {one.os for one in files} == {"linux", "android"}
    for one in files:
        assert one.url == f"https://github.com/airockchip/rknn-llm/raw/{one.commit}/{one.path}"
        assert one.usable is not one.release.startswith("1.0.")
    assert [one.arch for one in runtimes.official("1.2.3")] == ["aarch64", "armhf"]
    (newest,) = runtimes.official("1.3.1")
    assert (newest.arch, newest.git_blob_sha1, newest.size) == ("aarch64", None, 7_674_816)
    assert newest.sha256 == "f25e9b099db08aaacd0a3ac62b4697d3951d6ae61ae41ea09f6702cfa89eb32c"
    assert [one.release for one in runtimes.official(arch="armhf")] == ["1.2.1", "1.2.2", "1.2.3", "1.3.0"]


def test_the_modules_are_not_loaded_with_the_package():
    code = (
        "import sys, rkllm_rs; "
        "print([m for m in sys.modules if m.startswith(('rkllm_rs.runtimes', 'rkllm_rs.cli'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "bytes_", "arch"),
    [
        ("aarch64", 8, "aarch64"),
        ("arm64", 8, "aarch64"),
        ("aarch64", 4, "armhf"),
        ("armv8l", 4, "armhf"),
        ("armv7l", 4, "armhf"),
        ("armv6l", 4, None),
        ("x86_64", 8, None),
        ("riscv64", 8, None),
    ],
)
def test_the_architecture_is_the_process_s(name, bytes_, arch, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: name)
    monkeypatch.setattr(struct, "calcsize", lambda _: bytes_)
    assert runtimes.machine() == arch
    monkeypatch.setattr(sys, "platform", "darwin")
    assert runtimes.machine() is None


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"RKLLM_RS_HOME": "{base}/own"}, "own"),
        ({"RKLLM_RS_HOME": "", "XDG_DATA_HOME": "{base}/xdg"}, "xdg/rkllm_rs"),
        ({"XDG_DATA_HOME": "relative", "HOME": "{base}"}, ".local/share/rkllm_rs"),
        ({"XDG_DATA_HOME": "", "HOME": "{base}"}, ".local/share/rkllm_rs"),
    ],
)
def test_the_folder_is_the_one_that_the_search_looks_at(variables, expected, tmp_path, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(base=tmp_path))
    assert runtimes.home() == str(tmp_path / expected)
    with pytest.raises(LibraryNotFoundError) as caught:
        runtimes.path()
    assert str(tmp_path / expected / "runtimes/current" / NAME) in str(caught.value)


def test_without_home_it_asks_for_one(monkeypatch):
    for name in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name)
    with pytest.raises(RuntimeInstallError) as caught:
        runtimes.home()
    assert "RKLLM_RS_HOME" in (caught.value.hint or "")


# From a file or folder of this machine.


def test_a_file_is_checked_and_put_in_place(table, home, file):
    done = runtimes.install("v1.3.0", source=file)
    assert (done.version, done.arch, done.status) == ("1.3.0", ARCH, "verified")
    assert Path(done.path).read_bytes() == DATA
    assert file.read_bytes() == DATA
    assert runtimes.installed() == [done]
    # From the folder that has it.
    done = runtimes.install("1.3.1", source=file_of(file.parent, NEWER, NAME).parent, arch=ARCH)
    assert (done.status, done.git_blob_sha1) == ("verified", blob_id(NEWER))


def test_bad_files(table, home, tmp_path):
    path = tmp_path / "bad.so"
    cases = {
        b"": "0 bytes",
        b"<!doctype html><p>": "not a shared library",
        b"version https://git-lfs.github.com/spec/v1": "not a shared library",
        DATA[:-1]: "is not the official file: it has 599999 bytes",
        DATA[:-1] + b"!": blob_id(DATA),
        OLDER: f"is the official file of 1.2.3 for linux {ARCH}; expected 1.3.0",
    }
    for data, words in cases.items():
        path.write_bytes(data)
        error = refused(source=path)
        assert words in str(error)
        assert str(path) in str(error)
    path.write_bytes(FOREIGN)
    assert f"expected 1.2.3 for linux {ARCH}" in str(refused("1.2.3", source=path))
    path.unlink()
    assert "No such file" in str(refused(source=path))
    os.mkfifo(path)
    assert "not a regular file" in str(refused(source=path))
    (tmp_path / "empty").mkdir()
    assert "empty/librkllmrt.so cannot be read" in str(refused(source=tmp_path / "empty"))


def test_what_is_unknown_needs_to_be_asked_for(table, home, tmp_path):
    path = file_of(tmp_path, DATA + b"patched", "patched.so")
    assert "--allow-unknown" in (refused(source=path).hint or "")
    assert "1.2.3, 1.3.0, 1.3.1" in (refused("9.9.9", source=path).hint or "")
    # Of a release whose file for the other architecture nobody knows, too.
    error = refused("1.3.1", source=path, arch=OTHER_ARCH)
    assert all(part in str(error) for part in ("1.3.1", ARCH, OTHER_ARCH))
    assert "--allow-unknown" in (error.hint or "")
    assert runtimes.install("1.3.1", source=path, arch=OTHER_ARCH, allow_unknown=True).status == "unknown"
    done = runtimes.install("9.9.9", source=path, allow_unknown=True, arch=ARCH)
    assert (done.status, done.arch, done.git_blob_sha1) == ("unknown", None, blob_id(DATA + b"patched"))
    # In place of an official one.
    runtimes.install("1.3.0", source=file_of(tmp_path, DATA))
    assert runtimes.install("1.3.0", source=path, allow_unknown=True).status == "unknown"
    before = runtimes.installed()
    assert [one.version for one in before] == ["1.3.0", "1.3.1", "9.9.9"]
    # An official file under the wrong name stays refused, and so does what is no library at all.
    for data, words in ((DATA, "official file of"), (b"MZ", "not a shared library")):
        with pytest.raises(RuntimeInstallError, match=words):
            runtimes.install("9.9.9", source=file_of(tmp_path, data), allow_unknown=True)
    with pytest.raises(RuntimeInstallError, match="not an official release"):
        runtimes.install("9.9.8", allow_unknown=True, arch=ARCH)
    assert runtimes.installed() == before


def file_of(folder: Path, data: bytes, name: str = "of.so") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "version", ["", "1.2", "latest", "../1.2.3", "1.2.3/..", "1.2.3 ", "/x", "1.2.3-x", "٣.1.2"]
)
def test_versions_that_are_none(table, home, file, version):
    if version.strip() == "1.2.3":
        version = "1.2.3 x"
    for call in (
        lambda: runtimes.install(version, source=file, allow_unknown=True),
        lambda: runtimes.remove(version),
        lambda: runtimes.use(version),
    ):
        with pytest.raises(InvalidArgumentError, match=r"\Aversion "):
            call()
    assert not home.exists()


def test_architectures(table, home, tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    error = refused("1.2.3", arch=None)
    assert "x86_64" in str(error)
    assert "--arch aarch64" in (error.hint or "")
    with pytest.raises(InvalidArgumentError, match=r"\Aarch .*'x86_64'"):
        runtimes.install("1.3.0", arch="x86_64")
    # A file tells by itself.
    done = runtimes.install("1.2.3", source=file_of(tmp_path, FOREIGN))
    assert done.arch == OTHER_ARCH
    with pytest.raises(RuntimeInstallError, match=f"already installed, for {OTHER_ARCH}"):
        runtimes.install("1.2.3", source=file_of(tmp_path, OLDER), arch=ARCH)
    assert runtimes.installed() == [done]


# The folder.


def test_several_versions_stand_side_by_side(table, home, tmp_path):
    for version, data in (("1.3.0", DATA), ("1.2.3", OLDER)):
        runtimes.install(version, source=file_of(tmp_path, data))
    for version in ("1.2.1b1", "1.10.0", "1.2.1"):
        runtimes.install(version, source=file_of(tmp_path, DATA + version.encode()), allow_unknown=True)
    versions = [one.version for one in runtimes.installed()]
    assert versions == ["1.2.1b1", "1.2.1", "1.2.3", "1.3.0", "1.10.0"]
    runtimes.use("1.2.3")
    assert runtimes.current() == "1.2.3"
    assert os.readlink(home / "runtimes/current") == "1.2.3"
    assert (home / "runtimes/current" / NAME).read_bytes() == OLDER
    runtimes.use("1.3.0")
    assert runtimes.current() == "1.3.0"
    runtimes.remove("1.2.3")
    assert runtimes.current() == "1.3.0"
    runtimes.remove("1.3.0")
    assert runtimes.current() is None
    assert not os.path.lexists(home / "runtimes/current")
    for call in (lambda: runtimes.use("1.3.0"), lambda: runtimes.remove("1.3.0")):
        with pytest.raises(RuntimeInstallError, match=r"version 1\.3\.0 is not installed") as caught:
            call()
        assert "rkllm-rs runtime install 1.3.0" in (caught.value.hint or "")
    runtimes.use("1.2.1")
    runtimes.use(None)
    assert runtimes.current() is None
    runtimes.use(None)
    assert sorted(os.listdir(home / "runtimes")) == ["1.10.0", "1.2.1", "1.2.1b1"]


def test_a_file_tampered_with_is_noticed_and_replaced(table, home, file, capsys):
    done = runtimes.install("1.3.0", source=file)
    path = Path(done.path)
    path.write_bytes(DATA[:-1] + b"!")
    (changed,) = runtimes.installed()
    assert changed.status == "unknown"
    assert report(capsys, "verify", status=1)[0]["status"] == "unknown"
    assert runtimes.install("1.3.0", source=file) == done
    path.unlink()
    path.mkdir()
    assert runtimes.installed()[0].status == "unreadable"


def test_a_current_of_somebody_s_own_is_left_alone(table, home, file):
    runtimes.install("1.3.0", source=file)
    (home / "runtimes/current").mkdir()
    (home / "runtimes/current" / NAME).write_bytes(DATA)
    with pytest.raises(RuntimeInstallError, match="cannot be written"):
        runtimes.use("1.3.0")
    assert (home / "runtimes/current" / NAME).exists()


def test_a_version_that_is_a_link_is_removed_as_one(table, home, file, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    file_of(tmp_path / "elsewhere", DATA, NAME)
    (home / "runtimes").mkdir(parents=True)
    (home / "runtimes/1.3.0").symlink_to(tmp_path / "elsewhere")
    assert runtimes.installed()[0].status == "verified"
    runtimes.remove("1.3.0")
    assert runtimes.installed() == []
    assert (tmp_path / "elsewhere" / NAME).exists()


@contextlib.contextmanager
def without_rights(folder: Path):
    """As a user who may only read in ``folder``."""
    root = os.geteuid() == 0
    folder.chmod(0o555)
    above = [one for one in folder.parents if not one.stat().st_mode & 0o001]
    modes = [(one, one.stat().st_mode) for one in above]
    for one in above:
        one.chmod(0o755)
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for one, mode in modes:
            one.chmod(mode)
        folder.chmod(0o755)


def test_a_home_that_cannot_be_written_to(table, tmp_path, file, monkeypatch):
    home = tmp_path / "readonly"
    home.mkdir()
    monkeypatch.setenv("RKLLM_RS_HOME", str(home / "data"))
    with without_rights(home):
        error = refused(source=file)
    assert f"{home / 'data'} cannot be written: Permission denied" in str(error)
    assert "RKLLM_RS_HOME" in (error.hint or "")
    # With the folder there.
    monkeypatch.setenv("RKLLM_RS_HOME", str(home))
    (home / "runtimes").mkdir()
    with without_rights(home / "runtimes"):
        error = refused(source=file)
    assert "cannot be written: Permission denied" in str(error)


@pytest.mark.parametrize("step", ["mkdir", "fsync", "replace", "chmod"])
def test_failures_at_every_step_leave_nothing(table, home, file, monkeypatch, step):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        error = refused(source=file)
    assert "cannot be written: No space left on device" in str(error)
    assert "Free some space" in (error.hint or "")
    assert runtimes.install("1.3.0", source=file).status == "verified"
    assert os.listdir(home / "runtimes") == ["1.3.0"]


# Verifying.


def test_any_file_can_be_verified(table, home, tmp_path, file, capsys):
    found = runtimes.verify(file)
    assert str(found.official) == f"1.3.0 for linux {ARCH}"
    assert (found.size, found.git_blob_sha1) == (len(DATA), blob_id(DATA))
    assert str(runtimes.verify(file_of(tmp_path, NEWER)).official) == f"1.3.1 for linux {ARCH}"
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / NAME).write_bytes(OLDER)
    assert str(runtimes.verify(tmp_path / "dir").official) == f"1.2.3 for linux {ARCH}"
    assert report(capsys, "verify", file)["official"]["commit"] == COMMIT
    assert command("verify", file) == 0
    assert f"the official file of 1.3.0 for linux {ARCH}" in capsys.readouterr().out
    file.write_bytes(DATA + b"!")
    assert runtimes.verify(file).official is None
    assert report(capsys, "verify", file, status=1)["official"] is None
    assert command("verify", tmp_path / "none") == 1
    assert "No such file" in capsys.readouterr().err


# What is loaded.


@pytest.fixture
def real(private, monkeypatch):
    """Three versions that can really be loaded, in a folder that the loader trusts."""
    monkeypatch.setenv("RKLLM_RS_HOME", str(private / "data"))
    (private / "work").mkdir()
    monkeypatch.chdir(private / "work")
    for version, abi_version in (("1.1.4", "v1_1_0"), ("1.2.3", "v1_2_1"), ("1.3.0", "v1_3_0")):
        source = fake_library(private / "from", abi_version, quiet=True)
        runtimes.install(version, source=source, allow_unknown=True)
    return private


def loaded(real: Path) -> str:
    """The version that is loaded without further words."""
    runtime = Runtime.load(backend="npu")
    assert runtime.path == runtimes.path()
    assert Path(runtime.path).parents[1] == real / "data/runtimes"
    assert runtime.identity.version == Path(runtime.path).parent.name
    return Path(runtime.path).parent.name


def test_the_loader_finds_what_was_installed(real):
    assert loaded(real) == "1.3.0"
    runtimes.use("1.1.4")
    assert loaded(real) == "1.1.4"
    runtimes.remove("1.1.4")
    assert loaded(real) == "1.3.0"


def test_a_project_has_its_own(real, monkeypatch):
    runtimes.use("1.3.0")
    assert runtimes.use("1.2.3", project=".") == str(real / "work/.rkllm-runtime")
    assert (real / "work/.rkllm-runtime").read_text() == "1.2.3\n"
    assert runtimes.chosen() == "1.2.3"
    assert loaded(real) == "1.2.3"
    monkeypatch.chdir(real)
    assert loaded(real) == "1.3.0"
    assert runtimes.chosen(project="work") == "1.2.3"
    runtimes.use(None, project="work")
    assert list((real / "work").iterdir()) == []
    with pytest.raises(RuntimeInstallError, match="is not a folder"):
        runtimes.use("1.2.3", project="none")


def test_a_choice_that_is_not_installed_is_not_passed_over(real):
    runtimes.use("1.2.3", project=".")
    runtimes.remove("1.2.3")
    for load in (lambda: Runtime.load(backend="npu"), runtimes.path):
        with pytest.raises(LibraryNotFoundError) as caught:
            load()
        assert "1.2.3" in str(caught.value)
        assert "rkllm-rs runtime install 1.2.3" in (caught.value.hint or "")
        assert "/usr/lib/" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "/srv/evil", "../../evil", "1.2.3/../../evil", "current", "evil"])
def test_a_choice_is_never_a_path(real, text):
    (real / "evil").mkdir()
    fake_library(real / "evil", "v1_3_0", constructor_touch=real / "touched")
    (real / "work/.rkllm-runtime").write_text(text)
    with pytest.raises(LibraryNotFoundError) as caught:
        Runtime.load(backend="npu")
    assert ".rkllm-runtime (" in str(caught.value)
    assert runtimes.chosen() is None
    assert not (real / "touched").exists()


def test_a_choice_through_a_link_is_replaced_not_followed(real):
    (real / "precious").write_text("precious")
    (real / "work/.rkllm-runtime").symlink_to(real / "precious")
    runtimes.use("1.2.3", project=".")
    assert (real / "precious").read_text() == "precious"
    assert loaded(real) == "1.2.3"


def test_a_chosen_file_must_be_trusted_too(real):
    runtimes.use("1.2.3", project=".")
    (real / "data/runtimes/1.2.3").chmod(0o777)
    with pytest.raises(LibraryNotFoundError, match="not trusted"):
        Runtime.load(backend="npu")


def test_new_folders_are_closed_to_others_whatever_the_umask(private, monkeypatch):
    monkeypatch.setenv("RKLLM_RS_HOME", str(private / "a/b/data"))
    before = os.umask(0)
    try:
        source = fake_library(private / "from", "v1_3_0", quiet=True)
        runtimes.install("1.3.0", source=source, allow_unknown=True)
    finally:
        os.umask(before)
    assert Runtime.load(backend="npu").path == str(private / "a/b/data/runtimes/1.3.0" / NAME)


# The command.


def test_the_whole_way_by_command(real, capsys):
    listed = report(capsys, "list")
    assert len(listed["releases"]) == 15
    (file,) = listed["releases"][-1]["files"]
    assert {"commit", "path", "size", "sha256", "url"} <= set(file)
    assert [one["version"] for one in listed["installed"]] == ["1.1.4", "1.2.3", "1.3.0"]
    assert (listed["current"], listed["project"]) == (None, None)
    assert report(capsys, "use", "1.3.0")["version"] == "1.3.0"
    assert report(capsys, "use", "1.2.3", "--project")["file"].endswith("/.rkllm-runtime")
    listed = report(capsys, "list")
    assert (listed["current"], listed["project"]) == ("1.3.0", "1.2.3")
    assert command("list") == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["1.3.0"].endswith("unknown, current")
    assert lines["1.2.3"].endswith("unknown, project")
    assert "too old" in lines["1.0.1"]
    assert report(capsys, "path")["path"].endswith("/1.2.3/librkllmrt.so")
    assert command("path", "--model", "m.rkllm") == 0
    assert capsys.readouterr().out.endswith("/1.2.3/librkllmrt.so\n")
    assert command("verify") == 1
    assert "1.3.0: unknown" in capsys.readouterr().out
    assert report(capsys, "verify", "1.3.0", status=1)["path"].endswith("/1.3.0/librkllmrt.so")
    assert report(capsys, "remove", "1.2.3") == {"version": "1.2.3", "removed": True}
    assert command("list") == 0
    assert "not installed: project: 1.2.3" in capsys.readouterr().out
    assert command("path") == 1
    assert "version 1.2.3 is not installed" in capsys.readouterr().err
    assert command("use", "--clear", "--project") == 0
    assert command("use", "--clear") == 0
    assert command("use") == 1
    assert "--clear" in capsys.readouterr().err


def test_install_by_command(table, home, file, capsys):
    done = report(capsys, "install", "1.3.0", "--from", file)
    assert done["status"] == "verified"
    assert command("install", "1.3.0", "--from", file) == 0
    out, err = capsys.readouterr()
    assert f"1.3.0 ({ARCH}, verified): {done['path']}" in out
    assert err == ""
    assert command("install", "1.4.0", "--from", file) == 1
    assert "rkllm-rs: 1.4.0 is not an official release" in capsys.readouterr().err
    file.write_bytes(DATA + b"!")
    assert command("install", "1.4.0", "--from", file, "--allow-unknown") == 0
    assert "not an official file" in capsys.readouterr().out
    assert command("remove", "1.4.0") == 0


def test_ctrl_c_ends_without_a_traceback(home, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(runtimes, "install", interrupt)
    assert command("install", "1.3.0") == 130
    assert "stopped" in capsys.readouterr().err


@pytest.mark.parametrize("call", [runtimes.install, runtimes.use, runtimes.remove])
@pytest.mark.parametrize("version", [3, 1.3, b"1.3.0"])
def test_a_version_is_a_text(call: Any, version: object) -> None:
    with pytest.raises(InvalidTypeError) as caught:
        call(version)
    assert "version" in str(caught.value)
