"""What a benchmark finds: plain data, and its forms for programs."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class Result:
    """The figures of a model with one prompt size, answer size and concurrency.

    Speeds are medians of the runs. Immutable; any number of threads may use it.

    Attributes:
        model: The model as it was given.
        backend: ``"npu"`` or ``"cpu"``.
        release: The library's release, or ``None`` if unknown.
        prompt_tokens: Number of prompt tokens of each run.
        generate_tokens: Number of tokens that came in a run. It is less than was asked for if the model
            ended its answer by itself.
        repeats: Number of rounds that were measured.
        prefill_tokens_per_second: Prompt tokens per second, or ``None`` if unknown.
        generate_tokens_per_second: Generated tokens per second of a run, or ``None`` if unknown.
        time_to_first_token_ms: ``p50`` and ``p99`` in milliseconds. With a concurrency above 1 the wait in
            the queue counts. Of fewer than 100 runs, ``p99`` is the slowest.
        load_ms: Milliseconds from the start of the worker process to the open model.
        peak_memory_mib: Peak resident memory of the process that ran the model, load included, in MiB
            (``VmHWM``), or ``None`` if unknown.
        vendor: Rockchip's figure for exactly this model, chip, quantisation and release, or ``None``:
            ``same_shape`` says whether the numbers of tokens are the same, too.
        vendor_other_release: Where there is none of this release: Rockchip's newest figure of another one, or
            ``None``.
        concurrency: Number of runs that were started at the same time. With the setting ``n_batch`` each
            run is a batch of so many prompts, and speeds are those of one of them.
        asked_tokens: Number of tokens that were asked for in each run.
        total_tokens_per_second: Tokens of all runs per second of wall time, prefill included.
        memory_bound: ``limit_gb_per_s`` of the chip's memory, ``achieved_gb_per_s`` and ``percent``, or
            ``None``. Achieved is peak memory times generated tokens per second.
        library: Path of the library.
        settings: The settings that the model was opened with, as they were given.
        input: Where the prompt's tokens come from: ``"text"`` or ``"ids"``.
        source: Who measured the speeds: ``"library"`` or ``"measured"``.
        during: The lowest clocks and the highest temperatures in the middle of the answers.
    """

    model: str
    backend: str
    release: str | None
    prompt_tokens: int
    generate_tokens: int
    repeats: int
    prefill_tokens_per_second: float | None
    generate_tokens_per_second: float | None
    time_to_first_token_ms: dict[str, float | None]
    load_ms: float
    peak_memory_mib: float | None
    vendor: dict[str, Any] | None
    vendor_other_release: dict[str, Any] | None = None
    concurrency: int = 1
    asked_tokens: int = 0
    total_tokens_per_second: float | None = None
    memory_bound: dict[str, float] | None = None
    library: str = ""
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    input: str = "text"
    source: str = "measured"
    during: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Failure:
    """What could not be measured. Immutable; any number of threads may use it.

    Attributes:
        model: The model as it was given.
        backend: The backend as it was given.
        settings: The settings as they were given, the library among them.
        error: What went wrong, in one line.
        hint: What to do about it, or ``None``.
    """

    model: str
    backend: str
    settings: dict[str, Any]
    error: str
    hint: str | None


@dataclass(frozen=True)
class Report:
    """What ``run()`` found. Immutable; any number of threads may use it.

    Attributes:
        machine: The machine, with clocks and temperatures ``before`` and ``after``.
        results: The figures.
        failures: What could not be measured.
        notes: Warnings that came meanwhile.
        interrupted: Whether Ctrl-C ended it.
    """

    machine: dict[str, Any]
    results: tuple[Result, ...]
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    interrupted: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON has it: what ``rkllm-rs bench --json`` prints."""
        return {
            "machine": self.machine,
            "results": [asdict(result) for result in self.results],
            "failures": [asdict(failure) for failure in self.failures],
            "notes": list(self.notes),
            "interrupted": self.interrupted,
        }

    def to_csv(self) -> str:
        """The results as CSV, always with the same header: the JSON's names, nested ones joined by ``_``."""
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(dict(_flat(asdict(result))) for result in self.results)
        return text.getvalue()


#: What a figure of the vendor's says.
_FIGURE = (
    "model",
    "chip",
    "dtype",
    "release",
    "prompt_tokens",
    "generate_tokens",
    "time_to_first_token_ms",
    "prefill_tokens_per_second",
    "generate_tokens_per_second",
    "memory_mb",
    "source",
    "same_shape",
)
#: What has several columns in CSV.
_NESTED = {
    "time_to_first_token_ms": ("p50", "p99"),
    "vendor": _FIGURE,
    "vendor_other_release": _FIGURE,
    "memory_bound": ("limit_gb_per_s", "achieved_gb_per_s", "percent"),
}
_COLUMNS = [
    column
    for one in fields(Result)
    for column in (
        [f"{one.name}_{part}" for part in _NESTED[one.name]] if one.name in _NESTED else [one.name]
    )
]


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if name in _NESTED:
            parts: dict[str, Any] = value or {}
            yield from ((f"{name}_{part}", of) for part, of in parts.items())
        else:
            yield name, json.dumps(value, default=str) if isinstance(value, dict) else value
