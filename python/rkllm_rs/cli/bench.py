"""The command ``rkllm-rs bench``: how fast models are on this machine."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from rkllm_rs.errors import InvalidArgumentError, InvalidTypeError, ModelNotFoundError

from .failing import with_options
from .output import note, say
from .parsing import UsageError, count

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Generator

    from rkllm_rs.bench import Report

HELP = "Measure how fast models are: prefill, decode, time to first token, load, memory."
EXAMPLES = """\
examples:
  rkllm-rs bench model.rkllm
  rkllm-rs bench model.rkllm -p 32,128,512 -n 64 --plot bench.svg
  rkllm-rs bench qwen3.rkllm qwen3.gguf --csv                    NPU beside CPU
  rkllm-rs bench model.rkllm --library old.so --library new.so   two releases
  rkllm-rs bench model.rkllm --set enabled_cpus_num=2,4          settings

Without MODEL all installed models are measured that this machine can run. Ctrl-C prints what was found so
far. The exit status is 1 if something could not be measured. Close other programs: they make models slower.
"""
_STOPPED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.usage = "rkllm-rs bench [options] [MODEL …]"
    parser.add_argument("models", nargs="*", metavar="MODEL", help="names or files of models")
    sizes = parser.add_argument_group("what is measured; N may be several numbers, as in 32,128,512")
    for short, name, default, text in (
        ("-p", "prompt-tokens", (32, 128, 512), "sizes of the prompts (default: 32,128,512)"),
        ("-n", "generate-tokens", (64,), "sizes of the answers (default: 64)"),
        ("-c", "concurrency", (1,), "numbers of runs that are started at the same time (default: 1)"),
    ):
        sizes.add_argument(short, f"--{name}", type=_counts, default=default, metavar="N", help=text)
    sizes.add_argument(
        "-r", "--repeats", type=count, default=5, metavar="N", help="times each size is measured (default: 5)"
    )
    sizes.add_argument(
        "-w", "--warm-up", type=_whole, default=1, metavar="N", help="runs of each size before (default: 1)"
    )
    sizes.add_argument(
        "--timeout", type=float, default=600, metavar="SECONDS", help="limit for each run (default: 600)"
    )
    compared = parser.add_argument_group("what is compared; each of them can be repeated")
    compared.add_argument(
        "--backend", action="append", choices=("auto", "npu", "cpu"), help="what runs the model"
    )
    compared.add_argument("--library", action="append", metavar="FILE", help="path of a library")
    compared.add_argument(
        "--set",
        action="append",
        type=_setting,
        metavar="NAME=VALUE",
        help="argument of RKLLM(), such as max_context_len=1024; several values: NAME=VALUE,VALUE",
    )
    parser.add_argument(
        "--chip", help="chip whose published figures to show, such as rk3588 (default: this machine's)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV")
    parser.add_argument("--plot", metavar="FILE", help="draw the results into this .svg file")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from rkllm_rs import bench

    given = arguments.models or _installed(arguments)
    with _picture(arguments.plot) as write, _progress() as on_progress:
        try:
            report = bench.run(
                given,
                prompt_tokens=arguments.prompt_tokens,
                generate_tokens=arguments.generate_tokens,
                repeats=arguments.repeats,
                warm_up=arguments.warm_up,
                concurrency=arguments.concurrency,
                backends=arguments.backend or "auto",
                libraries=arguments.library,
                settings=_variants(arguments.set or []),
                timeout=arguments.timeout,
                chip=arguments.chip,
                on_progress=on_progress,
            )
        except (InvalidArgumentError, InvalidTypeError) as error:
            # What a model does not accept is in the report.
            raise UsageError(str(error.args[0]), hint=error.hint) from error
        if report.results:
            write(bench.plot(report))
    _tell(report, arguments)
    if report.interrupted:
        return _STOPPED
    return int(bool(report.failures))


def _tell(report: Report, arguments: argparse.Namespace) -> None:
    from rkllm_rs import bench

    for text in report.notes:
        note(f"warning: {text}")
    for failure in report.failures:
        settings = "".join(f" {name}={value}" for name, value in failure.settings.items())
        note(f"{os.path.basename(failure.model)}{settings}: {with_options(failure.error)}")
        if failure.hint:
            sys.stderr.write(f"hint: {with_options(failure.hint)}\n")
    if report.interrupted:
        note("stopped; this is what was found so far")
    if arguments.json:
        say(json.dumps(report.to_dict(), indent=1, default=str))
    elif arguments.csv:
        sys.stdout.write(report.to_csv())
    elif report.results:
        say(bench.table(report))
    if arguments.plot and report.results:
        note(f"wrote {arguments.plot}")


def _installed(arguments: argparse.Namespace) -> list[str]:
    """The installed models that this machine can run."""
    from rkllm_rs import backends, models

    found = models.installed()
    if not found:
        message = "no model was given, and none is installed"
        hint = "Name a file, as in `rkllm-rs bench model.rkllm`, or see `rkllm-rs list --help`."
        raise ModelNotFoundError(message, hint=hint)
    able = {status.name for status in backends() if status.available}
    kinds = {"npu": "rkllm", "cpu": "gguf"}
    fitting = [one.path for one in found if any(kinds[name] == one.kind for name in able)]
    if arguments.library or arguments.backend:
        fitting = [one.path for one in found]
    if not fitting:
        message = f"none of the {len(found)} installed models can run on this machine"
        raise ModelNotFoundError(message, hint="Run `rkllm-rs backends` to see what is missing.")
    return fitting


def _counts(text: str) -> tuple[int, ...]:
    return tuple(count(word) for word in text.split(","))


def _whole(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def _setting(text: str) -> tuple[str, list[Any]]:
    name, equals, values = text.partition("=")
    if not equals or not name:
        raise ValueError
    return name.strip().replace("-", "_"), [_value(word) for word in values.split(",")]


def _value(word: str) -> Any:
    """A value as Python would have it: a number, true or false, or else text."""
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    with suppress(ValueError):
        return int(word, 0)
    with suppress(ValueError):
        return float(word)
    return word


# What argparse says that a word is not.
_counts.__name__ = "a whole number of at least 1, or several such as 32,128"
_whole.__name__ = "a whole number of 0 or more"
_setting.__name__ = "NAME=VALUE"


def _variants(given: list[tuple[str, list[Any]]]) -> list[dict[str, Any]]:
    """Every combination of the values that each setting is given."""
    values: dict[str, list[Any]] = {}
    for name, some in given:
        values.setdefault(name, []).extend(some)
    return [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]


@contextmanager
def _picture(path: str | None) -> Generator[Callable[[str], object]]:
    """Writes a picture; that it can be written is known before anything is measured."""
    if path is None:
        yield lambda _: None
        return
    if not path.lower().endswith(".svg"):
        message = f"--plot must name an .svg file, got {path!r}"
        raise UsageError(message, hint="The picture is SVG, which every browser shows.")
    new = not os.path.lexists(path)
    try:
        open(path, "ab").close()
    except OSError as error:
        message = f"--plot {path} cannot be written: {error.strerror}"
        raise InvalidArgumentError(message, hint="Name a file in a folder that you can write to.") from error
    written = False

    def write(text: str) -> None:
        nonlocal written
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        written = True

    try:
        yield write
    finally:
        if new and not written:
            os.unlink(path)


@contextmanager
def _progress() -> Generator[Callable[[str], object]]:
    """Shows on a terminal what is being done, in a line that goes away."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return

    def show(text: str) -> None:
        width = shutil.get_terminal_size().columns
        sys.stderr.write(f"\r\x1b[K{text[: width - 1]}")
        sys.stderr.flush()

    try:
        yield show
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
