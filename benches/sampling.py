"""What choosing tokens beside the library costs: time per token with and without it, on the real small model.

    python benches/sampling.py [--model model.gguf] [--rounds N] [--isolate] [--json]

Each round runs every kind once, in turns with a plain greedy run of as many tokens, which is its floor. Which
of the two comes first changes from round to round, since the second finds a processor that is warmer.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from typing import Any

from goals import GOALS
from harness import Row, table

HERE = os.path.dirname(os.path.abspath(__file__))
PROMPT = "Write a long list of animals, each with a sentence about it."
PLAIN: dict[str, Any] = {"temperature": 0, "repeat_penalty": 1, "max_new_tokens": 96}
LIST = {"type": "array", "items": {"type": "string", "minLength": 20, "maxLength": 60}, "minItems": 40}


def look(token_ids: list[int], row: Any) -> None:
    """Changes nothing."""


#: What is asked for besides the plain run, by the row's name.
KINDS: dict[str, dict[str, Any]] = {
    "token time, json_schema": {"json_schema": LIST},
    "token time, logprobs=0": {"logprobs": 0},
    "token time, logprobs=20": {"logprobs": 20},
    'token time, sampler="own"': {"sampler": "own"},
    "token time, logits_processor": {"logits_processor": look},
}


def compare(model: str, rounds: int, isolate: bool) -> list[Row]:  # noqa: FBT001
    """All kinds, in turns."""
    from rkllm_rs import RKLLM

    rows = {name: Row(name, "ms", GOALS[name]) for name in KINDS}
    with RKLLM(model, backend="cpu", max_context_len=512, ignore_eos_token=True, isolate=isolate) as llm:

        def token_time(**more: Any) -> float:
            perf = llm.generate(PROMPT, **PLAIN, **more).perf
            return 1e3 / (perf.generate_tokens_per_second or 0)

        for more in ({}, *KINDS.values()):
            token_time(**more)
        for number in range(rounds):
            for name, more in KINDS.items():
                sides: list[tuple[list[float], dict[str, Any]]]
                sides = [(rows[name].floor, {}), (rows[name].ours, more)]
                for figures, options in sides if number % 2 else sides[::-1]:
                    figures.append(token_time(**options))
    return list(rows.values())


def main() -> None:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", help="a .gguf file; the small one of the tests if not given")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--isolate", action="store_true", help="in a worker")
    parser.add_argument("--json", action="store_true", help="every round, as JSON")
    arguments = parser.parse_args()
    fetch = [sys.executable, os.path.join(HERE, "..", "scripts", "fetch_model.py")]
    model = (
        arguments.model or subprocess.run(fetch, check=True, stdout=subprocess.PIPE).stdout.decode().strip()
    )
    rows = compare(model, arguments.rounds, arguments.isolate)
    rows_json = json.dumps([row.as_json() for row in rows], indent=1)
    print(rows_json if arguments.json else table(rows, floor="plain"))


if __name__ == "__main__":
    main()
