"""``tool_choice`` that asks for a call, with the real small model: calls that fit, spelled as families do."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rkllm_rs import RKLLM, AsyncRKLLM

if TYPE_CHECKING:
    from collections.abc import Iterator

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

ASK = [{"role": "user", "content": "What will the weather be in Oslo?"}]
UNITS = ["celsius", "fahrenheit"]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "minLength": 1, "maxLength": 12},
                "unit": {"enum": UNITS},
                "days": {"type": "integer", "minimum": 1, "maximum": 14},
            },
            "required": ["city", "unit", "days"],
        },
    },
}
NOW = {"type": "function", "function": {"name": "now", "description": "Tells the time."}}
NAMED = {"type": "function", "function": {"name": "get_weather"}}
AT_RANDOM: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "seed": 5}
#: Families by what tells them in a template.
FAMILIES = {
    "hermes": "<tool_call> <tools>",
    "qwen3": "<|im_start|> <tool_call> <think>",
    "functionary-v3.1": "<function= <|start_header_id|>",
    "gemma4": "<|turn>",
    "qwen3-coder": "<function= <parameter= <|im_start|>",
    "lfm2": "<|tool_call_start|> <|im_start|>",
}


@pytest.fixture(scope="module")
def llm() -> Iterator[RKLLM]:
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    with RKLLM(MODEL, backend="cpu", max_context_len=1024, max_new_tokens=120) as llm:
        yield llm


@pytest.fixture(autouse=True)
def nothing_open(llm: RKLLM) -> None:
    """The model of this module stays open."""


def template(family: str, end: str = "") -> str:
    return "{# " + FAMILIES[family] + " #}{{ messages[-1].content }}\n" + end


def check(answer: Any, way: str) -> None:
    (call,) = answer.tool_calls
    assert (call.name, call.error) == ("get_weather", None)
    assert 1 <= len(call.arguments["city"]) <= 12
    assert call.arguments["unit"] in UNITS
    assert 1 <= call.arguments["days"] <= 14
    assert (answer.content, answer.finish_reason) == ("", "tool_calls")
    assert (answer.constraint.way, answer.constraint.complete) == (way, True)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "qwen3"])
def test_a_call_fits_in_the_spelling_of_its_family(llm: RKLLM, family: str) -> None:
    tools = [WEATHER, NOW]
    answer = llm.chat(ASK, tools=tools, tool_choice=NAMED, chat_template=template(family), **AT_RANDOM)
    check(answer, "mask")


def test_so_it_does_where_the_library_chooses(llm: RKLLM) -> None:
    ask = {"tools": [WEATHER], "tool_choice": "required", "chat_template": template("qwen3-coder")}
    answer = llm.chat(ASK, **ask, parallel_tool_calls=False, constraint="guided", **AT_RANDOM)
    check(answer, "guided")


def test_a_worker_and_a_coroutine_serve_it() -> None:
    async def main() -> Any:
        async with AsyncRKLLM(MODEL, backend="cpu", max_new_tokens=120, isolate=True) as llm:
            stream = llm.chat_stream(ASK, tools=[WEATHER], tool_choice=NAMED, **AT_RANDOM)
            deltas = [delta async for piece in stream for delta in piece.tool_calls]
            return deltas, stream.result()

    deltas, answer = asyncio.run(main())
    check(answer, "mask")
    assert json.loads("".join(delta.arguments for delta in deltas)) == answer.tool_calls[0].arguments


def test_a_call_comes_after_the_thinking(llm: RKLLM) -> None:
    ask = {"tools": [WEATHER], "tool_choice": NAMED, "chat_template": template("qwen3", "<think>\n")}
    answer = llm.chat(ASK, **ask, max_reasoning_tokens=8, **AT_RANDOM)
    assert answer.reasoning
    check(answer, "mask")


def test_a_marker_that_is_a_token_comes_as_that_token(llm: RKLLM, tmp_path: Path) -> None:
    open_, close = "<file_sep>", "<jupyter_output>"
    fields = {
        "tool_calls": {"open": open_, "close": close, "content": "json"},
        "content": {"close": "<|im_end|>"},
    }
    config = {
        "chat_template": "{{ messages[-1].content }}",
        "response_template": {"start_anchor": "never", "fields": fields},
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    model = tmp_path / "model.gguf"
    model.symlink_to(Path(MODEL).resolve())
    ids = [llm.tokenize(marker, add_special_tokens=False) for marker in (open_, close)]
    assert [len(one) for one in ids] == [1, 1]
    with RKLLM(model, backend="cpu", max_new_tokens=120) as own:
        answer = own.chat(ASK, tools=[WEATHER], tool_choice=NAMED, **AT_RANDOM)
    check(answer, "mask")
    assert answer.token_ids[0] == ids[0][0]
    assert ids[1][0] in answer.token_ids
