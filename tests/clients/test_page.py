"""The status page in a real browser, used with the keyboard alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

TESTS = Path(__file__).parents[1] / "python"
sys.path[:0] = [str(TESTS), str(TESTS / "server")]

from browser import Browser  # noqa: E402 - the folders are named above
from wire import Server  # noqa: E402

from fakes import fake_library, fake_model  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    library = fake_library(tmp_path / "lib", "v1_3_1", quiet=True)
    fake_model(tmp_path / "tiny", runs=[{"steps": ["Hello", " <b>board</b>", " é😀"], "delay_ms": 30}])
    fake_model(tmp_path / "long", runs=[{"steps": ["word "] * 2000, "delay_ms": 20}])
    variables = {**os.environ, "RKLLM_RS_NPU_LOCK": str(tmp_path / "npu.lock")}
    words = [
        "-m",
        "rkllm_rs",
        "serve",
        "tiny",
        "long",
        "--port",
        "0",
        "--api-key",
        "k",
        "--library",
        str(library),
    ]
    one = Server(words, env=variables, cwd=tmp_path)
    yield one
    one.close()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    one = Browser(tmp_path / "profile")
    yield one
    one.close()


def test_the_page_with_the_keyboard(server: Server, browser: Browser) -> None:
    browser.open(f"http://127.0.0.1:{server.port}/")
    browser.until("!document.getElementById('access').hidden")

    # A wrong key, then the right one.
    assert browser.tab() == "skip"
    assert browser.tab() == "key"
    browser.write("wrong")
    browser.key("Enter", 13, text="\r")
    browser.until("document.getElementById('problem').textContent")
    browser.value("document.getElementById('key').value = ''")
    browser.write("k")
    browser.key("Enter", 13, text="\r")
    browser.until("document.getElementById('models').rows.length === 2")
    assert browser.value("document.getElementById('models').rows[0].cells[0].textContent") == "tiny"
    assert browser.value("document.getElementById('state').textContent") == "ready"
    assert browser.value("document.getElementById('lock').textContent") in ("free", "off")
    assert browser.value("document.getElementById('access').hidden")

    # The skip link, a message, and its answer: text, and not markup.
    browser.value("document.querySelector('.skip').focus()")
    browser.key("Enter", 13, text="\r")
    browser.until("document.activeElement.id === 'prompt'")
    browser.write("Hi")
    browser.key("Enter", 13, text="\r", control=True)
    browser.until("document.querySelector('.assistant')?.textContent === 'Hello <b>board</b> é😀'")
    browser.until("document.getElementById('speed').textContent.includes('3 tokens')")
    browser.until("document.activeElement.id === 'prompt' && !document.getElementById('send').disabled")
    assert browser.value("document.querySelectorAll('#talk b').length") == 0

    # Everything can be reached, in the order in which it stands there.
    browser.value("document.querySelector('.skip').focus()")
    seen = [browser.tab() for _ in range(6)]
    assert seen == ["talk", "model", "limit", "prompt", "send", "clear"]

    # Another model, from the beginning: a long answer can be stopped, and the model is free then.
    browser.key("Enter", 13, text="\r")
    browser.until("document.getElementById('talk').children.length === 0")
    browser.value("document.getElementById('model').value = 'long'")
    browser.value("document.getElementById('prompt').focus()")
    browser.write("More")
    browser.key("Enter", 13, text="\r", control=True)
    browser.until("document.querySelector('.assistant')?.textContent.startsWith('word word')")
    browser.value("document.getElementById('stop').focus()")
    browser.key("Enter", 13, text="\r")
    browser.until("!document.getElementById('send').disabled")
    browser.until("document.getElementById('running').textContent === '0'")

    # On a telephone nothing is cut off.
    browser.wide(360)
    assert browser.value("document.documentElement.scrollWidth") <= 360

    # Nothing came from elsewhere, and the policy had nothing to forbid.
    urls = [told["request"]["url"] for told in browser.told("Network.requestWillBeSent")]
    assert all(url.startswith((f"http://127.0.0.1:{server.port}/", "data:")) for url in urls), urls
    entries = [told["entry"]["text"] for told in browser.told("Log.entryAdded")]
    assert [text for text in entries if "401" not in text] == []
    assert browser.told("Runtime.exceptionThrown") == []
