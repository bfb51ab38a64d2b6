"""Fields of requests: read by name, with their type and range, and refused with their path.

``null`` is the same as no field, and fields that nobody reads are ignored, and named in a header: clients
send many.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, cast

from .errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from .http import Request

__all__ = ["Fields", "as_list", "as_object", "fields_of", "refuse"]

#: Values that ask for nothing.
_NOTHING: Final[tuple[object, ...]] = (None, False, "", [], {})
#: What says something of the request, and asks for nothing of the answer; and what is always done.
_OF_NO_MATTER: Final = frozenset(
    (
        "betas",
        "cache_prompt",
        "metadata",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "separate_reasoning",
        "service_tier",
        "skip_special_tokens",
        "store",
        "stream_options",
        "stream_reasoning",
        "user",
    )
)
#: Integers beyond this are nobody's.
_HUGE = 2**127


def refuse(path: str, reason: str, *, code: str | None = None) -> NoReturn:
    """Refuses a field.

    Args:
        path: The field, such as ``messages[2].content``.
        reason: What is wrong with it; the rest of a sentence that begins with the path.
        code: A word for programs.

    Raises:
        ApiError: 400.
    """
    raise ApiError(400, f"{path} {reason}", param=path, code=code)


class Fields:
    """An object of a request."""

    def __init__(self, data: Mapping[str, Any], path: str = "") -> None:
        """Reads an object.

        Args:
            data: The object.
            path: Where it stands in the body; empty for the body itself.
        """
        self.data = data
        self._path = path
        self._read: set[str] = set()
        self._inner: dict[str, Fields] = {}
        self._replaced: frozenset[str] = frozenset()

    def over(self, **values: Any) -> Fields:
        """The same object with other values for some fields. What else is read of it, is read of this one."""
        made = Fields({**self.data, **values}, self._path)
        made._read, made._inner, made._replaced = self._read, self._inner, frozenset(values)
        return made

    def ignored(self) -> list[str]:
        """The fields that have a value and that nobody has read, so that they had no effect.

        Not those that ask for nothing, and of objects in the body only ``options``, which is Ollama's.
        """
        names = [
            self.path(name)
            for name, value in self.data.items()
            if name not in self._read and name not in _OF_NO_MATTER and value not in _NOTHING
        ]
        options = self._inner.get("options")
        return names if options is None else names + options.ignored()

    def _get(self, name: str) -> Any:
        if name not in self._replaced:
            self._read.add(name)
        return self.data.get(name)

    def path(self, name: str) -> str:
        """The path of a field."""
        return f"{self._path}.{name}" if self._path else name

    def has(self, name: str) -> bool:
        """Whether there is a value."""
        return self._get(name) is not None

    def raw(self, name: str) -> Any:
        """A value of any type, or ``None``."""
        return self._get(name)

    def refuse(self, name: str, reason: str, *, code: str | None = None) -> NoReturn:
        """Refuses a field, as ``refuse``."""
        refuse(self.path(name), reason, code=code)

    def integer(self, name: str, low: int, high: int = _HUGE) -> int | None:
        """An integer in a range, or ``None``."""
        value = self._get(name)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            self._wrong(name, "an integer", value)
        if not low <= value <= high:
            at_most = f" and at most {high}" if high < _HUGE else ""
            self.refuse(name, f"must be at least {low}{at_most}, got {_shown(value)}")
        return value

    def number(self, name: str, low: float, high: float = math.inf) -> float | None:
        """A number in a range, or ``None``."""
        value = self._get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self._wrong(name, "a number", value)
        if not low <= value <= high or abs(value) > 1e30:  # noqa: PLR2004 - more than any float32 of ours
            at_most = f" and at most {high:g}" if high < math.inf else ""
            self.refuse(name, f"must be at least {low:g}{at_most}, got {_shown(value)}")
        return float(value)

    def boolean(self, name: str, default: bool = False) -> bool:  # noqa: FBT001, FBT002 - of the field
        """A boolean."""
        value = self._get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self._wrong(name, "a boolean", value)
        return value

    def text(self, name: str, most: int | None = None) -> str | None:
        """A string, or ``None``."""
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self._wrong(name, "a string", value)
        if most is not None and len(value) > most:
            self.refuse(name, f"must have at most {most} characters, got {len(value)}")
        return value

    def choice(self, name: str, choices: tuple[str, ...]) -> str | None:
        """One of some words, or ``None``."""
        value = self.text(name)
        if value is not None and value not in choices:
            listed = ", ".join(choices)
            self.refuse(name, f"must be one of {listed}, got {_shown(value)}")
        return value

    def texts(self, name: str, most: int, longest: int) -> list[str]:
        """A string or a list of strings."""
        value = self._get(name)
        if value is None:
            return []
        listed = as_list([value] if isinstance(value, str) else value)
        if listed is None:
            self._wrong(name, "a string or a list of strings", value)
        if len(listed) > most:
            self.refuse(name, f"must have at most {most} strings, got {len(listed)}")
        for at, one in enumerate(listed):
            if not isinstance(one, str):
                self._wrong(f"{name}[{at}]", "a string", one)
            if len(one) > longest:
                self.refuse(f"{name}[{at}]", f"must have at most {longest} characters, got {len(one)}")
        return listed

    def objects(self, name: str, most: int) -> list[Fields]:
        """A list of objects."""
        value = self._get(name)
        if value is None:
            return []
        listed = as_list(value)
        if listed is None:
            self._wrong(name, "a list", value)
        if len(listed) > most:
            self.refuse(name, f"must have at most {most} elements, got {len(listed)}")
        found: list[Fields] = []
        for at, one in enumerate(listed):
            data = as_object(one)
            if data is None:
                self._wrong(f"{name}[{at}]", "an object", one)
            found.append(Fields(data, self.path(f"{name}[{at}]")))
        return found

    def child(self, name: str) -> Fields | None:
        """An object, or ``None``."""
        value = self._get(name)
        if value is None:
            return None
        data = as_object(value)
        if data is None:
            self._wrong(name, "an object", value)
        made = self._inner[name] = Fields(data, self.path(name))
        return made

    def _wrong(self, name: str, wanted: str, value: Any) -> NoReturn:
        self.refuse(name, f"must be {wanted}, got {_kind(value)}")


async def fields_of(request: Request) -> Fields:
    """Reads the body of a request, whose answer will name the fields that nobody reads.

    Raises:
        ApiError: As ``Request.json``.
        ClientGone: The client has left.
    """
    fields = Fields(await request.json())
    request.ignored = fields.ignored
    return fields


def is_id(value: object) -> bool:
    """Whether a value can be a token id."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def as_list(value: Any) -> list[Any] | None:
    """The value if it is a list."""
    return cast("Any", value) if isinstance(value, list) else None


def as_object(value: Any) -> dict[str, Any] | None:
    """The value if it is an object."""
    return cast("Any", value) if isinstance(value, dict) else None


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "a list" if isinstance(value, list) else "an object"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."  # noqa: PLR2004 - what a message bears
