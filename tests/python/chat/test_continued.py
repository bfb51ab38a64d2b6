"""Answers that go on with the last message: what reaches the library, and what the answer is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from conversations import assistant, call, user
from fakes import calls
from rkllm_rs import InvalidArgumentError, InvalidTypeError, TemplateError
from surface import aio

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Opener

SHOWN = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ CONTENT }}<|im_end|>\n{% endfor %}"
BEGINS = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
TEMPLATE = SHOWN.replace("CONTENT", "m.content") + BEGINS
TRIMS = SHOWN.replace("CONTENT", "m.content | trim") + BEGINS
CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'


def runs(*texts: str) -> dict[str, Any]:
    return {"runs": [{"steps": list(text)} for text in texts]}


def prompts(record: Path) -> list[str]:
    return [one["input"]["prompt_input"] for one in calls(record, "rkllm_run")]


def f(a: int) -> int:
    """Does something.

    Args:
        a: A number.
    """
    return a


@pytest.mark.both_modes
def test_the_prompt_ends_with_the_message(open_model: Opener, record: Path) -> None:
    llm = open_model(runs(" Two", " Two", " Two"), chat_template=TEMPLATE, family="qwen3")
    messages = [user("Count."), assistant("One, ")]
    answer = llm.chat(messages, continue_final_message=True)
    assert (answer.content, answer.message["content"]) == (" Two", " Two")
    assert "".join(llm.chat_stream(messages, continue_final_message=True).texts()) == " Two"

    async def ask() -> tuple[str, str]:
        both = aio(llm)
        text = await both.render_chat(messages, continue_final_message=True)
        return text, (await both.chat(messages, continue_final_message=True)).content

    text, content = asyncio.run(ask())
    assert content == " Two"
    assert text == llm.render_chat(messages, continue_final_message=True)
    assert prompts(record) == [text] * 3
    assert text == "<|im_start|>user\nCount.<|im_end|>\n<|im_start|>assistant\nOne, "
    # A template that trims its messages has the last one trimmed, too.
    trimmed = llm.chat(messages, continue_final_message=True, chat_template=TRIMS)
    assert trimmed.content == " Two"
    assert prompts(record)[-1] == text[:-1]


@pytest.mark.parametrize(
    ("begun", "said", "content", "reasoning", "arguments"),
    [
        ("<think>\nWell", ", yes.\n</think>\n\nDone.", "Done.", ", yes.", []),
        ("<think>\nWell, yes.\n</think>\n\nDo", "ne.", "ne.", None, []),
        (f"Sure.\n{CALL[:40]}", CALL[40:], "", None, ['{"a": 1}']),
        ("Sure.\n", CALL, "", None, ['{"a": 1}']),
        # What could begin a marker or end a text has been said, and is not said again.
        ("One\n\n", "Two", "Two", None, []),
        ("1 <", " 2", " 2", None, []),
        ("é", "è", "è", None, []),
    ],
)
def test_the_answer_begins_where_the_message_ends(
    open_model: Opener, begun: str, said: str, content: str, reasoning: str | None, arguments: list[str]
) -> None:
    llm = open_model(runs(said), chat_template=TEMPLATE, family="qwen3")
    answer = llm.chat([user("Go on."), assistant(begun)], tools=[f], continue_final_message=True)
    assert (answer.content, answer.reasoning) == (content, reasoning)
    assert [one.arguments_json for one in answer.tool_calls] == arguments


@pytest.mark.parametrize(
    ("messages", "given", "kind", "word"),
    [
        ([user("a")], True, InvalidArgumentError, "assistant"),
        ([user("a"), assistant(" \n")], True, InvalidArgumentError, "text"),
        (
            [user("a"), assistant("b", tool_calls=[call("f", {"a": 1})])],
            True,
            InvalidArgumentError,
            "tool_calls",
        ),
        ([user("a"), assistant("hidden")], True, TemplateError, "last message"),
        ([user("a"), assistant("b")], "yes", InvalidTypeError, "continue_final_message"),
    ],
)
def test_what_no_answer_can_go_on_with_is_refused(
    open_model: Opener, record: Path, messages: list[Any], given: Any, kind: type[Exception], word: str
) -> None:
    hides = SHOWN.replace("CONTENT", "m.content | replace('hidden', '')")
    llm = open_model(runs("a"), chat_template=hides)
    for ask in (llm.chat, llm.chat_stream, llm.render_chat):
        with pytest.raises(kind, match=word):
            ask(messages, continue_final_message=given)
    assert not prompts(record)
    with pytest.raises(InvalidTypeError, match="continue_final_message"):
        llm.conversation().send("a", continue_final_message=True)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
