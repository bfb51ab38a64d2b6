#!/usr/bin/env python3
"""Has a small model answer in each of 200 JSON schemas, at temperature 1, and checks every answer.

    scripts/soak_schemas.py MODEL [FIRST] [--constraint mask|guided|retry]

The schemas are in tests/schemas.json, each with the features that it has. An answer must fit its schema, or
have ended with "length"; anything else fails, and is printed. FIRST of the schemas are enough for a trial.
With --constraint guided or retry, the CPU runtime stands in for the vendor's library: it chooses by itself.
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
    tokens, replaced, retries, began = 0, 0, 0, time.monotonic()
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
            kept = answer.constraint
            if kept is not None:
                replaced += kept.replaced
                retries += kept.retries
            reason = None if answer.finish_reason == "length" else unfit(answer.content, one["schema"])
            counts["wrong" if reason else answer.finish_reason] += 1
            if reason:
                print(f"{one['name']}: {reason}: {answer.content!r}")
    seconds = time.monotonic() - began
    print(f"{len(wanted)} schemas, {dict(counts)}, {tokens} tokens in {seconds:.0f} s")
    if arguments.constraint != "mask":
        print(f"{replaced} tokens replaced, chosen or asked again {retries} times")
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
