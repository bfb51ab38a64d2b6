"""Every Python example of README and docs runs, and every command that they name exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fakes import fake_library, fake_model
from tiny_lora import make_lora

ROOT = Path(__file__).parents[2]
# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "/nonexistent")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "cpu-runtime" / "README.md"]
#: Every name in its guide for Bun.FFI, its messages included.
NAMES_OF_RKLLMJS = [
    "RKLLM",
    "RKLLMInputType.PROMPT",
    "init",
    "run",
    "destroy",
    "modelPath",
    "maxContextLen",
    "temperature",
    "inputType",
    "inputData",
    "result.text",
    "'ffi'",
    "'napi'",
    "backendType",
    "initializeFFI",
    "isFFIAvailable",
    "isBunRuntime",
    "getKVCacheSize",
    "clearKVCache",
    "setChatTemplate",
    "benchmarkBackend",
    "initTime",
    "bun-ffi-example.ts",
    "backend-comparison.ts",
    "Could not load RKLLM library from any location",
    "FFI backend failed, falling back to N-API",
    "only available in Bun runtime",
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        texts = [text for kind, text in BLOCK.findall(page.read_text()) if kind == language]
        name = str(page.relative_to(ROOT))
        found += [(f"{name}#{number}", text) for number, text in enumerate(texts, 1)]
    return found


def programs() -> list[Any]:
    """The Python blocks; those for the CPU runtime alone need the real model."""
    return [
        pytest.param(where, code, id=where, marks=[pytest.mark.model] * (".rkllm" not in code))
        for where, code in blocks("python")
    ]


@pytest.mark.parametrize(("where", "code"), programs())
def test_example_runs(where: str, code: str, tmp_path: Path) -> None:
    if "import fastapi" in code or "from fastapi" in code:
        pytest.importorskip("fastapi")
    if "import numpy" in code:
        pytest.importorskip("numpy")
    run: dict[str, Any] = {"steps": ["One, ", "two, ", "three."]}
    if "tokenizer=" in code:
        run["ask"] = [{"tokenize": "abc", "capacity": 8}]
    for name in set(re.findall(r"[\w.-]+\.rkllm", code)):
        fake_model(tmp_path, name, runs=[run], quiet=True)
    for name in set(re.findall(r"[\w.-]+\.gguf", code)):
        if name.endswith("lora.gguf"):
            make_lora(Path(MODEL), tmp_path / name)
        else:
            (tmp_path / name).symlink_to(MODEL)
    environment = dict(os.environ)
    if ".rkllm" in code:
        environment["RKLLM_RS_LIB"] = str(fake_library(tmp_path, "v1_3_0"))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{where}\n{done.stderr}"
    printed = [line for line in done.stdout.splitlines() if line]
    assert bool(printed) == ("print(" in code), f"{where}\n{done.stdout}"


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_page_for_those_who_come_from_rkllmjs_has_all_of_its_names() -> None:
    page = (ROOT / "docs" / "guides" / "migration.md").read_text()
    rows = "\n".join(line for line in page.splitlines() if line.startswith("| "))
    assert [name for name in NAMES_OF_RKLLMJS if name not in rows] == []


def test_commands_of_the_readme_exist() -> None:
    for command in set(re.findall(r"rkllm-rs ([a-z]+)", (ROOT / "README.md").read_text())):
        done = subprocess.run(
            [sys.executable, "-m", "rkllm_rs", command, "--help"], check=False, capture_output=True
        )
        assert done.returncode == 0, command
