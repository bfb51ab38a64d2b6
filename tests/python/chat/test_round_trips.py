"""An answer of each family, as its own template writes it: read, and written again, it is the same."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rkllm_rs import RkllmError, TemplateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rkllm_rs import RKLLM

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))
fetch_templates = importlib.import_module("fetch_templates")

ARGUMENTS = {"city": "Paris", "days": 3}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
ASK = [{"role": "user", "content": "How is the weather?"}]
THOUGHT = "The user wants the weather."
#: Models of families that are not in the table, and templates that do not write what they are given.
EXCEPTIONS = dict.fromkeys(
    [
        "Apertus-8B-Instruct",
        "GigaChat3-10B-A1.8B",
        "GigaChat3.1-10B-A1.8B",
        "Kimi-K2-Instruct",
        "Kimi-K2-Thinking",
        "Kimi-K3",
        "MiniMax-M2",
        "MiniMax-M3",
        "Reka-Edge",
        "deepseek-ai-DeepSeek-V3.2",
        "deepseek-ai-DeepSeek-V4",
        "deepseek-ai-DeepSeek-V4-Flash-0731",
        "moonshotai-Kimi-K2",
        "muse-glimmer",
        "openai-gpt-oss-120b",
        "tencent-Hy3",
        "tool_chat_template_apertus",
        "tool_chat_template_muse_glimmer",
        "upstage-Solar-Open-100B",
    ],
    "its family is not in the table",
) | {
    "NVIDIA-Nemotron-Nano-v2": "its prompt opens the thinking, and an answer without any does not close it",
    "template_blip2": "adds a space each time",
    "template_falcon": "adds a space each time",
    "template_falcon_180b": "adds a space each time",
    "tool_chat_template_gemma3_pythonic": "leaves out the comma between arguments",
    "tool_chat_template_hunyuan_a13b": "writes a header into the answer, and an end mark of its own",
    "tool_chat_template_llama3.2_pythonic": "writes strings without quotes",
    "tool_chat_template_llama4_pythonic": "writes numbers as strings",
    "tool_chat_template_phi4_mini": "writes a Python dict into JSON, without a marker",
    "tool_chat_template_toolace": "writes strings without quotes",
    "tool_chat_template_xlam_qwen": "writes calls without a marker, which are text",
}


def answers(id_: str, thought: str | None) -> list[dict[str, Any]]:
    """Messages of a model: a call, and one without; with thinking where there is some."""
    function = {"name": "get_weather", "arguments": json.dumps(ARGUMENTS)}
    call = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": id_, "type": "function", "function": function}],
    }
    plain = {"role": "assistant", "content": "It is sunny."}
    thinking = {"reasoning_content": thought} if thought else {}
    return [{**call, **thinking}, {**plain, **thinking}]


def with_arguments(message: dict[str, Any], *, as_text: bool) -> dict[str, Any]:
    """A message whose arguments are an object, or text."""
    calls = []
    for call in message.get("tool_calls", []):
        function = dict(call["function"])
        if not as_text:
            function["arguments"] = json.loads(function["arguments"])
        calls.append({**call, "function": function})
    return {**message, "tool_calls": calls} if calls else message


def written(llm: RKLLM, message: dict[str, Any], thinking: Any) -> str | None:
    """What the template writes of a message after the prompt, which has to be its beginning."""
    for as_text in (False, True):
        given = [*ASK, with_arguments(message, as_text=as_text)]
        keywords: dict[str, Any] = {"tools": [TOOL], "thinking": thinking}
        try:
            before = llm.render_chat(ASK, **keywords)
            after = llm.render_chat(given, add_generation_prompt=False, **keywords)
        except RkllmError:
            continue
        if after.startswith(before):
            return after[len(before) :]
    return None


def misread(open_model: Callable[..., RKLLM], template: str, thought: str | None) -> tuple[int, list[str]]:
    """How many answers in a template's own spelling could be tried, and what was read otherwise."""
    tried, wrong = 0, []
    llm = open_model(chat_template=template)
    for message in answers("abcdefgh1", thought):
        for thinking in (None, True, False):
            try:
                output = written(llm, message, thinking)
            except RkllmError:
                continue
            if not output:
                continue
            has_call = "get_weather" in output or not message.get("tool_calls")
            if not has_call or (thought and thought not in output):
                continue
            reader = open_model({"runs": [{"steps": [output]}]}, chat_template=template)
            answer = reader.chat(ASK, tools=[TOOL], thinking=thinking)
            tried += 1
            calls = [(call.name, call.arguments, call.error) for call in answer.tool_calls]
            expected = [("get_weather", ARGUMENTS, None)] if message.get("tool_calls") else []
            read = (calls, answer.content.strip(), (answer.reasoning or "").strip())
            if read != (expected, message["content"], thought or ""):
                wrong.append(f"{output!r} is read as {answer.message}")
                break
            again = answer.message
            for call in again.get("tool_calls", []):
                call["id"] = "abcdefgh1"
            if (same := written(llm, again, thinking)) != output:
                wrong.append(f"{output!r} becomes {same!r}")
            break
    return tried, wrong


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    """The templates; without a network they can be missing, but not where ``CI`` is set."""
    try:
        found: dict[str, str] = fetch_templates.sources()
    except (OSError, subprocess.SubprocessError) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the templates of llama-cpp-python and vllm cannot be downloaded: {error}")
    return {name: source for name, source in found.items() if "/pooling/" not in name}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("thought", [None, THOUGHT], ids=["without thinking", "with thinking"])
def test_an_answer_is_read_and_written_again_as_it_was(
    open_model: Callable[..., RKLLM], sources: dict[str, str], thought: str | None
) -> None:
    tried, different = 0, {}
    for name, source in sources.items():
        try:
            count, wrong = misread(open_model, source, thought)
        except TemplateError:
            continue  # it takes no single user's message
        tried += count
        if wrong:
            different[name.rpartition("/")[2].removesuffix(".jinja")] = wrong
    unexpected = {name: wrong for name, wrong in different.items() if name not in EXCEPTIONS}
    assert not unexpected
    assert tried >= (50 if thought else 140)
