"""What chats leave to the library: its own template for an unknown model, and special tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fakes import ABI_VERSIONS, calls
from rkllm_rs import TemplateError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Opener

ASK = [{"role": "user", "content": "Hi"}]
SYSTEM = {"role": "system", "content": "Be kind."}
PLAIN = "{% for message in messages %}[{{ message.role }}]{{ message.content }}{% endfor %}[assistant]"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def runs(*texts: str) -> dict[str, Any]:
    return {"runs": [{"steps": [text]} for text in texts]}


def prompts(record: Path) -> list[str]:
    return [one["input"]["prompt_input"] for one in calls(record, "rkllm_run")]


@pytest.mark.parametrize("abi_version", ABI_VERSIONS[1:])
def test_one_message_gets_the_librarys_own_template(
    open_model: Opener, record: Path, abi_version: str
) -> None:
    llm = open_model(runs("<think>\nHm\n</think>\n\nHello", "Kind", "c"))
    answer = llm.chat(ASK)
    assert (answer.reasoning, answer.content) == ("Hm", "Hello")
    assert answer.notes
    assert llm.chat([SYSTEM, *ASK]).notes > answer.notes
    assert llm.generate("Hi").text == "c"
    assert prompts(record) == ["Hi", "Be kind.\n\nHi", "Hi"]
    assert not calls(record, "rkllm_set_chat_template")
    for one in calls(record, "rkllm_run"):
        assert one["infer"].get("keep_history", 0) == 0
        assert one["input"].get("role", "user") == "user"


@pytest.mark.parametrize("abi_version", ["v1_2_1"])
def test_the_librarys_own_switch_of_thinking(open_model: Opener, record: Path) -> None:
    llm = open_model(runs("a", "b", "c"))
    for thinking in (None, True, False):
        llm.chat(ASK, thinking=thinking)
    assert [one["input"]["enable_thinking"] for one in calls(record, "rkllm_run")] == [False, True, False]


@pytest.mark.parametrize(
    ("messages", "keywords"),
    [
        ([*ASK, {"role": "assistant", "content": "Hello"}, *ASK], {}),
        ([*ASK, *ASK], {}),
        ([{"role": "assistant", "content": "Hello"}], {}),
        (ASK, {"tools": [TOOL]}),
        (ASK, {"template_kwargs": {"x": 1}}),
        (ASK, {"max_reasoning_tokens": 5}),
    ],
)
def test_what_the_librarys_own_template_cannot_do(
    open_model: Opener, record: Path, messages: list[Any], keywords: dict[str, Any]
) -> None:
    with pytest.raises(TemplateError) as caught:
        open_model(runs("a")).chat(messages, **keywords)
    assert "family=" in str(caught.value.hint)
    assert "chat_template=" in str(caught.value.hint)
    assert not calls(record, "rkllm_run")


def test_there_is_nothing_to_render_without_a_template(open_model: Opener) -> None:
    llm = open_model(runs("a"))
    for call in (llm.render_chat, llm.count_tokens):
        with pytest.raises(TemplateError):
            call(ASK)


@pytest.mark.parametrize("abi_version", ["v1_1_0"])
def test_a_release_without_templates_has_none_of_its_own(open_model: Opener, record: Path) -> None:
    with pytest.raises(TemplateError):
        open_model(runs("a")).chat(ASK)
    assert not calls(record, "rkllm_run")


@pytest.mark.parametrize("abi_version", ["v1_1_0"])
def test_strings_that_were_given_are_a_template_there(open_model: Opener, record: Path) -> None:
    strings = ("S", "<u>", "<a>")
    assert open_model(runs("a"), template=strings).chat(ASK).content == "a"
    assert prompts(record) == ["S<u>Hi<a>"]


GEMMA = "<|tool_call>call:f{}<tool_call|><turn|>"


def test_special_tokens_are_shown_where_tools_are_called_with_them(
    open_model: Opener, record: Path, abi_version: str
) -> None:
    script = {"runs": [{"steps": [GEMMA]}, {"steps": ["Hi", "<turn|>", "never"]}]}
    llm = open_model(script, chat_template=PLAIN, family="gemma4")
    (one,) = calls(record, "rkllm_init")
    assert one["param"]["skip_special_token"] == 0
    assert llm.info.chosen["skip_special_token"] == 0
    assert [call.name for call in llm.chat(ASK, tools=[TOOL]).tool_calls] == ["f"]
    # Text ends where it ended before.
    answer = llm.generate("Hi")
    assert (answer.text, answer.finish_reason) == ("Hi", "stop")


@pytest.mark.parametrize(
    ("name", "keywords", "skips"),
    [
        ("Llama-3.2-1B.rkllm", {}, 0),
        ("Llama-3.2-1B.rkllm", {"skip_special_token": True}, 1),
        ("Qwen3-1.7B.rkllm", {}, 1),
        ("Qwen3-1.7B.rkllm", {"family": "deepseek"}, 0),
        ("model.rkllm", {}, 1),
        ("model.rkllm", {"chat_template": "{{ '[TOOL_CALLS]' }}{{ messages }}"}, 0),
    ],
)
def test_whose_special_tokens_are_shown(
    open_model: Opener,
    make_model: Callable[..., Path],
    record: Path,
    name: str,
    keywords: dict[str, Any],
    skips: int,
) -> None:
    path = make_model(["a"])
    llm = open_model(path.rename(path.with_name(name)), **keywords)
    (one,) = calls(record, "rkllm_init")
    assert one["param"]["skip_special_token"] == skips
    assert ("skip_special_token" in llm.info.chosen) == (not skips)


TOOLED = "{% if tools %}{{ tools }}{% endif %}" + PLAIN


@pytest.mark.parametrize("abi_version", ["v1_2_1"])
@pytest.mark.parametrize(
    ("written", "reasoning", "content"),
    [
        ("<think>\nHm, it", "Hm, it", ""),
        ("Well.\n<tool_call>\nI would call f", None, "Well.\n<tool_call>\nI would call f"),
        ("Well.\n<tool_call>\n{", None, "Well.\n<tool_call>\n{"),
    ],
    ids=["thinking", "a call", "the beginning of a call"],
)
def test_what_is_never_closed_is_kept_and_noted(
    open_model: Opener, written: str, reasoning: str | None, content: str
) -> None:
    llm = open_model(runs(written, "Hi"), chat_template=TOOLED, family="qwen3")
    answer = llm.chat(ASK, tools=[TOOL])
    assert (answer.reasoning, answer.content, answer.finish_reason) == (reasoning, content, "stop")
    assert answer.notes
    assert not llm.chat(ASK, tools=[TOOL]).notes


def test_a_call_that_is_never_closed_is_told_as_incomplete(open_model: Opener) -> None:
    written = '<tool_call>\n{"name": "f", "arguments": {"a": "x'
    llm = open_model(runs(written), chat_template=TOOLED, family="qwen3")
    answer = llm.chat(ASK, tools=[TOOL])
    (call,) = answer.tool_calls
    assert (call.arguments_json, answer.finish_reason) == ('{"a": "x', "stop")
    assert "complete" in str(call.error)


def test_arguments_are_what_the_model_wrote(open_model: Opener) -> None:
    any_tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    written = '<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>'
    llm = open_model(runs(written), chat_template=TOOLED, family="granite4")
    stream = llm.chat_stream(ASK, tools=[any_tool])
    streamed = "".join(piece.arguments for delta in stream for piece in delta.tool_calls)
    (call,) = stream.result().tool_calls
    assert call.arguments_json == streamed == '"{\\"a\\": 1}"'
    assert (call.arguments, call.error) == ({"a": 1}, None)
    # Other programs want the object.
    assert stream.result().message["tool_calls"][0]["function"]["arguments"] == '{"a": 1}'
