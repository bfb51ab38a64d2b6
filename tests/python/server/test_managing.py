"""Models that clients pull, from what stands for the hub: a download goes on as long as its client waits."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from serving import on_fake, run

from hub_site import HubSite
from support import HELD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from serving import Serving

BYTES = b"GGUF" + hashlib.sha256(b"weights").digest() * 4000
NAME = "o/r"
CHAT = "/v1/chat/completions"
HI: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture(scope="module")
def hub() -> Iterator[HubSite]:
    site = HubSite()
    site.files[NAME] = {"m-q4.gguf": BYTES}
    yield site
    site.close()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def serving(hub: HubSite, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    gate = cache / "gate"
    held = {"gate": str(gate), "runs": [run("late", prefill_ms=HELD)]}
    scripts = {"quick": {"runs": [run("there")]}, "held": held}
    variables = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(cache), "NO_PROXY": "*"}
    folder = tmp_path_factory.mktemp("server")
    made = on_fake(folder, scripts, allow_manage=True, request_timeout=0.3, variables=variables)
    yield made.ready()
    gate.touch()
    made.stop()


@pytest.fixture
def site(hub: HubSite) -> Iterator[HubSite]:
    """The hub, whose large files are held after their first bytes."""
    hub.held, hub.cut = threading.Event(), [1000] * 100
    yield hub
    hub.held.set()


def begun(serving: Serving) -> tuple[Any, int]:
    """Begins to pull; comes back when there is a part of the file, with its bytes."""
    sock = serving.connect("/api/pull", {"model": NAME})
    had = b""
    while (found := re.search(rb'"completed": ?(\d+)', had)) is None:
        more = sock.recv(65536)
        had += more
        assert more, had
        assert b"success" not in had, had
    return sock, int(found[1])


def until_success(sock: Any) -> None:
    told = b""
    while b"success" not in told:
        more = sock.recv(65536)
        told += more
        assert more, told
        assert b'"error"' not in told, told


def names(serving: Serving) -> list[str]:
    return [one["id"] for one in serving.http.get("/v1/models").json()["data"]]


def deleted(serving: Serving) -> None:
    """Lets a model go as it came."""
    assert serving.http.request("DELETE", "/api/delete", json={"model": NAME}).status_code == 200
    assert names(serving) == ["quick", "held"]


def test_a_download_is_no_request_for_a_model(serving: Serving, site: HubSite) -> None:
    pulling, _bytes = begun(serving)
    # Others that pull the same wait for it. No chat waits for any of them.
    others = [serving.connect("/api/pull", {"model": NAME, "stream": False}) for _ in range(3)]
    quick = {"model": "quick", **HI}
    serving.wait_for(lambda: serving.post(CHAT, quick).status_code == 200, "a chat")
    # A request for a model has reached the limit since then.
    late = serving.post(CHAT, {"model": "held", **HI})
    assert (late.status_code, late.json()["error"]["code"]) == (504, "request_timeout")
    assert site.held is not None
    site.cut = []
    site.held.set()
    for sock in (pulling, *others):
        until_success(sock)
    assert names(serving) == ["quick", "held", NAME]
    deleted(serving)


def test_a_download_ends_when_its_client_leaves(serving: Serving, site: HubSite) -> None:
    sock, there = begun(serving)
    assert there == 1000
    sock.close()
    held, site.held = site.held, threading.Event()
    assert held is not None
    held.set()
    # It ends with the next bytes, which are kept; another one goes on there, and would wait for it otherwise.
    again, there = begun(serving)
    assert 1000 <= there < len(BYTES)
    assert names(serving) == ["quick", "held"]
    site.cut = []
    site.held.set()
    until_success(again)
    deleted(serving)


def test_a_pull_asks_the_hub_and_no_address_of_its_client(serving: Serving) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        other.setblocking(False)  # noqa: FBT003
        place = f"127.0.0.1:{other.getsockname()[1]}"
        for name in (
            f"{place}/o/r",
            f"http://{place}/o/r",
            f"hub:{place}/o/r",
            f"hub:http://{place}/o/r",
            f"//{place}/o",
            f"o@{place}/r",
            f"hub:o/r@http://{place}",
            "file:///etc/passwd",
        ):
            for path in ("/api/pull", "/api/push", "/api/create"):
                got = serving.post(path, {"model": name, "from": name, "insecure": True, "stream": False})
                assert got.status_code in (400, 404, 501), (path, name, got.text)
                assert got.json()["error"]
        with pytest.raises(BlockingIOError):
            other.accept()
    assert names(serving) == ["quick", "held"]
