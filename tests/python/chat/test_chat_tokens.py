"""Chats with a library that has no tokenizer: counted by the model's own, with markers that are tokens."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls
from rkllm_rs import ContextLengthError, RkllmWarning
from surface import aio

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Opener

TEMPLATE = """\
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}<|im_start|>assistant
{# <think> <tool_call> #}"""
ASK = [{"role": "user", "content": "hello"}]
SPECIAL = ["<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>"]
IDS = {text: 1000 + at for at, text in enumerate(SPECIAL)}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def beside(make_model: Callable[..., Path]) -> Callable[..., Path]:
    """Writes a model with a ``tokenizer.json`` in its folder: a token a word, and one for each marker."""

    def write(script: Any = ()) -> Path:
        tokenizers = pytest.importorskip("tokenizers")
        tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 900, **IDS}, "[UNK]"))
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
        tokenizer.add_special_tokens(SPECIAL)
        path = make_model(script)
        tokenizer.save(str(path.parent / "tokenizer.json"))
        return path

    return write


def token(text: str) -> dict[str, Any]:
    return {"text": text, "id": IDS[text]}


def hidden(text: str) -> dict[str, Any]:
    """As a library gives it that leaves special tokens out of the text."""
    return {"text": "", "id": IDS[text]}


def run(*steps: Any) -> dict[str, Any]:
    return {"runs": [{"steps": [*steps]}]}


def long_talk() -> list[dict[str, Any]]:
    turns = [
        {"role": role, "content": f"{number} " + "word " * 20}
        for number in range(8)
        for role in ("user", "assistant")
    ]
    return [{"role": "system", "content": "Be brief."}, *turns, *ASK]


def test_what_does_not_fit_is_refused_before_it_runs(
    beside: Callable[..., Path], open_model: Opener, record: Path
) -> None:
    llm = open_model(beside(["a"]), chat_template=TEMPLATE, max_context_len=128)
    assert llm.count_tokens(ASK) == len(
        ["<|im_start|>", "user", "hello", "<|im_end|>", "<|im_start|>", "assistant"]
    )
    with pytest.raises(ContextLengthError) as caught:
        llm.chat(long_talk())
    assert (caught.value.needed, caught.value.limit) == (llm.count_tokens(long_talk()), 128)
    assert not calls(record, "rkllm_run")


def test_the_prompt_of_an_answer_has_as_many_tokens_as_were_counted(
    beside: Callable[..., Path], open_model: Opener, abi_version: str
) -> None:
    script = {"runs": [{"steps": ["<think>", "so", "</think>"]}, {"steps": ["a"]}]}
    llm = open_model(beside(script), chat_template=TEMPLATE, family="qwen3", max_context_len=128)
    for messages in (ASK, [*ASK, *ASK]):
        assert llm.chat(messages).perf.prompt_tokens == llm.count_tokens(messages)


def test_the_oldest_messages_are_left_out(
    beside: Callable[..., Path], open_model: Opener, record: Path
) -> None:
    llm = open_model(beside(["a"]), chat_template=TEMPLATE, max_context_len=128)
    answer = llm.chat(long_talk(), overflow="drop_oldest")
    (note,) = [note for note in answer.notes if "left out" in note]
    # A quarter at once, so that the next turns find the same beginning.
    assert int("".join(filter(str.isdigit, note))) >= len(long_talk()) // 4
    (one,) = calls(record, "rkllm_run")
    sent = one["input"]["prompt_input"]
    assert sent.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n")
    assert "0 word" not in sent
    assert "7 word" in sent
    assert 30 < len(llm.tokenize(sent, add_special_tokens=False)) < 128
    assert not llm.chat(ASK, overflow="drop_oldest").notes


