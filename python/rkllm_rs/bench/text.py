"""A report as text for people: a block for each model as it was set up, a line for each size."""

from __future__ import annotations

import os
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .report import Report, Result

_HEAD = (
    f"{'prompt':>8}{'answer':>8}{'prefill':>10}{'decode':>10}{'first token, ms':>18}{'memory':>9}\n"
    f"{'tokens':>8}{'tokens':>8}{'tokens/s':>10}{'tokens/s':>10}{'p50 / p99':>18}{'MiB':>9}"
)


def label(result: Result, *, library: bool = False) -> str:
    """A name for how a model was set up: model, backend, release and settings."""
    release = f", RKLLM {result.release}" if result.release else ""
    words = [f"{os.path.basename(result.model.rstrip('/'))}, {result.backend}{release}"]
    if library:
        words.append(result.library)
    words += [f"{name}={value}" for name, value in result.settings.items()]
    if result.concurrency > 1:
        words.append(f"{result.concurrency} runs at once")
    return ", ".join(words)


def table(report: Report) -> str:
    """The report as text.

    Args:
        report: What ``run()`` returned.

    Returns:
        Lines of at most 80 characters, where names are not longer. Without results, only the machine.
    """
    # A release may come from more than one file.
    files = {(one.model, one.backend, one.release, one.library) for one in report.results}
    several = len(files) > len({one[:3] for one in files})

    def key(result: Result) -> tuple[str, float]:
        return label(result, library=several), result.load_ms

    lines = list(_machine(report.machine))
    for (name, load), results in groupby(report.results, key):
        lines += ["", f"{name}, loaded in {load:.0f} ms", _HEAD]
        for result in results:
            lines += _lines(result)
    if heat := _heat(report.machine):
        lines += ["", heat]
    if any(result.backend == "cpu" for result in report.results):
        lines += ["", "Backend cpu is the CPU runtime: its figures say nothing of an NPU."]
    return "\n".join(lines)


def _lines(result: Result) -> Iterator[str]:
    first = result.time_to_first_token_ms
    times = f"{_number(first['p50'], 1)} / {_number(first['p99'], 1)}"
    speeds = result.prefill_tokens_per_second, result.generate_tokens_per_second
    yield (
        f"{result.prompt_tokens:>8}{result.generate_tokens:>8}"
        f"{_number(speeds[0], 1):>10}{_number(speeds[1], 1):>10}"
        f"{times:>18}{_number(result.peak_memory_mib, 0):>9}"
    )
    if result.generate_tokens < result.asked_tokens:
        yield f"{'':>10}The model ended its answer before {result.asked_tokens} tokens."
    if result.concurrency > 1:
        yield f"{'':>10}all runs together: {_number(result.total_tokens_per_second, 1)} tokens/s"
    if (vendor := result.vendor) is not None:
        shape = (
            ""
            if vendor["same_shape"]
            else f" for {vendor['prompt_tokens']} + {vendor['generate_tokens']} tokens"
        )
        yield (
            f"{'':>10}Rockchip{shape}: first token {_number(vendor['time_to_first_token_ms'], 1)} ms, "
            f"decode {_number(vendor['generate_tokens_per_second'], 1)}"
        )
    if (bound := result.memory_bound) is not None:
        yield f"{'':>10}decode at {bound['percent']:.0f} % of what the chip's memory allows"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _machine(machine: dict[str, Any]) -> Iterator[str]:
    what = machine["board"] or machine["processor"] or machine["architecture"] or "this machine"
    chip = f", {machine['chip'].upper()}" if machine["chip"] else ""
    yield f"{what}{chip}, {machine['cpus']} CPUs, {machine['memory_mib'] or '?'} MiB"


def _heat(machine: dict[str, Any]) -> str:
    """Clocks of memory and NPU and the highest temperature, before and after."""
    before, after = machine["before"], machine["after"]
    both = [name for name in before["clocks"] if name in after["clocks"] and name != "gpu"]
    told = [f"{name} {before['clocks'][name]['mhz']} -> {after['clocks'][name]['mhz']} MHz" for name in both]
    if before["temperatures_c"] and after["temperatures_c"]:
        hottest = [max(one["temperatures_c"].values()) for one in (before, after)]
        told.append(f"hottest sensor {hottest[0]:.0f} -> {hottest[1]:.0f} °C")
    return f"before -> after: {'; '.join(told)}" if told else ""
