#!/usr/bin/env python3
"""Opens and closes a model of the scripted fake many times, in each way that there is to leave one.

    RKLLM_RS_FAKES=target/release python scripts/soak_opens.py [10000]

A model is closed by `with`, by hand, by being forgotten, in the middle of a stream, or never came to be.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "python"))

from soaking import Part

from fakes import fake_library, fake_model
from rkllm_rs import RKLLM, RkllmError, RkllmWarning
from surface import all_closed

if TYPE_CHECKING:
    from collections.abc import Callable


def left(open_: Callable[[], RKLLM]) -> None:
    """Closed by `with`, after an answer."""
    with open_() as llm:
        answered(llm)


def closed(open_: Callable[[], RKLLM]) -> None:
    """Closed by hand, twice."""
    llm = open_()
    answered(llm)
    llm.close()
    llm.close()


def forgotten(open_: Callable[[], RKLLM]) -> None:
    """Never closed."""
    answered(open_())


def cut_off(open_: Callable[[], RKLLM]) -> None:
    """Closed while its stream is under way."""
    llm = open_()
    stream = llm.stream("Hi")
    next(stream)
    llm.close()


def answered(llm: RKLLM) -> None:
    """It must answer."""
    if llm.generate("Hi").text != "xy":
        message = "the answer is not whole"
        raise SystemExit(message)


#: What a library was opened with stays for its late callbacks (src/native/init.rs: 2 KB a model); the fake
#: keeps a copy of it, to see that.
KEPT_KB = 4.0

WAYS = (left, closed, forgotten, cut_off)


def main() -> int:
    """Opens them."""
    warnings.simplefilter("ignore", (RkllmWarning, ResourceWarning))
    goal = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    folder = Path(tempfile.mkdtemp())
    script = fake_model(folder, runs=[{"steps": ["x", "y"]}])
    refused = fake_model(folder, "refused.rkllm", init={"return": -1})
    keywords: dict[str, Any] = {
        "library": fake_library(folder / "lib", "v1_3_1", quiet=True),
        "vendor_log": "quiet",
    }
    part = Part("opens", goal, kept_kb=KEPT_KB)
    for done, way in zip(range(1, goal + 1), itertools.cycle(WAYS), strict=False):
        if done % 20 == 0:
            try:
                RKLLM(refused, **keywords)
            except RkllmError:
                pass
            else:
                return part.ended(done, "a model that the library refused has opened")
        else:
            way(lambda: RKLLM(script, **keywords))
        part.at(done)
    until = time.monotonic() + 60
    while not all_closed():
        if time.monotonic() > until:
            return part.ended(goal, "a model does not go away")
        time.sleep(0.05)
    return part.ended(goal)


if __name__ == "__main__":
    sys.exit(main())
