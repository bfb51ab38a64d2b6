"""The vendor's figures in the documentation are those that the package ships."""

from __future__ import annotations

import importlib
import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest

from rkllm_rs import RKLLM, ModelError, ModelVersionError
from tiny_lora import write_gguf

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
model_tables = importlib.import_module("model_tables")

PAGES = {path: (path.read_text(), names) for path, names in model_tables.PAGES.items()}
PAGE, NAMES = PAGES[ROOT / "docs" / "models.md"]
DATA: dict[str, Any] = json.loads(model_tables.DATA.read_text())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_pages_are_current(path: Path) -> None:
    page, names = PAGES[path]
    assert model_tables.rewritten(page, names, DATA) == page, "run scripts/model_tables.py"


def test_a_changed_figure_changes_the_page() -> None:
    changed = json.loads(json.dumps(DATA))
    row = changed["rows"][0]
    row["decode_tokens_per_s"] += 1
    other = model_tables.rewritten(PAGE, NAMES, changed)
    assert f" / {row['decode_tokens_per_s']:.1f} / " in other
    assert other != PAGE


def test_every_row_names_its_source_and_is_one_of_a_kind() -> None:
    sources = {source["id"]: source for source in DATA["sources"]}
    assert all(source["url"].startswith("https://") and source["date"] for source in sources.values())
    assert {row["source"] for row in DATA["rows"]} == set(sources)
    kinds = [(row["source"], row["canonical"], row["chip"], row["dtype"]) for row in DATA["rows"]]
    assert len(set(kinds)) == len(kinds)
    assert all(row["decode_tokens_per_s"] > 0 for row in DATA["rows"])


def test_every_model_that_is_not_dense_is_in_the_data() -> None:
    assert {row["canonical"] for row in DATA["rows"]} >= set(DATA["not_dense"])


def test_the_limits_of_memory_are_those_of_the_rows() -> None:
    newest = DATA["sources"][0]["id"]
    for chip, limit in DATA["memory_bound_gb_per_s"].items():
        dense = [
            row["memory_mb"] * row["decode_tokens_per_s"] / 1000
            for row in DATA["rows"]
            if (row["chip"], row["dtype"], row["source"]) == (chip, "w8a8", newest)
            and row["canonical"] not in DATA["not_dense"]
        ]
        assert limit == pytest.approx(statistics.median(dense), abs=0.1)


def test_a_changed_report_changes_the_page() -> None:
    changed = json.loads(json.dumps(DATA))
    changed["reports"][0]["decode_tokens_per_s"] = 99.5
    assert "[99.5](" in model_tables.rewritten(PAGE, NAMES, changed)


def architectures() -> list[str]:
    """What the table of families says of the CPU runtime."""
    rows = [line.split("|") for line in PAGE.partition("## Model families")[2].splitlines()]
    return sorted({name for row in rows if len(row) == 7 for name in re.findall(r"`([\w-]+)`", row[4])})


def test_the_table_of_families_names_architectures() -> None:
    assert len(architectures()) > 15


@pytest.mark.parametrize("architecture", [*architectures(), "newest"])
def test_the_cpu_runtime_knows_each_architecture_of_the_table(architecture: str, tmp_path: Path) -> None:
    pytest.importorskip("rkllm_rs_cpu")
    path = write_gguf(tmp_path / "model.gguf", {"general.architecture": architecture}, {})
    with pytest.raises(ModelError) as caught:
        RKLLM(path)
    assert isinstance(caught.value, ModelVersionError) == (architecture == "newest")
