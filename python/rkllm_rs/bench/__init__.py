"""How fast models are on this machine, beside what Rockchip published.

>>> from rkllm_rs import bench
>>> report = bench.run("qwen3-0.6b-rk3588-w8a8.rkllm", prompt_tokens=[32, 128])  # doctest: +SKIP
>>> report.results[0].generate_tokens_per_second  # doctest: +SKIP
32.4

Each model runs in a process of its own, whose peak memory is read. Prompts are token ids, so that their
number is exact; nothing is reused from the KV cache; the most likely token is taken, and answers go on to the
number of tokens that was asked for where the release can do that. The command ``rkllm-rs bench`` prints the
report.
"""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any

from rkllm_rs._typed import typed
from rkllm_rs.doctor import chips, driver
from rkllm_rs.doctor.facts import Facts
from rkllm_rs.doctor.memory import meminfo
from rkllm_rs.doctor.readings import snapshot
from rkllm_rs.doctor.root import Root
from rkllm_rs.doctor.system import package
from rkllm_rs.errors import ContextLengthError, InvalidArgumentError, InvalidTypeError, RkllmError

from .measure import Job, Measured, Shape
from .report import Failure, Report, Result
from .setup import counts, setups
from .svg import plot
from .text import table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rkllm_rs._library import Path

    from .setup import Setup

__all__ = ["Failure", "Report", "Result", "plot", "run", "table"]


@typed
def run(
    models: Path | Iterable[Path],
    *,
    prompt_tokens: int | Iterable[int] = (32, 128, 512),
    generate_tokens: int | Iterable[int] = 64,
    repeats: int = 5,
    warm_up: int = 1,
    concurrency: int | Iterable[int] = 1,
    backends: str | Iterable[str] = "auto",
    libraries: Path | Iterable[Path] | None = None,
    settings: Mapping[str, Any] | Iterable[Mapping[str, Any]] = (),
    timeout: float | None = 600,
    chip: str | None = None,
    root: Path = "/",
    on_result: Callable[[Result], object] | None = None,
    on_progress: Callable[[str], object] | None = None,
) -> Report:
    """Measures models, with each backend, library and choice of settings that is given.

    A model that cannot be opened or run is in the report's ``failures``, and the others are measured all the
    same. Ctrl-C ends it, and the report has what was found until then.

    Args:
        models: Path or name of a model, as :func:`rkllm_rs.models.find` takes it, or several.
        prompt_tokens: Sizes of the prompts.
        generate_tokens: Sizes of the answers. Before RKLLM 1.3.0 a model may end its answer earlier.
        repeats: How often each size is measured.
        warm_up: How often each size is run before that.
        concurrency: Numbers of runs that are started at the same time. A model serves them one after the
            other.
        backends: ``"auto"``, ``"npu"`` or ``"cpu"``, or several. Of several, those are left out that a
            model's file does not run on.
        libraries: Path of a library, or several. Default: the usual places are searched.
        settings: Arguments of ``RKLLM`` such as ``{"enabled_cpus_num": 2}``, or several such dicts, which are
            measured one after the other.
        timeout: Limit in seconds for each run. ``None``: no limit.
        chip: The chip whose published figures are looked up, such as ``"rk3588"``. Default: this machine's.
        root: The folder from which chip, clocks and temperatures are read.
        on_result: Called with each result as it is there.
        on_progress: Called with a line of text before each run.

    Returns:
        The report.

    Raises:
        InvalidTypeError: An argument has the wrong type.
        InvalidArgumentError: An argument is out of range, or a backend, a setting or a chip is unknown.
        ModelNotFoundError: There is no such model.
    """
    shapes = [
        Shape(prompt, answer, many)
        for many in counts("concurrency", concurrency)
        for answer in counts("generate_tokens", generate_tokens)
        for prompt in counts("prompt_tokens", prompt_tokens)
    ]
    counts("repeats", (repeats,))
    counts("warm_up", (warm_up,), least=0)
    facts = Facts(Root(os.fsdecode(root)))
    found = _Found(on_result)
    job = Job(
        shapes=shapes,
        repeats=repeats,
        warm_up=warm_up,
        timeout=_seconds(timeout),
        chip=_chip(chip, facts),
        facts=facts,
        on_result=found.take,
        on_progress=on_progress or (lambda _: None),
    )
    # Last, since files are looked for.
    wanted = setups(models, backends, libraries, settings or {})
    machine = _machine(facts) | {"before": snapshot(facts)}
    interrupted = False
    try:
        for setup in wanted:
            _one(setup, job, found)
    except KeyboardInterrupt:
        interrupted = True
    machine["after"] = snapshot(facts)
    return Report(machine, tuple(found.results), tuple(found.failures), tuple(found.notes), interrupted)


