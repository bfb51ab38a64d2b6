"""A report as text for people: a block for each model as it was set up, a line for each size."""

from __future__ import annotations

import os
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .report import Report, Result

_HEAD = (
    f"{'prompt':>8}{'answer':>8}{'prefill':>10}{'decode':>10}{'first token, ms':>18}{'memory':>9}\n"
    f"{'tokens':>8}{'tokens':>8}{'tokens/s':>10}{'tokens/s':>10}{'p50 / p99':>18}{'MiB':>9}"
)
#: Below this part of what is expected, something is wrong.
_SLOW = 0.7
#: Degrees at which boards slow down.
_HOT = 75


def labels(results: Sequence[Result]) -> list[str]:
    """A name for how each result came about: model, backend, release, settings, and what else differs."""
    models = _tails({one.model for one in results})
    # A release may come from more than one file.
    libraries = _tails({one.library for one in results})
    files = {(one.backend, one.release, one.library) for one in results}
    several = len(files) > len({one[:2] for one in files})
    found: list[str] = []
    for one in results:
        release = f", RKLLM {one.release}" if one.release else ""
        words = [f"{models[one.model]}, {one.backend}{release}"]
        words += [libraries[one.library]] if several else []
        words += [f"{name}={value}" for name, value in one.settings.items()]
        words += [f"{one.concurrency} runs at once"] if one.concurrency > 1 else []
        found.append(", ".join(words))
    return found


def _tails(paths: set[str]) -> dict[str, str]:
    """The shortest ends of paths that tell them apart; a file called ``model`` is named with its folder."""
    found: dict[str, str] = {}
    for path in paths:
        parts = path.rstrip("/").split("/")
        least = 2 if os.path.splitext(parts[-1])[0] == "model" else 1
        depth = next(
            (
                depth
                for depth in range(least, len(parts))
                if sum(f"/{other.rstrip('/')}".endswith("/" + "/".join(parts[-depth:])) for other in paths)
                == 1
            ),
            len(parts),
        )
        found[path] = "/".join(parts[-depth:])
    return found


def table(report: Report) -> str:
    """The report as text.

    Args:
        report: What ``run()`` returned.

    Returns:
        Lines of at most 80 characters, where names are not longer. Without results, only the machine.
    """
    lines = list(_machine(report.machine))
    named = zip(labels(report.results), report.results, strict=True)
    for (name, load), pairs in groupby(named, lambda pair: (pair[0], pair[1].load_ms)):
        block = [result for _, result in pairs]
        lines += ["", f"{name}, loaded in {load:.0f} ms", _HEAD]
        for result in block:
            lines += _lines(result)
        lines += _judged(block)
    if heat := list(_heat(report.machine)):
        lines += ["", "before -> after:", *heat]
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
    if result.concurrency > 1 or result.settings.get("n_batch", 1) != 1:
        yield f"{'':>10}all runs together: {_number(result.total_tokens_per_second, 1)} tokens/s"


def _judged(block: list[Result]) -> Iterator[str]:
    """What is known besides of a model as it was set up."""
    first = block[0]
    figure = first.vendor or first.vendor_other_release
    if figure is not None:
        other = "" if first.vendor else " (another release)"
        yield (
            f"  Rockchip, RKLLM {figure['release']}{other}, "
            f"{figure['prompt_tokens']} + {figure['generate_tokens']} tokens: "
            f"first token {_number(figure['time_to_first_token_ms'], 1)} ms, "
            f"decode {_number(figure['generate_tokens_per_second'], 1)} tokens/s"
        )
    shares = [round(one.memory_bound["percent"]) for one in block if one.memory_bound is not None]
    if shares:
        least, most = min(shares), max(shares)
        span = f"{least} %" if least == most else f"{least} to {most} %"
        yield f"  decode at {span} of what the chip's memory allows"
    slow = [one for one in block if _is_slow(one, one.vendor or one.vendor_other_release)]
    if slow:
        yield f"  slow: {'; '.join([*_suspects(slow[-1]), '`rkllm-rs doctor` looks for reasons'])}"


def _is_slow(result: Result, figure: dict[str, Any] | None) -> bool:
    """Whether decoding is far below what is known of the chip: good boards differ by about 15 %."""
    speed, bound = result.generate_tokens_per_second, result.memory_bound
    if speed is None:
        return False
    if figure is not None and figure["same_shape"]:
        return bool(speed < _SLOW * figure["generate_tokens_per_second"])
    return bound is not None and bound["percent"] < 100 * _SLOW


def _suspects(result: Result) -> Iterator[str]:
    """What may make a board slow, most likely first."""
    clocks, heat = result.during["clocks"], result.during["temperatures_c"]
    memory = clocks.get("memory")
    if memory and memory["max_mhz"] and memory["mhz"] < memory["max_mhz"]:
        yield f"memory ran at {memory['mhz']} of {memory['max_mhz']} MHz"
    if "memory" not in clocks:
        yield "the memory clock is unknown"
    governors = {clock["governor"] for name, clock in clocks.items() if name.startswith("cpu")}
    if governors - {"performance"}:
        yield f"CPU governor {', '.join(sorted(governors))}"
    if heat and max(heat.values()) >= _HOT:
        yield f"{max(heat.values()):.0f} °C"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _machine(machine: dict[str, Any]) -> Iterator[str]:
    what = machine["board"] or machine["processor"] or machine["architecture"] or "this machine"
    chip = f", {machine['chip'].upper()}" if machine["chip"] else ""
    yield f"{what}{chip}, {machine['cpus']} CPUs, {machine['memory_mib'] or '?'} MiB"


def _heat(machine: dict[str, Any]) -> Iterator[str]:
    """Clocks and the highest temperature, before and after."""
    before, after = machine["before"], machine["after"]
    for name, clock in before["clocks"].items():
        if name in after["clocks"]:
            yield f"  {name:<16} {clock['mhz']:>5} -> {after['clocks'][name]['mhz']} MHz, {clock['governor']}"
    if before["temperatures_c"] and after["temperatures_c"]:
        hottest = [max(one["temperatures_c"].values()) for one in (before, after)]
        yield f"  {'hottest sensor':<16} {hottest[0]:>5.0f} -> {hottest[1]:.0f} °C"
