"""``rkllm-rs pull`` and ``rkllm_rs.models.pull``, with a server that speaks as the hub does.

Long because each answer of the hub is a test of its own.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pexpect
import pytest

from hub_site import COMMIT, HubSite, blob_id
from rkllm_rs import DownloadError, InvalidArgumentError, ModelNotFoundError
from rkllm_rs.cli import main
from rkllm_rs.models import find, hub, installed, pull, pulling, remove
from support import PATIENCE, in_thread, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A text model's directory is not needed to download it, and a test file is not megabytes.
BYTES = b"GGUF" + hashlib.sha256(b"weights").digest() * 4000
MODEL = "m-q4.gguf"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubSite]:
    site = HubSite()
    site.files["o/r"] = {
        MODEL: BYTES,
        "README.md": b"# r",
        "tokenizer.json": b"{}",
        "config.json": b'{"a": 1}',
    }
    monkeypatch.setenv("HF_ENDPOINT", site.url)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield site
    site.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "PAUSE", 0.01)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "home/cache/huggingface/hub"


def partial(cache: Path) -> Path:
    return cache / "models--o--r/blobs" / (hashlib.sha256(BYTES).hexdigest() + ".incomplete")


def command(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rkllm_rs", "pull", *words],
        check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE, **more,
    )  # fmt: skip


def test_a_model_and_what_belongs_beside_it_go_to_the_hubs_cache(site: HubSite, cache: Path) -> None:
    told: list[str] = []
    path = Path(pull("hub:o/r", say=told.append))
    assert path.read_bytes() == BYTES
    assert path == cache / "models--o--r/snapshots" / COMMIT / MODEL
    assert path.resolve() == cache / "models--o--r/blobs" / hashlib.sha256(BYTES).hexdigest()
    assert sorted(os.listdir(path.parent)) == ["config.json", MODEL, "tokenizer.json"]
    assert (cache / "models--o--r/refs/main").read_text() == COMMIT
    assert any("apache-2.0" in line for line in told)
    (one,) = installed()
    assert (one.name, one.path, one.size_bytes) == ("o/r", str(path), len(BYTES))
    assert find("hub:o/r") == find("o/r") == find(f"hub:o/r/{MODEL}") == str(path)
    # Again: nothing is downloaded, and nothing is there twice.
    before = len(site.downloads())
    assert pull("hub:o/r") == str(path)
    assert len(site.downloads()) == before
    assert "already" in command("hub:o/r").stderr
    assert remove("o/r").freed_bytes > len(BYTES)
    assert not (cache / "models--o--r").exists()


def test_huggingface_hub_finds_what_was_pulled_and_the_other_way_round(site: HubSite) -> None:
    pytest.importorskip("huggingface_hub")
    path = pull("hub:o/r")
    site.files["o/other"] = dict(site.files["o/r"])
    program = """
