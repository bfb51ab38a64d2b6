"""Downloads of the vendor's library: every bad answer has its message, and none is ever put in place.

All of it is served from this machine; the real host was never asked.
"""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import ssl
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path

import pytest

from mirror import ARCH, COMMIT, Mirror, blob_id, library_bytes, official_file, send
from rkllm_rs import InvalidArgumentError, RuntimeInstallError, _runtime_table, runtimes
from rkllm_rs import _runtime_fetch as fetch
from support import wait_until

DATA = library_bytes("1.3.0")
OTHER = library_bytes("1.2.3")
REDIRECT = 302


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RKLLM_RS_HOME", str(tmp_path / "data"))
    table = (official_file(OTHER, "1.2.3"), official_file(DATA))
    monkeypatch.setattr(_runtime_table, "known", lambda: table)
    return tmp_path / "data"


@pytest.fixture
def mirror(monkeypatch):
    server = Mirror(DATA)
    monkeypatch.setenv("RKLLM_RS_MIRROR", server.url)
    yield server
    server.close()


def install(version="1.3.0", **keywords):
    return runtimes.install(version, arch=ARCH, **keywords)


def part(home):
    return home / "downloads" / f"{blob_id(DATA)}.part"


def refused(home, **keywords):
    with pytest.raises(RuntimeInstallError) as caught:
        install(**keywords)
    assert not list((home / "runtimes").glob("*"))
    assert [one for one in (home / "downloads").iterdir() if one.name != "lock"] in ([], [part(home)])
    return caught.value


def test_a_release_is_fetched_checked_and_put_in_place(mirror, home):
    seen = []
    done = install(progress=lambda *numbers: seen.append(numbers))
    path = home / "runtimes/1.3.0/librkllmrt.so"
    assert (done.version, done.path, done.arch, done.status) == ("1.3.0", str(path), ARCH, "verified")
    assert path.read_bytes() == DATA
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o022 == 0
    assert seen[-1] == (len(DATA), len(DATA))
    tail = f"rkllm-runtime/Linux/librkllm_api/{ARCH}/librkllmrt.so"
    assert mirror.asked == [(f"/mirror/{COMMIT}/{tail}", None)]
    assert [one.name for one in (home / "downloads").iterdir()] == ["lock"]
    record = json.loads((path.parent / "runtime.json").read_text())
    assert (record["official"], record["git_blob_sha1"]) == (True, blob_id(DATA))
    # It is there: nothing is asked for again.
    assert install() == done
    assert len(mirror.asked) == 1


def test_the_argument_counts_for_more_than_the_variable(mirror, monkeypatch):
    monkeypatch.setenv("RKLLM_RS_MIRROR", "https://nowhere.invalid")
    install(mirror=mirror.url + "/")
    assert mirror.asked[0][0].startswith("/mirror/0")


