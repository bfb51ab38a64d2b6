"""Errors of the HTTP server, in the shape that each family of clients reads."""

from __future__ import annotations

import json
import math
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Literal

from rkllm_rs import errors

if TYPE_CHECKING:
    from collections.abc import Iterable

Family = Literal["openai", "ollama", "anthropic"]

_OPENAI_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "unavailable_error",
}
_ANTHROPIC_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
#: Something that may be a file of this machine.
_PATH: Final = re.compile(r"(?<![\w/:.<#])/(?:[^\s/'\"`:;,]+/)+[^\s'\"`:;,]*")


def family_of(path: str) -> Family:
    """Returns the family whose clients call this path, known before there is a route."""
    if path.startswith("/api/") or path == "/api":
        return "ollama"
    if path == "/v1/messages" or path.startswith("/v1/messages/"):
        return "anthropic"
    return "openai"


class ApiError(Exception):
    """An answer with an error status; handlers and streams raise it.

    Attributes:
        status: The HTTP status.
        message: What the client is told, for all families.
        type: OpenAI's word for the kind of error; the status decides if it is ``None``.
        param: The path of the field at fault, such as ``messages[2].content``.
        code: A word for programs, such as ``model_not_found``.
        retry_after: Seconds after which the client may try again.
        retry: Whether a retry can help; ``None`` leaves it to the client.
        headers: Further headers.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str | None = None,  # noqa: A002 - the field's name
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        retry: bool | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.param = param
        self.code = code
        self.retry_after = retry_after
        self.retry = retry
        self.headers = list(headers)

    @property
    def is_ours(self) -> bool:
        """Whether the server is at fault, and not the caller."""
        return self.status >= HTTPStatus.INTERNAL_SERVER_ERROR

    def data(self, family: Family, request_id: str = "") -> dict[str, Any]:
        """Returns the error as an object, for a body or for the last event of a stream."""
        if family == "ollama":
            return {"error": self.message}
        if family == "anthropic":
            kind = _ANTHROPIC_TYPES.get(self.status)
            kind = kind or ("api_error" if self.is_ours else "invalid_request_error")
            return {
                "type": "error",
                "error": {"type": kind, "message": self.message},
                "request_id": request_id,
            }
        kind = self.type or _OPENAI_TYPES.get(self.status)
        kind = kind or ("server_error" if self.is_ours else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def body(self, family: Family, request_id: str = "") -> bytes:
        """Returns the JSON body."""
        return json.dumps(self.data(family, request_id)).encode()

    def all_headers(self) -> list[tuple[str, str]]:
        """Returns the headers that the error brings."""
        headers = list(self.headers)
        if self.retry_after is not None:
            headers.append(("retry-after", str(max(1, math.ceil(self.retry_after)))))
        if self.retry is not None:
            headers.append(("x-should-retry", "true" if self.retry else "false"))
        return headers


def without_paths(text: str) -> str:
    """Replaces what may be a path of this machine."""
    return _PATH.sub("<path>", text)


#: What a client is told, by the class of the error, the most special first. What the caller did is 4xx, so
#: that clients do not try it again. What the server or the library did is 5xx with few words: the log has
#: the rest. Clients try those again, unless ``retry`` says that it cannot help.
_BAD: Final = {"status": 400, "message": None}
_ANSWERS: Final[list[tuple[type[BaseException], dict[str, Any]]]] = [
    (errors.InvalidArgumentError, _BAD),
    (errors.InvalidTypeError, _BAD),
    (errors.SchemaError, {**_BAD, "code": "invalid_schema"}),
    (errors.TemplateError, _BAD),
    (errors.ToolError, _BAD),
    (errors.UnsupportedFeatureError, _BAD),
    (
        errors.GenerationTimeout,
        {"status": 504, "message": "the time limit has passed", "code": "timeout", "retry": False},
    ),
    (
        errors.BusyError,
        {"status": 503, "message": "the model or the NPU is in use", "code": "busy", "retry_after": 5},
    ),
    (
        errors.WorkerCrashed,
        {
            "status": 503,
            "message": "the model's process has died and is being started again",
            "code": "worker_crashed",
            "retry_after": 2,
        },
    ),
    (
        errors.ClosedError,
        {
            "status": 503,
            "message": "the model is being unloaded",
            "code": "model_unloading",
            "retry_after": 1,
        },
    ),
    (
        errors.NpuMemoryError,
        {
            "status": 503,
            "message": "there is not enough memory for the model",
            "code": "out_of_memory",
            "retry_after": 30,
        },
    ),
    *(
        (
            kind,
            {
                "status": 500,
                "message": "the model could not be loaded; the server's log says why",
                "code": "model_not_loaded",
                "retry": False,
            },
        )
        for kind in (errors.ModelError, errors.LibraryNotFoundError, errors.UnsupportedRuntimeError)
    ),
    (
        errors.DriverError,
        {
            "status": 500,
            "message": "the NPU or its driver cannot be used; the server's log says why",
            "code": "npu_failed",
            "retry": False,
        },
    ),
    (
        errors.GenerationError,
        {
            "status": 500,
            "message": "the generation failed; the server's log says why",
            "code": "generation_failed",
        },
    ),
    (
        BaseException,
        {
            "status": 500,
            "message": "an error occurred in the server; its log says more",
            "code": "internal_error",
        },
    ),
]


def as_api_error(error: BaseException) -> ApiError:
    """Returns what a client is told about an error."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, errors.ContextLengthError):
        if error.limit is None or error.needed is None:
            message = "the prompt does not fit into the context window"
            return ApiError(400, message, param="messages", code="context_length_exceeded")
        return too_long(error.needed, error.limit)
    answer = dict(next(answer for kind, answer in _ANSWERS if isinstance(error, kind)))
    if answer["message"] is None:
        # The hint is left out: it is for programs in Python.
        answer["message"] = without_paths(str(error.args[0]) if error.args else type(error).__name__)
        answer["param"] = getattr(error, "argument", None)
    return ApiError(**answer)


def too_long(needed: int, limit: int) -> ApiError:
    """What a client is told whose prompt leaves no room for an answer.

    Args:
        needed: The prompt's tokens.
        limit: Those of the context window.
    """
    message = f"the prompt has {needed} tokens, but this model's maximum context length is {limit} tokens"
    return ApiError(400, message, param="messages", code="context_length_exceeded")
