"""The private table: what the package asks beyond the vendor's C API."""

from __future__ import annotations

import ctypes as c
from typing import TYPE_CHECKING, Any

import pytest

from capi import PROCESSOR, Library, Model, Table, sampling

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)


def test_it_tells_its_version_and_size(capi: Library) -> None:
    assert (capi.table.version, capi.table.size) == (1, c.sizeof(Table))


def test_a_template_that_is_used_has_no_problem(capi: Library, llm: Model) -> None:
    assert capi.table.template_problem(llm.handle, None, 0) == 0
    assert capi.table.template_problem(None, None, 0) < 0


def test_text_is_tokenized_as_it_is(llm: Model) -> None:
    assert llm.tokenize("The capital of France is") == [504, 3575, 282, 4649, 314]
    assert llm.tokenize("") == []
    # Special tokens are what they say; this model has none in front of a text.
    assert llm.tokenize("<|im_start|>user\n") == [1, 4093, 198]
    assert llm.tokenize("x", leading=True) == llm.tokenize("x")
    # Zero bytes and broken characters are bytes like any other.
    assert len(llm.tokenize(b"a\0b")) == 3
    assert llm.tokenize(b"\xff\xfe")


@pytest.mark.parametrize("text", ["", "Hello there", "Grüße, 東京, Привет", "🦀👩‍👩‍👧", "a\n\n  b\t"])
def test_tokens_are_made_text_again(llm: Model, text: str) -> None:
    assert llm.detokenize(llm.tokenize(text)) == text.encode()


def test_special_tokens_are_shown_or_left_out(llm: Model) -> None:
    ids = llm.tokenize("<|im_start|>user\nHi<|im_end|>")
    assert llm.detokenize(ids) == b"<|im_start|>user\nHi<|im_end|>"
    assert llm.detokenize(ids, skip_special=True) == b"user\nHi"
    # Bytes of a part of a character are bytes.
    crab = llm.tokenize("🦀")
    assert b"".join(llm.detokenize([one]) or b"" for one in crab) == "🦀".encode()


@pytest.mark.parametrize("wrong", [-1, 10**6])
def test_what_is_no_token_has_no_text(llm: Model, wrong: int) -> None:
    assert llm.detokenize([1, wrong]) is None


def test_too_little_room_gives_the_count_only(llm: Model) -> None:
    long = "word " * 3000
    assert llm.tokenize(long, capacity=10) == [len(llm.tokenize(long, capacity=10_000))]


def test_its_tokens_are_those_of_a_prompt(llm: Model, shared_llm: Model) -> None:
    text = "Once upon a time, in a land far away"
    assert llm.go(text, most=1).prefilled == len(shared_llm.tokenize(text))


def test_a_seed_gives_the_same_text_twice(llm: Model) -> None:
    wild = sampling(temperature=1.5)
    texts = []
    for seed in (42, 42, 43, 2**64 - 1, 2**64 - 1):
        llm.seed(seed)
        llm.clear()
        texts.append(llm.go("Once upon a time", most=16, settings=wild).text)
    assert texts[0] == texts[1] != texts[2] != texts[3] == texts[4]
    llm.seed(None)
    free = {llm.go("Once upon a time", most=16, settings=wild).text for _ in range(3)}
    assert len(free) > 1


def test_a_model_that_wants_a_leading_token_gets_it(capi: Library, model: Path, tmp_path: Path) -> None:
    eager = tmp_path / "eager.gguf"
    key = b"tokenizer.ggml.add_bos_token"
    content = bytearray(model.read_bytes())
    at = content.find(key)
    if at < 0:
        pytest.skip("THE MODEL SAYS NOTHING ABOUT A LEADING TOKEN")
    # A bool: a type of four bytes, then the value.
    content[at + len(key) + 4] = 1
    eager.write_bytes(content)
    with Model(capi, eager) as opened:
        bos = opened.tokenize("x", leading=True)[0]
        assert opened.tokenize("x", leading=True) == [bos, *opened.tokenize("x")]
        written = "<|im_start|>x"
        assert opened.tokenize(written)[0] == bos
        assert opened.tokenize(written, leading=True) == opened.tokenize(written)


def test_the_vocabulary_has_the_text_of_each_token(capi: Library, llm: Model) -> None:
    length = capi.table.vocabulary(llm.handle, None, 0)
    out = c.create_string_buffer(length)
    assert capi.table.vocabulary(llm.handle, out, length) == length
    tokens: list[tuple[int, bytes]] = []
    at = 0
    while at < length:
        size = int.from_bytes(out.raw[at + 1 : at + 5], "little")
        tokens.append((out.raw[at], out.raw[at + 5 : at + 5 + size]))
        at += 5 + size
    assert len(tokens) == 49152
    # Text, a mark, and a mark that ends an answer.
    assert tokens[504] == (0, b"The")
    assert tokens[1] == (1, b"<|im_start|>")
    assert tokens[2] == (2, b"<|im_end|>")


def test_who_processes_logits_decides_the_token(capi: Library, llm: Model) -> None:
    rows: list[int] = []

    def only(_: object, row: int, logits: Any, count: int) -> None:
        rows.append(row)
        for at in range(count):
            logits[at] = 0.0 if at == 504 else float("-inf")

    processor = PROCESSOR(only)
    assert capi.table.set_logits_processor(llm.handle, processor) == 0
    run = llm.run("Hello", most=3)
    assert capi.table.set_logits_processor(llm.handle, PROCESSOR()) == 0
    assert run.rows[0].tokens == [504, 504, 504]
    assert rows == [0, 0, 0]
