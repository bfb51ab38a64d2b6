"""Downloads of the vendor's library: a bad answer has its message, and is never put in place.

All of it is served from this machine; the real host was never asked.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rkllm_rs import RuntimeInstallError, _native, runtimes
from rkllm_rs.cli import main
from support import wait_until
from vendor_site import (
    ARCH,
    COMMIT,
    VendorSite,
    blob_id,
    known_by_blob_id,
    known_by_sha256,
    library_bytes,
    send,
)

DATA = library_bytes("1.3.1")
OLDER = library_bytes("1.3.0")
TABLE = [known_by_blob_id("1.3.0", OLDER), known_by_sha256("1.3.1", DATA)]
ADDRESS = (
    f"https://github.com/airockchip/rknn-llm/raw/{COMMIT}/"
    f"rkllm-runtime/Linux/librkllm_api/{ARCH}/librkllmrt.so"
)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RKLLM_RS_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(_native, "known_libraries", lambda: TABLE)
    return tmp_path / "data"


@pytest.fixture
def site(monkeypatch):
    site = VendorSite(DATA, monkeypatch)
    yield site
    site.close()


def install(version="1.3.1", **keywords):
    return runtimes.install(version, arch=ARCH, **keywords)


def refused(**keywords):
    with pytest.raises(RuntimeInstallError) as caught:
        install(**keywords)
    assert os.listdir(runtimes.folder()) == []
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(("version", "data"), [("1.3.0", OLDER), ("1.3.1", DATA)], ids=["blob id", "SHA-256"])
def test_a_release_is_fetched_checked_and_put_in_place(site, home, version, data):
    site.data = data
    seen = []
    done = install(version, progress=lambda *numbers: seen.append(numbers))
    path = home / "runtimes" / version / "librkllmrt.so"
    assert (done.version, done.path, done.arch, done.status) == (version, str(path), ARCH, "verified")
    assert done.git_blob_sha1 == blob_id(data)
    assert path.read_bytes() == data
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert seen[-1] == (len(data), len(data))
    assert [one.name for one in (home / "runtimes").iterdir()] == [version]
    # It is there: nothing is asked for again.
    assert install(version) == done
    assert site.asked == [ADDRESS]


BAD_ANSWERS = {
    "page": (lambda r: send(r, b"<!DOCTYPE html>"), "not a shared library", "log in"),
    "pointer": (
        lambda r: send(r, b"version https://git-lfs.github.com/spec/v1\n"),
        "not a shared library",
        "lfs",
    ),
    "empty": (lambda r: send(r, b""), "not a shared library", None),
    "missing": (lambda r: send(r, b"", 404), "404", "--from FILE"),
    "busy": (lambda r: send(r, b"", 503), "503", "Try again"),
    "changed": (lambda r: send(r, DATA[:-1] + b"!"), TABLE[1]["sha256"], "--allow-unknown"),
    "shorter": (lambda r: send(r, DATA[:-9]), "is not the official file", "Download it again"),
    "longer": (lambda r: send(r, DATA + b"!"), "more than", "Try again"),
    "endless": (lambda r: [send(r, DATA, length=-1), r.wfile.write(DATA)], "more than", "Try again"),
    "cut": (lambda r: send(r, DATA[:1000], length=len(DATA)), f"1000 of {len(DATA)}", "Try again"),
    "another": (lambda r: send(r, OLDER), f"official file of 1.3.0 for linux {ARCH}", "own version"),
    "nonsense": (lambda r: r.wfile.write(b"nonsense\r\n\r\n"), "could not be downloaded", "--from FILE"),
    "nothing": (lambda _: None, "could not be downloaded", "--from FILE"),
    "ring": (lambda r: send(r, b"", 302, Location=r.path), "302", "--from FILE"),
    "not HTTPS": (lambda r: send(r, b"", 302, Location="http://github.com/x"), "not HTTPS", "--from FILE"),
    "a file": (lambda r: send(r, b"", 302, Location="file:///etc/passwd"), "302", "--from FILE"),
    "no address": (lambda r: send(r, b"", 302, Location="https://[::1/"), "could not be downloaded", None),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_bad_answers(site, name):
    site.answer, message, hint = BAD_ANSWERS[name]
    error = refused()
    assert message in str(error)
    assert ADDRESS in str(error)
    assert hint is None or hint in (error.hint or "")


def test_a_bad_answer_leaves_what_was_installed(site, tmp_path):
    (tmp_path / "patched.so").write_bytes(OLDER + b"patched")
    before = install("1.3.1", source=tmp_path / "patched.so", allow_unknown=True)
    site.answer = BAD_ANSWERS["changed"][0]
    with pytest.raises(RuntimeInstallError):
        install()
    assert runtimes.installed() == [before]
    # Unless it is asked for; and the official one takes its place again.
    assert install(allow_unknown=True).git_blob_sha1 == blob_id(DATA[:-1] + b"!")
    site.answer = lambda request: send(request, DATA)
    assert install().status == "verified"


def test_redirects_to_other_servers_are_followed(site):
    def once(request):
        if request.host == "github.com":
            send(request, b"", 302, Location="https://raw.githubusercontent.com/file")
        else:
            send(request, DATA)

    site.answer = once
    assert install().status == "verified"
    assert site.asked == [ADDRESS, "https://raw.githubusercontent.com/file"]


def test_a_certificate_that_is_not_trusted_points_to_the_clock(site, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    error = refused()
    assert "certificate was not accepted" in str(error)
    assert "clock" in (error.hint or "")
    assert site.asked == []


def test_offline_it_says_what_to_fetch_elsewhere(site):
    site.close()
    error = refused()
    assert ADDRESS in str(error)
    assert "rkllm-rs runtime install 1.3.1 --from FILE" in (error.hint or "")


@pytest.mark.parametrize("sent", [DATA[:1000], None], ids=["in the middle", "at the start"])
def test_a_silent_server_is_given_up(site, monkeypatch, sent):
    monkeypatch.setattr(runtimes.fetch, "TIMEOUT", 0.2)
    over = threading.Event()

    def stall(request):
        if sent:
            send(request, sent, length=len(DATA))
        over.wait(60)

    site.answer = stall
    try:
        assert "timed out" in str(refused())
    finally:
        over.set()


CHILD = """
import sys
sys.path.insert(0, {here!r})
from vendor_site import known_by_sha256, library_bytes, make_official
from rkllm_rs import runtimes
make_official([known_by_sha256("1.3.1", library_bytes("1.3.1"))])
print(runtimes.install("1.3.1", arch={arch!r}).status, flush=True)
"""


def child():
    code = CHILD.format(here=str(Path(__file__).parent), arch=ARCH)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_several_at_once_leave_one_whole_file(site):
    together = threading.Barrier(4)

    def answer(request):
        send(request, DATA[:1000], length=len(DATA))
        together.wait(120)
        request.wfile.write(DATA[1000:])

    site.answer = answer
    started = [child() for _ in range(4)]
    assert [one.communicate(timeout=120)[0].strip() for one in started] == ["verified"] * 4
    assert [one.status for one in runtimes.installed()] == ["verified"]
    assert os.listdir(runtimes.folder()) == ["1.3.1"]


def test_what_a_kill_leaves_is_no_runtime_and_goes_away(site):
    over = threading.Event()

    def half(request):
        send(request, DATA[:400_000], length=len(DATA))
        over.wait(120)

    site.answer = half
    folder = Path(runtimes.folder())

    def drafts():
        return [one for one in folder.glob(".*") if one.stat().st_size >= 300_000]

    with child() as first:
        try:
            wait_until(drafts, "a part of the file")
            first.send_signal(signal.SIGKILL)
            first.communicate(timeout=120)
        finally:
            over.set()
    assert runtimes.installed() == []
    (draft,) = drafts()
    site.answer = lambda request: send(request, DATA)
    assert install().status == "verified"
    # Another command could still be writing to it.
    assert draft.exists()
    os.utime(draft, (time.time() - 100_000,) * 2)
    runtimes.remove("1.3.1")
    assert install().status == "verified"
    assert os.listdir(folder) == ["1.3.1"]


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_on_terminals_only(site, monkeypatch, capsys, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    assert main(["runtime", "install", "1.3.1", "--arch", ARCH]) == 0
    text = capsys.readouterr().err
    assert ("100 %" in text and text.endswith("\n")) if terminal else text == ""
