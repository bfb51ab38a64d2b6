"""Packages that only some installations have: the extras of this distribution."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Imports a module of a package that an extra installs.

    Args:
        module: Name of the module, such as ``"rich.markdown"``.
        extra: The extra that has its package, such as ``"cli"``.
        purpose: What needs it, such as ``"rkllm-rs chat"``.

    Returns:
        The module.

    Raises:
        RkllmError: The package is not installed; the hint has the command that installs it.
        ImportError: It is installed, and broken.
    """
    package = module.partition(".")[0]
    try:
        __import__(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        from .errors import RkllmError

        message = f"{purpose} requires the package {package}, which is not installed"
        raise RkllmError(message, hint=f"Run `pip install 'rkllm_rs[{extra}]'`.") from error
    return sys.modules[module]
