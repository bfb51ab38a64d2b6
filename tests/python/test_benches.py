"""How the benches judge what they have measured."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benches"))

from goals import Goal
from harness import Row, compared
from measures import MEASURES


def test_the_page_names_every_measure() -> None:
    page = Path(__file__).parents[2] / "docs" / "developing" / "performance.md"
    usage = page.read_text().split("```")[1]
    assert [name for name in MEASURES if f" {name}" not in usage] == []


def row(goal: Goal, ours: list[float], floor: list[float]) -> Row:
    made = Row("a figure", "us", goal)
    made.ours, made.floor = ours, floor
    return made


@pytest.mark.parametrize(
    ("goal", "ours", "floor", "verdict"),
    [
        (Goal(2.0), [18.0, 19.0, 99.0], [10.0, 10.0, 10.0], "met"),
        (Goal(2.0), [18.0, 29.0, 99.0], [10.0, 10.0, 10.0], "best only"),
        (Goal(2.0), [21.0, 22.0, 23.0], [10.0, 10.0, 10.0], "MISSED"),
        (Goal(0.9, at_least=True), [80.0, 95.0, 95.0], [100.0, 90.0, 90.0], "met"),
        (Goal(0.9, at_least=True), [80.0, 80.0, 80.0], [100.0, 90.0, 90.0], "MISSED"),
        (Goal(3.0, of="over"), [12.0, 12.5], [10.0, 10.0], "met"),
        (Goal(1.0, of="itself"), [1.5], [], "MISSED"),
    ],
)
def test_a_goal_is_met_by_the_best_rounds_and_by_the_median(
    goal: Goal, ours: list[float], floor: list[float], verdict: str
) -> None:
    assert row(goal, ours, floor).verdict() == verdict


@pytest.mark.parametrize(
    ("goal", "ours", "other", "worse"),
    [
        (Goal(2.0), 10.4, 10.0, False),
        (Goal(2.0), 10.6, 10.0, True),
        (Goal(0.9, at_least=True), 120.0, 100.0, False),
        (Goal(0.9, at_least=True), 90.0, 100.0, True),
        # Of the limit: a ratio of nearly nothing to nearly nothing tells nothing.
        (Goal(1.0, of="itself"), 0.03, 0.0, False),
        (Goal(1.0, of="itself"), 0.08, 0.01, True),
        (Goal(3.0, of="over"), 12.1, 12.0, False),
        (Goal(3.0, of="over"), 12.2, 12.0, True),
    ],
)
def test_another_build_may_be_better_by_five_percent(
    goal: Goal, ours: float, other: float, *, worse: bool
) -> None:
    assert ("WORSE" in compared([row(goal, [ours], [other])])) is worse
