"""Prints what any binding for Python costs where the goals of run.py leave room for little else.

    python benches/binding.py [rounds]

Three figures beside each other, measured in turns: the floor of run.py, a queue in C++; a binding written in
C that checks, keeps and ends nothing (native/binding.c); and this package on the null runtime. The best round
of each, which other programs disturbed least, and the median.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import TYPE_CHECKING

from harness import NullModel, extension
from measures import queue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

STARTS = 60
PACED = 1000


def first(start: Callable[[], Iterable[object]], stamp: Callable[[], int], gap: float) -> float:
    """Microseconds from a call, after so many seconds of sleep, to when the first token was made."""
    latencies = []
    for _ in range(STARTS):
        time.sleep(gap)
        asked = time.monotonic_ns()
        for _token in start():
            pass
        latencies.append(stamp() - asked)
    return statistics.median(latencies) / 1e3


def delivery(start: Callable[[], Iterable[object]], stamps: Callable[[], Iterable[int]]) -> float:
    """Microseconds from when a token was made to the body of the loop, a token each millisecond."""
    seen: list[int] = []
    see, now = seen.append, time.monotonic_ns
    for _token in start():
        see(now())
    latencies = [at - made for at, made in zip(seen, stamps(), strict=False)]
    return statistics.median(latencies) / 1e3


def main() -> None:
    """Measures all three in turns."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    binding, model = extension("binding"), NullModel()

    class Model:
        def stream(self, prompt: str, **options: object) -> Iterable[str]:
            """Starts a run, as the method of a class that takes options."""
            tokens: Iterable[str] = binding.stream(prompt, **options)
            return tokens

    bare = Model()
    figures: dict[str, list[tuple[float, float, float]]] = {}
    for _ in range(rounds):
        for gap in (0.02, 0.001):
            figures.setdefault(f"call to first token, {gap * 1e3:g} ms idle", []).append(
                (
                    queue("first", STARTS, round(gap * 1e6))["p50_ns"] / 1e3,
                    first(lambda: bare.stream("1 0"), lambda: binding.stamps()[0], gap),
                    first(lambda: model.stream(1), lambda: model.stamps[0], gap),
                )
            )
        figures.setdefault("token to loop body, 1 ms a token", []).append(
            (
                queue("paced", PACED, 1000)["p50_ns"] / 1e3,
                delivery(lambda: bare.stream(f"{PACED} 1000"), binding.stamps),
                delivery(lambda: model.stream(PACED, 1000).texts(), lambda: model.stamps),
            )
        )
    model.close()
    for name, all_rounds in figures.items():
        print(name)
        for side, values in zip(
            ("a queue in C++", "a binding in C", "rkllm_rs"), zip(*all_rounds, strict=True), strict=True
        ):
            print(f"  {side:16} best {min(values):6.1f} us   median {statistics.median(values):6.1f} us")


if __name__ == "__main__":
    main()
