"""The page at ``/``: what the server is doing, and a chat to try, for browsers; a line of text for others."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
import re
from typing import TYPE_CHECKING, Final

from .http import Response, text_response

if TYPE_CHECKING:
    from .app import Server
    from .http import Request
    from .routes import Routes

_FILE: Final = os.path.join(os.path.dirname(__file__), "page.html")


@functools.cache
def _page() -> tuple[bytes, str]:
    """The page, and a policy that lets a browser run what is in it and nothing else."""
    with open(_FILE, "rb") as file:
        page = file.read()

    def hashes(tag: bytes) -> str:
        parts: list[bytes] = re.findall(b"<%b>(.*?)</%b>" % (tag, tag), page, re.DOTALL)
        digests = (base64.b64encode(hashlib.sha256(part).digest()).decode() for part in parts)
        return " ".join(f"'sha256-{digest}'" for digest in digests)

    policy = (
        f"default-src 'none'; script-src {hashes(b'script')}; style-src {hashes(b'style')}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy


async def _root(_server: Server, request: Request) -> Response:
    if "text/html" not in request.headers.get("accept"):
        return text_response("rkllm_rs is running", headers=[("vary", "Accept")])
    page, policy = _page()
    headers = [
        ("content-security-policy", policy),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-cache"),
        ("vary", "Accept"),
    ]
    return Response(page, media="text/html; charset=utf-8", headers=headers)


def add_routes(routes: Routes, server: Server) -> None:
    """Adds the routes of this module."""
    routes.add("GET", "/", functools.partial(_root, server), public=True)
