"""The vendor's lines as records of Python's own logging, and what belongs to which call."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fakes import fake_library, fake_model
from rkllm_rs import GenerationError, Runtime

if TYPE_CHECKING:
    from pathlib import Path


def test_lines_reach_the_logger_by_level(open_model, caplog: pytest.LogCaptureFixture) -> None:
    lines = [
        ["stderr", "E rkllm: bad"],
        ["stdout", "W RKNN: odd"],
        ["stderr", "I rkllm: fine"],
        ["stderr", "free"],
    ]
    model = open_model({"runs": [{"steps": ["a"], "log": lines}]})
    caplog.clear()
    with caplog.at_level(logging.DEBUG, logger="rkllm_rs.vendor"):
        model.generate("x")
    found = [(record.name, record.levelname, record.getMessage()) for record in caplog.records]
    wanted = [
        ("ERROR", "E rkllm: bad"),
        ("WARNING", "W RKNN: odd"),
        ("INFO", "I rkllm: fine"),
        ("INFO", "free"),
    ]
    assert sorted(found) == sorted(("rkllm_rs.vendor", level, text) for level, text in wanted)


def test_streams_pass_on_at_their_end(open_model, caplog: pytest.LogCaptureFixture) -> None:
    model = open_model({"runs": [{"steps": ["a"], "log": [["stderr", "W rkllm: careful"]]}]})
    with caplog.at_level(logging.WARNING, logger="rkllm_rs.vendor"):
        assert list(model.stream("x").texts()) == ["a"]
    assert "W rkllm: careful" in [record.getMessage() for record in caplog.records]


def test_a_program_without_logging_does_not_import_it(tmp_path: Path) -> None:
    library = fake_library(tmp_path, "v1_3_0")
    model = fake_model(tmp_path, runs=[{"steps": ["a"], "log": [["stderr", "E rkllm: x"]]}])
    program = f"""
import sys, warnings
from rkllm_rs import RKLLM
warnings.simplefilter("ignore")
with RKLLM({str(model)!r}, library={str(library)!r}) as llm:
    llm.generate("x")
assert "logging" not in sys.modules
import logging
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Forwarded once, and not a second time by logging's last resort.
    assert done.stderr.count("E rkllm: x") == 1


def test_an_unfinished_line_belongs_to_its_own_call(open_model) -> None:
    first = {"return": -1, "log": [["stderr_unfinished", "E rkllm: no end"]]}
    second = {"return": -1, "log": [["stderr", "I rkllm: prompt text"]]}
    model = open_model({"runs": [first, second]})
    with pytest.raises(GenerationError) as one:
        model.generate("x")
    with pytest.raises(GenerationError) as two:
        model.generate("x")
    assert one.value.log == ["E rkllm: no end"]
    assert two.value.log == []


def test_one_object_for_one_library(library) -> None:
    assert Runtime.load(library) is Runtime.load(str(library))
