"""Prints what any binding for Python costs where the goals of run.py leave room for little else.

    python benches/binding.py [rounds]

Three figures beside each other, measured in turns: the floor of run.py, a queue in C++; a binding written in
C that checks, keeps and ends nothing (native/binding.c); and this package on the null runtime. The best round
of each, which other programs disturbed least, and the median.
"""

from __future__ import annotations

import statistics
import sys
from typing import TYPE_CHECKING

from harness import FULL, NullModel, extension
from measures import paced, queue, until_first

if TYPE_CHECKING:
    from types import ModuleType


class Binding(NullModel):
    """The binding in C in the place of this package, so that both are measured in one way."""

    def __init__(self) -> None:
        native = extension("binding")
        self.llm = Bare(native)  # type: ignore[assignment]
        self.stamps = native.stamps.cast("q")


class Bare:
    """A class whose method takes options, as one of this package's does."""

    def __init__(self, native: ModuleType) -> None:
        self.native = native

    def stream(self, prompt: str, **options: object) -> object:
        """Starts a run."""
        return self.native.stream(prompt, **options)


def main() -> None:
    """Measures all three in turns."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    binding, model = Binding(), NullModel()
    figures: dict[str, list[list[float]]] = {}
    for _ in range(rounds):
        for gap in (0.02, 0.001):
            figures.setdefault(f"call to first token, {gap * 1e3:g} ms idle", []).append(
                [
                    queue("first", FULL.starts, round(gap * 1e6))["p50_ns"],
                    *(until_first(one, FULL.starts, gap) for one in (binding, model)),
                ]
            )
        figures.setdefault("token to loop body, 1 ms a token", []).append(
            [
                queue("paced", FULL.paced, 1000)["p50_ns"],
                *(paced(one, FULL.paced, 1000)["p50_ns"] for one in (binding, model)),
            ]
        )
    model.close()
    for name, taken in figures.items():
        print(name)
        for side, values in zip(
            ("a queue in C++", "a binding in C", "rkllm_rs"), zip(*taken, strict=True), strict=True
        ):
            best, median = min(values) / 1e3, statistics.median(values) / 1e3
            print(f"  {side:16} best {best:6.1f} us   median {median:6.1f} us")


if __name__ == "__main__":
    main()
