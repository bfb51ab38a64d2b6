"""What a run takes from the cache, and what it says of that."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from capi import AUTO, HELD, LOGITS, NONE, PAUSE, Library, Model, sampling
from tiny_model import make_model

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)

GREEDY = sampling()
DRAWN = sampling(temperature=0.9)
#: A mark, which ends a block of 24 tokens and more.
MARK = 2
PROMPT = [300 + at % 200 for at in range(100)]


@pytest.fixture
def tiny(capi: Library, tmp_path: Path) -> Model:
    with Model(capi, make_model(tmp_path / "model.gguf", "Q4_1"), context=512) as llm:
        yield llm


def test_runs_that_draw_take_all_that_is_held(tiny: Model) -> None:
    made = tiny.go(PROMPT, most=8).tokens  # not drawn: an answer that ends before is all held
    assert tiny.go([*PROMPT, *made, 7], most=1, settings=DRAWN).prefilled == 2, (
        "the token chosen last is not held"
    )
    for prompt, held in (
        ([*PROMPT, *made, 7, 8], 108),
        ([*PROMPT, *made], 107),
        (PROMPT, 99),
        (PROMPT[:50], 49),
    ):
        tiny.go(PROMPT, most=1, settings=DRAWN)
        tiny.go([*PROMPT, *made, 9], most=1, settings=DRAWN)
        run = tiny.go(prompt, most=1, settings=DRAWN)
        assert run.prefilled == len(prompt) - held
        assert tiny.figures() == [(len(prompt), held)]


def test_what_is_held_is_the_answer_too(tiny: Model) -> None:
    tiny.reuse(HELD)
    made = tiny.go(PROMPT, most=8).tokens
    assert tiny.go([*PROMPT, *made, 7], most=1).prefilled == 2
    tiny.reuse(AUTO)
    assert tiny.go([*PROMPT, *made, 7], most=1).prefilled == 109 - 64
    tiny.reuse(NONE)
    assert tiny.go([*PROMPT, *made, 7], most=1).prefilled == 109


def test_a_seed_makes_a_run_certain(tiny: Model) -> None:
    tiny.seed(3)
    tiny.go(PROMPT, most=8, settings=DRAWN)
    assert tiny.go(PROMPT, most=8, settings=DRAWN).prefilled == 100 - 64
    tiny.seed(None)
    assert tiny.go(PROMPT, most=8, settings=DRAWN).prefilled == 1


@pytest.mark.parametrize(("at", "end"), [(30, 31), (22, 64), (23, 24), (63, 64), (70, 64)])
def test_a_block_ends_behind_a_mark(tiny: Model, at: int, end: int) -> None:
    prompt = [*PROMPT[:at], MARK, *PROMPT[at + 1 : 80]]
    tiny.go(prompt, most=1)
    assert tiny.go(prompt, most=1).prefilled == 80 - end


def test_the_figures_are_there_when_the_callback_asks(tiny: Model) -> None:
    told = []
    tiny.go(PROMPT, most=3, answer=lambda _: told.append(tiny.figures()) or 0)
    assert told == [[(100, 0)]] * 3
    tiny.go(PROMPT, most=8, keep=True)
    tiny.go(PROMPT[:10], most=1, keep=True)
    # The conversation, the token that was still to be computed, and the prompt.
    assert tiny.figures() == [(100 + 8 + 10, 107)]
    tiny.go(PROMPT, mode=LOGITS)
    assert tiny.figures() == [(100, 0)]
    tiny.run([10**6], most=1)
    assert tiny.figures() == []


def test_nothing_ends_a_conversation_and_begins_one(tiny: Model) -> None:
    expected = tiny.go(PROMPT[:40], most=8).tokens
    tiny.go(PROMPT, most=8, keep=True)
    tiny.reuse(NONE)
    assert tiny.go(PROMPT[:40], most=8, keep=True).tokens == expected
    tiny.reuse(AUTO)
    tiny.go(PROMPT[:10], most=1, keep=True)
    assert tiny.figures() == [(58, 47)]


def test_nothing_does_not_end_a_pause(tiny: Model) -> None:
    tiny.reuse(NONE)
    expected = tiny.go(PROMPT, most=4).tokens
    got = tiny.go(PROMPT, most=4, answer=lambda _: PAUSE).tokens
    while len(got) < 4:
        got += tiny.go([got[-1]], most=4, answer=lambda _: PAUSE).tokens
    assert got == expected


@pytest.mark.parametrize("kind", ["F16", "Q4_K", "Q8_0"])
def test_greedy_answers_are_those_of_nothing_held(capi: Library, tmp_path: Path, kind: str) -> None:
    draw = random.Random(1)  # noqa: S311 - no secret
    with Model(capi, make_model(tmp_path / "model.gguf", kind), context=512) as llm:
        prompt = [draw.randrange(300, 512) for _ in range(60)]
        for _ in range(40):
            # A conversation that goes on, is edited, and asked again.
            edit = draw.randrange(4)
            if edit == 0:
                prompt = prompt[: draw.randrange(1, len(prompt))]
            elif edit == 1:
                prompt[draw.randrange(len(prompt))] = draw.randrange(300, 512)
            prompt = [*prompt, MARK, *(draw.randrange(300, 512) for _ in range(draw.randrange(1, 60)))][-200:]
            llm.reuse(AUTO)
            reused = llm.go(prompt, most=6, settings=GREEDY)
            answer = reused.tokens
            llm.reuse(NONE)
            assert llm.go(prompt, most=6, settings=GREEDY).tokens == answer
            # So that there is something to take, other than what was just computed anew.
            llm.reuse(HELD)
            llm.go([*prompt, 5], most=2, settings=DRAWN)
            prompt += answer
