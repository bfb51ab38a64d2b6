"""The user's folder of runtimes: what comes in from this machine, what is chosen, and what is loaded."""

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

from fakes import fake_library, fake_model
from mirror import ARCH, COMMIT, OTHER_ARCH, blob_id, library_bytes, official_file
from rkllm_rs import (
    RKLLM,
    InvalidArgumentError,
    LibraryNotFoundError,
    RkllmError,
    Runtime,
    RuntimeInstallError,
    _runtime_table,
    runtimes,
)
from rkllm_rs import _runtime_cli as cli
from rkllm_rs import _runtime_fetch as fetch
from rkllm_rs.__main__ import main

NAME = "librkllmrt.so"
DATA = library_bytes("1.3.0")
OLDER = library_bytes("1.2.3")
#: The same release for the architecture that this process is not of.
FOREIGN = OLDER + b"other"
NOBODY = 65534


@pytest.fixture
def table(monkeypatch):
    """Two releases that are known, the older one for both architectures."""
    table = (
        official_file(OLDER, "1.2.3"),
        official_file(FOREIGN, "1.2.3", OTHER_ARCH),
        official_file(DATA),
    )
    monkeypatch.setattr(_runtime_table, "known", lambda: table)
    return table


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
    assert runtimes.installed() == []
    with contextlib.suppress(OSError):
        assert [one.name for one in Path(runtimes.home(), "downloads").iterdir()] in ([], ["lock"])
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
    code = "import sys, rkllm_rs; print([m for m in sys.modules if 'runtime' in m and 'rkllm' in m])"
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
    assert done.source == str(file)
    assert file.read_bytes() == DATA
    assert runtimes.installed() == [done]


@pytest.mark.parametrize(
    "place",
    [
        table_path := f"rkllm-runtime/Linux/librkllm_api/{ARCH}",
        f"Linux/librkllm_api/{ARCH}",
        f"librkllm_api/{ARCH}",
        ARCH,
        "1.3.0",
        "",
    ],
)
def test_a_folder_is_looked_through(table, home, tmp_path, place):
    folder = tmp_path / "from" / place
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(DATA)
    assert runtimes.install("1.3.0", source=tmp_path / "from", arch=ARCH).status == "verified"


def test_bad_files(table, home, tmp_path):
    path = tmp_path / "bad.so"
    cases = {
        b"": "is empty",
        b"<!doctype html><p>": "is a web page",
        b"version https://git-lfs.github.com/spec/v1": "Git LFS pointer",
        b"MZ": "does not begin as an ELF file does",
        DATA[:-1]: "is not the official file",
        DATA[:-1] + b"!": blob_id(DATA),
        OLDER: f"is the official file of 1.2.3 for linux {ARCH}, not of 1.3.0",
    }
    for data, words in cases.items():
        path.write_bytes(data)
        error = refused(source=path)
        assert words in str(error)
        assert str(path) in str(error)
    path.write_bytes(FOREIGN)
    assert f"but {ARCH} is wanted" in str(refused("1.2.3", source=path))
    path.unlink()
    assert "no such file" in str(refused(source=path))
    os.mkfifo(path)
    assert "not a regular file" in str(refused(source=path))
    (tmp_path / "empty").mkdir()
    error = refused(source=tmp_path / "empty")
    assert "there is no librkllmrt.so in" in str(error)
    assert table_path in (error.hint or "")


def test_a_known_size_is_told(table, home, tmp_path, monkeypatch):
    monkeypatch.setattr(_runtime_table, "known", lambda: (official_file(DATA, size=len(DATA)),))
    path = tmp_path / "short.so"
    path.write_bytes(DATA[:1000])
    assert f"has 1000 bytes, but the official 1.3.0 for linux {ARCH} has {len(DATA)}" in str(
        refused(source=path)
    )


def test_a_link_out_of_the_folder_is_not_followed(table, home, tmp_path, file):
    folder = tmp_path / "from"
    (folder / "store").mkdir(parents=True)
    (folder / NAME).symlink_to(file)
    error = refused(source=folder)
    assert "a symbolic link that leads out of" in str(error)
    assert str(file) in str(error)
    # One that stays inside is as good as a file.
    (folder / "store/lib").write_bytes(DATA)
    (folder / NAME).unlink()
    (folder / NAME).symlink_to("store/lib")
    assert runtimes.install("1.3.0", source=folder, arch=ARCH).status == "verified"


