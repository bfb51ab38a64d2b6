"""Measures one model as it is set up: opens it in a process of its own, and runs prompts of each size."""

from __future__ import annotations

import math
import statistics
import time
import warnings
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rkllm_rs import models
from rkllm_rs._native import Tokens
from rkllm_rs.doctor.readings import snapshot
from rkllm_rs.errors import RkllmError, UnsupportedFeatureError
from rkllm_rs.llm import RKLLM

from . import vendor
from .report import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rkllm_rs._native import PerfStats, TokenStream
    from rkllm_rs.doctor.facts import Facts

    from .setup import Setup

#: Ordinary text, so that answers are, too.
TEXT = (
    "The river rose for the third day, and the bridge was closed to carts and cattle. On the other bank the "
    "miller's children counted barrels as they floated by: nine of flour, two of salt, one that nobody knew. "
    "Their grandmother said that a flood like this had come once before, when she was seven years old. "
)
#: Below it lie the tokens of single bytes and many special ones, in every vocabulary that is known.
_FIRST_ID = 1000
#: The smallest vocabulary of the models that Rockchip's library supports.
_LEAST_VOCABULARY = 32_000
#: What the vendor's library takes when nothing is asked for; less saves little memory.
_LEAST_CONTEXT = 512
_BLOCK = 32
#: Seconds after which a library that ignores its abort is killed, unless a run may take less.
_KILL_AFTER = 10.0


@dataclass(frozen=True)
class Shape:
    """How large prompts and answers are, and how many runs begin at the same time."""

    prompt: int
    answer: int
    concurrency: int


@dataclass(frozen=True)
class Job:
    """What is asked of every model."""

    shapes: Sequence[Shape]
    repeats: int
    warm_up: int
    timeout: float | None
    chip: str | None
    facts: Facts
    #: Called with each result as it is there.
    on_result: Callable[[Result], object]
    #: Called before what takes long, with what that is.
    on_progress: Callable[[str], object]


@dataclass
class _Samples:
    """What was seen of a shape's runs."""

    shape: Shape
    perfs: list[PerfStats] = field(default_factory=list["PerfStats"])
    tokens: list[int] = field(default_factory=list[int])
    seconds: float = 0.0
    rounds: int = 0
    readings: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def median(self, name: str) -> float | None:
        values = [value for perf in self.perfs if (value := getattr(perf, name)) is not None]
        return round(statistics.median(values), 3) if values else None

    def prefill(self) -> float | None:
        """Prompt tokens per second, of the library or else by the time to the first token."""
        told = self.median("prefill_tokens_per_second")
        first = self.median("time_to_first_token_ms")
        return told if told is not None or not first else round(1000 * self.shape.prompt / first, 3)

    def first_tokens(self) -> dict[str, float | None]:
        """The time to the first token, as a caller sees it among as many callers."""
        alone = self.shape.concurrency == 1
        times = sorted(
            perf.time_to_first_token_ms + (0.0 if alone else perf.queued_time_ms)
            for perf in self.perfs
            if perf.time_to_first_token_ms is not None
        )
        if not times:
            return {"p50": None, "p99": None}
        slowest = times[math.ceil(0.99 * len(times)) - 1]
        return {"p50": round(statistics.median(times), 3), "p99": round(slowest, 3)}

    def during(self) -> dict[str, Any]:
        """The lowest clocks and the highest temperatures."""
        clocks: dict[str, dict[str, Any]] = {}
        heat: dict[str, float] = {}
        for reading in self.readings:
            for name, clock in reading["clocks"].items():
                if name not in clocks or clock["mhz"] < clocks[name]["mhz"]:
                    clocks[name] = clock
            for name, degrees in reading["temperatures_c"].items():
                heat[name] = max(degrees, heat.get(name, degrees))
        return {"clocks": clocks, "temperatures_c": heat}


