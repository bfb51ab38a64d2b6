"""``tool_choice`` that asks for a call: what is refused, and what reaches a library that chooses itself."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from fakes import ABI_VERSIONS, calls
from rkllm_rs import (
    AsyncRKLLM,
    GenerationError,
    InvalidArgumentError,
    InvalidTypeError,
    SchemaError,
    UnsupportedFeatureError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Opener

#: The comment says of which family it is.
TOOLS_SHOWN = "{# <tool_call> <tools> #}{{ tools | tojson }}{{ messages[-1].content }}"
ASK = [{"role": "user", "content": "Hi"}]
CALL = '<tool_call>\n{"name": "look", "arguments": {"city": "Oslo"}}\n</tool_call>'
NOW = {"type": "function", "function": {"name": "now"}}
LOOK = {"type": "function", "function": {"name": "look"}}

since_1_2_1 = pytest.mark.parametrize("abi_version", ABI_VERSIONS[2:])
before_1_2_1 = pytest.mark.parametrize("abi_version", ABI_VERSIONS[:2])


def tool(name: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [tool("look", city={"type": "string"}), tool("now")]


def look(city: str) -> str:
    """Looks at a city.

    Args:
        city: The city.
    """
    return f"{city} is fine"


def said(text: str) -> dict[str, Any]:
    """A run that gives a token for each character."""
    return {"steps": [{"text": character, "id": ord(character)} for character in text]}


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """A ``tokenizer.json`` beside the models, with a token for each printable character, and two markers."""
    vocabulary = {chr(code): code for code in range(33, 127)} | {"Ġ": 32, "Ċ": 10, "<tool_call>": 200}
    marker = {"id": 200, "content": "<tool_call>", "special": True, "normalized": False}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    model = {
        "version": "1.0",
        "added_tokens": [{**marker, **flags}],
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }
    file = tmp_path / "models" / "tokenizer.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(model))
    return file


def given(record: Path) -> list[Any]:
    """What each run was given: text or ids."""
    inputs = [run["input"] for run in calls(record, "rkllm_run")]
    return [
        one["prompt_input"] if one["input_type"] == 0 else one["token_input"]["input_ids"] for one in inputs
    ]


#: Of the call, it says by itself what is not forced.
UNWILLING = [said("Sure"), said("{"), said('"'), said(':"Oslo"}}<')]


def of(choice: Any) -> dict[str, Any]:
    return {"tools": TOOLS, "tool_choice": choice, "chat_template": TOOLS_SHOWN}


@pytest.mark.parametrize(
    ("choice", "error"),
    [
        (5, InvalidTypeError),
        ("always", InvalidArgumentError),
        ("look", InvalidArgumentError),
        ({}, InvalidArgumentError),
        ({"type": "function"}, InvalidArgumentError),
        ({"type": "function", "function": {"name": 5}}, InvalidArgumentError),
        ({"type": "function", "function": {"name": "absent"}}, InvalidArgumentError),
        ({"type": "allowed_tools", "mode": "required", "tools": []}, InvalidArgumentError),
        ({"type": "allowed_tools", "mode": "all", "tools": [LOOK]}, InvalidArgumentError),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"function": {"name": "absent"}}]},
            InvalidArgumentError,
        ),
    ],
)
def test_a_choice_that_is_none_is_refused(
    open_model: Opener, record: Path, choice: Any, error: type[Exception]
) -> None:
    llm = open_model(["a"])
    for call in (llm.chat, llm.chat_stream):
        with pytest.raises(error) as caught:
            call(ASK, **of(choice))
        assert "tool_choice" in str(caught.value)
        assert caught.value.hint  # type: ignore[attr-defined]
    assert not calls(record, "rkllm_run")


@pytest.mark.parametrize("choice", ["required", LOOK])
def test_a_call_needs_tools_and_no_other_form(open_model: Opener, record: Path, choice: Any) -> None:
    llm = open_model(["a"], chat_template=TOOLS_SHOWN)
    for tools in (None, []):
        with pytest.raises(InvalidArgumentError) as caught:
            llm.chat(ASK, tools=tools, tool_choice=choice)
        assert "tool_choice" in str(caught.value)
    with pytest.raises(InvalidArgumentError):
        llm.chat(ASK, **of(choice), json_schema={"type": "object"})
    assert not calls(record, "rkllm_run")


def test_a_tool_that_cannot_be_enforced_is_named(open_model: Opener, record: Path) -> None:
    llm = open_model(["a"], chat_template=TOOLS_SHOWN)
    odd = tool("odd", title={"type": "string", "not": {"const": "x"}})
    with pytest.raises(SchemaError) as caught:
        llm.chat(ASK, tools=[odd], tool_choice="required")
    for part in ("odd", "not", "properties.title"):
        assert part in str(caught.value)
    assert caught.value.hint
    assert not calls(record, "rkllm_run")
    assert llm.chat(ASK, tools=[odd], tool_choice="auto").content == "a"


@since_1_2_1
@pytest.mark.both_modes
def test_a_call_takes_the_place_of_what_the_model_says(
    open_model: Opener, record: Path, tokenizer: Path
) -> None:
    llm = open_model({"runs": UNWILLING}, top_k=1, max_new_tokens=200)
    answer = llm.chat(ASK, **of(LOOK))
    (call,) = answer.tool_calls
    assert (call.name, call.arguments, call.error) == ("look", {"city": "Oslo"}, None)
    assert answer.finish_reason == "tool_calls"
    assert answer.content == ""
    assert answer.constraint is not None
    assert (answer.constraint.way, answer.constraint.complete) == ("guided", True)
    assert answer.constraint.replaced
    # The marker is the token that it is in the model's vocabulary.
    assert answer.token_ids[0] == 200
    assert given(record)[1] == [200]
    sent = ["".join(map(chr, one)) for one in given(record)[1:]]
    assert any('"name": "look", "arguments": {' in text for text in sent)


@since_1_2_1
def test_a_stream_tells_the_call_as_it_comes(open_model: Opener, tokenizer: Path) -> None:
    llm = open_model({"runs": UNWILLING}, top_k=1, max_new_tokens=200)
    stream = llm.chat_stream(ASK, **of(LOOK))
    deltas = [delta for piece in stream for delta in piece.tool_calls]
    assert [delta.name for delta in deltas if delta.name] == ["look"]
    assert json.loads("".join(delta.arguments for delta in deltas)) == {"city": "Oslo"}
    assert stream.result().finish_reason == "tool_calls"


@since_1_2_1
def test_without_the_tokens_it_says_what_is_missing(open_model: Opener) -> None:
    llm = open_model({"runs": [said("Sure"), said("!")]}, top_k=1)
    with pytest.raises(UnsupportedFeatureError) as caught:
        llm.chat(ASK, **of("required"))
    assert "tokenizer.json" in str(caught.value)


@before_1_2_1
def test_an_older_release_is_asked_again(open_model: Opener, record: Path) -> None:
    llm = open_model({"runs": [said("Sure!"), said(CALL)]}, temperature=0.8, top_k=40)
    answer = llm.chat(ASK, **of("required"))
    assert [call.arguments for call in answer.tool_calls] == [{"city": "Oslo"}]
    assert answer.finish_reason == "tool_calls"
    assert answer.constraint is not None
    assert (answer.constraint.way, answer.constraint.retries) == ("retry", 1)
    assert len(calls(record, "rkllm_run")) == 2


@before_1_2_1
def test_an_answer_that_is_never_a_call_is_an_error(open_model: Opener) -> None:
    llm = open_model({"runs": [said("Sure!"), said("Well."), said("Hm.")] * 4}, temperature=0.8, top_k=40)
    with pytest.raises(GenerationError) as caught:
        llm.chat(ASK, **of("required"))
    assert "tool_choice" in str(caught.value)
    assert caught.value.partial is not None


@pytest.mark.parametrize("shape", ["flat", "nested"])
def test_only_allowed_tools_are_shown(open_model: Opener, record: Path, shape: str) -> None:
    allowed = {"mode": "auto", "tools": [NOW]}
    choice = {"type": "allowed_tools", **(allowed if shape == "flat" else {"allowed_tools": allowed})}
    llm = open_model(["a"])
    assert llm.chat(ASK, **of(choice)).content == "a"
    (shown,) = given(record)
    assert "now" in shown
    assert "look" not in shown


def test_only_the_first_answer_of_a_loop_must_call(open_model: Opener, record: Path) -> None:
    llm = open_model({"runs": [said(CALL), said("It is fine.")]}, chat_template=TOOLS_SHOWN)
    answer = llm.run_tools(ASK, tools=[look], tool_choice="required", constraint="retry")
    assert (answer.content, answer.finish_reason) == ("It is fine.", "stop")
    assert len(calls(record, "rkllm_run")) == 2


@pytest.mark.filterwarnings("ignore::rkllm_rs.RkllmWarning")
def test_a_turn_of_a_conversation_and_a_coroutine_take_it(
    open_model: Opener, make_model: Any, library: Path
) -> None:
    script = {"runs": [said(CALL), said("Done.")]}
    llm = open_model(script, chat_template=TOOLS_SHOWN)
    talk = llm.conversation(tools=TOOLS)
    answer = talk.send("Hi", tool_choice=LOOK, constraint="retry")
    assert [call.name for call in answer.tool_calls] == ["look"]

    async def main() -> Any:
        path = make_model(script)
        async with AsyncRKLLM(path, library=library, chat_template=TOOLS_SHOWN) as llm:
            return await llm.run_tools(ASK, tools=[look], tool_choice=LOOK, constraint="retry")

    assert asyncio.run(main()).content == "Done."
