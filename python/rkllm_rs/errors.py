"""What can go wrong, one class for each thing that a caller can act on.

Every class stands under :class:`RkllmError`, so that one ``except`` catches all of them, and most are
what Python calls such a thing too: a missing file is a ``FileNotFoundError``, a bad argument a
``ValueError``.
"""

from __future__ import annotations

from ._native import Generation  # noqa: TC001
from ._types import Iterable  # noqa: TC001

__all__ = [
    "BackendFallbackWarning",
    "BusyError",
    "ClosedError",
    "ContextLengthError",
    "FileMissingError",
    "ForkedProcessError",
    "GenerationError",
    "GenerationTimeout",
    "InvalidArgumentError",
    "InvalidTypeError",
    "LibraryNotFoundError",
    "ModelError",
    "ModelFormatError",
    "ModelNotFoundError",
    "ModelPlatformError",
    "ModelVersionError",
    "NpuMemoryError",
    "PromptCacheError",
    "RkllmError",
    "RkllmWarning",
    "RuntimeInstallError",
    "UnsupportedFeatureError",
    "UnsupportedRuntimeError",
]


class RkllmError(Exception):
    """The base of all errors of this package.

    ``str(error)`` is the message, and the hint in a line of its own. Errors can be copied and pickled,
    so that they come whole out of a worker process.

    Attributes:
        hint: What to try, or ``None`` where nothing is known to help.
        log: The error and warning lines that the vendor library printed during the failed call.
    """

    hint: str | None
    log: list[str]

    def __init__(self, message: str = "", *, hint: str | None = None, log: Iterable[str] = ()) -> None:
        """Makes the error; programs only catch it.

        Args:
            message: What failed, and on what.
            hint: What to try.
            log: Lines of the vendor library.
        """
        super().__init__(message)
        self.hint = hint
        self.log = list(log)

    def __str__(self) -> str:
        message = str(self.args[0]) if self.args else ""
        if self.hint and self.hint not in message:
            return f"{message}\nhint: {self.hint}"
        return message

    def __repr__(self) -> str:
        parts = [repr(argument) for argument in self.args]
        if self.hint:
            parts.append(f"hint={self.hint!r}")
        if self.log:
            parts.append(f"log={self.log!r}")
        return f"{type(self).__name__}({', '.join(parts)})"


class LibraryNotFoundError(RkllmError, OSError):
    """No library could be loaded; the message lists every place tried and why not.

    It stands for all these places, so that ``errno`` and ``filename`` are ``None``.
    """


class UnsupportedRuntimeError(RkllmError):
    """A library was found, but its release is not certain, or not one that this package speaks.

    The message has the evidence. Where only evidence is missing, ``abi=`` names the ABI version.
    """


class RuntimeInstallError(RkllmError):
    """A runtime could not be installed, verified, chosen or removed; what was installed before stays."""


class UnsupportedFeatureError(RkllmError):
    """The loaded library cannot do that; the message names the release that can.

    ``Runtime.capabilities`` tells beforehand.
    """


class ModelError(RkllmError):
    """The model could not be opened (``rkllm_init``), for a reason that no class below names."""


class ModelNotFoundError(ModelError, FileNotFoundError):
    """The model file does not exist; ``filename`` is its path, and ``errno`` is ``ENOENT``."""


class ModelFormatError(ModelError):
    """The file is no model, or one of another kind than the backend runs."""


class ModelPlatformError(ModelError):
    """The model was converted for another chip."""


class ModelVersionError(ModelError):
    """The model's toolkit and the library are of unsuitable releases."""


class NpuMemoryError(ModelError, MemoryError):
    """The NPU has not enough memory left."""


class GenerationError(RkllmError):
    """A run failed, or another call on an open model; ``log`` has what the library said."""


class ContextLengthError(GenerationError, ValueError):
    """The input has more tokens than the context window holds."""


class GenerationTimeout(GenerationError, TimeoutError):  # noqa: N818 - a timeout, as in the standard library
    """The deadline of a call (``timeout``) passed; the run has been cancelled.

    Attributes:
        partial: What had come until then: ``text`` and ``token_ids`` as far as they go,
            ``finish_reason`` ``"cancelled"``, and in ``perf`` the number of tokens and no times.
            Always there on errors that this package raises.
    """

    partial: Generation | None = None


class PromptCacheError(RkllmError, ValueError):
    """A prompt cache is not of this model or library, is damaged, or could not be saved."""


class FileMissingError(RkllmError, FileNotFoundError):
    """A file that a call needs does not exist; ``filename`` is its path, and ``errno`` is ``ENOENT``."""


class BusyError(RkllmError):
    """The model is in use in a way that cannot be waited for.

    The call comes from inside a callback of the same model, or from the middle of its own ``steps()``;
    or the loaded release runs one model in a process (before 1.2.2) and there is one.
    """


class ClosedError(RkllmError):
    """The model is closed."""


class ForkedProcessError(RkllmError):
    """The model or library was opened before ``fork()``; a child process cannot use it."""


class InvalidArgumentError(RkllmError, ValueError):
    """An argument that can never be right; the message begins with its name."""


class InvalidTypeError(RkllmError, TypeError):
    """An argument of the wrong type; the message begins with its name."""


class RkllmWarning(UserWarning):
    """Something that works, but probably not as meant."""


class BackendFallbackWarning(RkllmWarning):
    """The NPU was not taken; the message says why."""