class _Found:
    """What was found so far."""

    def __init__(self, on_result: Callable[[Result], object] | None) -> None:
        self.results: list[Result] = []
        self.failures: list[Failure] = []
        self.notes: list[str] = []
        self._on_result = on_result

    def take(self, result: Result) -> None:
        self.results.append(result)
        if self._on_result is not None:
            self._on_result(result)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def fail(self, setup: Setup, error: RkllmError, what: str = "") -> None:
        text = what + str(error).partition("\n")[0]
        self.failures.append(Failure(setup.model, setup.backend, setup.given(), text, error.hint))


def _one(setup: Setup, job: Job, found: _Found) -> None:
    """Measures all shapes of one setup."""
    job.on_progress(f"{setup.short}: loading")
    try:
        measured = Measured(setup, job, found.note)
    except RkllmError as error:
        found.fail(setup, error)
        return
    with measured.llm:
        for place, shape in enumerate(job.shapes, 1):
            problem = _problem(measured, shape)
            if problem is not None:
                # What is too large for a model says nothing of its other sizes; that it has crashed does.
                found.fail(setup, problem, f"{shape.prompt} + {shape.answer} tokens: ")
                if not isinstance(problem, ContextLengthError):
                    if left := len(job.shapes) - place:
                        found.note(f"{setup.short}: {left} more sizes were not measured")
                    return


def _problem(measured: Measured, shape: Shape) -> RkllmError | None:
    try:
        measured.measure(shape)
    except RkllmError as error:
        return error
    return None


def _machine(facts: Facts) -> dict[str, Any]:
    board, npu = chips.board(facts), driver.driver(facts)
    memory = meminfo(facts).get("MemTotal")
    return {
        "chip": board.chip,
        "board": board.model,
        "processor": facts.processor,
        "architecture": facts.arch,
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mib": memory // 1024 if memory else None,
        "npu_driver": npu.version,
        "system": platform.release() if facts.root.live else None,
        "python": platform.python_version(),
        "rkllm_rs": package(),
    }


def _chip(chip: Any, facts: Facts) -> str | None:
    if chip is not None and not isinstance(chip, str):
        message = f"chip must be a str, got {type(chip).__name__}"
        raise InvalidTypeError(message, hint='Pass a name such as "rk3588".')
    if chip is None:
        return facts.chip_name
    name = chips.named(chip.lower())
    if name not in chips.CHIPS:
        message = f"chip must be one of {chips.SUPPORTED}, got {chip!r}"
        raise InvalidArgumentError(message, hint="Pass the chip of the board, or omit it for this machine's.")
    return name


def _seconds(timeout: Any) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        message = f"timeout must be a number, got {type(timeout).__name__}"
        raise InvalidTypeError(message, hint="Pass a number of seconds, or None.")
    if not 0 < timeout < 1e6:  # noqa: PLR2004 - days
        message = f"timeout must be greater than 0, and less than 1000000, got {timeout}"
        raise InvalidArgumentError(message, hint="Pass a number of seconds, or None.")
    return float(timeout)
