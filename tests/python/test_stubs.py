"""The stubs of the compiled module: where they are, and that Python does not take them for it."""

from __future__ import annotations

import pickle
from pathlib import Path

from rkllm_rs import _native

STUBS = Path(_native.__file__).parent / "_native"
SOURCES = Path(__file__).parents[2] / "python" / "rkllm_rs" / "_native"


def test_the_folder_of_stubs_is_installed_and_does_not_hide_the_compiled_module() -> None:
    assert {path.name for path in STUBS.iterdir()} == {path.name for path in SOURCES.glob("*.pyi")}
    assert _native.__file__.endswith(".so")


def test_pickle_helpers_are_reachable_but_not_exported() -> None:
    assert not [name for name in _native.__all__ if name.startswith("_") and name != "__version__"]
    chunk = _native._chunk("Hi", 7)
    assert pickle.loads(pickle.dumps(chunk)).token_id == 7  # noqa: S301
