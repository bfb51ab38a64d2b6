"""Text to token ids and back: the CPU runtime's own table, the program's tokenizer, a ``tokenizer.json``."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from rkllm_rs import (
    RKLLM,
    ClosedError,
    InvalidArgumentError,
    InvalidTypeError,
    ModelFormatError,
    Tokens,
    UnsupportedFeatureError,
)
from support import in_thread
from surface import aio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Opener

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")

TEXTS = {
    "words": "hello world",
    "empty": "",
    "spaces": "  two  spaces\n\tand a tab\n",
    "latin": "Größe, naïve, œuvre",
    "japanese": "吾輩は猫である",
    "hindi": "नमस्ते दुनिया",
    "arabic": "مرحبا بالعالم",
    "emoji": "\U0001f468\U0001f3fd\u200d\U0001f4bb \U0001f600",
    "nul": "before\0after",
    "special": "<|im_start|>user\nhi<|im_end|>\n",
}

WORDS = ["[UNK]", "<s>", "</s>", "hello", "world", "blue"]


@pytest.fixture(scope="module")
def real() -> Iterator[RKLLM]:
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    with RKLLM(MODEL, max_context_len=512, template="raw") as model:
        yield model


@pytest.fixture
def beside(make_model: Callable[..., Path]) -> Callable[..., Path]:
    """Writes a model with a ``tokenizer.json`` in its folder."""

    def write(script: Any = (), **settings: Any) -> Path:
        tokenizers = pytest.importorskip("tokenizers")
        words = dict(zip(WORDS, range(len(WORDS)), strict=True))
        tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "[UNK]"))
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        tokenizer.add_special_tokens(["<s>", "</s>"])
        tokenizer.post_processor = tokenizers.processors.TemplateProcessing("<s> $A", None, [("<s>", 1)])
        for name, value in settings.items():
            getattr(tokenizer, name)(**value)
        path = make_model(script)
        tokenizer.save(str(path.parent / "tokenizer.json"))
        return path

    return write


@pytest.mark.model
@pytest.mark.both_modes
def test_words_are_told_beside_a_run() -> None:
    """An answer of minutes holds up no other caller who asks for tokens, and neither does closing."""
    with RKLLM(MODEL, max_context_len=4096, template="raw") as llm:
        ids = llm.tokenize("hello world")
        end = {one: float("-inf") for one in llm.tokenize("<|im_end|><|endoftext|>")}
        stream = llm.stream("Once", max_new_tokens=4000, logit_bias=end)
        next(stream)
        assert llm.tokenize("hello world") == ids
        assert llm.detokenize(ids) == "hello world"
        assert asyncio.run(aio(llm).count_tokens("hello world")) == len(ids)
        assert llm.count_tokens([{"role": "user", "content": "Hi"}]) > 0
        stream.cancel()
        # It had not ended.
        assert stream.result().finish_reason == "cancelled"

        def ask() -> None:
            while True:
                assert llm.tokenize("hello world") == ids

        asking = [in_thread(ask) for _ in range(4)]
        stream = llm.stream("Once", max_new_tokens=4000, logit_bias=end)
        next(stream)
    for ended in asking:
        with pytest.raises(ClosedError):
            ended()


@pytest.mark.model
class TestRealModel:
    """On the CPU runtime, which has the model's tokenizer."""

    @pytest.fixture(autouse=True)
    def nothing_open(self) -> None:
        """The model stays open over these tests."""

    @pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
    def test_a_text_comes_back(self, real: RKLLM, text: str) -> None:
        ids = real.tokenize(text)
        assert real.detokenize(ids) == text
        assert real.count_tokens(text) == len(ids)

    def test_special_tokens_are_one_id_each_and_can_be_left_out(self, real: RKLLM) -> None:
        text = "<|im_start|>user\nhi<|im_end|>"
        assert len(real.tokenize("<|im_start|>")) == 1
        assert real.detokenize(real.tokenize(text), skip_special_tokens=True) == "user\nhi"

    @pytest.mark.parametrize("text", [text for text in TEXTS.values() if text and "\0" not in text])
    def test_a_run_counts_as_count_tokens_does(self, real: RKLLM, text: str) -> None:
        real.clear_kv_cache()
        answer = real.generate(text, max_new_tokens=1, top_k=1)
        assert answer.perf.prefill_tokens == real.count_tokens(text)

    def test_the_ids_are_the_prompt(self, real: RKLLM) -> None:
        """And those of an answer are its text."""
        text = "The capital of France is"
        answer = real.generate(text, max_new_tokens=8, top_k=1)
        assert real.generate(Tokens(real.tokenize(text)), max_new_tokens=8, top_k=1).text == answer.text
        assert real.detokenize(answer.token_ids, skip_special_tokens=True) == answer.text

    def test_ids_outside_the_vocabulary(self, real: RKLLM) -> None:
        size = real.info.vocab_size
        assert size is not None
        assert real.detokenize([size - 1]) is not None
        with pytest.raises(InvalidArgumentError, match=rf"^token_ids\[2\] .*{size}"):
            real.detokenize([1, 2, size])

    def test_between_the_tokens_of_steps(self, real: RKLLM) -> None:
        with real.steps("The sky is", max_new_tokens=3) as steps:
            next(steps)
            assert real.tokenize("hello world") == [28120, 905]

    def test_event_loops(self, real: RKLLM) -> None:
        async def main() -> None:
            llm = aio(real)
            ids = await llm.tokenize(TEXTS["hindi"])
            assert ids == real.tokenize(TEXTS["hindi"])
            assert await llm.detokenize(ids) == TEXTS["hindi"]
            assert await llm.count_tokens(TEXTS["hindi"]) == len(ids)

        asyncio.run(main())

    def test_score_has_the_same_tokens(self, real: RKLLM) -> None:
        assert real.score("The sky is", " blue").token_ids == real.tokenize(" blue", add_special_tokens=False)


