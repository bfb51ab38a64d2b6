"""Answering 1: what the next run brings takes the place of the token delivered last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from capi import GENERATE, HIDDEN_STATES, LOGITS, PAUSE, Library, Model, Row, sampling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from capi import Sampling

pytestmark = pytest.mark.timeout(300)

# "The capital of France is": the model goes on for long.
PROMPT = [504, 3575, 282, 4649, 314]
COUNT = 40

SAMPLINGS = {
    "greedy": sampling(),
    "repeat": sampling(repeat_penalty=1.3),
    "frequency": sampling(frequency_penalty=0.7),
    "presence": sampling(presence_penalty=0.9),
    "all penalties, drawn": sampling(
        temperature=1.1, top_p=0.95, repeat_penalty=1.2, frequency_penalty=0.3, presence_penalty=0.2
    ),
    "drawn": sampling(temperature=1.3, top_k=50),
    "mirostat 1": sampling(temperature=1.0, mirostat=1),
    "mirostat 2": sampling(temperature=1.0, mirostat=2),
}


def pause(_: list[Row]) -> int:
    return PAUSE


def stepped(llm: Model, prompt: list[int], count: int, settings: Sampling) -> tuple[list[int], bytes]:
    """Pauses after every token and brings it again."""
    tokens: list[int] = []
    text = b""
    given = prompt
    while len(tokens) < count:
        run = llm.go(given, most=8, settings=settings, answer=pause)
        if not run.tokens:  # the model has ended its answer
            break
        assert len(run.tokens) == 1
        tokens += run.tokens
        text += run.rows[0].text
        given = run.tokens
    return tokens, text


@pytest.mark.parametrize("name", SAMPLINGS)
def test_stepping_gives_what_a_run_without_pause_gives(llm: Model, name: str) -> None:
    llm.seed(7)
    whole = llm.go(PROMPT, most=COUNT, settings=SAMPLINGS[name])
    llm.clear()
    tokens, text = stepped(llm, PROMPT, COUNT, SAMPLINGS[name])
    assert tokens == whole.tokens
    assert len(tokens) > 8
    assert text == whole.rows[0].text


def test_a_pause_in_the_middle_keeps_the_state_too(llm: Model) -> None:
    settings = SAMPLINGS["all penalties, drawn"]
    llm.seed(3)
    whole = llm.go(PROMPT, most=COUNT, settings=settings)
    llm.clear()
    first = llm.go(
        PROMPT, most=COUNT, settings=settings, answer=lambda rows: len(rows[0].tokens) == COUNT // 2
    )
    assert first.tokens == whole.tokens[: COUNT // 2]
    # Another seed is for runs that begin.
    llm.seed(4)
    rest = llm.go(first.tokens[-1:], most=COUNT // 2, settings=settings)
    assert rest.tokens == whole.tokens[COUNT // 2 :]
    assert rest.generated == COUNT // 2


def test_the_delivered_token_is_not_in_the_cache(llm: Model) -> None:
    whole = llm.go(PROMPT, most=8)
    llm.clear()
    paused = llm.go(PROMPT, most=8, answer=lambda rows: len(rows[0].tokens) == 3)
    assert llm.sizes() == [5 + 2]
    # Something else in its place: as if the prompt had been written so.
    other = [1423, 253]
    edited = llm.go(other, most=8)
    assert edited.prefilled == 2
    llm.clear()
    assert edited.tokens == llm.go(PROMPT + paused.tokens[:2] + other, most=8).tokens
    assert edited.tokens != whole.tokens[3:]


def test_text_is_appended_as_it_is(llm: Model, shared_llm: Model) -> None:
    llm.go(PROMPT, most=8, answer=pause)
    assert llm.sizes() == [5]
    edited = llm.go(" the city of", most=6)
    llm.clear()
    assert edited.tokens == llm.go(PROMPT + shared_llm.tokenize(" the city of"), most=6).tokens


def test_penalties_see_what_the_resuming_run_brings(llm: Model) -> None:
    settings = sampling(presence_penalty=100.0)
    first = llm.go(PROMPT, most=4, settings=settings, answer=pause)
    likely = llm.go(first.tokens, most=1, settings=settings, answer=pause).tokens[0]
    llm.clear()
    llm.go(PROMPT, most=4, settings=settings, answer=pause)
    # The same place, but its best token counts as made already.
    assert llm.go([likely, *first.tokens], most=1, settings=settings).tokens[0] != likely


def test_a_character_of_several_tokens_survives_pauses(llm: Model) -> None:
    cats = "\N{CAT} \N{CAT} \N{CAT} \N{CAT} \N{CAT}"
    prompt = llm.tokenize(cats)
    whole = llm.go(prompt, most=24)
    assert "\N{CAT}" in whole.text
    llm.clear()
    tokens, text = stepped(llm, prompt, 24, sampling())
    assert tokens == whole.tokens
    # The end of a run gives the bytes of an unfinished character, a pause keeps them.
    assert whole.rows[0].text.startswith(text)
    assert "\N{CAT}" in text.decode()


def test_clearing_ends_the_pause(llm: Model) -> None:
    alone = llm.go(PROMPT, most=4).tokens
    llm.clear()
    llm.go(PROMPT, most=8, answer=pause)
    assert llm.clear() == 0
    assert llm.sizes() == [0]
    assert llm.go(PROMPT, most=4).tokens == alone
    assert llm.clear((0, 1)) == -1


def test_a_failed_run_leaves_the_pause(llm: Model) -> None:
    settings = SAMPLINGS["all penalties, drawn"]
    llm.seed(5)
    whole = llm.go(PROMPT, most=8, settings=settings)
    llm.clear()
    paused = llm.go(PROMPT, most=8, settings=settings, answer=pause)
    assert llm.run([1 << 20], most=8).code == -1
    assert llm.run([], most=8).code == -1
    assert llm.run([1] * 600, most=8).code == -1
    assert llm.go(paused.tokens, most=7, settings=settings).tokens == whole.tokens[1:]


def test_ranges_go_from_a_paused_run_only(llm: Model) -> None:
    assert llm.clear((0, 1)) == -1
    llm.go(PROMPT, most=8, answer=lambda rows: len(rows[0].tokens) == 4)
    assert llm.sizes() == [8]
    for wrong in ((1, 99), (-1, 2), (3, 2)):
        assert llm.clear(wrong) == -1
    assert llm.clear((2, 2)) == 0
    assert llm.clear((1, 3)) == 0
    assert llm.sizes() == [6]
    # From the end, too; and what remains is what is gone on from.
    assert llm.clear((3, 6)) == 0
    assert llm.sizes() == [3]
    assert llm.go([4649, 314], most=4).tokens
    assert llm.sizes() == [3 + 2 + 3]
    assert llm.clear((0, 1)) == -1


def test_dropping_the_end_is_as_if_it_had_not_been(llm: Model) -> None:
    whole = llm.go(PROMPT, most=6).tokens
    llm.clear()
    llm.go([*PROMPT, 19, 20, 21], most=6, answer=pause)
    assert llm.clear((5, 8)) == 0
    assert llm.clear((4, 5)) == 0
    assert llm.go(PROMPT[4:], most=6).tokens == whole


@pytest.mark.parametrize(("mode", "width"), [(LOGITS, 49152), (HIDDEN_STATES, 576)])
def test_values_token_by_token_are_those_of_the_whole(llm: Model, mode: int, width: int) -> None:
    tokens = PROMPT + llm.go(PROMPT, most=50).tokens
    llm.clear()
    whole = llm.go(tokens, mode=mode).values
    assert whole.shape == (len(tokens), width)
    llm.clear()
    rows = []
    for at, token in enumerate(tokens):
        rows.append(llm.go([token], mode=mode, answer=pause).values)
        assert llm.sizes() == [at + 1]
    assert np.abs(np.concatenate(rows) - whole).max() < 1e-3


def test_a_callers_own_greedy_choice_gives_the_greedy_tokens(llm: Model) -> None:
    whole = llm.go(PROMPT, most=16).tokens
    llm.clear()
    chosen: list[int] = []
    given = PROMPT
    while len(chosen) < 16:
        given = [int(llm.go(given, mode=LOGITS, answer=pause).values[-1].argmax())]
        chosen += given
    assert chosen == whole


def test_a_run_of_another_mode_goes_on_once(llm: Model) -> None:
    settings = sampling(repeat_penalty=5.0)
    whole = llm.go(PROMPT, most=4).tokens
    llm.clear()
    paused = llm.go(PROMPT, most=4, settings=settings, answer=pause)
    assert paused.tokens == whole[:1]
    values = llm.go(paused.tokens, mode=LOGITS).values
    assert values.shape[0] == 1
    assert int(values[0].argmax()) == whole[1]
    assert llm.sizes() == [6]
    # It was not paused itself: the next one stands alone, with a sampler of its own.
    assert llm.clear((0, 1)) == -1
    assert llm.go(PROMPT, most=4, mode=GENERATE).tokens == whole


def test_rows_of_a_batch_pause_together(capi: Library, model: Path) -> None:
    prompts = [PROMPT, [504, 9003, 4649], [1423, 253, 655, 9003]]
    settings = SAMPLINGS["all penalties, drawn"]
    with Model(capi, model, context=256, rows=3) as batch:
        batch.seed(11)
        whole = batch.go(*prompts, most=12, settings=settings)
        batch.clear()
        made: list[list[int]] = [[], [], []]
        given = prompts
        for _ in range(12):
            run = batch.go(*given, most=4, settings=settings, answer=pause)
            given = [row.tokens for row in run.rows]
            for at, tokens in enumerate(given):
                made[at] += tokens
        assert made == [row.tokens for row in whole.rows]
        # A row with nothing to say rests; all of them cannot.
        before = batch.sizes()
        rested = batch.go(given[0], [], given[2], most=3, settings=settings, answer=pause)
        assert [len(row.tokens) for row in rested.rows] == [1, 0, 1]
        assert batch.sizes() == [before[0] + 1, before[1], before[2] + 1]
        assert batch.run([], [], []).code == -1
        assert batch.clear((0, 1), (0, 0), (2, 4)) == 0
        assert batch.sizes() == [before[0], before[1], before[2] - 1]
        batch.clear()
        assert batch.run([], [5], [5]).code == -1


def test_a_pause_is_no_end(llm: Model) -> None:
    paused = llm.run(PROMPT, most=8, answer=lambda rows: len(rows[0].tokens) == 3)
    assert (paused.code, paused.finished, paused.errors) == (0, 0, 0)
    assert llm.run(paused.tokens[-1:], most=2).finished == 1
    values = llm.run(PROMPT, mode=LOGITS, answer=pause)
    assert (values.code, values.finished) == (0, 0)


@pytest.fixture(scope="module")
def frank(capi: Library, model: Path) -> Iterator[Model]:
    """A model that shows special tokens."""
    with Model(capi, model, skip_special=False) as opened:
        yield opened


def test_an_end_token_that_is_shown_ends_the_run_whatever_is_answered(frank: Model) -> None:
    question = "What is 2 + 2? Say the number only."
    assert frank.clear() == 0
    whole = frank.go(question, most=40)
    assert whole.rows[0].text.endswith(b"<|im_end|>")
    assert len(whole.tokens) < 40
    assert frank.clear() == 0
    given: Any = question
    stepped: list[int] = []
    while True:
        run = frank.run(given, most=40, answer=pause)
        assert (run.code, len(run.tokens)) == (0, 1)
        stepped += run.tokens
        if run.finished:
            break
        assert len(stepped) < len(whole.tokens), "it was paused at its end"
        given = run.tokens
    assert stepped == whole.tokens
    # It is over: what comes next stands alone.
    assert frank.clear((0, 1)) == -1


def test_the_end_of_all_rows_is_no_pause(capi: Library, model: Path) -> None:
    questions = ["What is 2 + 2? Say the number only."] * 2
    with Model(capi, model, context=256, rows=2, skip_special=False) as batch:
        whole = batch.go(*questions, most=40)
        ends = [row.tokens[-1] for row in whole.rows]
        length = len(whole.tokens)
        assert length < 40
        assert batch.clear() == 0
        run = batch.run(*questions, most=40, answer=lambda rows: len(rows[0].tokens) == length)
        assert [row.tokens[-1] for row in run.rows] == ends
        assert (run.code, run.finished) == (0, 1)
        assert batch.clear((0, 1), (0, 1)) == -1