def test_a_proxy_is_not_asked_about_this_machine(mirror, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert install().status == "verified"


def html(request, start):
    send(request, b"<!DOCTYPE html><title>Log in</title>", **{"Content-Type": "text/html"})


def html_unnamed(request, start):
    send(request, b"\n <HTML><body>not found</body>")


@pytest.mark.parametrize(
    ("answer", "message", "hint"),
    [
        (html, "is a web page, not a library", "log-in"),
        (html_unnamed, "is a web page, not a library", "log-in"),
        (lambda r, _: send(r, b"version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer", "lfs"),
        (lambda r, _: send(r, b"PK\x03\x04 something else"), "does not begin as an ELF file does", None),
        (lambda r, _: send(r, b""), "ended after 0 of 0 bytes", "again"),
        (lambda r, _: send(r, b"", 404), "has no such file", "--from FILE"),
        (lambda r, _: send(r, b"", 503), "answered 503", "Try again later"),
        (lambda r, _: send(r, DATA[:-1] + b"!"), "is not the official file", "--allow-unknown"),
        (lambda r, _: send(r, DATA[:-9], length=-1), "is not the official file", "fetch it again"),
        (lambda r, _: send(r, OTHER), f"is the official file of 1.2.3 for linux {ARCH}", "its own VERSION"),
        (lambda r, _: send(r, b"", length=1 << 40), "more than any library has", None),
        (lambda r, _: r.wfile.write(b"nonsense\r\n\r\n"), "could not be reached", "--from FILE"),
        (lambda *_: None, "could not be reached", "--from FILE"),
    ],
)
def test_bad_answers(mirror, home, answer, message, hint):
    mirror.answer = answer
    error = refused(home)
    assert message in str(error)
    assert hint is None or hint in (error.hint or "")
    # Nothing of it stays either.
    assert not part(home).exists()


def test_an_answer_without_end_is_cut_off(mirror, home, monkeypatch):
    monkeypatch.setattr(fetch, "LIMIT", 300_000)
    mirror.answer = lambda request, _: send(request, DATA, length=-1)
    assert "more than it announced" in str(refused(home))


def test_the_size_is_looked_at_where_it_is_known(mirror, home, monkeypatch):
    monkeypatch.setattr(_runtime_table, "known", lambda: (official_file(DATA, size=len(DATA) - 1),))
    error = refused(home)
    assert f"a file of {len(DATA)} bytes, but the official one has {len(DATA) - 1}" in str(error)
    monkeypatch.setattr(_runtime_table, "known", lambda: (official_file(DATA, size=len(DATA)),))
    assert install().status == "verified"


def test_half_a_download_goes_on_where_it_ended(mirror, home):
    half = len(DATA) // 2
    mirror.answer = lambda request, _: send(request, DATA[:half], length=len(DATA))
    error = refused(home)
    assert f"ended after {half} of {len(DATA)} bytes" in str(error)
    assert "goes on from there" in (error.hint or "")
    mirror.answer = None
    seen = []
    assert install(progress=lambda *numbers: seen.append(numbers)).status == "verified"
    assert mirror.asked[-1][1] == f"bytes={half}-"
    assert seen[0][0] > half


def test_a_server_without_ranges_starts_over(mirror, home):
    (home / "downloads").mkdir(parents=True)
    part(home).write_bytes(DATA[:1000])
    mirror.answer = lambda request, _: send(request, DATA)
    assert install().status == "verified"
    assert [wanted for _, wanted in mirror.asked] == ["bytes=1000-"]


@pytest.mark.parametrize(
    "before",
    [b"\x7fELF of something else", OTHER[: len(DATA) // 2], DATA + b"more", OTHER],
    ids=["short", "half", "longer", "whole"],
)
def test_a_part_of_something_else_is_not_kept(mirror, home, before):
    (home / "downloads").mkdir(parents=True)
    part(home).write_bytes(before)
    assert install().status == "verified"
    assert mirror.asked[-1][1] is None


def test_a_part_that_is_whole_needs_no_server(mirror, home):
    (home / "downloads").mkdir(parents=True)
    part(home).write_bytes(DATA)
    assert install().status == "verified"
    assert mirror.asked == []


def test_another_part_than_asked_for_is_not_taken(mirror, home):
    (home / "downloads").mkdir(parents=True)
    part(home).write_bytes(DATA[:1000])
    headers = {"Content-Range": f"bytes 500-{len(DATA) - 1}/{len(DATA)}"}

    def wrong(request, start):
        if start:
            send(request, DATA[500:], 206, **headers)
        else:
            send(request, DATA)

    mirror.answer = wrong
    assert install().status == "verified"
    assert len(mirror.asked) == 2
    # Nor is one that nobody asked for.
    runtimes.remove("1.3.0")
    mirror.answer = lambda request, _: send(request, DATA[500:], 206, **headers)
    assert "another part" in str(refused(home))


def test_a_page_does_not_take_the_place_of_what_has_come(mirror, home):
    (home / "downloads").mkdir(parents=True)
    part(home).write_bytes(DATA[:1000])
    mirror.answer = html
    assert "web page" in str(refused(home))
    assert part(home).read_bytes() == DATA[:1000]


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.2:{port}/librkllmrt.so",
        "http://localhost:{port}/librkllmrt.so",
        "https://127.0.0.1:{port}/librkllmrt.so",
        "http://127.0.0.1:1/librkllmrt.so",
        "//elsewhere.invalid/librkllmrt.so",
        "ftp://127.0.0.1/librkllmrt.so",
        "file:///etc/passwd",
        "http://127.0.0.1:99999/",
    ],
)
def test_redirects_to_others_are_not_followed(mirror, home, target):
    location = target.format(port=mirror.server.server_address[1])
    mirror.answer = lambda request, _: send(request, b"", REDIRECT, Location=location)
    assert "redirects to another server" in str(refused(home))
    assert len(mirror.asked) == 1


def test_redirects_of_the_mirror_to_itself_are_followed(mirror, home):
    def once(request, start):
        if request.path.startswith("/mirror"):
            send(request, b"", REDIRECT, Location="/content/librkllmrt.so")
        else:
            mirror.serve(request, start)

    (home / "downloads").mkdir(parents=True)
    part(home).write_bytes(DATA[:1000])
    mirror.answer = once
    assert install().status == "verified"
    assert mirror.asked[-1] == ("/content/librkllmrt.so", "bytes=1000-")


def test_a_redirect_to_no_address_at_all(mirror, home):
    mirror.answer = lambda request, _: send(request, b"", REDIRECT, Location="http://[::1/")
    assert "redirects to an address that is none" in str(refused(home))


def test_redirects_in_a_ring_end(mirror, home):
    mirror.answer = lambda request, _: send(request, b"", REDIRECT, Location=request.path)
    refused(home)
    assert len(mirror.asked) < 20


@pytest.mark.parametrize(
    ("target", "follows"),
    [
        ("https://raw.githubusercontent.com/airockchip/rknn-llm/x", True),
        ("https://media.githubusercontent.com:443/media/x", True),
        ("http://raw.githubusercontent.com/airockchip/rknn-llm/x", False),
        ("https://raw.githubusercontent.com:8443/x", False),
        ("https://raw.githubusercontent.com.example/x", False),
        ("https://raw.githubusercontent.com@example.com/x", False),
        ("https://example.com/raw.githubusercontent.com", False),
    ],
)
def test_the_official_host_redirects_to_its_own_servers_only(target, follows):
    origin = fetch.official(official_file(DATA))
    tail = f"rkllm-runtime/Linux/librkllm_api/{ARCH}/librkllmrt.so"
    assert origin.url == f"https://github.com/airockchip/rknn-llm/raw/{COMMIT}/{tail}"
    request = urllib.request.Request(origin.url)  # noqa: S310 - never sent
    handler = fetch._Redirects(origin)
    if follows:
        again = handler.redirect_request(request, io.BytesIO(), REDIRECT, "Found", Message(), target)
        assert again.full_url == target
    else:
        with pytest.raises(RuntimeInstallError, match="redirects to another server"):
            handler.redirect_request(request, io.BytesIO(), REDIRECT, "Found", Message(), target)


@pytest.mark.parametrize(
    "address",
    [
        "http://example.com/x",
        "http://10.0.0.1",
        "http://127.0.0.1.example.com",
        "ftp://example.com",
        "file:///srv",
        "/srv/mirror",
        "https://",
        "https://ann:secret@example.com/",
        "https://example.com/?key=secret",
        "https://example.com/#secret",
        "https://example.com:port/",
        "https://[::1/",
    ],
)
def test_mirrors_that_are_not_taken(address, home):
    with pytest.raises(InvalidArgumentError, match=r"\Amirror: ") as caught:
        install(mirror=address)
    assert "secret" not in str(caught.value)
    assert caught.value.hint
    assert not home.exists()


@pytest.mark.parametrize("address", ["https://example.com/x/", "http://127.3.2.1:80", "http://[::1]:8080"])
def test_mirrors_that_are_taken(address):
    origin = fetch.mirrored(address, official_file(DATA))
    assert origin.url.startswith(f"{address.rstrip('/')}/{COMMIT}/")


def test_offline_it_says_what_to_copy_where(mirror, home):
    mirror.close()
    error = refused(home)
    assert "127.0.0.1 could not be reached" in str(error)
    for words in (mirror.url, COMMIT, "rkllm-rs runtime install 1.3.0 --from FILE"):
        assert words in (error.hint or "")


def test_a_wrong_certificate_points_to_the_clock():
    problem = ssl.SSLCertVerificationError(1, "certificate verify failed")
    problem.verify_message = "certificate is not yet valid"
    error = fetch.unreachable(fetch.official(official_file(DATA)), urllib.error.URLError(problem))
    assert "not yet valid" in str(error)
    assert "clock" in (error.hint or "")


def test_a_silent_server_is_given_up(mirror, home, monkeypatch):
    monkeypatch.setattr(fetch, "TIMEOUT", 0.2)

    def stall(request, _):
        send(request, DATA[:1000], length=len(DATA))
        request.wfile.flush()
        time.sleep(1)

    mirror.answer = stall
    assert "ended after 1000 of" in str(refused(home))
    mirror.answer = lambda *_: time.sleep(1)
    assert "could not be reached" in str(refused(home))


def test_what_is_unknown_is_taken_on_demand_and_recorded(mirror, home):
    mirror.data = DATA + b"patched"
    done = install(allow_unknown=True)
    assert (done.status, done.git_blob_sha1) == ("unknown", blob_id(mirror.data))
    record = json.loads((home / "runtimes/1.3.0/runtime.json").read_text())
    assert record["official"] is False
    # Another release under this one's name is a mistake all the same.
    mirror.data = OTHER
    with pytest.raises(RuntimeInstallError, match=r"official file of 1\.2\.3"):
        install(allow_unknown=True)
    assert runtimes.installed() == [done]
    # And the official one takes its place.
    mirror.data = DATA
    assert install().status == "verified"


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_keeps_nothing(mirror, home, monkeypatch):
    monkeypatch.setattr(fetch, "write", full)
    error = refused(home)
    assert "the disk is full" in str(error)
    assert "MiB are left" in (error.hint or "")
    assert not part(home).exists()


def test_a_disk_that_is_really_full(mirror, tmp_path, monkeypatch):
    small = tmp_path / "small"
    small.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "tmpfs", str(small)]
    try:
        mounted = subprocess.run(words, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("nothing can be mounted here")
    try:
        monkeypatch.setenv("RKLLM_RS_HOME", str(small / "data"))
        assert "the disk is full" in str(refused(small / "data"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


CHILD = """
import sys
sys.path.insert(0, {here!r})
from mirror import library_bytes, official_file
from rkllm_rs import RuntimeInstallError, _runtime_table, runtimes
_runtime_table.known = lambda: (official_file(library_bytes("1.3.0")),)
print("ready", flush=True)
try:
    print(runtimes.install("1.3.0", arch={arch!r}).status, flush=True)
except RuntimeInstallError as error:
    print(error, flush=True)
"""


def child():
    code = CHILD.format(here=str(Path(__file__).parent), arch=ARCH)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def drip(mirror, gate):
    """Sends a part, and the rest when the gate is opened."""

    def answer(request, start):
        if start:
            mirror.serve(request, start)
            return
        send(request, DATA[:400_000], length=len(DATA))
        request.wfile.flush()
        wait_until(gate.exists, "the gate")
        request.wfile.write(DATA[400_000:])

    return answer


def test_two_at_once(mirror, home, tmp_path):
    gate = tmp_path / "gate"
    mirror.answer = drip(mirror, gate)
    with child() as first:
        try:
            wait_until(lambda: mirror.asked, "the first one's request")
            with pytest.raises(RuntimeInstallError) as caught:
                install()
            assert f"another rkllm-rs runtime command (process {first.pid}) is changing" in str(caught.value)
            for change in (lambda: runtimes.remove("1.3.0"), lambda: runtimes.use(None)):
                with pytest.raises(RuntimeInstallError, match="another rkllm-rs runtime command"):
                    change()
        finally:
            gate.touch()
        assert first.communicate(timeout=120)[0].split() == ["ready", "verified"]
    assert install().status == "verified"


def test_many_at_once_leave_one_whole_file(mirror, home):
    started = [child() for _ in range(4)]
    said = [one.communicate(timeout=120)[0] for one in started]
    assert any("verified" in text for text in said)
    assert all("verified" in text or "another rkllm-rs runtime command" in text for text in said)
    assert [one.status for one in runtimes.installed()] == ["verified"]


def test_after_a_kill_it_goes_on(mirror, home, tmp_path):
    mirror.answer = drip(mirror, tmp_path / "gate")
    with child() as first:
        wait_until(lambda: part(home).exists() and part(home).stat().st_size >= 300_000, "a part")
        first.send_signal(signal.SIGKILL)
        first.communicate(timeout=120)
    (tmp_path / "gate").touch()
    assert runtimes.installed() == []
    # What a kill at a later moment would leave.
    (home / "downloads/1.3.0.7.folder.new").mkdir()
    (home / "downloads/current.7.new").symlink_to("1.3.0")
    (home / "downloads/1.2.3.7.old").mkdir()
    have = part(home).stat().st_size
    assert install().status == "verified"
    assert mirror.asked[-1][1] == f"bytes={have}-"
    assert [one.name for one in (home / "downloads").iterdir()] == ["lock"]
