"""The frame of a client's checks: plain functions, run one after the other in the client's own environment.

Nothing but the standard library is used here, so that no client's requirements are touched.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import inspect
import json
import os
import re
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: The server's address, without ``/v1``.
URL = os.environ.get("RKLLM_RS_TEST_URL", "")
V1 = f"{URL}/v1"
#: That of another one, which has the key of the guide.
KEYED = os.environ.get("RKLLM_RS_TEST_KEYED", "")
KEY = "any"
_NAME = re.compile(r"[a-g]\d\d_\w+")


def equal(got: Any, expected: Any) -> None:
    """Fails if two values differ, with both."""
    if got != expected:
        message = f"got {got!r}, expected {expected!r}"
        raise AssertionError(message)


def holds(value: Any, about: Any = "") -> None:
    """Fails if a value is not true."""
    if not value:
        message = f"does not hold: {about!r}"
        raise AssertionError(message)


def example(heading: str, page: str = "clients.md", **places: str) -> dict[str, Any]:
    """Runs the Python of a guide's section about a client, against a server that asks for the guide's key.

    Args:
        heading: The section's.
        page: The guide.
        **places: What stands in the place of the guide's hosts, such as ``board1``: addresses.

    Returns:
        The names that it has defined.
    """
    guide = Path(__file__).parents[2] / "docs" / "guides" / page
    section = guide.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    holds(found, heading)
    here = {"http://board:8080": KEYED, "http://board:11434": KEYED, "qwen3": "agent"}
    here.update({f"http://{host}:8080": address for host, address in places.items()})
    names: dict[str, Any] = {}
    for code in found:
        for name, address in here.items():
            code = code.replace(name, address)  # noqa: PLW2901 - the same text, made fit
        exec(compile(code, heading, "exec"), names)  # noqa: S102 - the guide's
    return names


def tell(**values: Any) -> None:
    """Prints a line of results; clients print lines of their own."""
    print(f"\nRESULT {json.dumps(values)}", flush=True)


def main(*packages: str) -> None:
    """Runs the functions of the program whose name is a check's number, and prints a line of JSON for each.

    Args:
        *packages: The packages whose versions are told.
    """
    program: Any = sys.modules["__main__"]
    versions = {name: importlib.metadata.version(name) for name in packages}
    tell(versions=versions)
    failed = 0
    loop = asyncio.new_event_loop()  # one for all, since clients keep their connections
    asyncio.set_event_loop(loop)
    for name, check in list(vars(program).items()):
        if not _NAME.fullmatch(name):
            continue
        began = time.monotonic()
        error = _run(check, loop)
        failed += error is not None
        tell(check=name, ok=error is None, seconds=round(time.monotonic() - began, 2), error=error)
    # Clients leave threads and loops behind, and some of them wait at exit.
    sys.stdout.flush()
    os._exit(1 if failed else 0)


def _run(check: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> str | None:
    try:
        if inspect.iscoroutinefunction(check):
            loop.run_until_complete(check())
        else:
            check()
    except Exception:  # noqa: BLE001 - whatever it is, it is told, and the next one runs
        return traceback.format_exc()
    return None
