"""Arguments that do not fit a call: a typed error with the right name, wherever the call is."""

from __future__ import annotations

import asyncio
import inspect
import typing
from typing import TYPE_CHECKING, Any

import pytest

import rkllm_rs
from fakes import calls
from rkllm_rs import (
    RKLLM,
    AsyncRKLLM,
    InvalidArgumentError,
    InvalidTypeError,
    SamplingParams,
)
from surface import aio

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Opener

#: Methods besides those that generate, with a wrong keyword and what the hint has.
METHODS = {
    "load_lora": ("lora_name", "name"),
    "load_prompt_cache": ("verfy", "verify"),
    "release_prompt_cache": ("name", "RKLLM.release_prompt_cache)"),
    "clear_kv_cache": ("keep_system", "keep_system_prompt"),
    "kv_cache_size": ("temperature", "generate()"),
    "set_chat_template": ("system", "system_prompt"),
    "set_function_tools": ("tool_response", "tool_response_str"),
    "set_cross_attention": ("encodr", "encoder"),
    "tokenize": ("add_bos", "add_special_tokens"),
    "detokenize": ("skip_special_token", "skip_special_tokens"),
    "count_tokens": ("txt", "text"),
    "render_chat": ("tool", "tools"),
    "embed": ("n_ctx", "RKLLM()"),
    "score": ("lora_request", "lora"),
}
CLASSES = {
    "SamplingParams": ("temp", "temperature"),
    "Tokens": ("id", "ids"),
    "Embeddings": ("widht", "width"),
    "Multimodal": ("image_embeds", "image_embed"),
    "CrossAttention": ("k_cach", "k_cache"),
    "Runtime.load": ("pth", "path"),
}


def refused(use: Callable[[], object], function: str, wrong: str, right: str) -> None:
    with pytest.raises(InvalidTypeError) as caught:
        use()
    assert str(caught.value).startswith(f"{function}() ")
    assert repr(wrong) in str(caught.value)
    assert right in (caught.value.hint or "")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("waiting", ["plain", "async"])
def test_methods(open_model: Opener, record: Path, name: str, waiting: str) -> None:
    model = open_model(["a"])
    wrong, right = METHODS[name]
    given = {wrong: None}
    if waiting == "plain":
        refused(lambda: getattr(model, name)(**given), name, wrong, right)
    else:
        refused(lambda: asyncio.run(getattr(aio(model), name)(**given)), name, wrong, right)
    assert not calls(record, f"rkllm_{name}")


@pytest.mark.parametrize("name", CLASSES)
def test_classes(name: str) -> None:
    wrong, right = CLASSES[name]
    made: Any = rkllm_rs
    for part in name.split("."):
        made = getattr(made, part)
    refused(lambda: made(**{wrong: None}), name, wrong, right)


def public_calls() -> dict[str, Callable[..., Any]]:
    """Everything that a program can call with arguments: methods as ``RKLLM.name``, classes and functions."""
    found: dict[str, Callable[..., Any]] = {
        f"{kind.__name__}.{name}": method
        for kind in (RKLLM, AsyncRKLLM)
        for name, method in vars(kind).items()
        if inspect.isfunction(method) and not name.startswith("_")
    }
    names = ["RKLLM", "AsyncRKLLM", "npu_lock", *(name for name in CLASSES if "." not in name)]
    found |= {name: getattr(rkllm_rs, name) for name in names}
    found["Runtime.load"] = rkllm_rs.Runtime.load
    return found


PUBLIC = public_calls()
#: Those that are not written in Python; test_every_call.py has the others.
NATIVE = ["npu_lock", *CLASSES]


@pytest.fixture
def attempt(open_model: Opener) -> Callable[..., InvalidTypeError]:
    """Calls one of ``PUBLIC`` by its name, and gives the error with which it refuses its arguments."""

    def attempt(name: str, *given: Any, **keywords: Any) -> InvalidTypeError:
        kind, _, method = name.rpartition(".")
        call = PUBLIC[name]
        if kind == "RKLLM":
            call = getattr(open_model(["a"]), method)
        elif kind == "AsyncRKLLM":
            call = getattr(aio(open_model(["a"])), method)

        def use() -> None:
            made = call(*given, **keywords)
            if inspect.iscoroutine(made):
                asyncio.run(made)

        with pytest.raises(InvalidTypeError) as caught:
            use()
        assert caught.value.hint
        shown = name if kind == "Runtime" else method or name
        assert str(caught.value).startswith(f"{shown}() ")
        return caught.value

    return attempt


def by_position(name: str) -> list[inspect.Parameter]:
    """The parameters of one of ``PUBLIC`` that can be given without their names."""
    parameters = inspect.signature(PUBLIC[name]).parameters.values()
    return [one for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD and one.name != "self"]


@pytest.mark.parametrize("name", NATIVE)
def test_arguments_that_are_too_many(attempt: Callable[..., InvalidTypeError], name: str) -> None:
    count = len(by_position(name)) + 1
    assert str(count) in str(attempt(name, *["x"] * count))