def test_markers_are_asked_of_the_tokenizer_once(open_model: Opener) -> None:
    asked: list[str] = []

    def ids(text: str) -> list[int]:
        asked.append(text)
        return [IDS[text]] if text in IDS else list(text.encode())

    llm = open_model({"runs": [{"steps": ["a"]}] * 3}, chat_template=TEMPLATE, tokenizer=ids)
    llm.chat(ASK)
    assert set(SPECIAL) & set(asked)
    asked.clear()
    llm.chat(ASK)
    llm.chat(ASK, chat_template=TEMPLATE + "{# again #}")
    # Nothing but the prompts.
    assert len(asked) == 2
    assert all("hello" in text for text in asked)


def about(text: str) -> range:
    """A token for four bytes: as a tokenizer counts, quickly."""
    return range(-(-len(text) // 4))


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "assistant" if at % 2 else "user", "content": f"message {at}"} for at in range(10_001)],
        [{"role": "user", "content": "word " * 1_000_000}],
        [{"role": "user", "content": "word " * 4_000_000}],
    ],
    ids=["10,001 messages", "a message of 5 MB", "more than a template may write"],
)
def test_what_can_never_fit_is_refused_with_its_size(
    open_model: Opener, record: Path, messages: list[dict[str, Any]]
) -> None:
    llm = open_model(["a"], chat_template=TEMPLATE, max_context_len=4096, tokenizer=about)
    with pytest.raises(ContextLengthError) as caught:
        llm.chat(messages)
    assert caught.value.limit == 4096
    size = sum(len(message["content"]) for message in messages)
    assert caught.value.needed is not None
    assert caught.value.needed >= size // 16 > 4096
    assert not calls(record, "rkllm_run")


def test_ten_thousand_messages_without_the_oldest(open_model: Opener, record: Path) -> None:
    script = {"runs": [{"steps": ["a"]}] * 2}
    llm = open_model(script, chat_template=TEMPLATE, max_context_len=4096, tokenizer=about)
    talk = [{"role": "assistant" if at % 2 else "user", "content": f"message {at}"} for at in range(10_001)]
    for first in ([], [{"role": "user", "content": "word " * 4_000_000}, talk[1]]):
        answer = llm.chat([*first, *talk], overflow="drop_oldest")
        assert any("left out" in note for note in answer.notes)
    for one in calls(record, "rkllm_run"):
        sent = one["input"]["prompt_input"]
        assert "message 10000" in sent
        # Not all but the last: there is what fits.
        assert 1000 < len(about(sent)) < 4096


def test_where_nobody_can_count_it_is_said(open_model: Opener) -> None:
    llm = open_model(["a"], chat_template=TEMPLATE, max_context_len=256)
    assert llm.chat(long_talk(), overflow="drop_oldest").notes
    assert not llm.chat(long_talk()).notes
    # Each token has at least one byte: this fits, whatever its tokens are.
    assert not llm.chat(ASK, overflow="drop_oldest").notes


CALL = ['\n{"name": "f", ', '"arguments": {}}\n']


@pytest.mark.parametrize("shows", [token, hidden], ids=["shown", "hidden"])
@pytest.mark.parametrize("stop", [None, ["<END>", ">>"]], ids=["without stop strings", "with stop strings"])
@pytest.mark.both_modes
def test_markers_are_found_by_their_ids(
    beside: Callable[..., Path], open_model: Opener, shows: Callable[[str], Any], stop: list[str] | None
) -> None:
    steps = [shows("<think>"), "why", " <", "ok", shows("</think>"), "\n\nSure", " <"]
    steps += [shows("<tool_call>"), *CALL, shows("</tool_call>")]
    llm = open_model(beside(run(*steps)), chat_template=TEMPLATE)
    answer = llm.chat(ASK, tools=[TOOL], stop=stop)
    assert (answer.reasoning, answer.content) == ("why <ok", "Sure <")
    assert [call.name for call in answer.tool_calls] == ["f"]
    assert len(answer.token_ids) == len(steps)


