"""What the user has set for programs of the hub: the token, and whether they may make requests."""

from __future__ import annotations

import os
from typing import Final

from rkllm_rs.errors import InvalidArgumentError

from . import places

_TRUE: Final = ("1", "ON", "YES", "TRUE")


def is_offline() -> bool:
    """Whether the user has forbidden requests to the hub."""
    return any(
        os.environ.get(name, "").upper() in _TRUE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


def token() -> str | None:
    """The user's token: from the environment, or from the file that `hf auth login` writes."""
    if os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in _TRUE:
        return None
    found = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
    if not found:
        path = os.environ.get("HF_TOKEN_PATH") or os.path.join(places.hub_home(), "token")
        try:
            with open(os.path.expanduser(path), encoding="ascii", errors="replace") as file:
                found = file.read(4096)
        except OSError:
            return None
    found = found.strip()
    if not found:
        return None
    if not found.isascii() or not found.isprintable() or " " in found:
        message = "HF_TOKEN must be a token of the hub, such as hf_…; it has characters that no token has"
        raise InvalidArgumentError(message, hint="Copy it again from https://huggingface.co/settings/tokens.")
    return found
