"""Builds the floors, runs rounds and keeps figures."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import time
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    import rkllm_rs

NATIVE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "native")
TOKEN = " token"  # noqa: S105 - a piece of text


@dataclass
class Row:
    """One figure beside its floor.

    ``target`` is the most that may be: of the ratio, or of the figure itself where ``absolute``.
    ``difference`` judges how much the figure lies above its floor.
    """

    name: str
    unit: str
    ours: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    target: float | None = None
    absolute: bool = False
    difference: bool = False
    at_least: bool = False

    def judged(self, pick: Callable[[list[float]], float]) -> float | None:
        """The number that the target is about, from the rounds that ``pick`` picks."""
        if self.difference:
            return pick(self.ours) - pick(self.floor)
        if self.absolute:
            return pick(self.ours)
        return pick(self.ours) / pick(self.floor) if self.floor else None

    def best(self, values: list[float]) -> float:
        """The round that was disturbed least."""
        return max(values) if self.at_least else min(values)

    def met(self) -> bool | None:
        """Whether the best rounds meet the target."""
        value = self.judged(self.best)
        if value is None or self.target is None:
            return None
        return value >= self.target if self.at_least else value <= self.target

    def as_json(self) -> dict[str, Any]:
        """Everything, for other programs."""
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": self.ours,
            "floor": self.floor,
            "target": self.target,
            "best": self.judged(self.best),
            "median": self.judged(statistics.median),
            "met": self.met(),
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


def str_floor() -> ModuleType:
    """The C extension that only makes ``str`` objects, for the running Python."""
    include = sysconfig.get_path("include")
    path = built("str_floor.c", "-shared", "-fPIC", f"-I{include}")
    spec = importlib.util.spec_from_file_location("str_floor", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def queue_floor() -> str:
    """The program with the C++ queue."""
    return built("queue_floor.cpp", "-std=c++17", "-pthread", suffix="")


class NullModel:
    """A model of the runtime that computes nothing, and when it handed tokens over."""

    def __init__(self) -> None:
        from rkllm_rs import RKLLM, RkllmWarning

        library = built("null_runtime.c", "-std=c11", "-shared", "-fPIC", "-fvisibility=hidden")
        model = os.path.join(os.path.dirname(library), "null.rkllm")
        with open(model, "wb") as file:
            file.write(bytes(range(256)) * 16)
        with warnings.catch_warnings():
            # There need be no NPU here.
            warnings.simplefilter("ignore", RkllmWarning)
            self.llm = RKLLM(model, backend="npu", library=library)
        handle = ctypes.CDLL(library)
        self.stamps = (ctypes.c_int64 * (1 << 16)).in_dll(handle, "null_stamps")
        self._memcpy = handle.null_memcpy
        self._memcpy.argtypes, self._memcpy.restype = [ctypes.c_size_t], ctypes.c_int64

    def stream(self, tokens: int, microseconds: int = 0) -> rkllm_rs.TokenStream:
        """Starts a run of so many tokens."""
        return self.llm.stream(f"{tokens} {microseconds} {TOKEN}")

    def produced(self, tokens: int, stop: list[str] | None) -> float:
        """Nanoseconds that the library's thread takes for each token of a run that nobody reads."""
        start = time.perf_counter_ns()
        self.llm.stream(f"{tokens} 0 {TOKEN}", stop=stop).result()
        return (time.perf_counter_ns() - start) / tokens

    def memcpy(self, floats: int) -> int:
        """Nanoseconds of one memcpy of so many floats, warm on both sides."""
        return int(self._memcpy(floats))

    def close(self) -> None:
        """Closes the model."""
        self.llm.close()


def table(rows: list[Row], floor: str = "floor") -> str:
    """The rows for people."""
    head = ("", "ours", "median", floor, "median", "best", "median", "target", "")
    lines = [head]
    for row in rows:
        best, median = row.judged(row.best), row.judged(statistics.median)
        mark = "" if row.absolute or row.difference else "x"
        unit = f" {row.unit}" if row.absolute or row.difference else mark
        bound = ">=" if row.at_least else "<="
        lines.append(
            (
                row.name,
                f"{row.best(row.ours):.2f} {row.unit}",
                f"{statistics.median(row.ours):.2f}",
                f"{row.best(row.floor):.2f}" if row.floor else "-",
                f"{statistics.median(row.floor):.2f}" if row.floor else "-",
                "-" if best is None else f"{best:.2f}{mark}",
                "-" if median is None else f"{median:.2f}{mark}",
                "-" if row.target is None else f"{bound} {row.target:g}{unit}",
                {True: "met", False: "MISSED", None: ""}[row.met()],
            ),
        )
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
