#!/usr/bin/env python3
"""Has a small model answer in each of 200 JSON schemas, at temperature 1, and checks every answer.

    scripts/soak_schemas.py MODEL [FIRST] [--constraint mask|guided|retry]

The schemas are in tests/schemas.json, each with the features that it has. An answer must fit its schema, or
have ended with "length"; anything else fails, and is printed. FIRST of the schemas are enough for a trial.
With --constraint guided or retry, the CPU runtime stands in for the vendor's library: it chooses by itself.
An answer also fails if the library was called more than once, and once more for each token that was replaced,
each forced stretch and each retry.
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
import time
from pathlib import Path

from rkllm_rs import RKLLM, GenerationError
from rkllm_rs.chat.fit import Misfit, fit

SCHEMAS = Path(__file__).parents[1] / "tests" / "schemas.json"
#: What is counted of how answers were kept to their schemas.
COUNTS = ("calls", "replaced", "forced", "retries")


def unfit(text: str, schema: dict[str, object]) -> str | None:
    """Why an answer does not fit."""
    try:
        fitted = fit(json.loads(text), schema, schema, "answer")
    except (ValueError, Misfit) as error:
        return str(error)
    return "; ".join(fitted.conversions) or None


def main() -> int:
    """Asks, checks, and prints what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("first", type=int, nargs="?", default=200)
    parser.add_argument("--constraint", choices=["mask", "guided", "retry"], default="mask")
    arguments = parser.parse_args()
    wanted = json.loads(SCHEMAS.read_text())[: arguments.first]
    counts: collections.Counter[str] = collections.Counter()
    tokens, began = 0, time.monotonic()
    kept: collections.Counter[str] = collections.Counter()
    with RKLLM(arguments.model, backend="cpu", max_context_len=1024, max_new_tokens=200) as llm:
        for seed, one in enumerate(wanted):
            ask = [{"role": "user", "content": f"Give an example of: {one['name']}."}]
            try:
                answer = llm.chat(
                    ask,
                    json_schema=one["schema"],
                    constraint=arguments.constraint,
                    temperature=1.0,
                    top_k=0,
                    top_p=1.0,
                    seed=seed,
                )
            except GenerationError:
                # Only where nothing but another try can be done.
                counts["never fitted" if arguments.constraint == "retry" else "wrong"] += 1
                continue
            tokens += len(answer.token_ids)
            of_one = {name: getattr(answer.constraint, name) for name in COUNTS}
            kept.update(of_one)
            # Each call but the first has its reason.
            if of_one["calls"] > 1 + of_one["replaced"] + of_one["forced"] + of_one["retries"]:
                counts["too many calls"] += 1
                print(f"{one['name']}: too many calls: {of_one}")
            reason = None if answer.finish_reason == "length" else unfit(answer.content, one["schema"])
            counts["wrong" if reason else answer.finish_reason] += 1
            if reason:
                print(f"{one['name']}: {reason}: {answer.content!r}")
    seconds = time.monotonic() - began
    print(f"{len(wanted)} schemas, {dict(counts)}, {tokens} tokens in {seconds:.0f} s")
    if arguments.constraint != "mask":
        print(", ".join(f"{name}: {kept[name]}" for name in COUNTS))
    return 1 if counts["wrong"] or counts["too many calls"] else 0


if __name__ == "__main__":
    sys.exit(main())
