"""Keywords of calls: sampling by name, and names that a call does not have."""

from __future__ import annotations

import asyncio
import inspect
import re
import typing
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls
from rkllm_rs import (
    RKLLM,
    AsyncRKLLM,
    CrossAttention,
    Embeddings,
    InvalidArgumentError,
    InvalidTypeError,
    Multimodal,
    Runtime,
    SamplingParams,
    Tokens,
)
from surface import aio, generate_batch, stepwise, stream_batch, stream_logits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Opener

#: One value for each keyword, as the library gets it.
SAMPLING = {
    "top_k": 7,
    "top_p": 0.5,
    "temperature": 0.25,
    "repeat_penalty": 1.5,
    "frequency_penalty": 0.5,
    "presence_penalty": -0.5,
    "mirostat": 2,
    "mirostat_tau": 3.5,
    "mirostat_eta": 0.125,
}


def generates(model: RKLLM, **keywords: Any) -> object:
    return model.generate("x", **keywords)


def streams(model: RKLLM, **keywords: Any) -> object:
    return model.stream("x", **keywords).result()


def batches(model: RKLLM, **keywords: Any) -> object:
    return generate_batch(model, ["x"], **keywords)


def streams_batches(model: RKLLM, **keywords: Any) -> object:
    return stream_batch(model, ["x"], **keywords).results()


def steps(model: RKLLM, **keywords: Any) -> object:
    return list(stepwise(model, "x", max_new_tokens=2, **keywords))


def awaits(model: RKLLM, **keywords: Any) -> object:
    return asyncio.run(aio(model).generate("x", **keywords))


def awaits_batches(model: RKLLM, **keywords: Any) -> object:
    return asyncio.run(aio(model).generate_batch(["x"], **keywords))


GENERATING = [generates, streams, batches, streams_batches, steps, awaits, awaits_batches]


def told(record: Path) -> list[dict[str, Any]]:
    """What the library was told of sampling in its runs."""
    return [call["infer"]["sampling_params"] for call in calls(record, "rkllm_run")]


@pytest.mark.parametrize("call", GENERATING)
def test_sampling_by_name(open_model: Opener, record: Path, call: Callable[..., object]) -> None:
    call(open_model(["a"]), **SAMPLING)
    assert {name: told(record)[0][name] for name in SAMPLING} == SAMPLING


def test_names_win_over_the_object(open_model: Opener, record: Path) -> None:
    model = open_model(["a"], top_k=3)
    model.generate("x", sampling=SamplingParams(temperature=0.25, top_p=0.5), temperature=0.75, top_k=None)
    found = told(record)[0]
    assert (found["temperature"], found["top_p"], found["top_k"]) == (0.75, 0.5, 3)


def test_sampling_by_name_when_opening(open_model: Opener) -> None:
    model = open_model(["a"], sampling=SamplingParams(top_k=3, top_p=0.5), temperature=0.25, top_k=5)
    assert (model.sampling.top_k, model.sampling.top_p, model.sampling.temperature) == (5, 0.5, 0.25)


@pytest.mark.parametrize("call", GENERATING)
def test_errors_name_the_argument_as_it_was_written(open_model: Opener, call: Callable[..., object]) -> None:
    model = open_model(["a"])
    with pytest.raises(InvalidArgumentError, match=r"^temperature "):
        call(model, temperature=-1)
    with pytest.raises(InvalidTypeError, match=r"^top_k .*str"):
        call(model, top_k="7")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("max_tokens", "max_new_tokens"),
        ("max_length", "max_new_tokens"),
        ("n_predict", "max_new_tokens"),
        ("num_predict", "max_new_tokens"),
        ("repetition_penalty", "repeat_penalty"),
        ("stop_sequences", "stop"),
        ("stop_strings", "stop"),
        ("stop_token", "stop"),
        ("temp", "temperature"),
        ("topk", "top_k"),
        ("topp", "top_p"),
        ("callback", "on_token"),
        ("streamer", "on_token"),
        ("n_ctx", "max_context_len"),
        ("num_ctx", "max_context_len"),
        ("max_seq_len", "max_context_len"),
        ("n_threads", "enabled_cpus_num"),
        ("verbose", "vendor_log"),
        ("do_sample", "top_k=1"),
        ("eos_token_id", "stop"),
        ("stream", "stream()"),
        ("model_path", "RKLLM("),
        ("system_prompt", "chat()"),
        ("messages", "chat()"),
        ("temprature", "temperature"),
        ("max_new_token", "max_new_tokens"),
        ("n_batch", "RKLLM()"),
        ("zzz", "help("),
    ],
)
def test_wrong_names_are_answered_with_the_right_one(open_model: Opener, wrong: str, right: str) -> None:
    with pytest.raises(
        TypeError, match=rf"^generate\(\) got an unexpected keyword argument '{wrong}'"
    ) as caught:
        open_model(["a"]).generate("x", **{wrong: None})
    assert isinstance(caught.value, InvalidTypeError)
    assert right in (caught.value.hint or "")


