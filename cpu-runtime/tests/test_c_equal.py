"""Equal input, equal answer: whatever ran before on the handle."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from capi import AUTO, HELD, HIDDEN_STATES, LOGITS, PAUSE, Library, Model, sampling
from tiny_lora import make_lora
from tiny_model import VOCABULARY, make_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)

GREEDY = sampling()
DRAWN = sampling(temperature=0.9, top_k=50, repeat_penalty=1.1)
#: Tokens that are no text, in the tiny model and the real one.
MARKS = [1, 2]
#: The lengths at which something may change: a block, a few of them, 512 positions in the cache.
LENGTHS = [1, 5, 31, 63, 64, 65, 66, 70, 90, 100, 127, 128, 129, 140, 160, 191, 192, 200, 256, 530]


@dataclass(frozen=True)
class Question:
    """A run that stands alone: a prompt for each row."""

    prompts: tuple[tuple[int, ...], ...]
    seed: int | None

    def ask(self, llm: Model, most: int) -> list[list[int]]:
        """The tokens of each row."""
        llm.seed(self.seed)
        settings = GREEDY if self.seed is None else DRAWN
        return [row.tokens for row in llm.go(*self.prompts, most=most, settings=settings).rows]


def questions(vocabulary: int, rows: int, lengths: list[int]) -> list[Question]:
    """Prompts that begin alike, part at all kinds of places, and have marks as those between messages."""
    draw = random.Random(4)  # noqa: S311 - no secret

    def token() -> int:
        return draw.choice(MARKS) if draw.random() < 0.04 else draw.randrange(300, vocabulary)

    stem = [token() for _ in range(max(lengths))]

    def prompt(length: int) -> tuple[int, ...]:
        parted = draw.randrange(length // 2, length + 1)
        tail = [token() for _ in range(length - parted)]
        return tuple(stem[:parted] + tail)

    return [
        Question(
            tuple(prompt(length) if row == 0 else prompt(draw.choice(lengths)) for row in range(rows)),
            seed=at if at % 3 == 0 else None,
        )
        for at, length in enumerate(lengths)
    ]


def in_between(llm: Model, stem: Question, folder: Path, *, lora: bool) -> list[Callable[[], object]]:
    """What others may do on the handle."""
    prompts = stem.prompts
    saved = folder / "prompt.cache"

    def conversation() -> None:
        llm.go(*prompts, most=9, keep=True)
        llm.go(*(one[:70] for one in prompts), most=5, keep=True)

    def paused() -> None:
        llm.run(*prompts, most=9, answer=lambda rows: PAUSE if len(rows[0].tokens) > 3 else 0)
        llm.run(*([one[0]] for one in prompts), most=1)

    def cached() -> None:
        llm.go(*prompts, most=1, save=saved)
        llm.clear()
        assert llm.load_cache(saved) == 0

    def aborted() -> None:
        llm.run(*prompts, most=50, answer=lambda _: llm.library.abort(llm.handle))

    def drawn() -> None:
        """Takes all that is held, and appends to it."""
        llm.seed(None)
        llm.go(*(one[:-1] if len(one) > 1 else one for one in prompts), most=7, settings=DRAWN)

    def held() -> None:
        llm.reuse(HELD)
        llm.go(*([*one, 7, 8] for one in prompts), most=3)
        llm.reuse(AUTO)

    others: list[Callable[[], object]] = [
        conversation,
        drawn,
        held,
        paused,
        cached,
        aborted,
        llm.clear,
        lambda: llm.clear(keep_system=True),
        lambda: llm.go(*prompts, mode=HIDDEN_STATES),
        lambda: llm.go(*prompts, mode=LOGITS, keep=True),
        lambda: llm.run(*([VOCABULARY * 9999],) * len(prompts)),
    ]
    if lora:
        others.append(lambda: llm.go(*prompts, most=2, lora="tiny"))
    return others


def holds(
    capi: Library, path: Path, folder: Path, asked: list[Question], *, most: int, orders: int, context: int
) -> None:
    """Asks each on a handle of its own, then all of them in several orders on one."""
    rows = len(asked[0].prompts)
    expected = []
    for question in asked:
        with Model(capi, path, context=context, rows=rows) as fresh:
            expected.append(question.ask(fresh, most))
    assert len({str(tokens) for tokens in expected}) > len(asked) // 2, "the answers say nothing"
    draw = random.Random(8)  # noqa: S311 - no secret
    adapter = make_lora(path, folder / "tiny.gguf")
    with Model(capi, path, context=context, rows=rows) as llm:
        llm.template()
        lora = llm.load_lora(adapter, "tiny") == 0
        for _ in range(orders):
            order = list(range(len(asked)))
            draw.shuffle(order)
            for at in order:
                if draw.random() < 0.5:
                    other = draw.choice(asked)
                    draw.choice(in_between(llm, other, folder, lora=lora))()
                    # Nothing that goes on: the next one stands alone.
                    llm.run(*([301],) * rows, most=1)
                assert asked[at].ask(llm, most) == expected[at], f"question {at} after others"


@pytest.fixture(params=["F16", "Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q6_K"])
def tiny(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A tiny model of each kind of quantisation."""
    return make_model(tmp_path / "model.gguf", request.param)


def test_whatever_ran_before(capi: Library, tiny: Path, tmp_path: Path) -> None:
    holds(capi, tiny, tmp_path, questions(VOCABULARY, 1, LENGTHS), most=12, orders=3, context=1024)


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_K"])
def test_in_batches(capi: Library, tmp_path: Path, kind: str) -> None:
    path = make_model(tmp_path / "model.gguf", kind)
    holds(capi, path, tmp_path, questions(VOCABULARY, 3, LENGTHS[::3]), most=12, orders=3, context=512)


def test_on_the_real_model(capi: Library, model: Path, tmp_path: Path) -> None:
    asked = questions(40_000, 1, [70, 130])
    holds(capi, model, tmp_path, asked, most=12, orders=2, context=512)


def test_held_blocks_are_taken_over(capi: Library, tmp_path: Path) -> None:
    path = make_model(tmp_path / "model.gguf", "Q4_1")
    prompt = [300 + at % 200 for at in range(200)]
    with Model(capi, path, context=512) as llm:
        assert llm.go(prompt, most=1).prefilled == 200
        # Three whole blocks of 64 are held; the rest is computed as it was.
        assert llm.go(prompt, most=1).prefilled == 200 - 192
        assert llm.go(prompt[:192], most=1).prefilled == 64
        assert llm.go([*prompt[:100], 7, 8], most=1).prefilled == 102 - 64
        # What a conversation has appended was computed in other pieces.
        llm.go(prompt, most=8, keep=True)
        made = llm.go(prompt[:70], most=8, keep=True).tokens
        assert llm.go([*prompt, *made], most=1).prefilled == 208 - 192