import sys, huggingface_hub as hub
print(hub.try_to_load_from_cache("o/r", sys.argv[1]))
print(hub.hf_hub_download("o/other", sys.argv[1]))
"""
    done = subprocess.run([sys.executable, "-c", program, MODEL], check=True, capture_output=True, text=True)
    theirs, other = done.stdout.splitlines()
    assert theirs == path
    assert find("hub:o/other") == other
    before = len(site.downloads())
    assert pull("hub:o/other") == other
    assert len(site.downloads()) == before


@pytest.mark.parametrize("heads", [True, False])
def test_a_mirror_that_tells_less_is_enough(site: HubSite, *, heads: bool) -> None:
    site.lists, site.trees, site.heads = False, False, heads
    assert Path(pull("hub:o/r")).read_bytes() == BYTES
    # One that has the large files itself tells the hash before it leads to them.
    remove("hub:o/r")
    site.cdn = site.url + "/cdn"
    assert Path(pull("hub:o/r")).resolve().name == hashlib.sha256(BYTES).hexdigest()
    site.files["o/w"], site.wrong = dict(site.files["o/r"]), {MODEL}
    with pytest.raises(DownloadError, match=hashlib.sha256(BYTES).hexdigest()):
        pull("hub:o/w")


def test_files_without_a_size_are_compared_as_well(site: HubSite, cache: Path) -> None:
    site.lists, site.trees, site.unsized = False, False, True
    assert Path(pull("hub:o/r")).read_bytes() == BYTES
    assert (cache / "models--o--r/blobs" / blob_id(b"{}")).read_bytes() == b"{}"
    site.files["o/w"], site.wrong = dict(site.files["o/r"]), {"tokenizer.json"}
    with pytest.raises(DownloadError, match=r"tokenizer\.json"):
        pull("hub:o/w")


def test_a_mirror_that_has_only_the_tree_is_enough(site: HubSite, cache: Path) -> None:
    site.infos = False
    assert Path(pull("hub:o/r")).read_bytes() == BYTES
    assert (cache / "models--o--r/refs/main").read_text() == COMMIT
    site.trees = False
    with pytest.raises(ModelNotFoundError):
        pull("hub:o/r")


def test_a_file_that_is_shorter_than_the_hub_says_is_given_up(site: HubSite) -> None:
    site.short = 100
    with pytest.raises(DownloadError):
        pull("hub:o/r")


@pytest.mark.parametrize("lists", [True, False])
def test_the_command_prints_the_path_and_quiet_lines(site: HubSite, *, lists: bool) -> None:
    site.lists = lists
    done = command("hub:o/r")
    assert done.returncode == 0, done.stderr
    assert done.stdout == find("hub:o/r") + "\n"
    assert MODEL in done.stderr
    assert "\r" not in done.stderr
    assert len(done.stderr.splitlines()) == 5  # licence, three files, and what to do next
    told = json.loads(command("hub:o/r", "--json").stdout)
    assert (told["name"], told["path"], told["size_bytes"]) == ("o/r", find("o/r"), len(BYTES))


def test_a_terminal_gets_a_bar_and_a_question(site: HubSite, tmp_path: Path) -> None:
    site.files["o/r"]["m-q8.gguf"] = BYTES + b"8"
    site.cut = [1000, None]  # so that there is something to draw before the end
    child = pexpect.spawn(sys.executable, ["-m", "rkllm_rs", "pull", "hub:o/r"], timeout=PATIENCE)
    child.expect_exact(r"m-q4.gguf")
    child.expect_exact(r"m-q8.gguf")
    child.expect_exact("[1-2]")
    child.sendline("2")
    child.expect(r"\d+ %")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert find("hub:o/r").endswith("m-q8.gguf")


def test_several_that_fit_are_listed_where_nobody_can_be_asked(site: HubSite, cache: Path) -> None:
    site.files["o/r"]["m-q8.gguf"] = BYTES + b"8"
    done = command("hub:o/r")
    assert done.returncode == 1
    assert "hub:o/r/m-q4.gguf" in done.stderr
    assert "hub:o/r/m-q8.gguf" in done.stderr
    assert not site.downloads()
    assert not cache.exists()
    assert pull("hub:o/r/m-q8.gguf").endswith("m-q8.gguf")
    assert pull("hub:o/r/m-q4").endswith("m-q4.gguf")
    with pytest.raises(ModelNotFoundError, match=r"m-q4\.gguf"):
        pull("hub:o/r/m-q5.gguf")


RKLLM = b"\x00" * 2000


@pytest.mark.parametrize(
    ("repo", "names", "chip", "expected"),
    [
        ("o/m", ["m_w8a8_rk3588.rkllm", "m_w4a16_rk3576.rkllm", "m.gguf"], "rk3588", "m_w8a8_rk3588.rkllm"),
        ("o/m", ["m_w8a8_rk3588.rkllm", "m_w4a16_rk3576.rkllm", "m.gguf"], "RK3588S", "m_w8a8_rk3588.rkllm"),
        ("o/m", ["m_w8a8_rk3588.rkllm", "m_w4a16_rk3576.rkllm", "m.gguf"], "rk3576", "m_w4a16_rk3576.rkllm"),
        ("o/m", ["m_w8a8_rk3588.rkllm", "m_w4a16_rk3576.rkllm", "m.gguf"], None, "m.gguf"),
        ("o/m", ["m_w8a8_rk3588.rkllm", "m_w4a16_rk3576.rkllm", "m.gguf"], "rk3562", None),
        ("o/m", ["rk3588/m.rkllm", "rk3576/m.rkllm"], "rk3576", "rk3576/m.rkllm"),
        ("o/m-RK3588-1.1.4", ["m.rkllm"], "rk3588", "m.rkllm"),
        ("o/m-RK3588-1.1.4", ["m.rkllm"], "rk3576", None),
        ("o/m", ["m.rkllm"], "rk3576", "m.rkllm"),
        ("o/m", ["m.rkllm"], None, "m.rkllm"),
        ("o/m", ["m.gguf"], "rk3588", "m.gguf"),
        ("o/m", ["m.gguf", "mmproj-m.gguf", "m-lora.gguf", "vision_rk3588.rknn"], None, "m.gguf"),
        ("o/m", ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"], None, "m-00001-of-00002.gguf"),
        ("o/m", ["m-00001-of-00002.gguf"], None, None),
        ("o/m", ["model.safetensors"], None, None),
    ],
)
def test_the_one_that_fits_is_taken_without_a_question(
    site: HubSite, repo: str, names: list[str], chip: str | None, expected: str | None
) -> None:
    site.files[repo] = {name: RKLLM + name.encode() for name in names}
    if expected is None:
        with pytest.raises(ModelNotFoundError) as caught:
            pull(f"hub:{repo}", chip=chip)
        assert caught.value.hint is not None
        assert not site.downloads()
        return
    path = Path(pull(f"hub:{repo}", chip=chip))
    assert str(path).endswith(f"/{COMMIT}/{expected}")
    assert path.read_bytes() == RKLLM + expected.encode()
    if "00001" in expected:
        assert (path.parent / "m-00002-of-00002.gguf").exists()
    assert find(f"hub:{repo}") == str(path)


def test_a_chip_that_does_not_exist_is_refused(site: HubSite) -> None:
    for wrong in ("rk3566", "", "rk"):
        with pytest.raises(InvalidArgumentError):
            pull("hub:o/r", chip=wrong)
    assert main(["pull", "hub:o/r", "--chip", "rk3566"]) == 2
    assert not site.asked


def test_a_connection_that_breaks_is_resumed_within_the_call(site: HubSite) -> None:
    site.cut = [1000, 20_000, 0, None]
    told: list[str] = []
    done: list[int] = []
    path = Path(pull("hub:o/r", say=told.append, progress=lambda *one: done.append(one[1])))
    assert path.read_bytes() == BYTES
    begins = [begin for _, begin in site.downloads()]
    assert begins == [None, "bytes=1000-", "bytes=21000-", "bytes=21000-"]
    assert len(told) >= 3
    assert max(done) == len(BYTES)


def test_a_call_goes_on_where_the_last_one_ended(site: HubSite, cache: Path) -> None:
    site.cut = [5000] + [0] * (hub.TRIES + 1)
    with pytest.raises(DownloadError) as caught:
        pull("hub:o/r")
    assert caught.value.hint is not None
    assert partial(cache).stat().st_size == 5000
    assert installed() == []
    with pytest.raises(ModelNotFoundError):
        find("hub:o/r")
    site.cut = []
    assert Path(pull("hub:o/r")).read_bytes() == BYTES
    assert site.downloads()[-1][1] == "bytes=5000-"
    assert not partial(cache).exists()


def test_what_is_left_of_a_download_can_be_removed(site: HubSite, cache: Path) -> None:
    site.cut = [5000] + [0] * (hub.TRIES + 1)
    with pytest.raises(DownloadError):
        pull("hub:o/r")
    assert remove("hub:o/r").freed_bytes >= 5000
    assert not (cache / "models--o--r").exists()
    with pytest.raises(ModelNotFoundError):
        remove("hub:o/r")


def test_a_server_without_ranges_sends_all_again(site: HubSite) -> None:
    site.ranges = False
    site.cut = [1000, None]
    assert Path(pull("hub:o/r")).read_bytes() == BYTES


def test_a_server_that_falls_silent_is_left(site: HubSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1")
    site.cut, site.held = [1000, None], threading.Event()
    assert Path(pull("hub:o/r")).read_bytes() == BYTES
    assert site.downloads()[-1][1] == "bytes=1000-"
    site.held.set()


def test_what_has_another_hash_is_not_kept(site: HubSite, cache: Path) -> None:
    site.wrong = {MODEL}
    with pytest.raises(DownloadError, match=hashlib.sha256(BYTES).hexdigest()):
        pull("hub:o/r")
    assert not partial(cache).exists()
    assert installed() == []
    done = command("hub:o/r")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    site.files["o/small"], site.wrong = dict(site.files["o/r"]), {"tokenizer.json"}
    with pytest.raises(DownloadError, match=r"tokenizer\.json"):
        pull("hub:o/small")
    assert installed() == []


def test_a_damaged_beginning_is_downloaded_again(site: HubSite, cache: Path) -> None:
    for left in (b"x" * 3000, BYTES + b"more", b"y" * len(BYTES)):
        partial(cache).parent.mkdir(parents=True)
        partial(cache).write_bytes(left)
        path = Path(pull("hub:o/r"))
        assert path.read_bytes() == BYTES
        remove("hub:o/r")


def test_the_token_goes_to_the_hub_and_nowhere_else(
    site: HubSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret\n")
    pull("hub:o/r")
    tokens = {(host, token) for _, host, _, _, token in site.asked}
    assert tokens == {("hub", "Bearer hf_secret"), ("cdn", None)}
    # Also from the file that `hf auth login` writes, and not at all where the user says so.
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/token").write_text("hf_file")
    site.asked.clear()
    path = pull("hub:o/r")
    assert path.startswith(str(tmp_path / "elsewhere/hub/"))
    assert {token for _, host, _, _, token in site.asked if host == "hub"} == {"Bearer hf_file"}
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    site.asked.clear()
    pull("hub:o/r")
    assert {token for *_, token in site.asked} == {None}


def test_a_redirect_to_something_else_than_http_is_not_followed(site: HubSite) -> None:
    site.cdn = "file:///etc"
    with pytest.raises(DownloadError, match="file:///etc"):
        pull("hub:o/r")


def test_without_a_network_the_cache_serves(site: HubSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE"):
        pull("hub:o/r")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    path = pull("hub:o/r")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = len(site.asked)
    assert pull("hub:o/r") == path
    assert len(site.asked) == asked
    assert command("hub:o/r").returncode == 0


@pytest.mark.parametrize(
    ("refused", "token", "error", "words"),
    [
        ((401, "RepoNotFound", "no"), None, ModelNotFoundError, "o/r"),
        ((401, "", "no"), "hf_x", ModelNotFoundError, "HF_TOKEN"),
        ((404, "RepoNotFound", "no"), None, ModelNotFoundError, "o/r"),
        ((403, "GatedRepo", "Access is restricted"), None, DownloadError, "licence"),
        ((401, "GatedRepo", "Access is restricted"), None, DownloadError, "HF_TOKEN"),
        ((403, "GatedRepo", "Access is restricted"), "hf_x", DownloadError, "account of your token"),
        ((400, "", "Bad things"), None, DownloadError, "Bad things"),
        ((503, "", "Overloaded"), None, DownloadError, "503"),
    ],
)
def test_a_refusal_is_explained(
    site: HubSite,
    refused: tuple[int, str, str],
    token: str | None,
    error: type[Exception],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    for where in ("/api/", "/resolve/"):
        site.refuse = lambda path, where=where: refused if where in path else None  # type: ignore[misc]
        with pytest.raises(error, match=words) as caught:
            pull("hub:o/r")
        assert getattr(caught.value, "hint", None) is not None
        assert site.url in str(caught.value)
    assert installed() == []


def test_an_address_that_has_expired_is_asked_for_anew(site: HubSite) -> None:
    site.expired = 2
    site.cut = [1000, None]
    assert Path(pull("hub:o/r")).read_bytes() == BYTES
    site.files["o/other"], site.expired = dict(site.files["o/r"]), 100
    with pytest.raises(DownloadError, match="403"):
        pull("hub:o/other")


def test_a_busy_hub_is_asked_again(site: HubSite) -> None:
    left = [(429, "", "slow down"), (503, "", "busy")]
    site.refuse = lambda _: left.pop() if left else None
    assert Path(pull("hub:o/r")).read_bytes() == BYTES


def test_a_hub_that_is_not_there_and_one_that_is_no_hub(
    site: HubSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.refuse = lambda _: (200, "", "<html>log in</html>")
    with pytest.raises(DownloadError):
        pull("hub:o/r")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1:1"):
        pull("hub:o/r")
    monkeypatch.setenv("HF_ENDPOINT", "nonsense")
    with pytest.raises(DownloadError):
        pull("hub:o/r")


def test_branches_are_kept_apart(site: HubSite, cache: Path) -> None:
    other = "f" * 40
    site.commits["w8a8_g512-toolkitv1.1.1"] = other
    path = pull("hub:o/r@w8a8_g512-toolkitv1.1.1")
    assert other in path
    assert (cache / "models--o--r/refs/w8a8_g512-toolkitv1.1.1").read_text() == other
    assert find("hub:o/r@w8a8_g512-toolkitv1.1.1") == path
    with pytest.raises(ModelNotFoundError, match="none"):
        pull("hub:o/r@none")


def test_paths_of_a_repository_do_not_lead_out_of_the_cache(site: HubSite, tmp_path: Path) -> None:
    site.files["o/r"] = {"../../../../evil.gguf": BYTES, "/evil.gguf": BYTES, "a/../evil.gguf": BYTES}
    more = ("..\\..\\evil.gguf", "a\0/../evil.gguf", "C:\\evil.gguf")
    site.files["o/r"] |= dict.fromkeys(more, BYTES)
    with pytest.raises(ModelNotFoundError):
        pull("hub:o/r")
    assert not list(tmp_path.rglob("evil*"))


def test_a_full_disk_is_told_before_the_first_byte(site: HubSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling.shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(DownloadError, match="free"):
        pull("hub:o/r")
    assert not site.downloads()


def test_a_cache_that_cannot_be_written_is_told(
    site: HubSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="cannot be written") as caught:
        pull("hub:o/r")
    assert "HF_HOME" in str(caught.value.hint)


def test_a_file_system_without_links_gets_the_file_itself(
    site: HubSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refused)
    path = Path(pull("hub:o/r"))
    assert path.read_bytes() == BYTES
    assert not path.is_symlink()
    before = len(site.downloads())
    assert pull("hub:o/r") == str(path)
    assert len(site.downloads()) == before
    assert remove("hub:o/r").freed_bytes >= len(BYTES)
    assert installed() == []


def test_two_downloads_of_a_file_wait_for_each_other(site: HubSite) -> None:
    site.cut, site.held = [1000, None], threading.Event()
    told: list[str] = []
    first = in_thread(lambda: pull("hub:o/r"))
    wait_until(site.downloads, "a download")
    second = in_thread(lambda: pull("hub:o/r", say=told.append))
    wait_until(lambda: any("waiting" in line for line in told), "the other one")
    site.held.set()
    assert first() == second()
    assert len(site.downloads()) == 2


def test_ctrl_c_leaves_what_has_come(site: HubSite, cache: Path) -> None:
    site.cut, site.held = [50_000], threading.Event()
    program = """