def test_the_programs_own_tokenizer(open_model: Opener) -> None:
    told: list[str] = []

    def tokenizer(text: str) -> list[int]:
        told.append(text)
        return [ord(letter) for letter in text]

    model = open_model(tokenizer=tokenizer)
    assert model.tokenize("ab") == [97, 98]
    assert model.count_tokens("abc") == 3
    assert asyncio.run(aio(model).tokenize("c")) == [99]
    assert told == ["ab", "abc", "c"]


def test_the_file_beside_the_model(beside: Callable[..., Path], open_model: Opener) -> None:
    model = open_model(beside())
    assert model.tokenize("hello world") == [1, 3, 4]
    assert model.tokenize("hello world", add_special_tokens=False) == [3, 4]
    assert model.count_tokens("hello world") == 3
    assert model.detokenize([1, 3, 4]) == "<s> hello world"
    assert model.detokenize([1, 3, 4], skip_special_tokens=True) == "hello world"

    async def main() -> None:
        llm = aio(model)
        assert await llm.tokenize("world") == [1, 4]
        assert await llm.count_tokens("world") == 2
        assert await llm.detokenize([4]) == "world"

    asyncio.run(main())


def test_the_file_serves_score(beside: Callable[..., Path], open_model: Opener) -> None:
    model = open_model(beside({"runs": [{"logits": {"width": 8}}] * 2}))
    assert model.score("hello", "blue").token_ids == [5]
    assert asyncio.run(aio(model).score("hello", "world")).token_ids == [4]


def test_what_a_file_says_of_lengths_is_not_followed(beside: Callable[..., Path], open_model: Opener) -> None:
    model = open_model(beside(enable_truncation={"max_length": 2}, enable_padding={"length": 9}))
    assert model.tokenize("hello world blue") == [1, 3, 4, 5]


def test_the_file_is_read_once(beside: Callable[..., Path], open_model: Opener) -> None:
    path = beside()
    model = open_model(path)
    assert model.count_tokens("hello") == 2
    (path.parent / "tokenizer.json").unlink()
    assert model.count_tokens("hello world") == 3


