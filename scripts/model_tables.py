#!/usr/bin/env python3
"""Writes the vendor's figures into docs/models.md and docs/start/board.md, from those that are shipped.

scripts/model_tables.py          rewrites what stands between the marks in the pages
scripts/model_tables.py --check  changes nothing, and exits with status 1 if it would
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
#: The pages, and the tables that each has.
PAGES = {
    ROOT / "docs" / "models.md": ("source", "speed", "largest", "reports", "bandwidth"),
    ROOT / "docs" / "start" / "board.md": ("first",),
}
#: What a reader without a model is told to begin with.
FIRST = "qwen3-0.6b"
DATA = ROOT / "python" / "rkllm_rs" / "bench" / "vendor-benchmarks.json"
#: The columns of the tables: chips and quantisations.
COLUMNS = [
    ("RK3588", "w8a8"),
    ("RK3576", "w4a16"),
    ("RK3576", "w8a8"),
    ("RK3562", "w8a8"),
    ("RV1126B", "w4a16"),
    ("RV1126B", "w8a8"),
]
Row = dict[str, Any]


class Benchmarks:
    """The vendor's rows: the newest source, and older ones for what that leaves out."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.sources: dict[str, Row] = {source["id"]: source for source in data["sources"]}
        self.newest: str = data["sources"][0]["id"]
        self.rows: list[Row] = data["rows"]
        self.told: list[Row] = data["reports"]
        #: They do not read every weight for every token.
        self.not_dense: list[str] = data["not_dense"]

    def row(self, model: str, chip: str, dtype: str) -> Row | None:
        """The row of a model on a chip, of the newest source that has one."""
        key = (model, chip, dtype)
        return next((row for row in self.rows if (row["canonical"], row["chip"], row["dtype"]) == key), None)

    def speed(self) -> list[str]:
        """The table of speed and memory, smallest model first."""
        shown: dict[str, str] = {}
        for row in self.rows:
            if row["source"] == self.newest:
                shown.setdefault(row["canonical"], row["model"])
        titles = [f"{chip} {dtype}" for chip, dtype in COLUMNS]
        lines = ["| model | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]
        for model, name in sorted(shown.items(), key=lambda one: self.size(one[0])):
            cells = [self.cell(self.row(model, *column)) for column in COLUMNS]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        return lines

    def size(self, model: str) -> float:
        """By what models are sorted: the memory that they take."""
        found = [row for column in COLUMNS if (row := self.row(model, *column))]
        return float(found[0]["memory_mb"])

    def cell(self, row: Row | None) -> str:
        """Time to the first token, speed and memory of a row of the newest source."""
        if row is None or row["source"] != self.newest:
            return ""
        return f"{row['ttft_ms']:.0f} / {row['decode_tokens_per_s']:.1f} / {row['memory_mb']:.0f}"

    def first(self) -> list[str]:
        """What to expect of a small model on each chip."""
        lines = [
            "| chip | quantisation | time to first token | tokens per second | memory |",
            "|---" * 5 + "|",
        ]
        for chip, dtype in COLUMNS:
            row = self.row(FIRST, chip, dtype)
            if row is not None:
                figures = (
                    f"{row['ttft_ms']:.0f} ms | {row['decode_tokens_per_s']:.0f} | {row['memory_mb']:.0f} MB"
                )
                lines.append(f"| {chip} | {dtype} | {figures} |")
        return lines

    def largest(self) -> list[str]:
        """The largest model that the vendor ever published."""
        row = self.row("llama3-8b", "RK3588", "w8a8")
        assert row is not None  # noqa: S101 - it is in the data
        source = self.sources[row["source"]]
        memory = f"{row['memory_mb']:.0f} MB and {row['decode_tokens_per_s']:.1f} tokens per second"
        return [
            f"Llama3 8B in w8a8 took {memory} on RK3588 with [RKLLM {source['release']}]({source['url']})."
        ]

    def reports(self) -> list[str]:
        """What users measured of models that the vendor's table does not have."""
        lines = ["| model | chip and board | RKLLM | condition | tokens per second |", "|---" * 5 + "|"]
        for row in self.told:
            speed = f"[{row['decode_tokens_per_s']:.1f}]({row['url']})"
            cells = [
                f"{row['model']} {row['dtype']}",
                f"{row['chip']}, {row['board']}",
                row["release"] or "not named",
                row["condition"],
                speed,
            ]
            lines.append("| " + " | ".join(cells) + " |")
        return lines

    def bandwidth(self) -> list[str]:
        """Memory times speed, the median of each chip's dense models."""
        lines = ["| chip | memory times speed |", "|---|---|"]
        for chip, dtype in COLUMNS:
            dense = [
                row["memory_mb"] * row["decode_tokens_per_s"] / 1000
                for row in self.rows
                if (row["chip"], row["dtype"], row["source"]) == (chip, dtype, self.newest)
                and row["canonical"] not in self.not_dense
            ]
            lines.append(f"| {chip} {dtype} | {statistics.median(dense):.0f} GB/s |")
        return lines

    def source(self) -> list[str]:
        """Where the table is from."""
        newest = self.sources[self.newest]
        return [f"Source: [rknn-llm's benchmark of {newest['release']}]({newest['url']}), {newest['date']}."]


def rewritten(page: str, names: tuple[str, ...], data: dict[str, Any]) -> str:
    """The page with these tables, made from the data."""
    benchmarks = Benchmarks(data)
    for name in names:
        begin, end = f"<!-- {name}: scripts/model_tables.py -->\n", "<!-- end -->"
        before, found, rest = page.partition(begin)
        if not found:
            sys.exit(f"the mark of {name} is not in the page")
        text = "\n".join(getattr(benchmarks, name)())
        page = f"{before}{begin}\n{text}\n\n{end}{rest.partition(end)[2]}"
    return page


def main() -> int:
    """Rewrites the pages, or names those that are not current."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    check = parser.parse_args().check
    data = json.loads(DATA.read_text("utf-8"))
    stale = False
    for page, names in PAGES.items():
        before = page.read_text("utf-8")
        after = rewritten(before, names, data)
        if after != before:
            stale = True
            print(
                f"{page.name} is not current: run scripts/model_tables.py" if check else f"wrote {page.name}"
            )
            if not check:
                page.write_text(after, "utf-8")
    return int(check and stale)


if __name__ == "__main__":
    sys.exit(main())
