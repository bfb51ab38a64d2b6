"""Embeddings in; logits and hidden states out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from capi import GENERATE, HIDDEN_STATES, LOGITS, Library, Model
from tiny_lora import Q8_0, read_gguf

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)

PROMPT = [504, 3575, 282, 4649, 314]
VOCABULARY, WIDTH = 49152, 576
BLOCK = np.dtype([("scale", "<f2"), ("values", "i1", 32)])


@pytest.fixture(scope="module")
def embeddings(model: Path) -> np.ndarray:
    """The model's embedding matrix, read from its file."""
    _, tensors = read_gguf(model)
    tensor = tensors["token_embd.weight"]
    assert (tensor.dimensions, tensor.kind) == ((WIDTH, VOCABULARY), Q8_0)
    count = WIDTH * VOCABULARY // 32
    blocks = np.fromfile(model, BLOCK, count, offset=tensor.offset)
    values = blocks["values"].astype(np.float32) * blocks["scale"].astype(np.float32)[:, None]
    return values.reshape(VOCABULARY, WIDTH)


@pytest.mark.parametrize("length", [5, 70, 200])
def test_embeddings_of_tokens_are_the_tokens(
    capi: Library, model: Path, embeddings: np.ndarray, length: int
) -> None:
    tokens = (PROMPT * length)[:length]
    with Model(capi, model, context=512) as llm:
        expected = llm.go(tokens, most=16)
        assert llm.clear() == 0
        given = llm.go(embeddings[tokens], most=16)
        assert given.tokens == expected.tokens
        assert given.prefilled == length
        assert llm.sizes() == [length + 15]
        for mode in (LOGITS, HIDDEN_STATES) if length < 100 else ():
            of_tokens = llm.go(tokens, mode=mode).values
            of_embeddings = llm.go(embeddings[tokens], mode=mode).values
            assert np.abs(of_tokens - of_embeddings).max() < 1e-3


def test_embeddings_and_tokens_take_turns_in_a_conversation(llm: Model, embeddings: np.ndarray) -> None:
    first = llm.go(PROMPT, most=1, keep=True)
    second = llm.go(embeddings[[28, 655]], most=8, keep=True)
    assert llm.clear() == 0
    assert second.tokens == llm.go([*PROMPT, *first.tokens, 28, 655], most=8).tokens


def test_embeddings_are_never_taken_from_the_cache(llm: Model, embeddings: np.ndarray) -> None:
    zeros = np.zeros((3, WIDTH), np.float32)
    first = llm.go(zeros, most=4)
    assert llm.go(zeros + 1, most=1).prefilled == 3
    again = llm.go(zeros, most=4)
    assert (again.prefilled, again.tokens) == (3, first.tokens)


def test_a_prompt_cache_holds_no_embeddings(
    llm: Model, embeddings: np.ndarray, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    llm.go(embeddings[PROMPT], most=1, save=tmp_path / "prompt.cache")
    assert "E rkllm: a prompt cache with embeddings cannot be saved" in capfd.readouterr().err
    assert not (tmp_path / "prompt.cache").exists()


def test_all_positions_give_logits_whatever_the_length(llm: Model) -> None:
    # The first position of each is the same, and that of a prompt of one.
    alone = llm.go(PROMPT[:1], mode=LOGITS).values
    for length in (2, 63, 64, 65, 130):
        values = llm.go((PROMPT * 40)[:length], mode=LOGITS).values
        assert values.shape == (length, VOCABULARY)
        assert np.abs(values[0] - alone[0]).max() < 1e-3


def test_the_best_logits_are_the_greedy_tokens(llm: Model) -> None:
    made = llm.go(PROMPT, most=16).tokens
    values = llm.go(PROMPT + made[:-1], mode=LOGITS).values
    assert values[len(PROMPT) - 1 :].argmax(axis=1).tolist() == made


def test_hidden_states_come_for_all_positions_and_leave_logits_alone(llm: Model) -> None:
    before = llm.go(PROMPT, mode=LOGITS).values
    for length in (1, 5, 130):
        values = llm.go((PROMPT * 100)[:length], mode=HIDDEN_STATES).values
        assert values.shape == (length, WIDTH)
        assert np.isfinite(values).all()
        # No two positions are alike.
        assert len(np.unique(values.round(3), axis=0)) == length
    assert np.array_equal(llm.go(PROMPT, mode=LOGITS).values, before)


def test_values_of_a_turn_leave_out_the_token_before(llm: Model) -> None:
    first = llm.go(PROMPT, most=3, keep=True)
    values = llm.go([28, 655], mode=LOGITS, keep=True).values
    assert values.shape == (2, VOCABULARY)
    whole = llm.go([*PROMPT, *first.tokens, 28, 655], mode=LOGITS).values
    assert np.abs(values - whole[-2:]).max() < 1e-3


def test_text_gives_the_values_of_its_tokens(llm: Model, shared_llm: Model) -> None:
    text = "The capital of France is"
    assert np.array_equal(llm.go(text, mode=LOGITS).values, llm.go(PROMPT, mode=LOGITS).values)


def test_values_do_not_end_a_conversation_or_begin_one(llm: Model) -> None:
    whole = llm.go(PROMPT, most=6).tokens
    assert llm.clear() == 0
    llm.go(PROMPT[:3], mode=LOGITS, keep=True)
    assert llm.go(PROMPT[3:], most=6, mode=GENERATE, keep=True).tokens == whole
    # Without history each stands alone.
    llm.go(PROMPT[:3], mode=LOGITS)
    assert llm.go(PROMPT, most=6).tokens == whole