def test_without_a_file(open_model: Opener, make_model: Callable[..., Path]) -> None:
    path = make_model()
    model = open_model(path)
    for call in (
        lambda: model.tokenize("a"),
        lambda: model.detokenize([1]),
        lambda: model.count_tokens("a"),
        lambda: model.score("a", "b"),
        lambda: asyncio.run(aio(model).tokenize("a")),
        lambda: asyncio.run(aio(model).detokenize([1])),
    ):
        with pytest.raises(UnsupportedFeatureError) as caught:
            call()
        assert str(path.parent / "tokenizer.json") in str(caught.value)
        assert "rkllm_rs[tokenizers]" in str(caught.value)


def test_without_the_package(
    open_model: Opener, make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_model()
    (path.parent / "tokenizer.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UnsupportedFeatureError) as caught:
        open_model(path).tokenize("a")
    assert str(path.parent / "tokenizer.json") in str(caught.value)
    assert "rkllm_rs[tokenizers]" in str(caught.value)


def test_a_file_that_is_no_tokenizer(open_model: Opener, make_model: Callable[..., Path]) -> None:
    pytest.importorskip("tokenizers")
    path = make_model()
    (path.parent / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelFormatError, match=r"tokenizer\.json"):
        open_model(path).tokenize("a")


def test_ids_that_the_file_does_not_have(beside: Callable[..., Path], open_model: Opener) -> None:
    model = open_model(beside())
    with pytest.raises(InvalidArgumentError, match=r"^token_ids\[1\]"):
        model.detokenize([3, 4711])


@pytest.mark.parametrize(
    ("ids", "error", "name"),
    [
        ([1, -1], InvalidArgumentError, r"token_ids\[1\]"),
        ([2**40], InvalidArgumentError, r"token_ids\[0\]"),
        ([1, 2, "3"], InvalidTypeError, r"token_ids\[2\]"),
        ([1.0], InvalidTypeError, r"token_ids\[0\]"),
        ([True], InvalidTypeError, r"token_ids\[0\]"),
        ("12", InvalidTypeError, "token_ids"),
        (7, InvalidTypeError, "token_ids"),
        (None, InvalidTypeError, "token_ids"),
    ],
)
def test_bad_ids(open_model: Opener, ids: Any, error: type[Exception], name: str) -> None:
    model = open_model()
    with pytest.raises(error, match=f"^{name} "):
        model.detokenize(ids)
    with pytest.raises(error, match=f"^{name} "):
        asyncio.run(aio(model).detokenize(ids))


@pytest.mark.parametrize(
    ("call", "given", "keywords", "error", "name"),
    [
        ("tokenize", 3, {}, InvalidTypeError, "text"),
        ("tokenize", Tokens([1]), {}, InvalidTypeError, "text"),
        ("tokenize", "a\ud800", {}, InvalidArgumentError, "text"),
        ("tokenize", "a", {"add_special_tokens": 1}, InvalidTypeError, "add_special_tokens"),
        ("detokenize", [1], {"skip_special_tokens": "no"}, InvalidTypeError, "skip_special_tokens"),
        ("count_tokens", b"a", {}, InvalidTypeError, "text"),
    ],
)
def test_bad_arguments(
    open_model: Opener, call: str, given: Any, keywords: Any, error: type[Exception], name: str
) -> None:
    model = open_model()
    with pytest.raises(error, match=f"^{name} "):
        getattr(model, call)(given, **keywords)
    with pytest.raises(error, match=f"^{name} "):
        asyncio.run(getattr(aio(model), call)(given, **keywords))


def test_a_closed_model(open_model: Opener) -> None:
    model = open_model()
    model.close()
    for call in (
        lambda: model.tokenize("a"),
        lambda: model.detokenize([1]),
        lambda: model.count_tokens("a"),
        lambda: asyncio.run(aio(model).tokenize("a")),
        lambda: asyncio.run(aio(model).detokenize([1])),
    ):
        with pytest.raises(ClosedError):
            call()
