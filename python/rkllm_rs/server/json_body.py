"""JSON from strangers: strict, and bounded before anything is built from it."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NoReturn

from .errors import ApiError

#: How deep arrays and objects may be nested.
NESTING: Final = 64
#: How many keys, strings and values a body may have; each costs many times its size once it is read.
KEYS: Final = 100_000
STRINGS: Final = 200_000
VALUES: Final = 1_100_000

_BOM: Final = b"\xef\xbb\xbf"
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def parse(body: bytes) -> Any:
    """Reads a JSON text.

    A byte order mark is skipped, and half of a surrogate pair becomes U+FFFD. ``NaN``, ``Infinity``, numbers
    that do not fit into a float, and repeated keys are refused.

    Raises:
        ApiError: 400, with the reason.
    """
    body = body.removeprefix(_BOM)
    _check_size(body)
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        _refuse(f"byte {error.start} is not UTF-8")
    data = _load(text)
    if "\\u" in text:
        whole = json.dumps(data, ensure_ascii=False)
        if _SURROGATE.search(whole):
            return _load(_SURROGATE.sub("\ufffd", whole))
    return data


def _load(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)
    except RecursionError:
        _refuse(f"arrays and objects must not be nested more than {NESTING} times")
    except json.JSONDecodeError as error:
        _refuse(f"{error.msg} at line {error.lineno}, column {error.colno}")
    except ValueError:  # an integer with more digits than Python reads
        _refuse("a number has too many digits")


def _check_size(body: bytes) -> None:
    """Counts what a text would become, without reading it: much may be made of little."""
    # In valid JSON, backslashes are in strings only, and a run of them begins with one that escapes.
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if plain.count(b'"') > 2 * STRINGS:
        _refuse(f"there must be at most {STRINGS} strings")
    outside = re.sub(rb'"[^"]*"?', b"", plain)
    if outside.count(b":") > KEYS:
        _refuse(f"there must be at most {KEYS} keys")
    if outside.count(b",") > VALUES:
        _refuse(f"there must be at most {VALUES} values")
    depth = 0
    for bracket in outside.translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > NESTING:
            _refuse(f"arrays and objects must not be nested more than {NESTING} times")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        seen: set[str] = set()
        for key, _value in pairs:
            if key in seen:
                _refuse(f"the key {key[:64]!r} is repeated")
            seen.add(key)
    return data


def _constant(word: str) -> NoReturn:
    _refuse(f"{word} is not a JSON value")


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        _refuse("a number is too large")
    return number


def _refuse(reason: str) -> NoReturn:
    message = f"the body must be valid JSON; {reason}"
    raise ApiError(400, message, code="invalid_json") from None
