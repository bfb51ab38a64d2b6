"""The web application of the guide: clients that stay, and clients that hang up."""

from __future__ import annotations

import asyncio
import contextlib
import re
import warnings
from pathlib import Path

import pytest

from fakes import calls
from support import PATIENCE, newest, wait_until

pytest.importorskip("fastapi")

pytestmark = newest
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "async.md"
ENDLESS = {"steps": ["x"], "repeat": 100_000, "delay_ms": 2}


@pytest.fixture
def app(make_model, library, monkeypatch):
    """The guide's program, on a fake."""
    (code,) = re.findall(r"```python\n(from contextlib.*?)```", GUIDE.read_text(), re.DOTALL)
    path = make_model({"runs": [ENDLESS, {"steps": ["all", " of", " it"]}]})
    monkeypatch.setenv("RKLLM_RS_LIB", str(library))
    names: dict = {}
    with warnings.catch_warnings():
        # What it imports deprecates things at its own pace.
        warnings.simplefilter("ignore")
        exec(code.replace("qwen3-1.7b.rkllm", str(path)), names)  # noqa: S102 - our own guide
    return names["app"]


async def post(app, hang_up_after=None):
    """Posts a prompt; gives the body, or what came of it until the client hung up."""
    received, gone = [], asyncio.Event()
    requests = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive():
        if requests:
            return requests.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.body":
            received.append(message.get("body", b""))
            if hang_up_after is not None and len(received) == hang_up_after:
                gone.set()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/generate",
        "raw_path": b"/generate",
        "query_string": b"prompt=Hi",
        "headers": [],
        "scheme": "http",
        "server": ("test", 80),
        "client": ("test", 1),
        "root_path": "",
    }
    await app(scope, receive, send)
    return b"".join(received)


@contextlib.asynccontextmanager
async def started(app):
    with warnings.catch_warnings():
        # No machine that runs these tests has the NPU.
        warnings.simplefilter("ignore")
        async with app.router.lifespan_context(app):
            yield


def test_a_client_that_hangs_up_makes_room(app, record):
    async def main():
        async with started(app):
            assert set(await post(app, hang_up_after=3)) == {ord("x")}
            assert await post(app) == b"all of it"

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert [line["end"] for line in calls(record, "run_end")] == ["aborted", "played"]
    wait_until(lambda: calls(record, "rkllm_destroy"), "destroy")
