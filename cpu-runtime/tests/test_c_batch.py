"""Rows of a batch: sequences side by side, each as if alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from capi import HIDDEN_STATES, LOGITS, Library, Model, sampling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)

QUESTIONS = [
    "What is 2 + 2?",
    "Name a colour. One word only.",
    "What is the capital of Italy?",
    "Write a long story about the sea.",
]


@pytest.fixture(scope="module")
def batch(capi: Library, model: Path) -> Iterator[Model]:
    with Model(capi, model, context=256, rows=4) as opened:
        yield opened


@pytest.fixture(scope="module")
def single(capi: Library, model: Path) -> Iterator[Model]:
    with Model(capi, model, context=256) as opened:
        yield opened


def test_each_row_says_what_it_says_alone_and_ends_at_its_own_time(batch: Model, single: Model) -> None:
    run = batch.go(*QUESTIONS, most=48)
    lengths = []
    for question, row in zip(QUESTIONS, run.rows, strict=True):
        assert single.clear() == 0
        alone = single.go(question, most=48)
        assert row.tokens == alone.tokens
        assert row.text == alone.rows[0].text
        lengths.append(len(row.tokens))
    assert len(set(lengths)) > 1, "the rows end at the same time: ask something else"
    # Those that end before the last one are told by their id.
    assert [row.ended for row in run.rows] == [length < max(lengths) for length in lengths]
    assert run.generated == sum(lengths)


def test_each_row_has_its_own_cache(batch: Model, single: Model) -> None:
    assert batch.clear() == 0
    run = batch.go(*QUESTIONS, most=8)
    sizes = batch.sizes()
    for at, question in enumerate(QUESTIONS):
        assert single.clear() == 0
        alone = single.go(question, most=8)
        assert single.sizes() == [sizes[at]]
        assert alone.tokens == run.rows[at].tokens
    assert run.prefilled == sum(sizes) - sum(min(len(row.tokens), 7) for row in run.rows)
    # Reused row by row: up to the mark behind each question, five tokens before its end.
    again = batch.go(*QUESTIONS, most=8)
    assert again.prefilled == 4 * 5
    assert [row.tokens for row in again.rows] == [row.tokens for row in run.rows]
    # Without marks, whole blocks of 64.
    long = [[*range(500, 500 + length)] for length in (10, 64, 65, 130)]
    assert batch.go(*long, most=2).prefilled == 10 + 64 + 65 + 130
    assert batch.go(*long, most=2).prefilled == 10 + 64 + 1 + 2
    # The system prompt stays in each.
    batch.go(*QUESTIONS, most=8)
    assert batch.clear(keep_system=True) == 0
    kept = batch.sizes()
    assert len(set(kept)) == 1
    assert 5 < kept[0] < min(sizes)
    assert batch.clear() == 0
    assert batch.sizes() == [0] * 4


def test_history_goes_on_in_each_row(batch: Model, single: Model) -> None:
    assert batch.clear() == 0
    batch.go(*QUESTIONS, most=12, keep=True)
    second = batch.go(*["Say it again."] * 4, most=12, keep=True)
    for question, row in zip(QUESTIONS, second.rows, strict=True):
        assert single.clear() == 0
        single.go(question, most=12, keep=True)
        assert single.go("Say it again.", most=12, keep=True).tokens == row.tokens
    assert batch.clear() == 0


def test_rows_of_the_same_prompt_differ_when_drawn(batch: Model) -> None:
    wild = sampling(temperature=1.5)
    batch.seed(9)
    first = batch.go(*["Invent a name."] * 4, most=12, settings=wild)
    assert len({tuple(row.tokens) for row in first.rows}) > 1
    again = batch.go(*["Invent a name."] * 4, most=12, settings=wild)
    assert [row.tokens for row in again.rows] == [row.tokens for row in first.rows]
    batch.seed(None)


@pytest.mark.parametrize("mode", [LOGITS, HIDDEN_STATES])
def test_values_come_row_by_row(batch: Model, single: Model, mode: int) -> None:
    inputs = [[504, 3575, 282], [504], [1423, 253, 655, 9003], list(range(500, 600))]
    run = batch.go(*inputs, mode=mode)
    for given, row in zip(inputs, run.rows, strict=True):
        (values,) = row.values
        assert values.shape[0] == len(given)
        assert single.clear() == 0
        assert np.abs(values - single.go(given, mode=mode).values).max() < 1e-3


def test_one_wrong_row_fails_all_before_anything_is_lost(batch: Model) -> None:
    assert batch.clear() == 0
    good = [[504, 3575, 282]] * 4
    expected = batch.go(*good, most=4, keep=True)
    sizes = batch.sizes()
    for wrong in ([1 << 20], [], [1] * 300):
        assert batch.run([5], [5], wrong, [5], most=4, keep=True).code == -1
        assert batch.sizes() == sizes
    assert batch.go(*[[5]] * 4, most=4, keep=True).prefilled == 4 * 2
    assert batch.clear() == 0
    assert batch.go(*good, most=4).rows[3].tokens == expected.rows[3].tokens


def test_a_full_row_does_not_stop_the_others(capi: Library, model: Path) -> None:
    with Model(capi, model, context=48, rows=2) as narrow:
        assert narrow.template() == 0
        run = narrow.go(
            [504] * 40, [504, 3575, 282, 4649, 314], most=30, settings=sampling(repeat_penalty=1.5)
        )
        assert all(size <= 48 for size in narrow.sizes())
        assert max(len(row.tokens) for row in run.rows) == 30
