"""Builds the floors, runs rounds and keeps figures."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
import mmap
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import warnings
from dataclasses import InitVar, asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from goals import GOALS, WORSE, Goal

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    import rkllm_rs

NATIVE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "native")
STAMPS = 1 << 16  # as many as the library keeps
TOKEN = " token"  # noqa: S105 - a piece of text


@dataclass
class Row:
    """One figure beside its floor; in turns, so that both have the same machine."""

    name: str
    unit: str
    given: InitVar[Goal | None] = None
    goal: Goal = field(init=False)
    ours: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)

    def __post_init__(self, given: Goal | None) -> None:
        self.goal = given or GOALS[self.name]

    def best(self, values: list[float]) -> float:
        """The round that was disturbed least."""
        return max(values) if self.goal.at_least else min(values)

    def judged(self, pick: Callable[[list[float]], float]) -> float | None:
        """The number that the goal is about, from the rounds that ``pick`` picks."""
        if self.goal.of == "itself":
            return pick(self.ours)
        if not self.floor:
            return None
        ours, floor = pick(self.ours), pick(self.floor)
        return ours - floor if self.goal.of == "over" else ours / floor

    def meets(self, pick: Callable[[list[float]], float]) -> bool | None:
        """Whether the rounds that ``pick`` picks meet the goal."""
        value = self.judged(pick)
        if value is None:
            return None
        return value >= self.goal.limit if self.goal.at_least else value <= self.goal.limit

    def verdict(self) -> str:
        """What to say of the goal. Medians miss on a busy machine what the best rounds meet."""
        best, median = self.meets(self.best), self.meets(statistics.median)
        if best is None:
            return ""
        return "met" if best and median else "best only" if best else "MISSED"

    def as_json(self) -> dict[str, Any]:
        """Everything, for other programs."""
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": self.ours,
            "floor": self.floor,
            "goal": asdict(self.goal),
            "best": self.judged(self.best),
            "median": self.judged(statistics.median),
            "verdict": self.verdict(),
        }


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    tokens: int
    paced: int
    slow: int
    starts: int
    imports: int


FULL = Size(rounds=9, tokens=1_000_000, paced=1000, slow=100, starts=60, imports=40)
QUICK = Size(rounds=3, tokens=200_000, paced=200, slow=20, starts=15, imports=10)
#: One of several turns of two builds.
TURN = Size(rounds=2, tokens=300_000, paced=400, slow=40, starts=30, imports=10)


def cache_folder() -> str:
    """The folder for what is built here."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    path = os.path.join(base, "rkllm_rs", "benches")
    os.makedirs(path, exist_ok=True)
    return path


def built(source: str, *options: str, suffix: str = ".so") -> str:
    """Compiles a file of ``native/`` unless that has been done, and returns the product's path."""
    path = os.path.join(NATIVE, source)
    compiler = shutil.which("c++" if source.endswith(".cpp") else "cc")
    if compiler is None:
        message = "a C and C++ compiler is needed"
        raise SystemExit(message)
    command = [compiler, "-O2", *options]
    with open(path, "rb") as file:
        key = hashlib.sha256(file.read() + repr((command, sys.version)).encode()).hexdigest()[:16]
    stem = os.path.splitext(source)[0]
    target = os.path.join(cache_folder(), f"{stem}-{key}", stem + suffix)
    if not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        subprocess.run([*command, path, "-o", target + ".new"], check=True)
        os.replace(target + ".new", target)
    return target


def extension(name: str) -> ModuleType:
    """A floor that is a C extension, for the running Python."""
    include = sysconfig.get_path("include")
    path = built(f"{name}.c", "-shared", "-fPIC", "-pthread", f"-I{include}")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def queue_floor() -> str:
    """The program with the C++ queue."""
    return built("queue_floor.cpp", "-std=c++17", "-pthread", suffix="")


@functools.cache
def stamps() -> Any:
    """When tokens were handed over: one array for this process and its workers, made before any loads."""
    file = tempfile.NamedTemporaryFile(prefix="rkllm-stamps")  # noqa: SIM115 - as long as the process
    file.truncate(STAMPS * 8)
    os.environ["RKLLM_NULL_STAMPS"] = file.name
    array = (ctypes.c_int64 * STAMPS).from_buffer(mmap.mmap(file.fileno(), STAMPS * 8))
    array.file = file
    return array


