"""The package's own folder in the user's home: runtimes and models lie in it."""

from __future__ import annotations

import os


def own_home() -> str | None:
    """``$RKLLM_RS_HOME``, else ``$XDG_DATA_HOME/rkllm_rs``, else ``~/.local/share/rkllm_rs``.

    Returns:
        The folder, which need not exist, or ``None`` if the user has no home.
    """
    if named := os.environ.get("RKLLM_RS_HOME"):
        return os.path.abspath(named)
    data = os.environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(data):
        user = os.environ.get("HOME")
        if not user:
            return None
        data = os.path.join(user, ".local/share")
    return os.path.abspath(os.path.join(data, "rkllm_rs"))
