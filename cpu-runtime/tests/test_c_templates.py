"""Templates, tools and roles; and what this runtime refuses as the vendor's does."""

from __future__ import annotations

import ctypes as c
import json
from typing import TYPE_CHECKING

import pytest

from capi import EMBED, GENERATE, MULTIMODAL, InferParam, Input, Library, Model, sampling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)

SYSTEM = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
)
TOOLS = json.dumps([{"type": "function", "function": {"name": "weather", "parameters": {}}}])


def turn(text: str, role: str = "user") -> str:
    return f"<|im_start|>{role}\n{text}<|im_end|>\n"


ANSWER = "<|im_start|>assistant\n"


@pytest.fixture
def chat(capi: Library, model: Path) -> Iterator[Model]:
    """A model with its own template."""
    with Model(capi, model) as opened:
        yield opened


def set_tools(llm: Model, system: str | None, tools: str | None, tag: str | None) -> int:
    texts = (None if text is None else text.encode() for text in (system, tools, tag))
    return llm.library.set_function_tools(llm.handle, *texts)


def same(chat: Model, raw: Model, text: str, prompt: str, **keywords: str) -> None:
    """The text through the template is the prompt without."""
    got = chat.go(text, most=8, **keywords)
    assert raw.clear() == 0
    expected = raw.go(prompt, most=8)
    assert (got.tokens, got.prefilled) == (expected.tokens, expected.prefilled)


def test_the_models_template_wraps_text_only(chat: Model, llm: Model) -> None:
    same(chat, llm, "Hello", SYSTEM + turn("Hello") + ANSWER)
    assert chat.go([504, 3575], most=2).prefilled == 2


def test_three_strings_replace_it(chat: Model, llm: Model) -> None:
    assert chat.template("S: be brief.\n", "Q: ", "\nA:") == 0
    same(chat, llm, "Hello", "S: be brief.\nQ: Hello\nA:")
    # Two turns: the system text comes once, the answer's end mark as the model made it.
    assert chat.clear(keep_system=True) == 0
    assert chat.sizes() == [len(llm.tokenize("S: be brief.\n"))]
    assert chat.template() == 0
    assert chat.clear() == 0
    same(chat, llm, "Hello", "Hello")


def test_tools_reach_the_template(chat: Model, llm: Model) -> None:
    assert set_tools(chat, "Call functions.", TOOLS, "tool_response") == 0
    # This model's template has no place for tools, but a system prompt.
    same(chat, llm, "Hello", turn("Call functions.", "system") + turn("Hello") + ANSWER)


def test_a_tools_answer_is_a_turn_of_its_own(chat: Model, llm: Model) -> None:
    assert set_tools(chat, "Call functions.", TOOLS, "result") == 0
    first = chat.go("Weather?", most=6, keep=True)
    second = chat.go('{"sky": "blue"}', most=8, keep=True, role="tool")
    answer = first.text + "<|im_end|>\n"
    prompt = turn("Call functions.", "system") + turn("Weather?") + ANSWER + answer
    told = turn('<result>\n{"sky": "blue"}\n</result>') + ANSWER
    assert second.tokens == llm.go(prompt + told, most=8).tokens


def test_wrong_tools_are_refused(chat: Model, capfd: pytest.CaptureFixture[str]) -> None:
    for tools in ("not json", '{"name": "f"}', "7", ""):
        assert set_tools(chat, "", tools, "tool_response") == -1
    assert capfd.readouterr().err.count("E rkllm: ") == 4
    for texts in ((None, "[]", ""), ("", None, ""), ("", "[]", None)):
        assert set_tools(chat, *texts) == -1
    assert chat.template("", "", "") == 0
    capfd.readouterr()
    assert set_tools(chat, "", "[]", "") == -1
    assert "E rkllm: " in capfd.readouterr().err
    assert chat.go("Hello", most=2).tokens


def test_sampling_of_a_run_is_for_that_run(llm: Model) -> None:
    greedy = llm.go("Once upon a time", most=12).tokens
    wild = sampling(temperature=2.0, top_k=0)
    llm.seed(1)
    assert llm.go("Once upon a time", most=12, settings=wild).tokens != greedy
    assert llm.go("Once upon a time", most=12).tokens == greedy
    penalised = llm.go("Once upon a time", most=12, settings=sampling(presence_penalty=100.0)).tokens
    assert len(set(penalised)) == len(penalised)


def test_images_and_videos_are_refused(llm: Model, capfd: pytest.CaptureFixture[str]) -> None:
    expected = llm.go("Hello", most=4).tokens
    image = Input(role=b"user", input_type=MULTIMODAL)
    image.payload.multimodal[0] = c.cast(c.c_char_p(b"<image>What is this?"), c.c_void_p)
    infer = InferParam(mode=GENERATE)
    capfd.readouterr()
    assert llm.library.run(llm.handle, c.byref(image), c.byref(infer), None) == -1
    assert "E rkllm: this model does not support images" in capfd.readouterr().err
    assert llm.library.is_running(llm.handle) == 0
    assert llm.go("Hello", most=4).tokens == expected


def test_cross_attention_is_refused(
    capi: Library, model: Path, llm: Model, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    assert capi.set_cross_attn_params(llm.handle, None) == -1
    assert "E rkllm: cross attention is not enabled for this model" in capfd.readouterr().err
    param = capi.create_default_param()
    param.model_path = str(model).encode()
    param.extend_param.use_cross_attn = 1
    handle = c.c_void_p()
    assert capi.init(c.byref(handle), c.byref(param), c.byref(llm._callback)) == -1
    assert not handle
    assert "E rkllm: use_cross_attn " in capfd.readouterr().err
    assert llm.go("Hello", most=4).tokens


def test_empty_embeddings_are_refused(llm: Model, capfd: pytest.CaptureFixture[str]) -> None:
    nothing = Input(role=b"user", input_type=EMBED)
    infer = InferParam(mode=GENERATE)
    assert llm.library.run(llm.handle, c.byref(nothing), c.byref(infer), None) == -1
    assert "E rkllm: the embedding input is empty" in capfd.readouterr().err
