"""Outputs that parsers get wrong, through a whole chat: every one in ten cuts, bytes and not characters.

What each must give stands in a table of the Rust parser, where each is cut in 200 ways more.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import warnings
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rkllm_rs import RKLLM, RkllmWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Opener
    from rkllm_rs import ChatAnswer

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")

FILE = Path(__file__).parents[3] / "crates/text/src/answer/cases.json"
TABLE = json.loads(FILE.read_text("utf-8"))
#: What a program cannot switch on is not for it: JSON without markers as a call. And a library of the NPU is
#: ended at an end mark, since some models do not end by themselves: nothing comes after it.
CASES = [
    case
    for case in TABLE["cases"]
    if case["row"] and not case.get("lenient") and "<|im_end|> or not" not in case.get("output", "")
]
#: By row, and by whether markers are told by their ids, for which 1.3.0 takes a tokenizer of the program's;
#: nor are there several runs for one answer before it.
ROWS: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
for one in CASES:
    ROWS["v1_3_0" if "tokens" in one or "runs" in one else "v1_2_1", one["row"]].append(one)

#: The prompt ends as the last message.
TEMPLATE = "{{ tools | tojson if tools }}{{ messages[-1].content }}"
CUTS = 10


def pieces(text: str, draw: random.Random) -> list[dict[str, Any]]:
    """The bytes of a text in random pieces, as tokens."""
    data = text.encode()
    cuts = sorted(draw.randrange(len(data) + 1) for _ in range(draw.randrange(1, 13)))
    ends = zip([0, *cuts], [*cuts, len(data)], strict=True)
    return [{"bytes": list(data[begin:end]), "id": 1} for begin, end in ends if begin < end]


def played(case: dict[str, Any], draw: random.Random) -> list[dict[str, Any]]:
    """The runs of one answer."""
    if "tokens" in case:
        return [
            {"steps": [{"text": text, "id": 1 if mark is None else mark} for text, mark in case["tokens"]]}
        ]
    return [{"steps": pieces(text, draw)} for text in case.get("runs") or [case["output"]]]


def told(answer: ChatAnswer) -> dict[str, Any]:
    return {
        "content": answer.content,
        "reasoning": answer.reasoning,
        "calls": [(call.name, call.arguments, call.error is None) for call in answer.tool_calls],
    }


def expected(case: dict[str, Any]) -> dict[str, Any]:
    calls = [(call["name"], call["arguments"], call["error"] is None) for call in case["calls"]]
    return {"content": case["content"], "reasoning": case["reasoning"], "calls": calls}


def check(open_model: Opener, case: dict[str, Any], plays: list[list[dict[str, Any]]]) -> None:
    """Has each of the ``plays`` read."""
    with contextlib.ExitStack() as opened:
        runs = [run for play in plays for run in play]
        marks = case.get("marker_ids") or {}

        def ids(text: str, marks: dict[str, int] = marks) -> list[int]:
            return [marks[text]] if text in marks else list(text.encode())

        keywords = {"tokenizer": ids} if marks else {}
        llm = open_model({"runs": runs}, chat_template=TEMPLATE, family=case["family"], **keywords)
        opened.enter_context(llm)
        ask = [{"role": "user", "content": case.get("prompt") or "<|im_start|>assistant\n"}]
        tools = case.get("tools", TABLE["tools"]) or None
        for _ in plays:
            answer = llm.chat(ask, tools=tools, stop=case.get("stop"))
            assert told(answer) == expected(case)


@pytest.mark.parametrize(("abi_version", "row"), sorted(ROWS))
def test_every_cut_gives_the_same(open_model: Opener, abi_version: str, row: int) -> None:
    draw = random.Random(row)  # noqa: S311 - no secret
    for case in ROWS[abi_version, row]:
        check(open_model, case, [played(case, draw) for _ in range(CUTS)])


@pytest.fixture(scope="module")
def real() -> Iterator[RKLLM]:
    """A model with a real tokenizer."""
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    with RKLLM(MODEL, backend="cpu", max_context_len=32) as llm:
        yield llm


@pytest.fixture
def open_beside(real: RKLLM, make_model: Callable[..., Path], library: Path) -> Opener:
    """Opens models of the fake while the real one is open."""

    def opener(script: Any, **keywords: Any) -> RKLLM:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RkllmWarning)
            return RKLLM(make_model(script), library=library, **keywords)

    return opener


def tokens(llm: RKLLM, text: str) -> list[dict[str, Any]]:
    """The tokens of a text; those that share a character are one piece."""
    pieces, begin = [], 0
    ids = llm.tokenize(text, add_special_tokens=False)
    for end in range(1, len(ids) + 1):
        piece = llm.detokenize(ids[begin:end])
        if "\ufffd" not in piece or end == len(ids):
            pieces.append({"text": piece, "id": 1})
            begin = end
    assert "".join(piece["text"] for piece in pieces) == text
    return pieces


@pytest.mark.model
@pytest.mark.timeout(300)
@pytest.mark.parametrize("abi_version", ["v1_2_1"])
def test_every_token_alone_gives_the_same(real: RKLLM, open_beside: Opener, abi_version: str) -> None:
    """As a real tokenizer cuts them."""
    for case in (case for (own, _), cases in ROWS.items() if own == abi_version for case in cases):
        check(open_beside, case, [[{"steps": tokens(real, case["output"])}]])


def test_every_row_is_there() -> None:
    assert {row for _, row in ROWS} == set(range(1, 67))
