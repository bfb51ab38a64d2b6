"""A headless Chromium, spoken to over two pipes: enough of its protocol to use a page as a person would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 60.0
_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def find() -> str:
    """The browser's program: ``RKLLM_RS_TEST_CHROMIUM``, or what the system has."""
    found = os.environ.get("RKLLM_RS_TEST_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        message = (
            "there is no Chromium: install the package chromium-headless-shell, or set RKLLM_RS_TEST_CHROMIUM"
        )
        raise FileNotFoundError(message)
    return found


class Browser:
    """A browser with one page."""

    def __init__(self, folder: Path) -> None:
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()

        def descriptors() -> None:
            # Away from 3 and 4 first: one of them may be the other's place.
            high = os.dup2(to_read, 100), os.dup2(to_write, 101)
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.process = subprocess.Popen(
            [
                find(),
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--remote-debugging-pipe",
                f"--user-data-dir={folder}",
                "about:blank",
            ],
            close_fds=False,
            preexec_fn=descriptors,  # noqa: PLW1509 - one thread
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        targets = self._call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self._call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")

    def close(self) -> None:
        """Ends it."""
        self.process.kill()
        self.process.wait()
        os.close(self._read)
        os.close(self._write)

    def open(self, url: str) -> None:
        """Goes to a page."""
        self._call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def value(self, expression: str) -> Any:
        """The value of an expression in the page."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression: str) -> Any:
        """Waits until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not (value := self.value(expression)):
            assert time.monotonic() < end, f"{expression} did not come true; {self.events[-5:]}"
            time.sleep(0.02)
        return value

    def told(self, name: str) -> list[dict[str, Any]]:
        """What the browser has told of something, such as its requests."""
        return [event["params"] for event in self.events if event["method"] == name]

    def key(self, key: str, code: int, *, text: str = "", control: bool = False) -> None:
        """Presses a key."""
        common = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 2 if control else 0}
        self._call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
        self._call("Input.dispatchKeyEvent", type="keyUp", **common)

    def tab(self) -> str:
        """Presses the tabulator; gives the id of what has the focus then."""
        self.key("Tab", 9)
        return str(self.value("document.activeElement.id || document.activeElement.className"))

    def write(self, text: str) -> None:
        """Writes into what has the focus."""
        self._call("Input.insertText", text=text)

    def wide(self, width: int) -> None:
        """Makes the window so wide."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False
        )

    def _call(self, method: str, **arguments: Any) -> Any:
        self._number += 1
        request = {"id": self._number, "method": method, "params": arguments}
        if self._session is not None:
            request["sessionId"] = self._session
        os.write(self._write, json.dumps(request).encode() + b"\0")
        while True:
            message = self._message()
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._read, 1 << 16)
            assert data, "the browser has ended"
            self._rest += data
        first, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(first)
        return message