import signal, sys
from rkllm_rs.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main(["pull", "hub:o/r"]))
"""
    child = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    wait_until(lambda: partial(cache).exists() and partial(cache).stat().st_size == 50_000, "some bytes")
    child.send_signal(signal.SIGINT)
    said = child.communicate(timeout=PATIENCE)[1]
    assert child.returncode == 130
    assert "Traceback" not in said
    site.cut = []
    assert Path(pull("hub:o/r")).read_bytes() == BYTES
    assert site.downloads()[-1][1] == "bytes=50000-"


def test_the_blob_of_a_small_file_is_named_as_git_names_it(site: HubSite, cache: Path) -> None:
    pull("hub:o/r")
    assert (cache / "models--o--r/blobs" / blob_id(b"{}")).read_bytes() == b"{}"
    assert not list(cache.rglob("*.incomplete"))


def test_threads_that_pull_the_same_do_not_disturb_each_other(
    site: HubSite, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull("hub:o/r")
    folder = cache / "models--o--r"
    blobs = {path.name for path in (folder / "blobs").iterdir()}
    # The content is there, and its names are not: two threads make each of them, at the same time.
    shutil.rmtree(folder / "snapshots")
    shutil.rmtree(folder / "refs")
    at_once, link = threading.Barrier(2), os.symlink

    def symlink(target: str, path: str) -> None:
        at_once.wait(PATIENCE)
        link(target, path)

    monkeypatch.setattr(os, "symlink", symlink)
    first, second = (done() for done in [in_thread(lambda: pull("hub:o/r")) for _ in range(2)])
    assert first == second
    assert Path(first).read_bytes() == BYTES
    assert Path(first).is_symlink()
    assert {path.name for path in (folder / "blobs").iterdir()} == blobs
    assert [path.name for path in Path(first).parent.iterdir() if path.suffix == ".new"] == []
    assert (folder / "refs/main").read_text() == COMMIT
