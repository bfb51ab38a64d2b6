"""How long a context is where the program leaves it open, by the limit of the model where that is known."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Opener

LIMIT = "I rkllm: rkllm-toolkit version: 1.2.3, max_context_limit: 2000, npu_core_num: 3"


@pytest.fixture
def script() -> dict[str, Any]:
    """A model whose library tells its limit."""
    return {"init": {"log": [["stderr", LIMIT]]}, "runs": [{"steps": ["a"]}] * 3}


def test_a_limit_that_was_told_is_remembered(
    open_model: Opener, make_model: Callable[..., Path], script: dict[str, Any]
) -> None:
    path = make_model(script)
    with open_model(path) as first:
        library_default = first.max_context_len
        assert first.info.context_limit == 2000
        assert first.info.chosen == {}
    with open_model(path) as second:
        assert second.max_context_len == 1984 != library_default
        assert second.info.chosen == {"max_context_len": 1984}
        assert second.generate("Hi").text == "a"
    with open_model(path, max_context_len=96) as given:
        assert (given.max_context_len, given.info.chosen) == (96, {})
    # Another file in its place is another model.
    path.write_text(path.read_text() + "\n")
    with open_model(path) as changed:
        assert (changed.max_context_len, changed.info.chosen) == (library_default, {})


def test_a_cache_that_cannot_be_used_does_no_harm(
    open_model: Opener,
    make_model: Callable[..., Path],
    script: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = make_model(script)
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder is wanted")
    for folder in (blocked, tmp_path / "fresh"):
        monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(folder))
        with open_model(path) as model:
            assert model.info.chosen == {}
    (store,) = (tmp_path / "fresh").rglob("*.json")
    assert list(json.loads(store.read_text())) == [os.fspath(path.resolve())]
    store.write_text("[]")
    with open_model(path) as model:
        assert model.info.chosen == {}
    with open_model(path) as model:
        assert model.info.chosen == {"max_context_len": 1984}
