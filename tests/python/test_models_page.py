"""The vendor's figures in docs/models.md are those of data/vendor-benchmarks.json."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
model_tables = importlib.import_module("model_tables")

PAGE = model_tables.PAGE.read_text()
DATA: dict[str, Any] = json.loads(model_tables.DATA.read_text())


def test_the_page_is_current() -> None:
    assert model_tables.rewritten(PAGE, DATA) == PAGE, "run scripts/model_tables.py"


def test_a_changed_figure_changes_the_page() -> None:
    changed = json.loads(json.dumps(DATA))
    row = changed["rows"][0]
    row["decode_tokens_per_s"] += 1
    other = model_tables.rewritten(PAGE, changed)
    assert f" / {row['decode_tokens_per_s']:.1f} / " in other
    assert other != PAGE


def test_every_row_names_its_source_and_is_one_of_a_kind() -> None:
    sources = {source["id"]: source for source in DATA["sources"]}
    assert all(source["url"].startswith("https://") and source["date"] for source in sources.values())
    assert {row["source"] for row in DATA["rows"]} == set(sources)
    kinds = [(row["canonical"], row["chip"], row["dtype"]) for row in DATA["rows"]]
    assert len(set(kinds)) == len(kinds)
    assert all(row["decode_tokens_per_s"] > 0 for row in DATA["rows"])


def test_every_model_that_is_not_dense_is_in_the_data() -> None:
    assert {row["canonical"] for row in DATA["rows"]} >= model_tables.NOT_DENSE
