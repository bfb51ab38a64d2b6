"""Measures a model on NPU and CPU, and prints the timing side by side.

Usage: python examples/backend_comparison.py --npu model.rkllm --cpu model.gguf

A backend that is not available is skipped, with the reason. `rkllm-rs bench` does more, with the same call.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Literal

from rkllm_rs import RkllmError, backends, bench


@dataclass(frozen=True)
class Figures:
    """Timing on one backend, or the reason why there is none."""

    backend: str
    load_s: float | None = None
    first_token_ms: float | None = None
    tokens_per_second: float | None = None
    tokens: int | None = None
    missing: str | None = None


def benchmark_backend(
    backend: Literal["npu", "cpu"], model: str | None, *, prompt_tokens: int = 32, max_new_tokens: int = 64
) -> Figures:
    """Loads a model on one backend and measures an answer.

    Args:
        backend: The backend.
        model: A model for it: ``.rkllm`` for the NPU, ``.gguf`` for the CPU.
        prompt_tokens: Size of the prompt.
        max_new_tokens: Number of tokens to generate.

    Returns:
        The timing, or the reason why there is none in ``missing``.
    """
    status = next(status for status in backends() if status.name == backend)
    if status.library is None:
        return Figures(backend, missing="\n".join(filter(None, (status.reason, status.hint))))
    if model is None:
        return Figures(backend, missing=f"no model was given: --{backend} FILE")
    try:
        report = bench.run(
            model, backends=backend, prompt_tokens=prompt_tokens, generate_tokens=max_new_tokens, repeats=1
        )
    except RkllmError as error:
        return Figures(backend, missing=str(error))
    if report.interrupted:
        raise KeyboardInterrupt
    for failure in report.failures:
        return Figures(backend, missing="\n".join(filter(None, (failure.error, failure.hint))))
    (result,) = report.results
    return Figures(
        backend,
        result.load_ms / 1000,
        result.time_to_first_token_ms["p50"],
        result.generate_tokens_per_second,
        result.generate_tokens,
    )


def table(columns: list[Figures]) -> str:
    """Formats the timing side by side."""

    def line(name: str, values: list[str]) -> str:
        return f"{name:<22}" + "".join(f"{value:>14}" for value in values)

    def number(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    return "\n".join(
        [
            line("", [column.backend for column in columns]),
            line("load, s", [number(column.load_s, 2) for column in columns]),
            line("first token, ms", [number(column.first_token_ms, 0) for column in columns]),
            line("tokens per second", [number(column.tokens_per_second, 1) for column in columns]),
            line("tokens", [number(column.tokens, 0) for column in columns]),
        ]
    )


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--npu", metavar="MODEL", help="a .rkllm file")
    parser.add_argument("--cpu", metavar="MODEL", help="a .gguf file of the same model")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    arguments = parser.parse_args()

    columns = [
        benchmark_backend("npu", arguments.npu, max_new_tokens=arguments.max_new_tokens),
        benchmark_backend("cpu", arguments.cpu, max_new_tokens=arguments.max_new_tokens),
    ]
    print(table(columns))
    for column in columns:
        if column.missing:
            print(f"\n{column.backend} is missing: {column.missing}")


if __name__ == "__main__":
    main()