@pytest.mark.parametrize("stop", [None, ["<END>"]], ids=["without stop strings", "with stop strings"])
def test_text_that_spells_a_marker_is_text(
    beside: Callable[..., Path], open_model: Opener, stop: list[str] | None
) -> None:
    steps = [
        "the <",
        "tool_call> and </think> tags",
        " <|im_end|>",
        " end <tool_call>",
        *CALL,
        "</tool_call>",
    ]
    llm = open_model(beside(run(*steps)), chat_template=TEMPLATE)
    answer = llm.chat(ASK, tools=[TOOL], stop=stop)
    assert (answer.content, answer.reasoning, answer.tool_calls) == (
        "".join(steps),
        None,
        [],
    )


def test_the_token_of_what_is_unknown_is_no_marker(beside: Callable[..., Path], open_model: Opener) -> None:
    # The family's other end mark is not in this vocabulary.
    steps = ["Hi", {"text": " there", "id": 900}, " you"]
    assert open_model(beside(run(*steps)), chat_template=TEMPLATE).chat(ASK).content == "Hi there you"


def test_the_token_that_ends_an_answer_ends_it(beside: Callable[..., Path], open_model: Opener) -> None:
    steps = ["Hi", hidden("<|im_end|>"), {"text": "more", "repeat": 1000, "delay_ms": 5}]
    llm = open_model(beside(run(*steps)), chat_template=TEMPLATE)
    answer = llm.chat(ASK)
    assert (answer.content, answer.text, answer.finish_reason) == ("Hi", "Hi", "stop")
    assert answer.token_ids == [1, IDS["<|im_end|>"]]


def test_in_an_event_loop(beside: Callable[..., Path], open_model: Opener) -> None:
    script = {"runs": [{"steps": [hidden("<think>"), "w", hidden("</think>"), text]} for text in "abc"]}

    async def program(first: str) -> list[str]:
        llm = aio(open_model(beside(script), chat_template=TEMPLATE))
        told = []
        for way in (first, "chat", "conversation"):
            if way == "chat":
                told.append((await llm.chat(ASK)).content)
            elif way == "stream":
                told.append("".join([delta.content async for delta in llm.chat_stream(ASK)]))
            else:
                told.append((await llm.conversation().send("hello")).content)
        with pytest.raises(ContextLengthError):
            await llm.chat([{"role": "user", "content": "word " * 10_000}])
        return told

    for first in ("chat", "stream", "conversation"):
        assert asyncio.run(program(first)) == ["a", "b", "c"]


def test_the_programs_tokenizer_counts(open_model: Opener, record: Path) -> None:
    def letters(text: str) -> list[int]:
        if "boom" in text:
            raise LookupError(text)
        return [IDS[text]] if text in IDS else [ord(letter) for letter in text]

    steps = [hidden("<think>"), "w", hidden("</think>"), "a"]
    llm = open_model(run(*steps), chat_template=TEMPLATE, tokenizer=letters, max_context_len=128)
    answer = llm.chat(ASK)
    assert (answer.reasoning, answer.content) == ("w", "a")
    with pytest.raises(ContextLengthError) as caught:
        llm.chat(long_talk())
    assert caught.value.needed == llm.count_tokens(long_talk())
    with pytest.raises(LookupError):
        llm.chat([{"role": "user", "content": "boom"}])
    assert len(calls(record, "rkllm_run")) == 1


def test_a_tokenizer_that_cannot_be_read_is_told_and_left_alone(
    open_model: Opener, make_model: Callable[..., Path]
) -> None:
    pytest.importorskip("tokenizers")
    path = make_model({"runs": [{"steps": ["a"]}, {"steps": ["b"]}]})
    (path.parent / "tokenizer.json").write_text("{")
    llm = open_model(path, chat_template=TEMPLATE)
    with pytest.warns(RkllmWarning, match=r"tokenizer\.json"):
        assert llm.chat(ASK).content == "a"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert llm.chat(ASK).content == "b"