class Measured:
    """An open model, and what is found of it."""

    def __init__(self, setup: Setup, job: Job, note: Callable[[str], object]) -> None:
        self.setup, self.job, self._note = setup, job, note
        self.file = models.inspect(setup.path)
        begin = time.perf_counter()
        try:
            self.llm = self._open(ignore_eos_token=True)
        except UnsupportedFeatureError:
            # Before 1.3.0 an answer ends where the model ends it.
            begin = time.perf_counter()
            self.llm = self._open()
        self.load_ms = round(1000 * (time.perf_counter() - begin), 1)
        self.fresh: dict[str, Any] = (
            {"reuse": False} if "prefix_reuse" in self.llm.runtime.capabilities else {}
        )
        self.ids, self.input = self._ids()

    def _open(self, **more: Any) -> RKLLM:
        settings: dict[str, Any] = {"max_context_len": self._context(), "top_k": 1, "repeat_penalty": 1.0}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            llm = RKLLM(
                self.setup.path,
                backend=self.setup.backend,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
                library=self.setup.library,
                # Memory is of this model alone, and a crash ends one measurement only.
                isolate=True,
                restart=False,
                kill_after=min(_KILL_AFTER, self.job.timeout or _KILL_AFTER),
                **(settings | more | self.setup.settings),
            )
        for one in caught:
            self._note(str(one.message).partition("\n")[0])
        return llm

    def _context(self) -> int:
        """A context window that holds every prompt with its answer, and a little more."""
        most = max(shape.prompt + shape.answer for shape in self.job.shapes)
        length = max(_LEAST_CONTEXT, (most // _BLOCK + 2) * _BLOCK)
        told = (self.file.last_load or {}).get("context_limit") or self.file.facts.get("context_length")
        limit = told or self.file.hints.get("max_context")
        return min(length, limit // _BLOCK * _BLOCK or length) if limit else length

    def _ids(self) -> tuple[list[int], str]:
        """Token ids for prompts: of a text where there is a tokenizer, else ordinary ones by number."""
        try:
            ids = self.llm.tokenize(TEXT, add_special_tokens=False)
        except RkllmError:
            ids = []
        if ids:
            return ids, "text"
        known = self.llm.info.vocab_size or self.file.facts.get("vocabulary") or _LEAST_VOCABULARY
        size = min(known, _LEAST_VOCABULARY)
        first = min(_FIRST_ID, size // 4)
        return [first + number * 7919 % (size - first) for number in range(509)], "ids"

    def prompt(self, length: int) -> Tokens:
        """A prompt of exactly so many tokens."""
        return Tokens((self.ids * (length // len(self.ids) + 1))[:length])

    def measure(self, shape: Shape) -> None:
        """Measures a shape; gives what was found, also if it is cut short."""
        samples = _Samples(shape)
        prompt = self.prompt(shape.prompt)
        told = f"{self.setup.short}: {shape.prompt} + {shape.answer} tokens"
        try:
            for _ in range(self.job.warm_up):
                self.job.on_progress(f"{told}, warm-up")
                self._round(prompt, shape)
            for number in range(self.job.repeats):
                self.job.on_progress(f"{told}, run {number + 1} of {self.job.repeats}")
                begin = time.perf_counter()
                perfs, tokens, reading = self._round(prompt, shape)
                samples.seconds += time.perf_counter() - begin
                samples.perfs += perfs
                samples.tokens += tokens
                samples.readings.append(reading)
                samples.rounds += 1
        finally:
            if samples.rounds:
                self.job.on_result(self._result(samples))

    def _round(self, prompt: Tokens, shape: Shape) -> tuple[list[PerfStats], list[int], dict[str, Any]]:
        """Runs of which all begin at the same time, and clocks in the middle of the first answer."""
        reading: dict[str, Any] = {}
        perfs: list[PerfStats] = []
        tokens: list[int] = []
        # The last one waits for all others.
        limit = None if self.job.timeout is None else self.job.timeout * shape.concurrency
        with ExitStack() as runs:
            options: dict[str, Any] = {"max_new_tokens": shape.answer, "timeout": limit} | self.fresh
            streams: list[TokenStream] = []
            for _ in range(shape.concurrency):
                if self.llm.n_batch == 1:
                    streams.append(runs.enter_context(self.llm.stream(prompt, **options)))
                else:
                    lanes = [prompt] * self.llm.n_batch
                    streams += runs.enter_context(self.llm.stream_batch(lanes, **options))
            for stream in streams:
                for number, _ in enumerate(stream):
                    if not reading and number >= shape.answer // 2:
                        reading = snapshot(self.job.facts)
                answer = stream.result()
                perfs.append(answer.perf)
                tokens.append(len(answer.token_ids))
        return perfs, tokens, reading or snapshot(self.job.facts)

    def _result(self, samples: _Samples) -> Result:
        llm, shape = self.llm, samples.shape
        release = llm.runtime.identity.version
        speed, peak = samples.median("generate_tokens_per_second"), _peak(llm.worker_pid)
        exact = other = bound = None
        if llm.backend == "npu" and not llm.runtime.identity.cpu_runtime:
            model, chip = vendor.model_of(llm.model_path), self.job.chip
            published = vendor.figures(model, chip, self._dtype())
            for one in published:
                same = (shape.prompt, shape.answer) == (one["prompt_tokens"], one["generate_tokens"])
                one["same_shape"] = same and shape.concurrency == llm.n_batch == 1
            exact = next((one for one in published if one["release"] == release), None)
            other = published[0] if published and exact is None else None
            limit = vendor.memory_bound(model, chip)
            if limit and speed and peak:
                # As the limit was computed: of MB as the library prints them.
                achieved = peak * speed / 1000
                bound = {
                    "limit_gb_per_s": limit,
                    "achieved_gb_per_s": round(achieved, 2),
                    "percent": round(100 * achieved / limit, 1),
                }
        return Result(
            model=self.setup.model,
            backend=llm.backend,
            release=release,
            prompt_tokens=shape.prompt,
            generate_tokens=statistics.median_low(samples.tokens),
            repeats=samples.rounds,
            prefill_tokens_per_second=samples.prefill(),
            generate_tokens_per_second=speed,
            time_to_first_token_ms=samples.first_tokens(),
            load_ms=self.load_ms,
            peak_memory_mib=peak,
            vendor=exact,
            vendor_other_release=other,
            concurrency=shape.concurrency,
            asked_tokens=shape.answer,
            total_tokens_per_second=round(sum(samples.tokens) / samples.seconds, 3),
            memory_bound=bound,
            library=llm.runtime.path,
            settings=self.setup.settings,
            input=self.input,
            source=samples.perfs[-1].source,
            during=samples.during(),
        )

    def _dtype(self) -> str | None:
        """The quantisation: as the library said, more exactly as the file's name says if both agree."""
        told, named = self.llm.info.dtype, self.file.hints.get("dtype")
        if told is None:
            return named
        told = told.lower()
        return named if named is not None and named.startswith(f"{told}_g") else told


def _peak(pid: int | None) -> float | None:
    """Peak resident memory of a process in MiB."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as opened:
            line = next(line for line in opened if line.startswith("VmHWM:"))
        return round(int(line.split()[1]) / 1024, 1)
    except (OSError, StopIteration, ValueError, IndexError):
        return None