class NullModel:
    """A model of the runtime that computes nothing, and when it handed tokens over."""

    def __init__(self, *, isolate: bool = False) -> None:
        from rkllm_rs import RKLLM, RkllmWarning

        library = built("null_runtime.c", "-std=c11", "-shared", "-fPIC", "-pthread", "-fvisibility=hidden")
        model = os.path.join(os.path.dirname(library), "null.rkllm")
        with open(model, "wb") as file:
            file.write(bytes(range(256)) * 16)
        self.stamps = stamps()
        self._open(RKLLM, RkllmWarning, model, library, isolate)
        handle = ctypes.CDLL(library)
        self._memcpy, self._handed_over = handle.null_memcpy, handle.null_handed_over
        for function in self._memcpy, self._handed_over:
            function.argtypes, function.restype = [ctypes.c_size_t], ctypes.c_int64

    def _open(self, opened: Any, warning: Any, model: str, library: str, isolate: bool) -> None:  # noqa: FBT001
        # Builds that are compared may be older than this option.
        isolated = {"isolate": True} if isolate else {}
        with warnings.catch_warnings():
            # There need be no NPU here.
            warnings.simplefilter("ignore", warning)
            start = time.perf_counter_ns()
            self.llm: rkllm_rs.RKLLM = opened(model, backend="npu", library=library, **isolated)
            #: Milliseconds that opening took.
            self.opened = (time.perf_counter_ns() - start) / 1e6

    def stream(self, tokens: int, microseconds: int = 0) -> rkllm_rs.TokenStream:
        """Starts a run of so many tokens."""
        return self.llm.stream(f"{tokens} {microseconds} {TOKEN}")

    def produced(self, tokens: int, stop: list[str] | None = None, regex: str | None = None) -> float:
        """Nanoseconds that the library's thread takes for each token of a run that nobody reads."""
        # Builds that are compared may be older than this option.
        kept = {"regex": regex} if regex else {}
        start = time.perf_counter_ns()
        self.llm.stream(f"{tokens} 0 {TOKEN}", stop=stop, **kept).result()
        return (time.perf_counter_ns() - start) / tokens

    def memcpy(self, floats: int) -> int:
        """Nanoseconds of one memcpy of so many floats, warm on both sides."""
        return int(self._memcpy(floats))

    def handed_over(self, floats: int) -> int:
        """Nanoseconds of the same memcpy in a thread that then wakes this one, until it is awake."""
        return int(self._handed_over(floats))

    def close(self) -> None:
        """Closes the model."""
        self.llm.close()


def table(rows: list[Row], floor: str = "floor") -> str:
    """The rows for people."""
    lines = [("", "ours", "median", floor, "median", "best", "median", "goal", "")]
    for row in rows:
        unit = "x" if row.goal.of == "times" else f" {row.unit}"
        bound = ">=" if row.goal.at_least else "<="
        best, median = row.judged(row.best), row.judged(statistics.median)
        lines.append(
            (
                row.name,
                f"{row.best(row.ours):.2f} {row.unit}",
                f"{statistics.median(row.ours):.2f}",
                f"{row.best(row.floor):.2f}" if row.floor else "-",
                f"{statistics.median(row.floor):.2f}" if row.floor else "-",
                "-" if best is None else f"{best:.2f}{unit}",
                "-" if median is None else f"{median:.2f}{unit}",
                f"{bound} {row.goal.limit:g}{unit}",
                row.verdict(),
            ),
        )
    return columns(lines)


def markdown(rows: list[Row]) -> str:
    """The rows as docs/developing/performance.md has them."""
    lines = ["| measure | ours | floor | best | medians | goal | |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        floor = f"{row.best(row.floor):.1f}" if row.floor else ""
        judged = [
            "" if value is None else f"{value:.2f}"
            for value in map(row.judged, (row.best, statistics.median))
        ]
        goal = f"{row.goal.limit:g}" + ("" if row.goal.of == "times" else f" {row.unit}")
        cells = (
            row.name,
            f"{row.best(row.ours):.1f} {row.unit}",
            floor,
            *judged,
            goal,
            row.verdict().lower(),
        )
        lines.append(f"| {' | '.join(cells)} |".replace("us/", "µs/").replace(" us ", " µs "))
    return "\n".join(lines)


def compared(rows: list[Row]) -> str:
    """The rows for people where ``floor`` holds what another build took."""
    lines = [("", "this build", "median", "other build", "median", "best", "median", "")]
    for row in rows:
        words, worse = [], []
        for pick in (row.best, statistics.median):
            ours, other = pick(row.ours), pick(row.floor)
            more, unit = (ours / other - 1, "%") if row.goal.of == "times" else (ours - other, f" {row.unit}")
            words.append(f"{more:+.1%}" if unit == "%" else f"{more:+.2f}{unit}")
            loss = more if unit == "%" else more / row.goal.limit
            worse.append((-loss if row.goal.at_least else loss) > WORSE)
        lines.append(
            (
                row.name,
                f"{row.best(row.ours):.2f} {row.unit}",
                f"{statistics.median(row.ours):.2f}",
                f"{row.best(row.floor):.2f}",
                f"{statistics.median(row.floor):.2f}",
                *words,
                "WORSE" if all(worse) else "worse in one" if any(worse) else "",
            )
        )
    return columns(lines)


def columns(lines: list[tuple[str, ...]]) -> str:
    """Text under text; the first column to the left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