@pytest.mark.parametrize("change", ["longer", "shorter", "touched"])
def test_a_file_that_changes_while_it_is_read(table, home, file, change):
    data = library_bytes("1.3.0", 2_000_000)

    def meddle(done, total):
        if done < total:
            if change == "longer":
                with file.open("ab") as opened:
                    opened.write(b"more")
            elif change == "shorter":
                os.truncate(file, 1_000_000)
            else:
                os.utime(file, ns=(1, 1))

    file.write_bytes(data)
    error = refused(source=file, progress=meddle)
    assert f"{file} changed while it was read" in str(error)
    assert "Wait" in (error.hint or "")


def test_what_is_unknown_needs_to_be_asked_for(table, home, tmp_path):
    path = tmp_path / "patched.so"
    path.write_bytes(DATA + b"patched")
    assert "--allow-unknown" in (refused(source=path).hint or "")
    assert "1.2.3, 1.3.0" in (refused("9.9.9", source=path).hint or "")
    done = runtimes.install("9.9.9", source=path, allow_unknown=True, arch=ARCH)
    assert (done.status, done.arch, done.git_blob_sha1) == ("unknown", ARCH, blob_id(DATA + b"patched"))
    # Once more, of other bytes, in place of an official one.
    runtimes.install("1.3.0", source=file_of(tmp_path, DATA))
    done = runtimes.install("1.3.0", source=path, allow_unknown=True)
    assert done.status == "unknown"
    assert [one.version for one in runtimes.installed()] == ["1.3.0", "9.9.9"]
    # An official file under the wrong name stays refused.
    with pytest.raises(RuntimeInstallError, match="official file of"):
        runtimes.install("9.9.9", source=file_of(tmp_path, DATA), allow_unknown=True)
    assert len(runtimes.installed()) == 2


