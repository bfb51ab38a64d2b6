"""Where a library may come from, and what is checked before anything of it is run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from fakes import LAYOUTS, calls, fake_library
from rkllm_rs import (
    RKLLM,
    LibraryNotFoundError,
    ModelNotFoundError,
    Runtime,
    UnsupportedFeatureError,
    UnsupportedRuntimeError,
    runtimes,
)
from support import newest

NAME = "librkllmrt.so"
FIRST_WORDS = "Could not load RKLLM library from any location"


@pytest.fixture
def touched(tmp_path):
    """Is there when a library was opened."""
    return tmp_path / "opened"


def not_found(path=None, *, named="path", **keywords):
    with pytest.raises(LibraryNotFoundError) as caught:
        Runtime.load(path, **keywords)
    error = caught.value
    first = FIRST_WORDS if path is None and named == "path" else f"{named} "
    assert str(error).startswith(first)
    assert isinstance(error, OSError)
    assert error.hint
    return str(error)


def test_an_argument_is_obeyed(tmp_path, library, abi_version, monkeypatch):
    monkeypatch.setenv("RKLLM_RS_LIB", str(tmp_path / "none.so"))
    runtime = Runtime.load(library)
    assert runtime.path == str(library)
    assert runtime.identity.abi == abi_version
    assert runtime.backend == "npu"
    for word in (abi_version, str(library)):
        assert word in repr(runtime)


@newest
def test_an_argument_that_is_wrong_is_obeyed_too(tmp_path, library, monkeypatch):
    monkeypatch.setenv("RKLLM_RS_LIB", str(library))
    message = not_found(tmp_path / "none.so")
    assert str(tmp_path / "none.so") in message
    assert str(library) not in message


def test_variables_in_order(tmp_path, monkeypatch):
    ours, shared = (fake_library(tmp_path / name, "v1_3_0") for name in ("ours", "shared"))
    monkeypatch.setenv("RKLLM_LIB_PATH", str(shared))
    assert Runtime.load().path == str(shared)
    monkeypatch.setenv("RKLLM_RS_LIB", str(ours))
    assert Runtime.load().path == str(ours)
    monkeypatch.setenv("RKLLM_RS_LIB", str(tmp_path / "none.so"))
    message = not_found(named="RKLLM_RS_LIB")
    assert str(tmp_path / "none.so") in message
    assert str(shared) not in message


@newest
def test_a_folder_may_be_named(library):
    assert Runtime.load(library.parent).path == str(library)
    assert Runtime.load(str(library.parent)).path == str(library)
    assert Runtime.load(os.fsencode(library)).path == str(library)


@newest
def test_the_same_file_is_one_runtime(tmp_path, library, record):
    link = tmp_path / "link.so"
    link.symlink_to(library)
    hard = tmp_path / "hard.so"
    os.link(library, hard)
    loaded = [Runtime.load(path) for path in (library, link, hard, os.path.relpath(library))]
    assert len(set(loaded)) == 1
    assert loaded[0] == loaded[3]
    assert len(calls(record, "rkllm_createDefaultParam")) == 1
    assert Runtime.load(fake_library(tmp_path / "other", "v1_3_0")) != loaded[0]


def test_found_places_in_order(private, monkeypatch):
    monkeypatch.setenv("RKLLM_RS_HOME", str(private / "home"))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(private / "ld"))
    folders = [
        "ld",
        "home/runtimes/other",
        "home/runtimes/1.2.3",
        "home/runtimes/v1.3.0",
        "home/runtimes/current",
    ]
    for folder in folders:
        # Each is preferred to those before it.
        path = fake_library(private / folder, "v1_3_0")
        assert Runtime.load(backend="npu").path == str(path)


def test_home_of_the_user(private, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(private))
    path = fake_library(private / "rkllm_rs/runtimes/current", "v1_3_0")
    assert Runtime.load(backend="npu").path == str(path)


@pytest.mark.parametrize("who", ["folder", "file", "group", "owner"])
def test_found_places_must_be_the_users(private, monkeypatch, touched, who):
    monkeypatch.setenv("LD_LIBRARY_PATH", str(private / "ld"))
    library = fake_library(private / "ld", "v1_3_0", constructor_touch=touched)
    if who == "owner":
        if os.getuid():
            pytest.skip("only root can give files away")
        os.chown(library, 65534, 65534)
    elif who == "group":
        if os.getuid() == 0:
            os.chown(library, 0, 100)
        library.chmod(0o775)
    else:
        (library if who == "file" else library.parent).chmod(0o777)
    if who == "group" and library.stat().st_gid == os.getgid():
        pytest.skip("the group may be the user's own")
    message = not_found(backend="npu")
    (line,) = [line for line in message.splitlines() if str(library) in line]
    assert "(LD_LIBRARY_PATH): not trusted: " in line
    assert not touched.exists()
    # Naming it says that it is trusted.
    assert Runtime.load(library).path == str(library)


@pytest.mark.parametrize("arch", ["aarch64", "armhf", "x86_64"])
def test_the_working_folder_gives_official_files_only(private, monkeypatch, touched, arch):
    library = fake_library(private / "libs/rkllm" / arch, "v1_3_0", constructor_touch=touched)
    monkeypatch.chdir(private)
    message = not_found(backend="npu")
    if runtimes.machine() not in (None, arch):
        # Those of other machines are not even looked at.
        assert str(library) not in message
        assert not touched.exists()
        return
    (line,) = [line for line in message.splitlines() if str(library) in line]
    assert "(working folder): not loaded" in line
    assert "official release" in line
    assert "name it with library= or RKLLM_RS_LIB" in message
    assert not touched.exists()


def test_beside_the_model_official_files_only(private, make_model, touched):
    library = fake_library(private, "v1_3_0", constructor_touch=touched)
    model = shutil.copy(make_model(["a"]), private)
    with pytest.raises(LibraryNotFoundError) as caught:
        RKLLM(model, backend="npu")
    assert f"{library} (" in str(caught.value)
    assert not touched.exists()


def test_every_place_is_listed(tmp_path, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{tmp_path}:relative:")
    monkeypatch.chdir(tmp_path)
    if any((Path(folder) / NAME).exists() for folder in ("/usr/lib", "/usr/local/lib", "/lib")):
        pytest.skip("this machine has the library")
    message = not_found(backend="npu")
    for place in (
        "/usr/lib/librkllmrt.so (system folder): no such file",
        "/usr/local/lib/librkllmrt.so (system folder): no such file",
        f"{tmp_path}/librkllmrt.so (LD_LIBRARY_PATH): no such file",
        f"{tmp_path}/home/data/rkllm_rs/runtimes/current/librkllmrt.so (",
        "(package folder)",
        "(working folder)",
    ):
        assert place in message
    assert "relative/" not in message


def patched(at, value):
    def change(data):
        return data[:at] + value + data[at + len(value) :]

    return change


def other_class(data):
    # 64-bit becomes 32-bit, and the other way round.
    return patched(4, bytes([3 - data[4]]))(data)


def other_machine(data):
    arm, arm64 = b"\x28\x00", b"\xb7\x00"
    return patched(18, arm if data[18:20] == arm64 else arm64)(data)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
FILES = {
    "empty": (lambda _: b"", "empty"),
    "lfs": (lambda _: LFS, "LFS"),
    "html": (lambda _: b"\n<!DOCTYPE html><html>404</html>", "web page"),
    "text": (lambda _: b"not a library", "ELF"),
    "header only": (lambda data: data[:40], "truncated"),
    "half": (lambda data: data[: len(data) // 2], "truncated"),
    "last byte": (lambda data: data[:-1], "truncated"),
    "machine": (other_machine, "this process"),
    "class": (other_class, "this process is"),
    "order": (patched(5, b"\x02"), "big-endian"),
    "type": (patched(16, b"\x02\x00"), "not a shared library"),
}


@pytest.mark.parametrize("case", FILES)
def test_files_are_checked_before_they_are_opened(tmp_path, touched, case):
    change, words = FILES[case]
    library = fake_library(tmp_path / "lib", "v1_3_0", constructor_touch=touched)
    library.write_bytes(change(library.read_bytes()))
    with pytest.raises(LibraryNotFoundError, match=words) as caught:
        Runtime.load(library)
    assert caught.value.hint
    assert not touched.exists()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Path.exists, "no such file"),
        (Path.mkdir, "folder"),
        (lambda path: path.symlink_to("gone"), "link to gone"),
        (os.mkfifo, "not a regular file"),
    ],
)
def test_what_is_no_file(tmp_path, make, words):
    path = tmp_path / NAME
    make(path)
    assert words in not_found(path)


def test_a_path_that_is_no_utf_8(tmp_path):
    folder = os.path.join(os.fsencode(tmp_path), b"\xff\xfe")
    library = fake_library(Path(os.fsdecode(folder)), "v1_3_0")
    for path in (os.path.join(folder, NAME.encode()), os.fsdecode(folder), library):
        assert Runtime.load(path).path == str(library)
    missing = os.fsdecode(folder + b"/none.so")
    with pytest.raises(LibraryNotFoundError, match=r"none\.so"):
        Runtime.load(missing)


@pytest.mark.parametrize("symbol", ["rkllm_createDefaultParam", "rkllm_init", "rkllm_run", "rkllm_destroy"])
def test_functions_that_every_release_has(tmp_path, abi_version, record, symbol):
    library = fake_library(tmp_path / "lib", abi_version, drop_symbols=[symbol], record=record)
    message = not_found(library)
    assert f"does not export {symbol}" in message
    assert not calls(record)


@newest
def test_a_missing_function_takes_its_feature(tmp_path, open_model):
    library = fake_library(tmp_path / "lib", "v1_3_0", drop_symbols=["rkllm_get_kv_cache_size"])
    runtime = Runtime.load(library)
    assert "kv_cache_size" not in runtime.capabilities
    model = open_model(["a"], library=library)
    assert model.runtime == runtime
    with pytest.raises(UnsupportedFeatureError, match="a library that exports rkllm_get_kv_cache_size"):
        model.kv_cache_size()
    assert model.generate("x").text == "a"


def test_all_models_that_are_missing_are_named():
    with pytest.raises(ModelNotFoundError, match=r"a\.rkllm.*b\.gguf") as caught:
        RKLLM(["/no/such/a.rkllm", "/no/such/b.gguf"])
    assert caught.value.filename == "/no/such/a.rkllm"


def test_a_folder_without_a_library_names_both(tmp_path, make_model):
    (tmp_path / "empty").mkdir()
    with pytest.raises(LibraryNotFoundError, match=r"librkllmrt\.so or librkllmrt_cpu\.so"):
        RKLLM(make_model(["a"]), library=tmp_path / "empty")


@newest
def test_without_a_banner_no_function_may_miss(tmp_path, record, abi_version):
    options = {"banner": None, "drop_symbols": ["rkllm_load_lora"], "record": record}
    library = fake_library(tmp_path / "lib", abi_version, **options)
    with pytest.raises(UnsupportedRuntimeError, match="rkllm_load_lora") as caught:
        Runtime.load(library)
    assert caught.value.hint
    assert not calls(record)
    assert "lora" not in Runtime.load(library, abi=abi_version).capabilities


CAPABILITIES = {
    "v1_1_0": "lora",
    "v1_2_0": "keep_history",
    "v1_2_1": "role",
    "v1_3_0": "per_run_sampling",
    "v1_3_1": "audio",
}


@pytest.mark.parametrize("abi_version", LAYOUTS)
def test_capabilities_grow(library, abi_version):
    able = Runtime.load(library).capabilities
    assert isinstance(able, frozenset)
    age = LAYOUTS.index(abi_version)
    for number, (_, feature) in enumerate(CAPABILITIES.items()):
        assert (feature in able) == (number <= age)


def test_the_log_of_loading_reaches_stderr(tmp_path, capfd):
    Runtime.load(fake_library(tmp_path / "lib", "v1_3_0", constructor_log="W ld: hello"))
    assert "W ld: hello" in capfd.readouterr().err
