"""The native module, where it can be loaded."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load() -> Any:
    """Loads the native module.

    Raises:
        ImportError: Why that fails.
    """
    # Its folder of stubs alone would be imported too, as an empty package.
    module = import_module("rkllm_rs._native")
    if not hasattr(module, "__version__"):
        message = "there is no compiled file in the package"
        raise ImportError(message)
    return module
