"""Fixtures of the CPU runtime's own tests: its library, the real model, open handles."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from capi import Library, Model

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
LIBRARY_VARIABLE = "RKLLM_RS_CPU_PREBUILT"
MODEL_VARIABLE = "RKLLM_RS_TEST_GGUF"

# Shared with the tests of the package: the maker of adapters.
sys.path.append(str(HERE.parents[1] / "tests/python"))


@pytest.fixture(scope="session")
def library() -> Path:
    """The built library: a named one, or the one in the package's folder."""
    named = os.environ.get(LIBRARY_VARIABLE)
    path = Path(named) if named else HERE.parent / "python/rkllm_rs_cpu/lib/librkllmrt_cpu.so"
    if not path.is_file():
        pytest.fail(f"no library at {path}: run cpu-runtime/build.sh or set {LIBRARY_VARIABLE}")
    return path


@pytest.fixture(scope="session")
def model() -> Path:
    """The real model, SmolLM2-135M-Instruct."""
    named = os.environ.get(MODEL_VARIABLE)
    if not named:
        pytest.fail(f"set {MODEL_VARIABLE} to the SmolLM2-135M-Instruct .gguf file")
    path = Path(named)
    if not path.is_file():
        pytest.fail(f"{MODEL_VARIABLE} names {path}, which is not there")
    return path


@pytest.fixture(scope="session")
def capi(library: Path) -> Library:
    """The library's functions."""
    return Library(library)


@pytest.fixture(scope="session")
def shared_llm(capi: Library, model: Path) -> Iterator[Model]:
    with Model(capi, model) as opened:
        yield opened


@pytest.fixture
def llm(shared_llm: Model) -> Model:
    """A model that is empty, and takes text as it is."""
    assert shared_llm.template() == 0
    assert shared_llm.clear() == 0
    shared_llm.seed(None)
    return shared_llm
