"""Errors about arguments name them as the user wrote them: ``stop[1]`` for the second stop string."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from rkllm_rs import (
    RKLLM,
    AsyncRKLLM,
    InvalidArgumentError,
    InvalidTypeError,
    LibraryNotFoundError,
    Multimodal,
    RkllmError,
    Runtime,
    SamplingParams,
    Tokens,
)
from surface import generate_batch, stepwise, stream_batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Opener


class Odd:
    """No argument of any call."""


def refused(use: Callable[[], object], name: str, kind: type[RkllmError] = InvalidTypeError) -> RkllmError:
    """Something is refused as ``kind``, by a message that begins with ``name``, and with a hint."""
    with pytest.raises(kind) as caught:
        use()
    assert str(caught.value).startswith(f"{name} "), str(caught.value)
    hint = caught.value.hint
    assert hint
    # It says what to write, which the message has not said already.
    assert hint.removeprefix("Pass ").rstrip(".") not in str(caught.value.args[0])
    return caught.value


#: What an item of an argument may be wrong in: the argument, its value, the name in the message.
GENERATING: dict[str, tuple[Any, str]] = {
    "a stop string": (["a", 1], "stop[1]"),
    "bytes as stop strings": (b"ab", "stop"),
    "a dict of stop strings": ({"a": 1}, "stop"),
    "a role": (5, "role"),
    "a text as thinking": ("x", "thinking"),
    "a limit beyond C": (2**40, "max_new_tokens"),
    "no prompt cache": (5, "save_prompt_cache"),
}


@pytest.mark.parametrize("case", GENERATING)
@pytest.mark.parametrize("method", ["generate", "stream"])
def test_keywords_of_generating(open_model: Opener, case: str, method: str) -> None:
    value, name = GENERATING[case]
    keyword = name.partition("[")[0]
    call = getattr(open_model(["a"]), method)
    refused(lambda: call("x", **{keyword: value}), name, RkllmError)


def test_limits_are_told_as_they_are(open_model: Opener) -> None:
    model = open_model(["a"])
    opening: dict[str, int] = {
        "max_context_len": 1,
        "max_new_tokens": 1,
        "n_keep": -1,
        "base_domain_id": 0,
        "enabled_cpus_num": 1,
        "n_batch": 1,
        "top_k": 0,
        "mirostat": 0,
    }
    for name, low in opening.items():
        error = refused(lambda name=name: open_model(["a"], **{name: 2**40}), name, InvalidArgumentError)
        assert re.search(rf"from {low} to \d+, got {2**40}", str(error))
    for name in ("top_k", "mirostat"):
        refused(lambda name=name: SamplingParams(**{name: 2**40}), name, InvalidArgumentError)
    error = refused(
        lambda: model.generate("x", max_new_tokens=-(2**40)), "max_new_tokens", InvalidArgumentError
    )
    assert "from 1 " in str(error)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("template[2]", ("a", "b", 5)),
        ("template", ("a", "b")),
        ("enabled_cpus_mask", "x"),
        ("enabled_cpus_mask[1]", [1, "x"]),
        ("enabled_cpus_mask[0]", [40]),
        ("model[1]", ["none", 5]),
        ("library", 5),
    ],
)
def test_settings(library: Path, name: str, value: Any) -> None:
    given = {"model": "none.rkllm", "library": library, name.partition("[")[0]: value}
    for kind in (RKLLM, AsyncRKLLM):
        refused(lambda kind=kind: kind(**given), name, RkllmError)


def test_inputs(open_model: Opener) -> None:
    model: Any = open_model(["a"], n_batch=2)
    for call in (generate_batch, stream_batch):
        refused(lambda call=call: call(model, ["x", 5]), "inputs[1]")
        refused(lambda call=call: call(model, ["x", ""]), "inputs[1]", InvalidArgumentError)
        refused(lambda call=call: call(model, ["x"]), "inputs", InvalidArgumentError)
        refused(lambda call=call: call(model, "xy"), "inputs")
        refused(lambda call=call: call(model, b"xy"), "inputs")
        refused(lambda call=call: call(model, ["x", "y"], role=["user", 5]), "role[1]")
        refused(
            lambda call=call: call(model, ["x", "y"], role=["user", "me"]), "role[1]", InvalidArgumentError
        )
        refused(lambda call=call: call(model, ["x", "y"], thinking=[True, 5]), "thinking[1]")
    refused(lambda: model.embed(["x", 5]), "texts[1]")
    refused(lambda: model.embed(""), "texts", InvalidArgumentError)
    refused(lambda: model.logits(5), "input")
    for unordered in ({"x", "y"}, {"x": 1}, b"xy"):
        refused(lambda unordered=unordered: model.embed(unordered), "texts")
        refused(lambda unordered=unordered: generate_batch(model, unordered), "inputs")
        refused(lambda unordered=unordered: model.detokenize(unordered), "token_ids")
        refused(lambda unordered=unordered: Tokens(unordered), "ids")
    refused(lambda: stepwise(model, "x"), "n_batch", InvalidArgumentError)


def test_token_ids(open_model: Opener) -> None:
    for ids, name in (([1.5], "ids[0]"), ([1, True], "ids[1]"), ("12", "ids"), (5, "ids")):
        refused(lambda ids=ids: Tokens(ids), name)
    for ids, name in (([1, -1], "ids[1]"), ([1, 2**40], "ids[1]"), ([], "ids")):
        refused(lambda ids=ids: Tokens(ids), name, InvalidArgumentError)
    refused(lambda: open_model(["a"]).detokenize([1, "x"]), "token_ids[1]")


def test_ranges(open_model: Opener) -> None:
    model: Any = open_model(["a"])
    for ranges, name in (
        ("x", "ranges"),
        (["xy"], "ranges[0]"),
        ([1, 2], "ranges[0]"),
        ([(0, 1), (0, "x")], "ranges[1][1]"),
        ([(0, 1, 2)], "ranges[0]"),
    ):
        refused(lambda ranges=ranges: model.clear_kv_cache(ranges=ranges), name, RkllmError)


def test_markers_without_embeddings() -> None:
    for name in ("image_start", "video_end", "audio_content"):
        refused(lambda name=name: Multimodal("x", **{name: "y"}), name, InvalidArgumentError)


def test_libraries(open_model: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(lambda: Runtime.load(5), "path")  # type: ignore[arg-type]
    missing = tmp_path / "none.so"
    assert str(missing) in str(refused(lambda: Runtime.load(missing), "path", LibraryNotFoundError))
    refused(lambda: open_model(["a"], library=missing), "library", LibraryNotFoundError)
    monkeypatch.setenv("RKLLM_RS_LIB", str(missing))
    error = refused(Runtime.load, "RKLLM_RS_LIB", LibraryNotFoundError)
    assert "RKLLM_RS_LIB" in str(error.hint)


LIMITED = {"init": {"log": [["stderr", "I rkllm: loaded a: max_context_limit: 256"]]}}


def test_a_context_window_above_the_models_limit(make_model: Callable[..., Path], library: Path) -> None:
    for given in ({"max_context_len": 300}, {}):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            RKLLM(make_model(LIMITED), library=library, **given).close()
        (told,) = [str(one.message) for one in caught if "256" in str(one.message)]
        assert told.startswith("max_context_len=300 ") is bool(given)
        assert "max_context_len" in told


# ---- one style for flags, and for a few values


@pytest.mark.parametrize(
    "name", ["skip_special_token", "embed_flash", "use_cross_attn", "isolate", "restart", "strict"]
)
def test_flags_of_models(name: str) -> None:
    given: dict[str, Any] = {name: "yes"}
    assert refused(lambda: RKLLM("none.rkllm", **given), name).hint == "Pass True or False."


def test_flags_of_calls(open_model: Opener) -> None:
    model: Any = open_model(["a"])
    for use, name in (
        (lambda: model.generate("x", keep_history=1), "keep_history"),
        (lambda: model.generate("x", thinking=1), "thinking"),
        (lambda: model.clear_kv_cache(keep_system_prompt=1), "keep_system_prompt"),
        (lambda: model.load_prompt_cache("x", verify=1), "verify"),
        (lambda: model.tokenize("x", add_special_tokens=1), "add_special_tokens"),
        (lambda: model.embed("x", normalize=1), "normalize"),
    ):
        assert refused(use, name).hint == "Pass True or False."


CHOICES = {
    "backend": ("auto", "npu", "cpu"),
    "abi": ("v1_1_0", "v1_3_0"),
    "vendor_log": ("warnings", "quiet", "all", "direct"),
    "template": ("model", "raw"),
    "role": ("user", "tool"),
    "reuse": ("auto", "fast", "False"),
    "pooling": ("last", "mean"),
}


@pytest.mark.parametrize("name", CHOICES)
def test_choices(open_model: Opener, name: str) -> None:
    for value, kind in (("zz", InvalidArgumentError), (5, InvalidTypeError)):
        given: dict[str, Any] = {name: value}
        if name in {"role", "reuse"}:
            error = refused(lambda given=given: open_model(["a"]).generate("x", **given), name, kind)
        elif name == "pooling":
            error = refused(lambda given=given: open_model(["a"]).embed("x", **given), name, kind)
        else:
            error = refused(lambda given=given: open_model(["a"], **given), name, kind)
        message, _, got = error.args[0].rpartition(", got ")
        assert got == ('"zz"' if value == "zz" else "int")
        for choice in CHOICES[name]:
            assert choice in message


# ---- calls of a model that is not open yet


@pytest.mark.parametrize(
    ("method", "given", "keywords", "name"),
    [
        ("stream", (5,), {}, "input"),
        ("stream", (), {}, "stream()"),
        ("stream", (), {"prompt": "x"}, "stream()"),
        ("stream", ("x",), {"max_new_tokens": 0}, "max_new_tokens"),
        ("stream", ("x",), {"temperature": -1}, "temperature"),
        ("stream", ("x",), {"stop": [1]}, "stop[0]"),
        ("stream", ("x",), {"stop": [""]}, "stop"),
        ("stream", ("x",), {"role": "me"}, "role"),
        ("stream", ("x",), {"role": ["user"]}, "role"),
        ("stream", ("x",), {"zzz": 1}, "stream()"),
        ("stream_batch", (["x", 5],), {}, "inputs[1]"),
        ("stream_batch", (["x"],), {"role": ["me"]}, "role[0]"),
        ("stream_batch", (5,), {}, "inputs"),
        ("steps", ("",), {}, "input"),
        ("steps", ("x",), {"keep_history": True}, "steps()"),
        ("stream_logits", (5,), {}, "input"),
        ("stream_logits", ("x",), {"temperature": 1}, "stream_logits()"),
        ("stream_hidden_states", ("x",), {"timeout": "5"}, "timeout"),
    ],
)
def test_streams_of_a_model_that_is_not_open(
    method: str, given: tuple[Any, ...], keywords: dict[str, Any], name: str
) -> None:
    model = AsyncRKLLM("none.rkllm")
    refused(lambda: getattr(model, method)(*given, **keywords), name, RkllmError)


@pytest.mark.parametrize(
    ("method", "given", "keywords", "name"),
    [
        ("generate", (5,), {}, "input"),
        ("generate", ("x",), {"top_p": 2}, "top_p"),
        ("generate_batch", (["x", 5],), {}, "inputs[1]"),
        ("logits", ("x",), {"timeout": -1}, "timeout"),
        ("logits_batch", ("x",), {}, "inputs"),
        ("hidden_states", (5,), {}, "input"),
        ("hidden_states_batch", ([5],), {}, "inputs[0]"),
        ("embed", ("x",), {"timeout": 0}, "timeout"),
        ("score", ("x", 5), {}, "continuation"),
        ("score", ("x", "y"), {"lora": 5}, "lora"),
        ("detokenize", ([1, "x"],), {}, "token_ids[1]"),
    ],
)
def test_coroutines_of_a_model_that_is_not_open(
    method: str, given: tuple[Any, ...], keywords: dict[str, Any], name: str
) -> None:
    import asyncio

    model = AsyncRKLLM("none.rkllm")
    refused(lambda: asyncio.run(getattr(model, method)(*given, **keywords)), name, RkllmError)


@pytest.mark.filterwarnings("ignore::rkllm_rs.RkllmWarning")
def test_inputs_that_can_be_read_once_serve_for_check_and_run(
    make_model: Callable[..., Path], library: Path
) -> None:
    import asyncio

    async def main() -> list[str]:
        path = make_model({"runs": [{"rows": [["a"], ["b"]]}]})
        prompts: Any = iter(["x", "y"])
        model = AsyncRKLLM(path, library=library, n_batch=2)
        answers = await model.generate_batch(prompts)
        await model.close()
        return [answer.text for answer in answers]

    assert asyncio.run(main()) == ["a", "b"]


# ---- chats

HELLO = [{"role": "user", "content": "Hello"}]


def test_messages_and_tools(open_model: Opener) -> None:
    model: Any = open_model(["a"], chat_template="{{ messages[0].content }}")
    for call in (model.chat, model.chat_stream, model.render_chat):
        refused(lambda call=call: call(None), "messages")
        refused(lambda call=call: call(HELLO, tools=[{"name": "f"}, 5]), "tools[1]")
        refused(lambda call=call: call(HELLO, tools={min, max}), "tools")
    for value, kind in ((5, InvalidTypeError), ("required", InvalidArgumentError)):
        refused(lambda value=value: model.chat(HELLO, tool_choice=value), "tool_choice", kind)
    forced = {"type": "function", "function": {"name": "f"}}
    refused(lambda: model.chat(HELLO, tool_choice=forced), "tool_choice", InvalidArgumentError)


def test_what_is_counted_with_a_text(open_model: Opener) -> None:
    model: Any = open_model(["a"])
    for name, value in (("tools", [5]), ("thinking", True), ("template_kwargs", {})):
        given = {name: value}
        refused(lambda given=given: model.count_tokens("x", **given), name, InvalidArgumentError)


def test_scores_of_nothing(open_model: Opener) -> None:
    model: Any = open_model(["a"], tokenizer=lambda text: [1] * len(text))
    refused(lambda: model.score("", "x"), "prompt", InvalidArgumentError)
    refused(lambda: model.score("x", ""), "continuation", InvalidArgumentError)
    refused(lambda: model.score("x", 5), "continuation")


def test_an_empty_input_is_named_as_it_was_written(open_model: Opener) -> None:
    model: Any = open_model(["a"])
    for call in (model.generate, model.stream, model.steps, model.logits):
        refused(lambda call=call: call(""), "input", InvalidArgumentError)
