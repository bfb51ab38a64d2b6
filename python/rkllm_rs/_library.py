"""Where the Python side knows libraries to be."""

from __future__ import annotations

import os

from . import _native
from ._cpu_runtime import cpu_library
from ._native import BackendStatus  # noqa: TC001

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]
PACKAGE = os.path.dirname(os.path.abspath(__file__))


def options(
    library: Path | None, backend: str, abi: str | None, vendor_log: str | None = None
) -> tuple[str, Path | None, str | None, str, str | None]:
    """The arguments with which the native side searches, and which it checks.

    Args:
        library: The library's file, or ``None`` for the usual search.
        backend: ``"auto"``, ``"npu"`` or ``"cpu"``.
        abi: The ABI version, or ``None``.
        vendor_log: What is printed of the library's lines, or ``None`` to leave that as it is.

    Returns:
        Backend, library, ABI version, the package's folder, the CPU runtime's file.
    """
    if vendor_log is not None:
        _native.set_vendor_log(vendor_log)
    return backend, library, abi, PACKAGE, cpu_library()


def backends() -> list[BackendStatus]:
    """Checks which backends are available on this machine, without loading anything.

    Returns:
        One status for ``"npu"`` and one for ``"cpu"``: ``name``, ``available``, ``library`` (a path or
        ``None``), ``reason``, and ``hint`` if it is not available.

    Example:
        >>> [status.name for status in backends()]
        ['npu', 'cpu']
    """
    return _native.backends(PACKAGE, cpu_library())
