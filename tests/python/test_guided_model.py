"""``constraint="guided"`` and ``"retry"`` with the small model: the CPU runtime as the vendor's library."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rkllm_rs import RKLLM, AsyncRKLLM, GenerationError, InvalidArgumentError
from rkllm_rs.chat.fit import fit

if TYPE_CHECKING:
    from collections.abc import Iterator

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

ASK = [{"role": "user", "content": "Tell me about Rex, a dog of 3 years."}]
SCHEMAS = json.loads((Path(__file__).parents[1] / "schemas.json").read_text())


@pytest.fixture(scope="module")
def llm() -> Iterator[RKLLM]:
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    with RKLLM(MODEL, backend="cpu", max_context_len=1024, max_new_tokens=150) as llm:
        yield llm


@pytest.fixture(autouse=True)
def nothing_open(llm: RKLLM) -> None:
    """The model of this module stays open."""


@pytest.mark.parametrize("one", SCHEMAS[::25], ids=lambda one: one["name"].replace(" ", "-"))
def test_an_answer_fits_its_schema_or_is_cut(llm: RKLLM, one: dict[str, Any]) -> None:
    ask = [{"role": "user", "content": f"Give an example of: {one['name']}."}]
    answer = llm.chat(ask, json_schema=one["schema"], constraint="guided", temperature=1.0, top_k=0, seed=7)
    assert answer.constraint is not None
    assert answer.constraint.way == "guided"
    if answer.finish_reason == "length":
        assert answer.parsed is None
    else:
        assert answer.constraint.complete
        assert not fit(json.loads(answer.content), one["schema"], one["schema"], "answer").conversions
    assert len(answer.token_ids) <= 150


@pytest.mark.parametrize("seed", [1, 3, 8])
def test_an_answer_that_needs_a_certain_character_fits_too(llm: RKLLM, seed: int) -> None:
    person = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "email": {"type": "string", "format": "email"},
        },
        "required": ["name", "email"],
    }
    answer = llm.chat(ASK, json_schema=person, constraint="guided", temperature=1.0, top_k=0, seed=seed)
    assert answer.constraint is not None
    assert answer.constraint.complete or answer.finish_reason == "length"


@pytest.mark.parametrize(
    ("wanted", "pattern"),
    [
        ({"choices": ["red", "green", "light green"]}, "red|green|light green"),
        ({"regex": r"[0-9]{3}-[a-z]{4}"}, r"[0-9]{3}-[a-z]{4}"),
        ({"regex": "(é|è){3}ñ"}, "[éè]{3}ñ"),
    ],
    ids=["choices", "regex", "characters"],
)
def test_text_is_kept_to_what_is_asked(llm: RKLLM, wanted: dict[str, Any], pattern: str) -> None:
    for seed in range(3):
        answer = llm.generate("Say anything.", temperature=2.0, seed=seed, constraint="guided", **wanted)
        assert re.fullmatch(pattern, answer.text)
        assert llm.detokenize(answer.token_ids) == answer.text


def test_an_answer_that_fits_anyway_is_the_same(llm: RKLLM) -> None:
    free = llm.generate("Count to three.", top_k=1, max_new_tokens=12)
    kept = llm.generate("Count to three.", top_k=1, max_new_tokens=12, regex="(?s:.*)", constraint="guided")
    assert kept.token_ids == free.token_ids
    assert kept.constraint is not None
    assert kept.constraint.replaced == 0


def test_equal_seeds_give_equal_answers(llm: RKLLM) -> None:
    ask = {"json_schema": list[int], "constraint": "guided", "temperature": 1.0, "seed": 5}
    assert llm.chat(ASK, **ask).content == llm.chat(ASK, **ask).content


def test_thinking_is_free_and_the_answer_after_it_is_not(llm: RKLLM) -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "<|im_start|>assistant\n<think>\n"
    )
    answer = llm.chat(
        ASK,
        chat_template=template,
        choices=["cat", "dog"],
        constraint="guided",
        max_reasoning_tokens=6,
        top_k=1,
    )
    assert answer.reasoning
    assert answer.content.strip() in ("cat", "dog")
    assert answer.constraint is not None
    assert answer.constraint.complete


def test_a_retry_gives_what_fits_or_an_error_with_the_last_answer(llm: RKLLM) -> None:
    answer = llm.generate("Count.", regex="(?s:.+)", constraint="retry", max_new_tokens=8)
    assert answer.constraint is not None
    assert (answer.constraint.way, answer.constraint.retries) == ("retry", 0)
    with pytest.raises(GenerationError) as caught:
        llm.generate("Count.", regex="[0-9]{30}q", constraint="retry", temperature=1.0, seed=1)
    assert caught.value.partial is not None


def test_what_is_chosen_here_is_masked(llm: RKLLM) -> None:
    with pytest.raises(InvalidArgumentError, match="constraint"):
        llm.generate("?", choices=["a", "b"], constraint="guided", logprobs=1)


def test_it_is_the_same_in_a_worker_and_for_event_loops() -> None:
    asyncio.run(in_a_worker())


async def in_a_worker() -> None:
    async with AsyncRKLLM(MODEL, backend="cpu", max_context_len=512, max_new_tokens=120, isolate=True) as llm:
        answer = await llm.generate("Yes or no?", choices=["yes", "no"], constraint="guided")
        assert answer.text in ("yes", "no")
        async with llm.stream("A list.", json_schema=list[int], constraint="guided", top_k=1) as stream:
            text = "".join([chunk.text async for chunk in stream])
            assert stream.result().parsed == json.loads(text)