@pytest.mark.parametrize("wrong", ["path", "system", "zzz", "model_type", "top_a", "stream_options", "name"])
def test_names_that_are_like_none_are_answered_with_none(open_model: Opener, wrong: str) -> None:
    with pytest.raises(InvalidTypeError) as caught:
        open_model(["a"]).generate("x", **{wrong: None})
    assert "mean" not in (caught.value.hint or "")


#: Keywords of llama-cpp-python, transformers, vLLM, Ollama and OpenAI, and what the hint of ``generate`` has.
FOREIGN = {
    "attention_mask": "input",
    "bad_words": "logit_bias",
    "best_of": "one answer",
    "cache_prompt": "reuse",
    "device_map": "backend",
    "echo": "prompt",
    "enable_thinking": "thinking",
    "ignore_eos": "ignore_eos_token",
    "images": "Multimodal",
    "input_ids": "input",
    "length_penalty": "repeat_penalty",
    "top_logprobs": "logprobs",
    "max_completion_tokens": "max_new_tokens",
    "max_time": "timeout",
    "min_new_tokens": "ignore_eos_token",
    "n_gpu_layers": "backend",
    "num_beams": "top_k=1",
    "num_return_sequences": "one answer",
    "num_thread": "enabled_cpus_num",
    "options": "temperature",
    "quantization": "converted",
    "raw": "template",
    "repeat_last_n": "repeat_penalty",
    "sampling_params": "sampling",
    "stop_token_ids": "stop",
    "think": "thinking",
    "torch_dtype": "converted",
    "use_mmap": "embed_flash",
}


@pytest.mark.parametrize("wrong", FOREIGN)
def test_names_of_other_packages(open_model: Opener, wrong: str) -> None:
    with pytest.raises(InvalidTypeError) as caught:
        open_model(["a"]).generate("x", **{wrong: None})
    hint = caught.value.hint or ""
    assert FOREIGN[wrong] in hint
    assert "help(" not in hint


@pytest.mark.parametrize("call", ["chat", "chat_stream", "run_tools", "conversation"])
@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("max_tokens", "max_new_tokens"),
        ("repetition_penalty", "repeat_penalty"),
        ("stop_sequences", "stop"),
        ("temprature", "temperature"),
        ("enable_thinking", "thinking"),
        ("thinking_budget", "max_reasoning_tokens"),
    ],
)
def test_a_chat_has_the_keywords_of_generating(open_model: Opener, call: str, wrong: str, right: str) -> None:
    given = [[{"role": "user", "content": "x"}]] if call != "conversation" else []
    with pytest.raises(InvalidTypeError) as caught:
        getattr(open_model(["a"]), call)(*given, **{"tools": []} | {wrong: None})
    hint = caught.value.hint or ""
    assert hint.startswith((f"Use {right}.", f"Did you mean {right}?"))


def test_every_right_name_is_one() -> None:
    from rkllm_rs import _aliases

    known: set[str] = set()
    for call in (RKLLM.__init__, *(getattr(RKLLM, name) for name in dir(RKLLM) if name[0] != "_")):
        known.update(inspect.signature(call).parameters if callable(call) else ())
    for made in (Runtime.load, Tokens, Embeddings, Multimodal, CrossAttention, SamplingParams):
        known.update(inspect.signature(made).parameters)
    assert {right for rights in _aliases.SAME.values() for right in rights} <= known
    # What is a keyword of the calls themselves is never asked for.
    assert not set(_aliases.ADVICE) & set(inspect.signature(RKLLM.generate).parameters)


@pytest.mark.parametrize("kind", [RKLLM, AsyncRKLLM])
@pytest.mark.parametrize(
    ("wrong", "right"), [("n_ctx", "max_context_len"), ("stop", "generate()"), ("n_btach", "n_batch")]
)
def test_wrong_names_when_opening(kind: type, wrong: str, right: str) -> None:
    # Before the model is looked for.
    with pytest.raises(InvalidTypeError, match=rf"^{kind.__name__}\(\) got .*'{wrong}'") as caught:
        kind("/nonexistent.rkllm", **{wrong: 1})
    assert right in (caught.value.hint or "")


