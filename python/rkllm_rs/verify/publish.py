"""The report as Markdown, fit for an issue and for the table of docs/hardware.md."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

from rkllm_rs import doctor
from rkllm_rs.doctor import publish as examined
from rkllm_rs.doctor.facts import Facts
from rkllm_rs.doctor.private import Private
from rkllm_rs.doctor.root import Root

if TYPE_CHECKING:
    from .report import Report

_COLUMNS = ("board", "chip", "library", "kernel driver", "`rkllm_rs`", "model", "by", "date")


def markdown(report: Report) -> str:
    """The report as Markdown, with doctor's, without names, addresses, serial numbers and home folders."""
    private = Private(Facts(Root("/")))

    def cell(text: object) -> str:
        hidden = private.hidden(str(text)).replace("\n", " ")
        return re.sub(r"([\\`*_\[\]<>|#~@])", r"\\\1", hidden)

    facts = report.facts
    library = " ".join(str(one) for one in (facts.get("library"), facts.get("release")) if one)
    driver = " ".join(str(one) for one in (facts.get("driver_name"), facts.get("driver")) if one)
    row = [
        facts.get("board"),
        facts.get("chip"),
        library,
        driver,
        facts.get("rkllm_rs"),
        facts.get("model"),
        "",
        time.strftime("%Y-%m-%d", time.gmtime()),
    ]
    counts = ", ".join(f"{report.count(one)} {one}" for one in ("pass", "fail", "skipped", "measured"))
    lines = ["# rkllm-rs verify", "", f"Ran on {cell(report.ran_on)}.", "", f"{counts}.", ""]
    if report.interrupted:
        lines += ["It was stopped before its end.", ""]
    lines += [f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|"]
    lines += [f"| {' | '.join(cell(one) if one is not None else '?' for one in row)} |", ""]
    if not report.npu:
        lines += ["This row is not for the table of verified hardware: no NPU was used.", ""]
    lines += ["| verdict | item | seconds | expected | seen |", "|---|---|---|---|---|"]
    lines += [
        f"| {one.verdict} | {one.id} | {one.seconds:.1f} | {cell(one.expected)} | {cell(one.reason)} |"
        for one in report.items
    ]
    values = {one.id: one.value for one in report.items if one.value is not None}
    text = private.hidden(json.dumps(values, indent=1, ensure_ascii=True))
    lines += ["", "## Values", "", "````json", text, "````", ""]
    # Its title becomes a part of this page.
    machine = examined.markdown(doctor.examine(), "/")
    return "\n".join(lines) + "\n" + re.sub(r"(?m)^(#+ )", r"#\1", machine)
