"""lm-eval, whose log-probabilities of texts are those of ``RKLLM.score()``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import requests
from checks import equal, holds, main
from lm_eval.models.openai_completions import LocalCompletionsAPI

#: What ``scripts/test_clients.py`` has written: where the real model is served, and texts with their scores.
GIVEN: dict[str, Any] = json.loads(Path(os.environ["RKLLM_RS_TEST_SCORES"]).read_text(encoding="utf-8"))


def _ids(text: str, *, begins: bool) -> list[int]:
    body = {"prompt": text, "add_special_tokens": begins}
    ids: list[int] = requests.post(f"{GIVEN['url']}/tokenize", json=body, timeout=60).json()["tokens"]
    return ids


def a21_log_probabilities() -> None:
    api = LocalCompletionsAPI(
        base_url=f"{GIVEN['url']}/v1/completions", model="small", tokenizer_backend=None, max_length=256
    )
    # It wants one to count with, and is given ids.
    api.tokenizer, api.tokenized_requests = object(), True
    asked = [
        (
            (one["prompt"], one["continuation"]),
            _ids(one["prompt"], begins=True),
            _ids(one["continuation"], begins=False),
        )
        for one in GIVEN["items"]
    ]
    told = api._loglikelihood_tokens(asked, disable_tqdm=True)
    equal(len(told), 20)
    for one, (logprob, _greedy) in zip(GIVEN["items"], told, strict=True):
        holds(abs(logprob - one["logprob"]) <= 1e-3, (one, logprob))


if __name__ == "__main__":
    main("lm-eval")
