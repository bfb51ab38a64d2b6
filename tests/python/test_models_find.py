"""``rkllm_rs.models.find`` and ``installed``: from a name to a file, wherever users have models."""

from __future__ import annotations

import errno
import os
import time
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rkllm_rs import InvalidArgumentError, InvalidTypeError, ModelNotFoundError, RkllmWarning
from rkllm_rs.models import find, installed, scan
from support import SOON
from tiny_lora import write_gguf

if TYPE_CHECKING:
    from collections.abc import Mapping

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def rkllm(path: Path, content: bytes = b"{}") -> Path:
    """A file that ``RKLLM()`` would open with the fake."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def gguf(path: Path, metadata: Mapping[str, str | float] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = {"general.architecture": "llama", **(metadata or {})}
    return write_gguf(path, texts, {"w": ((4,), array("f", [0] * 4))})


def cached(home: Path, repo: str, file: str, *, commit: str = "c0ffee", ref: str | None = "main") -> Path:
    """A file in the hub's cache, as its own programs put it there."""
    folder = home / "cache/huggingface/hub" / ("models--" + repo.replace("/", "--"))
    blob = rkllm(folder / "blobs" / f"{commit}-{Path(file).name}")
    link = folder / "snapshots" / commit / file
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
    if ref:
        (folder / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
        (folder / "refs" / ref).write_text(commit)
    return link


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's home, with a working folder elsewhere."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


@pytest.fixture
def own(home: Path) -> Path:
    folder = home / "data/rkllm_rs/models"
    folder.mkdir(parents=True)
    return folder


def names() -> dict[str, str]:
    return {one.name: one.path for one in installed()}


def test_each_place_is_searched_and_each_listed_name_opens_its_model(
    home: Path, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RKLLM_MODELS_ROOT", str(tmp_path / "root"))
    placed = {
        "own": rkllm(own / "Qwen3-0.6B_W8A8_RK3588.rkllm"),
        "root": rkllm(tmp_path / "root/phi/model.rkllm"),
        "rkllama": rkllm(home / "RKLLAMA/models/qwen2.5:3b/Qwen2.5-3B.rkllm"),
        "home": rkllm(home / "models/gemma/model.rkllm"),
        "hub": cached(home, "owner/TinyLlama-rkllm", "tiny.rkllm"),
    }
    found = installed()
    assert {one.source: one.path for one in found} == {key: str(path) for key, path in placed.items()}
    assert [one.name for one in found] == [
        "Qwen3-0.6B_W8A8_RK3588", "phi", "qwen2.5:3b", "gemma", "owner/TinyLlama-rkllm",
    ]  # fmt: skip
    for one in found:
        assert find(one.name) == one.path
        assert one.size_bytes == 2
        assert find(one.name.upper()) == one.path
    for name, source in (
        ("Qwen3-0.6B_W8A8_RK3588.rkllm", "own"),
        ("own:qwen3-0.6b_w8a8_rk3588", "own"),
        ("Qwen2.5-3B", "rkllama"),
        ("gemma/model", "home"),
        ("home:gemma", "home"),
        ("hub:owner/TinyLlama-rkllm", "hub"),
        ("hub:owner/TinyLlama-rkllm/tiny.rkllm", "hub"),
        ("hub:owner/TinyLlama-rkllm@main", "hub"),
        ("https://huggingface.co/owner/TinyLlama-rkllm/blob/main/tiny.rkllm", "hub"),
        ("TinyLlama-rkllm", "hub"),
        ("tiny", "hub"),
    ):
        assert find(name) == str(placed[source]), name


def test_paths_and_folders_are_taken_as_they_are(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = rkllm(tmp_path / "work/here.rkllm")
    assert find("here.rkllm") == find("./here.rkllm") == find(str(here)) == str(here)
    assert find("here") == find("./here") == str(here)  # as RKLLM() takes it
    inside = gguf(tmp_path / "work/folder/sub/weights.gguf")
    assert find("folder") == find("./folder") == find(f"{inside.parents[1]}/") == str(inside)
    other = tmp_path / "work/other.bin"
    other.write_bytes(b"GGUF")
    assert find("other.bin") == str(other)  # what is in it, RKLLM() says
    # A name is not a path by accident: the word alone is the installed model.
    named = rkllm(own / "folder.rkllm")
    assert find("folder") == str(named)
    assert find("./folder") == str(inside)
    monkeypatch.setenv("HOME", str(tmp_path / "work"))
    assert find("~/here.rkllm") == str(here)


@pytest.mark.parametrize(
    "name",
    ["../outside", "../outside.rkllm", "models/../../outside.rkllm", "hub:../outside/x", "hub:a/b/../../c"],
)
def test_a_name_does_not_lead_out_of_the_folders(name: str, own: Path) -> None:
    rkllm(own.parent / "outside.rkllm")
    rkllm(own / "inside.rkllm")
    with pytest.raises((ModelNotFoundError, InvalidArgumentError)) as caught:
        find(name)
    assert caught.value.hint is not None


def test_what_is_not_a_name_is_refused() -> None:
    for wrong in ("", "  ", "a\0b", "hub:", "hub:name", "hub:a--b/c"):
        with pytest.raises(InvalidArgumentError) as caught:
            find(wrong)
        assert caught.value.hint is not None
    with pytest.raises(InvalidTypeError):
        find(5)  # type: ignore[arg-type]


def test_an_unknown_name_lists_similar_ones(own: Path, tmp_path: Path) -> None:
    rkllm(own / "Qwen3-0.6B.rkllm")
    rkllm(own / "gemma.rkllm")
    for typed in ("qwen3-0.6", "Qwen3", "qwne3-0.6b.rkllm"):
        with pytest.raises(ModelNotFoundError, match=r"Qwen3-0\.6B") as caught:
            find(typed)
        assert "gemma" not in str(caught.value)
        assert (caught.value.filename, caught.value.errno) == (typed, errno.ENOENT)
    rkllm(tmp_path / "work/model-w8a8.rkllm")
    with pytest.raises(ModelNotFoundError, match=r"model-w8a8\.rkllm"):
        find("./model_w8a8.rkllm")
    with pytest.raises(ModelNotFoundError, match="rkllm-rs pull hub:owner/name"):
        find("hub:owner/name")


def test_an_ambiguous_name_lists_the_candidates(home: Path, own: Path) -> None:
    one, two = rkllm(own / "qwen/model.rkllm"), rkllm(home / "models/qwen/model.rkllm")
    with pytest.raises(ModelNotFoundError) as caught:
        find("qwen")
    assert str(one) in str(caught.value)
    assert str(two) in str(caught.value)
    listed = names()
    assert len(listed) == 2
    for name, path in listed.items():
        assert name in str(caught.value)
        assert find(name) == path
    # The same file by two ways is no choice.
    two.unlink()
    two.symlink_to(one)
    assert Path(find("qwen")).resolve() == one
    several = [gguf(own / f"many/m{at}.gguf") for at in range(30)]
    with pytest.raises(ModelNotFoundError, match="20 more"):
        find(str(several[0].parent))
    assert find("many/m7") == str(several[7])


def test_files_of_the_same_name_in_one_folder_have_names_of_their_own(own: Path) -> None:
    paths = {str(one) for one in (rkllm(own / "x.rkllm"), gguf(own / "x.gguf"), rkllm(own / "x/y.rkllm"))}
    listed = names()
    assert {find(name) for name in listed} == set(listed.values()) == paths
    assert len(listed) == 3


def test_what_is_not_a_whole_model_is_not_listed(home: Path, own: Path) -> None:
    whole = gguf(own / "good.gguf")
    half = whole.read_bytes()
    for path, content in {
        "a.rkllm.part": b"{}",
        "b.gguf.incomplete": half,
        "c.rkllm": LFS,
        "d.gguf": LFS,
        "e.rkllm": b"<!DOCTYPE html><html>",
        "f.rkllm": b"",
        "words.rkllm": b"garbage\n",
        "cut.gguf": half[:-24],
        ".hidden.rkllm": b"{}",
        "vision.rkllm": b"RKNN" + bytes(64),
        "notes.txt": b"{}",
        "lost-00001-of-00002.gguf": half,
    }.items():
        rkllm(own / path, content)
    gguf(own / "mmproj.gguf", {"general.architecture": "clip"})
    gguf(own / "lora.gguf", {"general.type": "adapter"})
    (own / "broken.rkllm").symlink_to("gone")
    folder = home / "cache/huggingface/hub/models--o--r"
    rkllm(folder / "blobs/abc.incomplete")
    (folder / "snapshots/c").mkdir(parents=True)
    (folder / "snapshots/c/model.gguf").symlink_to("../../blobs/abc")
    assert names() == {"good": str(whole)}
    # Who asks for one of them by name gets its path, so that the load tells what is wrong.
    assert find("c") == str(own / "c.rkllm")
    (home / "models").mkdir()
    other = rkllm(home / "models/c.rkllm")
    assert find("c") == str(other)
    # A folder's one model is found although half of another lies beside it.
    gguf(own / "two/good.gguf")
    rkllm(own / "two/half.gguf", half[:-24])
    assert find("two") == str(own / "two/good.gguf")


def test_a_model_in_several_files_is_one(own: Path) -> None:
    parts = [gguf(own / f"big/q4-0000{at}-of-00003.gguf") for at in (1, 2, 3)]
    (found,) = installed()
    assert (found.name, found.path) == ("big", str(parts[0]))
    assert found.size_bytes == sum(part.stat().st_size for part in parts)
    assert found.files == tuple(map(str, parts))
    assert find("q4") == find("big/q4") == str(parts[0])


def test_a_modelfile_says_which_file(home: Path) -> None:
    folder = home / "RKLLAMA/models/chat"
    one, two = rkllm(folder / "one.rkllm"), rkllm(folder / "two.rkllm")
    (folder / "Modelfile").write_text('FROM="two.rkllm"\nSYSTEM="Be brief."\n')
    assert find("chat") == find(str(folder)) == str(two)
    assert names() == {"chat": str(two), "chat/one": str(one)}
    outside = rkllm(home / "outside.rkllm")
    for wrong in ("../../../outside.rkllm", str(outside), "none.rkllm"):
        (folder / "Modelfile").write_text(f"FROM={wrong}\n")
        with pytest.raises(ModelNotFoundError):
            find("chat")


def test_the_newest_snapshot_of_a_cached_file_is_used(home: Path) -> None:
    cached(home, "o/r", "model.rkllm", commit="old", ref=None)
    new = cached(home, "o/r", "model.rkllm", commit="new")
    other = cached(home, "o/r", "w8a8_g512.rkllm", commit="branch", ref="w8a8_g512-toolkitv1.1.1")
    assert names() == {"o/r/model.rkllm": str(new), "o/r/w8a8_g512.rkllm": str(other)}
    assert find("hub:o/r@w8a8_g512-toolkitv1.1.1") == str(other)
    assert find("hub:o/r@old/model.rkllm").split("/")[-2] == "old"
    assert find("hub:o/r/w8a8_g512.rkllm") == str(other)
    with pytest.raises(ModelNotFoundError, match=r"model\.rkllm"):
        find("hub:o/r")


def test_the_variables_of_the_hub_say_where_its_cache_is(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cached(home, "o/r", "model.rkllm")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "elsewhere"))
    assert names() == {}
    monkeypatch.setenv("HF_HUB_CACHE", str(home / "cache/huggingface/hub"))
    assert names() == {"o/r": str(path)}


def test_links_in_a_circle_and_closed_folders_do_not_stop_the_search(own: Path) -> None:
    model = rkllm(own / "a/b/model.rkllm")
    (own / "a/b/loop").symlink_to(own / "a")
    closed = own / "closed"
    closed.mkdir(mode=0)
    assert set(names().values()) == {str(model)}
    closed.chmod(0o700)


def test_many_files_are_searched_quickly_and_only_so_many(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = rkllm(own / "zz.rkllm")
    for at in range(10_000):
        os.link(model, own / f"f{at}.rkllm")
    start = time.monotonic()
    assert find("zz") == str(model)
    assert time.monotonic() - start < SOON
    monkeypatch.setattr(scan, "_ENTRIES", 100)
    with pytest.warns(RkllmWarning, match="entries"):
        installed()


def test_without_a_home_nothing_is_found_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", "/nonexistent")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert installed() == []
