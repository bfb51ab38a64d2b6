"""What is no data in messages, tools and ``template_kwargs``, and names that a template cannot be given."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls
from rkllm_rs import InvalidArgumentError, InvalidTypeError, UnsupportedFeatureError

if TYPE_CHECKING:
    from conftest import Opener

PLAIN = "{% for message in messages %}[{{ message.role }}]{{ message.content }}{% endfor %}[assistant]"
ASK = [{"role": "user", "content": "Hi"}]


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Message:
    role: Any
    content: Any


def called(function: Any) -> list[dict[str, Any]]:
    return [*ASK, {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "function": function}]}]


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        ([{"role": "user", "content": b"x"}], "messages[0].content"),
        ([{"role": "user", "content": Path("x")}], "messages[0].content"),
        ([{"role": "user", "content": object()}], "messages[0].content"),
        ([{"role": "user", "content": {"a"}}], "messages[0].content"),
        ([{"role": "user", "content": Colour.RED}], "messages[0].content"),
        ([Message("user", b"x")], "messages[0].content"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([{"role": "user", "content": {"text": "x"}}], "messages[0].content"),
        ([*ASK, {"role": b"user", "content": "Hi"}], "messages[1].role"),
        ([{"role": 5, "content": "Hi"}], "messages[0].role"),
        ([{"role": "user", "content": "Hi", "name": b"x"}], "messages[0].name"),
        ([{"role": "user", "content": "Hi", "the day": dt.date(2026, 1, 1)}], "messages[0]['the day']"),
        ([{"role": "user", "content": [b"x"]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [5]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [{"type": "text", "text": b"x"}]}], "messages[0].content[0].text"),
        ([{"role": "user", "content": [{"type": "text", "text": 5}]}], "messages[0].content[0].text"),
        ([{"role": "user", "content": [{"type": 5, "text": "x"}]}], "messages[0].content[0].type"),
        ([b"x"], "messages[0]"),
        ([5], "messages[0]"),
        (called({"name": "f", "arguments": {"a": b"x"}}), "messages[1].tool_calls[0].function.arguments.a"),
        (called({"name": "f", "arguments": [1]}), "messages[1].tool_calls[0].function.arguments"),
        (called({"name": 5}), "messages[1].tool_calls[0].function.name"),
        (called("f"), "messages[1].tool_calls[0].function"),
        ([*ASK, {"role": "assistant", "content": "", "tool_calls": ["f"]}], "messages[1].tool_calls[0]"),
        ([*ASK, {"role": "assistant", "content": "", "tool_calls": 5}], "messages[1].tool_calls"),
    ],
)
def test_what_is_of_the_wrong_type_in_a_message(
    open_model: Opener, record: Path, messages: list[Any], place: str
) -> None:
    llm = open_model(["a"], chat_template=PLAIN)
    for call in (llm.chat, llm.render_chat):
        with pytest.raises(InvalidTypeError) as caught:
            call(messages)
        assert str(caught.value).startswith(f"{place} must be ")
        assert caught.value.hint
    assert not calls(record, "rkllm_run")


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        (called(None), "messages[1].tool_calls[0]"),
        (called({"arguments": "{}"}), "messages[1].tool_calls[0].function"),
        (called({"name": ""}), "messages[1].tool_calls[0].function"),
        ([*ASK, {"role": "assistant", "tool_calls": [{"name": "f"}]}], "messages[1].tool_calls[0]"),
    ],
)
def test_a_call_without_its_function(open_model: Opener, messages: list[Any], place: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        open_model(["a"], chat_template=PLAIN).chat(messages)
    assert str(caught.value).startswith(f"{place} must have ")
    assert caught.value.hint


def test_an_image_in_a_message_is_told_as_one(open_model: Opener) -> None:
    part = {"type": "image", "image": object()}
    with pytest.raises(UnsupportedFeatureError, match=r"messages\[0\].content\[1\]"):
        open_model(["a"], chat_template=PLAIN).chat(
            [{"role": "user", "content": [{"type": "text", "text": "Hi"}, part]}]
        )


@pytest.mark.parametrize(
    ("keywords", "place"),
    [
        ({"template_kwargs": {"day": dt.date(2026, 1, 1)}}, "template_kwargs.day"),
        ({"template_kwargs": {"rows": [1, {"x": b"y"}]}}, "template_kwargs.rows[1].x"),
        ({"template_kwargs": {b"day": 1}}, "a key of template_kwargs"),
    ],
)
def test_what_is_no_data_in_other_arguments(open_model: Opener, keywords: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidTypeError) as caught:
        open_model(["a"], chat_template=PLAIN).chat(ASK, **keywords)
    assert str(caught.value).startswith(f"{place} must ")


def test_what_is_no_data_in_a_tool(open_model: Opener) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"default": b"x"}}}
    with pytest.raises(InvalidTypeError, match="tool"):
        open_model(["a"], chat_template=PLAIN).chat(ASK, tools=[tool])


def test_data_of_all_kinds_is_taken(open_model: Opener) -> None:
    llm = open_model(["a"], chat_template="{{ messages[0].content }}{{ rows }}")
    rows = {"a": [1, 2.5, True, None], "b": ("x", {"y": 2**70})}
    assert llm.render_chat([Message("user", "Hi")], template_kwargs={"rows": rows}) == (
        "Hi{'a': [1, 2.5, True, None], 'b': ('x', {'y': 1180591620717411303424})}"
    )


@pytest.mark.parametrize("name", ["messages", "tools", "add_generation_prompt"])
def test_names_that_a_template_has_already(open_model: Opener, name: str) -> None:
    llm = open_model(["a"], chat_template=PLAIN)
    for call in (llm.chat, llm.render_chat):
        with pytest.raises(InvalidArgumentError, match=f"template_kwargs.*{name}") as caught:
            call(ASK, template_kwargs={name: []})
        assert caught.value.hint


def test_a_template_that_is_no_template(open_model: Opener, tmp_path: Path) -> None:
    llm = open_model(["a"], chat_template=PLAIN)
    for given in ("", tmp_path):
        with pytest.raises(InvalidArgumentError, match="chat_template") as caught:
            llm.chat(ASK, chat_template=given)
        assert caught.value.hint
        with pytest.raises(InvalidArgumentError, match="chat_template"):
            open_model(["a"], chat_template=given)