@pytest.mark.parametrize("name", NATIVE)
def test_keywords_that_no_call_has(attempt: Callable[..., InvalidTypeError], name: str) -> None:
    assert "'zzz'" in str(attempt(name, zzz=1))
    given = ["x"] * len(by_position(name))
    assert "'zzz'" in str(attempt(name, *given, zzz=1))


@pytest.mark.parametrize(
    "name", [name for name in NATIVE if any(one.default is one.empty for one in by_position(name))]
)
def test_an_argument_that_is_missing(attempt: Callable[..., InvalidTypeError], name: str) -> None:
    assert repr(by_position(name)[0].name) in str(attempt(name))


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("RKLLM", "model_path", "model"),
        ("AsyncRKLLM", "model_path", "model"),
        ("RKLLM", "model_name", "model"),
        ("RKLLM.generate", "prompt", "input"),
        ("RKLLM.stream", "prompt", "input"),
        ("AsyncRKLLM.generate", "prompt", "input"),
        ("AsyncRKLLM.stream", "text", "input"),
        ("RKLLM.generate_batch", "prompts", "inputs"),
        ("RKLLM.embed", "input", "texts"),
        ("RKLLM.tokenize", "input", "text"),
        ("RKLLM.detokenize", "tokens", "token_ids"),
        ("RKLLM.load_lora", "lora_path", "path"),
        ("Tokens", "input_ids", "ids"),
        ("Runtime.load", "library", "path"),
    ],
)
def test_the_right_name_in_place_of_a_missing_argument(
    attempt: Callable[..., InvalidTypeError], name: str, wrong: str, right: str
) -> None:
    error = attempt(name, **{wrong: "x"})
    assert repr(wrong) in str(error)
    assert error.hint == f"Use {right}."


def test_errors_of_the_programs_own_code_stay_as_they_are(open_model: Opener) -> None:
    model = open_model(["a"])

    class Broken:
        def __fspath__(self) -> str:
            message = "unexpected keyword argument"
            raise TypeError(message)

    for use in (
        lambda: model.load_lora(Broken()),
        lambda: asyncio.run(aio(model).load_lora(Broken())),
    ):
        with pytest.raises(TypeError) as caught:
            use()
        assert not isinstance(caught.value, InvalidTypeError) or "path" in str(caught.value)


@pytest.mark.parametrize("kind", [RKLLM, AsyncRKLLM])
@pytest.mark.parametrize("name", METHODS)
def test_methods_look_as_they_are_written(kind: Any, name: str) -> None:
    method = getattr(kind, name)
    assert "unknown" not in inspect.signature(method).parameters
    assert inspect.iscoroutinefunction(method) is (kind is AsyncRKLLM)
    assert "return" in typing.get_type_hints(method)
    assert method.__qualname__ == f"{kind.__name__}.{name}"


# ---- what an asynchronous model is given, before it is opened


@pytest.mark.parametrize(
    ("keywords", "argument"),
    [
        ({"temperature": -1}, "temperature"),
        ({"top_k": "7"}, "top_k"),
        ({"sampling": 3}, "sampling"),
        ({"max_context_len": 0}, "max_context_len"),
        ({"max_context_len": 64, "n_keep": 64}, "n_keep"),
        ({"n_batch": 101}, "n_batch"),
        ({"enabled_cpus_mask": iter([40])}, "enabled_cpus_mask"),
        ({"enabled_cpus_num": 0}, "enabled_cpus_num"),
        ({"backend": "gpu"}, "backend"),
        ({"abi": "v9"}, "abi"),
        ({"library": 7}, "library"),
        ({"template": "chat"}, "template"),
        ({"tokenizer": 3}, "tokenizer"),
        ({"open_timeout": -1}, "open_timeout"),
        ({"vendor_log": "loud"}, "vendor_log"),
        ({"strict": 1}, "strict"),
        ({"model": 3}, "model"),
        ({"model": ""}, "model"),
    ],
)
def test_wrong_arguments_of_an_asynchronous_model(keywords: dict[str, Any], argument: str) -> None:
    given: dict[str, Any] = {"model": "none.rkllm", **keywords}
    with pytest.raises((InvalidArgumentError, InvalidTypeError)) as caught:
        AsyncRKLLM(**given)
    assert str(caught.value).startswith(argument)


@pytest.mark.filterwarnings("ignore::rkllm_rs.RkllmWarning")
def test_iterators_serve_for_check_and_opening(
    make_model: Callable[..., Path], library: Path, record: Path
) -> None:
    paths: Any = iter([str(make_model(["a"]))])
    model = AsyncRKLLM(paths, library=library, enabled_cpus_mask=iter([0, 1]))

    async def main() -> str:
        async with model:
            return (await model.generate("x")).text

    assert asyncio.run(main()) == "a"
    assert calls(record, "rkllm_init")[0]["param"]["extend_param"]["enabled_cpus_mask"] == 3


def test_values_that_are_right_are_not_opened(tmp_path: Path, record: Path) -> None:
    AsyncRKLLM(tmp_path / "none.rkllm", sampling=SamplingParams(top_k=1), n_batch=2, template="raw")
    assert not calls(record, "rkllm_init")
