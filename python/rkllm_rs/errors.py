"""Errors and warnings, one class for each kind that a program can act on.

All errors are subclasses of ``RkllmError``. Most are also a subclass of Python's own exception for such
an error: a missing file is a ``FileNotFoundError``, an invalid argument a ``ValueError``.
"""

from __future__ import annotations

from ._native import Generation  # noqa: TC001
from ._types import Iterable  # noqa: TC001

__all__ = [
    "BackendFallbackWarning",
    "BusyError",
    "ClosedError",
    "ContextLengthError",
    "DownloadError",
    "DriverError",
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
    "SchemaError",
    "TemplateError",
    "ToolError",
    "UnsupportedFeatureError",
    "UnsupportedRuntimeError",
    "WorkerCrashed",
]


class RkllmError(Exception):
    """Base class of all errors of this package.

    ``str(error)`` is the message, with the hint on its own line. Errors can be copied and pickled.

    Thread safety: nothing changes an error after it was raised; any thread may read it.

    Attributes:
        hint: What to try, or ``None`` if nothing is known to help.
        log: Error and warning lines that the vendor's library printed during the failed call.
    """

    hint: str | None
    log: list[str]

    def __init__(self, message: str = "", *, hint: str | None = None, log: Iterable[str] = ()) -> None:
        """Creates an error.

        Args:
            message: What failed.
            hint: What to try.
            log: Lines of the vendor's library.
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
    """No library could be loaded; the message lists every place searched and the reason.

    ``errno`` and ``filename`` are ``None``, because there may be several places.
    """


class UnsupportedRuntimeError(RkllmError):
    """A library was found, but its release is uncertain or not supported.

    The message lists the evidence. If only evidence is missing, pass the ABI version as ``abi=``.
    """


class RuntimeInstallError(RkllmError):
    """A runtime could not be installed, verified, selected or removed; installed ones are unchanged."""


class DownloadError(RkllmError):
    """A model could not be downloaded; what has come stays, and the next call goes on from there."""


class UnsupportedFeatureError(RkllmError):
    """The loaded library does not support the feature; the message names the release that does, if one does.

    ``Runtime.capabilities`` lists the supported features.
    """


class ModelError(RkllmError):
    """The model could not be opened (``rkllm_init``). Subclasses are more specific."""


class ModelNotFoundError(ModelError, FileNotFoundError):
    """The model file does not exist; ``filename`` is its path, and ``errno`` is ``ENOENT``."""


class ModelFormatError(ModelError):
    """The file is not a model, or not one for this backend."""


class ModelPlatformError(ModelError):
    """The model was converted for another chip."""


class ModelVersionError(ModelError):
    """The library's release cannot run a model of this toolkit release or architecture."""


class NpuMemoryError(ModelError, MemoryError):
    """The NPU does not have enough memory."""


class DriverError(RkllmError):
    """The NPU, its kernel driver or a limit of the system is the cause; the hint says what to change."""


class GenerationError(RkllmError):
    """A run, or another call on an open model, failed; ``log`` has the library's own messages.

    Attributes:
        partial: The answer so far: ``text`` and ``token_ids``, ``finish_reason`` ``"cancelled"``, and in
            ``perf`` the number of tokens without times. ``None`` if no answer was being generated.
    """

    partial: Generation | None = None


class ContextLengthError(GenerationError, ValueError):
    """The input does not fit into the context window, or the window is larger than the model can have.

    Attributes:
        needed: Tokens of the input, or ``None`` where the library refused it without a count.
        limit: Tokens that the context window holds, or ``None`` likewise.
    """

    needed: int | None = None
    limit: int | None = None


class GenerationTimeout(GenerationError, TimeoutError):  # noqa: N818 - a timeout, as in the standard library
    """The time limit of a call (``timeout``) has passed; the run has been cancelled.

    ``partial`` is always set on errors that this package raises.
    """


class ToolError(RkllmError):
    """A function cannot be used as a tool, or a model's call does not fit the tool.

    In the first case, the hint says what to write instead. In the second, the message is for the model.
    """


class SchemaError(RkllmError):
    """A JSON schema cannot be used; the message says which part of it."""


class PromptCacheError(RkllmError, ValueError):
    """A prompt cache belongs to another model or library, is damaged, or could not be saved."""


class TemplateError(RkllmError):
    """A chat template cannot be used, or it rejects the conversation.

    If the template rejects the conversation, the message contains the template's own text.

    Attributes:
        filename: The file with the template, or ``None`` if the template does not come from a file.
        lineno: The line of the template, counted from 1, or ``None`` if unknown.
    """

    filename: str | None = None
    lineno: int | None = None


class FileMissingError(RkllmError, FileNotFoundError):
    """A file for a call does not exist; ``filename`` is its path, and ``errno`` is ``ENOENT``."""


class BusyError(RkllmError):
    """The NPU, the model or the library is in use, and waiting took too long or would never end.

    One of these has happened; the hint says what to do:

    - Other programs used the NPU for all of ``open_timeout``, or of the ``timeout`` of ``npu_lock()``. The
      message names the program that holds the NPU lock, and so does the command ``rkllm-rs ps``.
    - A model that was closed is still busy in the library after ``open_timeout``.
    - The call was made inside a callback of the same model, or in the middle of its own ``steps()``.
    - A conversation has a turn under way, in another thread or task, or in a stream that has not ended.
    - A second model was opened with a release that supports one per process (before RKLLM 1.2.2).
    """


class WorkerCrashed(RkllmError):  # noqa: N818 - it names an event
    """The worker process of a model opened with ``isolate=True`` has died: usually the library crashed.

    The call that was being served raises this error. The next call starts a new worker, unless the model was
    opened with ``restart=False``. ``log`` has the last lines that the library printed.

    Attributes:
        signal: The number of the signal that ended the worker, or ``None``.
        exit_code: The worker's exit status, or ``None``. Both are ``None`` if another part of the program has
            already collected the status.
    """

    signal: int | None = None
    exit_code: int | None = None


class ClosedError(RkllmError):
    """The model is closed."""


class ForkedProcessError(RkllmError):
    """The model or library was opened before ``fork()``; the child process cannot use it."""


class InvalidArgumentError(RkllmError, ValueError):
    """An argument has an invalid value; the message begins with the argument's name."""


class InvalidTypeError(RkllmError, TypeError):
    """An argument has the wrong type or an unknown name; the message says which."""


class RkllmWarning(UserWarning):
    """Something works, but probably not as intended.

    ``strict=True`` of a model raises ``UnsupportedFeatureError`` for most of them. Python's module
    ``warnings`` filters them. Thread safety: nothing changes a warning; any thread may read it.
    """


class BackendFallbackWarning(RkllmWarning):
    """The CPU runtime is used in place of the NPU; the message says why."""