def file_of(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "of.so"
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
        with pytest.raises(InvalidArgumentError, match=r"\Aversion: "):
            call()
    assert not home.exists()


def test_architectures(table, home, tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    error = refused("1.2.3", arch=None)
    assert "no library for this machine (x86_64)" in str(error)
    assert "--arch aarch64" in (error.hint or "")
    assert f"only for {ARCH}" in str(refused("1.3.0", arch=OTHER_ARCH, source=tmp_path))
    with pytest.raises(InvalidArgumentError, match=r"\Aarch: 'x86_64' is not one of"):
        runtimes.install("1.3.0", arch="x86_64")
    # A file tells by itself.
    done = runtimes.install("1.2.3", source=file_of(tmp_path, FOREIGN))
    assert done.arch == OTHER_ARCH
    with pytest.raises(RuntimeInstallError, match=f"installed already, for {OTHER_ARCH}"):
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
    assert [one.name for one in (home / "downloads").iterdir()] == ["lock"]


def test_a_file_tampered_with_is_noticed_and_replaced(table, home, file, capsys):
    done = runtimes.install("1.3.0", source=file)
    path = Path(done.path)
    path.write_bytes(DATA[:-1] + b"!")
    (changed,) = runtimes.installed()
    assert changed.status == "changed"
    assert report(capsys, "verify", status=1)[0]["status"] == "changed"
    assert runtimes.install("1.3.0", source=file) == done
    path.unlink()
    path.mkdir()
    assert runtimes.installed()[0].status == "unreadable"


def test_a_record_that_is_damaged_says_nothing(table, home, file):
    path = Path(runtimes.install("1.3.0", source=file).path)
    for text in ("", "[]", "nonsense", '{"git_blob_sha1": 5, "source": []}'):
        path.with_name("runtime.json").write_text(text)
        (one,) = runtimes.installed()
        assert (one.status, one.source) == ("verified", None)


@pytest.mark.parametrize("name", ["runtimes", "downloads", "runtimes/1.3.0", "lock", "part"])
def test_links_that_lead_outside_are_not_written_through(table, home, tmp_path, file, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    target = outside
    if name in ("lock", "part"):
        name = f"downloads/{'lock' if name == 'lock' else blob_id(DATA) + '.part'}"
        target = outside / "file"
        target.write_bytes(b"precious")
    (home / name).parent.mkdir(parents=True, exist_ok=True)
    (home / name).symlink_to(target)
    # A port that nobody listens on: nothing is asked for before.
    source = None if name.endswith(".part") else file
    with pytest.raises(RuntimeInstallError, match="is a symbolic link") as caught:
        runtimes.install("1.3.0", source=source, arch=ARCH, mirror="http://127.0.0.1:9")
    assert str(home / name) in str(caught.value)
    assert caught.value.hint
    assert not [one for one in outside.rglob("*") if one.read_bytes() != b"precious"]
    if name == "runtimes/1.3.0":
        (outside / NAME).write_bytes(DATA)
        with pytest.raises(RuntimeInstallError, match="is a symbolic link"):
            runtimes.remove("1.3.0")
        assert (outside / NAME).exists()


def test_a_current_of_somebody_s_own_is_left_alone(table, home, file):
    runtimes.install("1.3.0", source=file)
    (home / "runtimes/current").mkdir()
    (home / "runtimes/current" / NAME).write_bytes(DATA)
    with pytest.raises(RuntimeInstallError, match="not a link of this command's making"):
        runtimes.use("1.3.0")
    assert runtimes.current() is None


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
    assert "Root is never needed" in (error.hint or "")
    # With the folders there.
    monkeypatch.setenv("RKLLM_RS_HOME", str(home))
    for name in ("runtimes", "downloads"):
        (home / name).mkdir()
    with without_rights(home / "downloads"):
        error = refused(source=file)
    assert "cannot be written: Permission denied" in str(error)
    assert list(home.rglob("*.so")) == []


@pytest.mark.parametrize(
    ("step", "number", "words"),
    [
        ("mkdir", errno.EROFS, "cannot be written: Read-only file system"),
        ("fsync", errno.EIO, "could not be written: Input/output error"),
        ("rename", errno.EDQUOT, "the disk is full"),
        ("open", errno.ENOSPC, "the disk is full"),
    ],
)
def test_failures_at_every_step_leave_nothing(table, home, file, monkeypatch, number, words, step):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    real = os.open

    def fail_parts(path, *rest, **more):
        return fail() if str(path).endswith(".new") else real(path, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail_parts if step == "open" else fail)
        with pytest.raises(RuntimeInstallError) as caught:
            runtimes.install("1.3.0", source=file)
    assert words in str(caught.value)
    assert runtimes.installed() == []
    assert runtimes.install("1.3.0", source=file).status == "verified"
    assert [one.name for one in (home / "downloads").iterdir()] == ["lock"]


def test_a_full_disk_while_copying(table, home, file, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fetch, "write", fail)
    assert "the disk is full" in str(refused(source=file))


# Verifying.


def test_any_file_can_be_verified(table, home, tmp_path, file, capsys):
    found = runtimes.verify(file)
    assert found.official is table[2]
    assert (found.size, found.git_blob_sha1) == (len(DATA), blob_id(DATA))
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
    assert "no such file" in capsys.readouterr().err


# What is loaded.


@pytest.fixture
def real(private, monkeypatch):
    """Three versions that can really be loaded, in a folder that the loader trusts."""
    monkeypatch.setenv("RKLLM_RS_HOME", str(private / "data"))
    (private / "work").mkdir()
    monkeypatch.chdir(private / "work")
    for version, generation in (("1.1.4", "v1_1_0"), ("1.2.3", "v1_2_1"), ("1.3.0", "v1_3_0")):
        source = fake_library(private / "from", generation, quiet=True)
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


def test_a_model_has_its_own(real):
    model = fake_model(real / "work", "m.rkllm", runs=[{"steps": ["hello"]}])
    runtimes.use("1.1.4", project=".")
    assert runtimes.use("1.2.3", model="m.rkllm") == f"{model}.runtime"
    assert runtimes.chosen(model=model) == "1.2.3"
    assert Path(runtimes.path(model="m.rkllm")).parent.name == "1.2.3"
    assert loaded(real) == "1.1.4"
    with pytest.warns(Warning, match="NPU"):
        llm = RKLLM("m.rkllm", backend="npu")
    with llm:
        assert llm.runtime.identity.version == "1.2.3"
        assert llm.generate("x").text == "hello"
    runtimes.use(None, model=model)
    assert Path(runtimes.path(model=model)).parent.name == "1.1.4"
    with pytest.raises(RuntimeInstallError, match="no such model"):
        runtimes.use("1.2.3", model="none.rkllm")
    with pytest.raises(InvalidArgumentError, match="together with model"):
        runtimes.use("1.2.3", model=model, project=".")


def test_a_choice_that_is_not_installed_is_not_passed_over(real):
    runtimes.use("1.2.3", project=".")
    runtimes.remove("1.2.3")
    for load in (lambda: Runtime.load(backend="npu"), runtimes.path):
        with pytest.raises(LibraryNotFoundError) as caught:
            load()
        assert "(chosen for the project): version 1.2.3 is not installed" in str(caught.value)
        assert "rkllm-rs runtime install 1.2.3" in (caught.value.hint or "")
        assert "/usr/lib/" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "/srv/evil", "../../evil", "1.2.3/../../evil", "current", "evil"])
def test_a_choice_is_never_a_path(real, text):
    (real / "evil").mkdir()
    fake_library(real / "evil", "v1_3_0", constructor_touch=real / "touched")
    (real / "work/.rkllm-runtime").write_text(text)
    with pytest.raises(LibraryNotFoundError) as caught:
        Runtime.load(backend="npu")
    assert ".rkllm-runtime (chosen for the project): it should name an installed version" in str(caught.value)
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
    assert [one["version"] for one in listed["installed"]] == ["1.1.4", "1.2.3", "1.3.0"]
    assert (listed["current"], listed["project"], listed["model"]) == (None, None, None)
    assert report(capsys, "use", "1.3.0")["version"] == "1.3.0"
    assert report(capsys, "use", "1.2.3", "--project")["file"].endswith("/.rkllm-runtime")
    fake_model(real / "work", "m.rkllm")
    assert report(capsys, "use", "1.1.4", "--model", "m.rkllm")["file"].endswith("/m.rkllm.runtime")
    listed = report(capsys, "list", "--model", "m.rkllm")
    assert (listed["current"], listed["project"], listed["model"]) == ("1.3.0", "1.2.3", "1.1.4")
    assert command("list", "--model", "m.rkllm") == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["1.3.0"].endswith(
        ("unknown, current", "unknown, aarch64, current", "unknown, armhf, current")
    )
    assert lines["1.2.3"].endswith(
        ("unknown, project", "unknown, aarch64, project", "unknown, armhf, project")
    )
    assert lines["1.1.4"].endswith(("unknown, model", "unknown, aarch64, model", "unknown, armhf, model"))
    assert "too old" in lines["1.0.1"]
    assert report(capsys, "path")["path"].endswith("/1.2.3/librkllmrt.so")
    assert command("path", "--model", "m.rkllm") == 0
    assert capsys.readouterr().out.endswith("/1.1.4/librkllmrt.so\n")
    assert command("verify") == 1
    assert "1.3.0: unknown" in capsys.readouterr().out
    assert report(capsys, "verify", "1.3.0", status=1)["path"].endswith("/1.3.0/librkllmrt.so")
    assert report(capsys, "remove", "1.2.3") == {"version": "1.2.3", "removed": True}
    assert command("list") == 0
    assert "chosen, but not installed: project: 1.2.3" in capsys.readouterr().out
    assert command("path") == 1
    assert "version 1.2.3 is not installed" in capsys.readouterr().err
    assert command("use", "--clear", "--project") == 0
    assert command("use", "--clear") == 0
    assert command("use") == 1
    assert "give a version" in capsys.readouterr().err


def test_install_by_command(table, home, file, capsys):
    done = report(capsys, "install", "1.3.0", "--from", file)
    assert done["status"] == "verified"
    assert command("install", "1.3.0", "--from", file) == 0
    out, err = capsys.readouterr()
    assert f"1.3.0 ({ARCH}, verified): {done['path']}" in out
    assert err == ""
    assert command("install", "1.4.0", "--from", file) == 1
    assert "rkllm-rs: 1.4.0 is no official release\nhint: " in capsys.readouterr().err
    file.write_bytes(DATA + b"!")
    assert command("install", "1.4.0", "--from", file, "--allow-unknown") == 0
    assert "recorded as unknown" in capsys.readouterr().out
    assert command("remove", "1.4.0") == 0


def test_ctrl_c_ends_without_a_traceback(home, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(runtimes, "install", interrupt)
    assert command("install", "1.3.0") == 130
    assert "stopped" in capsys.readouterr().err


def test_a_bar_on_terminals_only(monkeypatch, capsys):
    for terminal in (True, False):
        monkeypatch.setattr(sys.stderr, "isatty", lambda shown=terminal: shown, raising=False)
        bar = cli._Bar("file")
        bar(1_000_000, 2_000_000)
        bar(2_000_000, 2_000_000)
        bar(3_000_000, None)
        bar.end()
        text = capsys.readouterr().err
        assert ("100 %  2.0 MB" in text and text.endswith("\n")) if terminal else text == ""


def test_every_message_says_what_to_do(table, home, tmp_path):
    for call in (
        lambda: runtimes.install("9.9.9"),
        lambda: runtimes.install("1.3.0", arch=ARCH, mirror="http://127.0.0.1:9"),
        lambda: runtimes.use("1.3.0"),
        lambda: runtimes.install("nonsense"),
    ):
        with pytest.raises(RkllmError) as caught:
            call()
        assert caught.value.hint
        assert "\n" not in str(caught.value.args[0])