@pytest.mark.parametrize("call", [*GENERATING, stream_logits])
def test_every_call_refuses_them(open_model: Opener, call: Callable[..., object]) -> None:
    arguments = ("x",) if call is stream_logits else ()
    with pytest.raises(InvalidTypeError, match="unexpected keyword argument 'max_tokens'"):
        call(open_model(["a"]), *arguments, max_tokens=1)


def test_calls_that_do_not_sample_say_so(open_model: Opener) -> None:
    model = open_model(["a"])
    for use in (lambda: model.logits("x", temperature=1), lambda: model.embed("x", temperature=1)):
        with pytest.raises(InvalidTypeError, match="unexpected keyword argument 'temperature'"):
            use()
    with pytest.raises(InvalidTypeError, match="keep_history"):
        stepwise(model, "x", keep_history=True)


@pytest.mark.parametrize(
    ("name", "right"),
    [("create_chat_completion", "chat()"), ("encode", "tokenize()"), ("generate_stream", "stream()")],
)
@pytest.mark.parametrize("form", [lambda model: model, aio], ids=["plain", "async"])
def test_methods_of_other_packages(open_model: Opener, form: Any, name: str, right: str) -> None:
    with pytest.raises(AttributeError, match=rf"has no attribute '{name}'") as caught:
        getattr(form(open_model(["a"])), name)
    assert right in str(caught.value)


def test_attributes_that_there_are_not(open_model: Opener) -> None:
    from rkllm_rs import _aliases

    model = open_model(["a"])
    assert not hasattr(model, "genrate")
    assert not hasattr(model, "_zzz")
    assert not [name for name in _aliases.METHODS if hasattr(RKLLM, name)]
    named = {name for right in _aliases.METHODS.values() for name in re.findall(r"\b([a-z]\w+)\(\)", right)}
    assert named - {"cancel"} <= {*dir(RKLLM), "open"}
    assert named >= {"generate", "chat"}


def arguments(call: Any) -> str:
    """The part of a docstring that describes the arguments."""
    text = inspect.getdoc(call) or ""
    return text.partition("Args:")[2].partition("\n\n")[0]


def test_the_same_arguments_are_described_in_the_same_words() -> None:
    for calls_alike in (
        [RKLLM.generate, RKLLM.stream, AsyncRKLLM.generate, AsyncRKLLM.stream],
        [RKLLM.__init__, AsyncRKLLM.__init__],
    ):
        assert len({arguments(call) for call in calls_alike}) == 1
        names = set(inspect.signature(calls_alike[0]).parameters) - {"self", "unknown"}
        assert [name for name in names if f"    {name}: " not in arguments(calls_alike[0])] == []


def described(call: Any) -> dict[str, str]:
    """The text of each argument in a docstring."""
    found = re.findall(r"(?ms)^    \**(\w+): (.*?)(?=^    \**\w+: |\Z)", arguments(call))
    return {name: " ".join(text.split()) for name, text in found}


@pytest.mark.parametrize("name", ["chat", "chat_stream", "run_tools", "conversation"])
def test_the_keywords_of_chats_are_all_there(name: str) -> None:
    plain, waiting = getattr(RKLLM, name), getattr(AsyncRKLLM, name)
    assert arguments(plain) == arguments(waiting)
    for call in (plain, waiting):
        assert set(inspect.signature(call).parameters) - {"self"} == set(described(call))
        assert set(described(call)) <= set(typing.get_type_hints(call))
    generating, chatting = described(RKLLM.generate), described(RKLLM.chat)
    others = {"reuse", "on_token", "timeout", "tools", "messages", "thinking"}
    for argument, text in described(plain).items():
        if argument not in others:
            assert generating.get(argument, text) == text, argument
            assert argument in {"max_rounds", "system", "now"} or chatting[argument] == text


def test_options_of_batches_are_those_of_generate() -> None:
    from rkllm_rs import _types

    hints = typing.get_type_hints(RKLLM.generate_batch)
    assert "options" in hints
    described = set(inspect.signature(RKLLM.generate).parameters) - {"self", "input", "unknown"}
    declared = {
        name for base in _types.GenerateOptions.__mro__ for name in vars(base).get("__annotations__", {})
    }
    assert declared == described
