"""How a worker process is started, and whether one is wanted."""

from __future__ import annotations

import os
import sys

from . import _native
from ._library import PACKAGE
from .errors import InvalidArgumentError, UnsupportedFeatureError

VARIABLE = "RKLLM_RS_ISOLATE"
PYTHON = "RKLLM_RS_WORKER_PYTHON"

_ON = ("1", "true", "yes", "on")
_OFF = ("", "0", "false", "no", "off")


def wanted(isolate: bool | None, restart: bool, kill_after: float | None) -> bool:  # noqa: FBT001
    """Whether a model is to be opened in a worker.

    Args:
        isolate: What the program says; ``None`` leaves it to ``RKLLM_RS_ISOLATE``.
        restart: Matters only in a worker.
        kill_after: Likewise.

    Raises:
        InvalidArgumentError: An argument that matters only in a worker, and there is to be none.
        InvalidTypeError: Not what a flag can be.
    """
    _native.check_isolation(isolate, restart, kill_after)
    if isolate is None:
        isolate = _of_environment()
    if isolate:
        return True
    for name, given in (("restart", not restart), ("kill_after", kill_after is not None)):
        if given:
            message = f"{name} requires isolate=True"
            raise InvalidArgumentError(
                message, hint=f"Pass isolate=True: only a worker process can be ended alone. Or omit {name}."
            )
    return False


def _of_environment() -> bool:
    value = os.environ.get(VARIABLE, "").strip().lower()
    if value in _ON:
        return True
    if value in _OFF:
        return False
    message = f"{VARIABLE} must be 0 or 1, got {value!r}"
    raise InvalidArgumentError(message, hint="Set it to 1 to run models in worker processes, or unset it.")


def command() -> list[str]:
    """The command that becomes a worker of this process.

    Raises:
        UnsupportedFeatureError: This process has no Python that could be started.
    """
    file = os.path.join(PACKAGE, "worker.py")
    if not os.path.isfile(file):
        message = f"isolate=True requires the package as files in a folder; {file} does not exist"
        raise UnsupportedFeatureError(message, hint="Install rkllm_rs with pip, or pass isolate=False.")
    # Nothing of the program's packages is needed, and their start-up code costs time. Its variables may lead
    # to another package, but one of them may be what makes this Python find its own library.
    flags = ["-S"] if os.environ.get("PYTHONHOME") else ["-S", "-E"]
    return [_python(), *flags, file, str(os.getpid())]


def _python() -> str:
    given = os.environ.get(PYTHON)
    if given:
        return given
    if not getattr(sys, "frozen", False):
        name = f"python{sys.version_info.major}.{sys.version_info.minor}"
        beside = os.path.join(sys.base_exec_prefix, "bin", name)
        for path in (sys.executable, getattr(sys, "_base_executable", None), beside):
            # An embedding program often names itself here, and must not be started in place of Python.
            if path and os.path.basename(path).startswith(("python", "pypy")) and os.access(path, os.X_OK):
                return path
    message = f"isolate=True requires a Python interpreter to start, got sys.executable={sys.executable!r}"
    raise UnsupportedFeatureError(
        message,
        hint=f"Set {PYTHON} to a Python {sys.version_info.major}.{sys.version_info.minor}, or pass "
        "isolate=False.",
    )
