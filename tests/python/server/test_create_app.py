"""``create_app``: what it refuses at once, and what it takes."""

from __future__ import annotations

import dataclasses
import inspect
import math
from pathlib import Path
from typing import Any

import pytest

from rkllm_rs.errors import InvalidArgumentError, InvalidTypeError
from rkllm_rs.server import Limits, Settings, create_app

OUT_OF_RANGE: dict[str, list[Any]] = {
    "models": [{}, {" ": "a"}, {"x" * 201: "a"}, {"a\n": "a"}, {"a": ""}],
    "api_key": ["", [" "], ["a", ""]],
    "allowed_hosts": [["http://a.example"], ["*.example"], [""], ["a/b"]],
    "cors_origins": [["a.example"], ["*"], ["http://a.example/b"]],
    "backend": ["gpu"],
    "queue": [-1, 10**400],
    "queue_timeout": [-1, math.nan],
    "request_timeout": [-1, 0, math.inf],
    "load_wait": [-0.1, math.inf],
    "keep_alive": [math.nan, math.inf],
    "max_loaded": [0],
    "metrics_compat": ["zzz"],
    "kill_after": [-1, math.nan],
    "health_timeout": [-1, math.inf],
    "silence_timeout": [-1, math.nan],
    "max_context_len": [0],
    "isolate": [False],
    "restart": [True],
}
OF_ANOTHER_TYPE: dict[str, list[Any]] = {
    "models": [None, "a", ["a"], {"a": 3}, {3: "a"}],
    "api_key": [3, b"key", [3]],
    "loopback": [None, "yes", 1],
    "allowed_hosts": [None, "abc", 3, [3]],
    "cors_origins": [None, "http://a.example", [None]],
    "limits": [3, {"body_bytes": 3}],
    "settings": [3, {"queue": 3}],
    "backend": [None, 3],
    "library": [3],
    "queue": [None, "x", 1.5, True],
    "queue_timeout": ["x", True],
    "request_timeout": ["x"],
    "load_wait": [None, "x"],
    "keep_alive": ["5m"],
    "max_loaded": [1.5],
    "allow_manage": [None, 1, "yes"],
    "metrics_compat": [3],
    "kill_after": [None, "x"],
    "health_timeout": [None, "x"],
    "silence_timeout": [None, "x"],
    "max_context_len": ["x"],
    "no_such_option": [1],
}


def test_every_option_has_its_wrong_values() -> None:
    declared = {one.name for one in inspect.signature(create_app).parameters.values()} - {"options"}
    fields = {field.name for field in dataclasses.fields(Settings)}
    assert declared | fields <= OF_ANOTHER_TYPE.keys()


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        (name, value, error)
        for table, error in ((OUT_OF_RANGE, InvalidArgumentError), (OF_ANOTHER_TYPE, InvalidTypeError))
        for name, values in table.items()
        for value in values
    ],
)
def test_what_is_wrong_is_told_at_the_call(name: str, value: Any, error: type[Exception]) -> None:
    given: dict[str, Any] = {"models": {"a": "a.gguf"}, name: value}
    with pytest.raises(error) as caught:
        create_app(**given)
    assert caught.value.hint  # type: ignore[attr-defined]
    if name in {field.name for field in dataclasses.fields(Settings)}:
        with pytest.raises(error):
            create_app({"a": "a.gguf"}, settings=Settings(**{name: value}))


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Limits)])
def test_limits_are_numbers_above_0(name: str) -> None:
    for value, error in (
        (0, InvalidArgumentError),
        (math.nan, InvalidArgumentError),
        ("x", InvalidTypeError),
    ):
        with pytest.raises((error, InvalidTypeError)):
            create_app({"a": "a.gguf"}, limits=Limits(**{name: value}))


def test_what_can_be_used() -> None:
    app = create_app(
        {"a": Path("a.gguf"), "b": b"b.gguf"},
        api_key=("one", "two"),
        allowed_hosts=["board.lan:8080", "::1", "[fe80::1]:80", "CHAT.example."],
        library=Path("lib.so"),
        limits=Limits(),
        settings=Settings(queue=3),
        queue_timeout=None,
        keep_alive=-1,
        load_wait=0,
    )
    assert (app.server.settings.queue, app.server.settings.library) == (3, "lib.so")
    assert [entry.path for entry in app.server.models.entries.values()] == ["a.gguf", "b.gguf"]
