"""Chat templates: the model's own, none, or three strings; the library's or, before 1.2.0, ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls, fake_library
from rkllm_rs import (
    Embeddings,
    GenerationError,
    InvalidArgumentError,
    InvalidTypeError,
    RkllmError,
    Tokens,
    UnsupportedFeatureError,
)
from support import began, newest
from surface import set_chat_template, set_function_tools, stepwise

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Opener

CHATML = (
    "<|im_start|>system\nYou are Ünïcode.<|im_end|>\n",
    "<|im_start|>user\n",
    "<|im_end|>\n<|im_start|>assistant\n",
)


def templates(record: Path) -> list[tuple[str, str, str]]:
    """What the library was given."""
    names = ("system_prompt", "prompt_prefix", "prompt_postfix")
    return [tuple(call[name] for name in names) for call in calls(record, "rkllm_set_chat_template")]


def prompts(record: Path) -> list[str]:
    """The text of each run, as the library received it."""
    return [run["input"].get("prompt_input") for run in calls(record, "rkllm_run")]


def test_set(open_model: Opener, record: Path, abi_version: str) -> None:
    model = open_model(["a"])
    model.generate("before")
    set_chat_template(model, *CHATML)
    model.generate("x\ny")
    set_chat_template(model, prompt_prefix="P:")
    model.generate("z")
    set_chat_template(model)
    model.generate("raw")
    if abi_version == "v1_1_0":
        system, prefix, postfix = CHATML
        assert prompts(record) == ["before", f"{system}{prefix}x\ny{postfix}", "P:z", "raw"]
        assert not templates(record)
    else:
        assert prompts(record) == ["before", "x\ny", "z", "raw"]
        assert templates(record) == [CHATML, ("", "P:", ""), ("", "", "")]


@pytest.mark.parametrize(
    "template", ["model", "raw", CHATML, ("", "", "")], ids=["model", "raw", "own", "empty"]
)
def test_at_opening(open_model: Opener, record: Path, abi_version: str, template: Any) -> None:
    model = open_model(["a"], template=template)
    model.generate("x")
    strings = {"model": None, "raw": ("", "", "")}.get(template, template)
    if abi_version == "v1_1_0":
        assert not templates(record)
        system, prefix, postfix = strings or ("", "", "")
        assert prompts(record) == [f"{system}{prefix}x{postfix}"]
    else:
        assert templates(record) == ([] if strings is None else [strings])
        assert prompts(record) == ["x"]
        order = [
            call["fn"] for call in calls(record) if call["fn"] in {"rkllm_set_chat_template", "rkllm_run"}
        ]
        assert order[-1] == "rkllm_run"


@pytest.mark.parametrize("abi_version", ["v1_1_0"])
def test_only_text_gets_ours(open_model: Opener, record: Path, abi_version: str) -> None:
    model = open_model(["a"], template=CHATML)
    model.generate(Tokens([1, 2]))
    model.generate(Embeddings(memoryview(bytes(32)).cast("f", (2, 4))))
    inputs = [run["input"] for run in calls(record, "rkllm_run")]
    assert inputs[0]["token_input"]["input_ids"] == [1, 2]
    assert "prompt_input" not in inputs[1]


@pytest.mark.parametrize("abi_version", ["v1_1_0"])
def test_ours_is_that_of_the_time_of_the_call(open_model: Opener, record: Path, abi_version: str) -> None:
    model = open_model({"runs": [{"prefill_ms": 100, "steps": ["a"]}]}, template=("", "1:", ""))
    first = model.stream("x")
    began(record)
    second = model.stream("y")
    set_chat_template(model, "", "2:", "")
    third = model.stream("z")
    for stream in (first, second, third):
        stream.result()
    assert prompts(record) == ["1:x", "1:y", "2:z"]


def test_the_librarys_is_set_in_turn(open_model: Opener, record: Path) -> None:
    model = open_model({"runs": [{"prefill_ms": 100, "steps": ["a"]}]})
    stream = model.stream("x")
    began(record)
    set_chat_template(model, *CHATML)
    # It has waited for the run that was under way.
    assert [call["fn"] for call in calls(record)][-2:] == ["run_end", "rkllm_set_chat_template"]
    assert stream.result().text == "a"


@pytest.mark.parametrize("name", ["system_prompt", "prompt_prefix", "prompt_postfix"])
@pytest.mark.parametrize("bad", ["a\0b", "a\ud800", 5, None, b"x"])
def test_bad_strings(open_model: Opener, record: Path, name: str, bad: Any) -> None:
    model = open_model(["a"])
    kind = InvalidArgumentError if isinstance(bad, str) else InvalidTypeError
    with pytest.raises(kind, match=name) as caught:
        set_chat_template(model, **{name: bad})
    assert caught.value.hint
    assert not templates(record)
    assert model.generate("x", thinking=True).text == "a"


BAD: list[tuple[Any, type[RkllmError]]] = [
    ("chatml", InvalidArgumentError),
    ("", InvalidArgumentError),
    (5, InvalidTypeError),
    (("a", "b"), InvalidArgumentError),
    (("a", "b", "c", "d"), InvalidArgumentError),
    (("a", "b", 5), InvalidTypeError),
    (("a", "b\0", "c"), InvalidArgumentError),
    ({"system": "a"}, InvalidTypeError),
]


@pytest.mark.parametrize(("template", "kind"), BAD, ids=repr)
def test_bad_templates(open_model: Opener, record: Path, template: Any, kind: type[RkllmError]) -> None:
    with pytest.raises(kind, match="template") as caught:
        open_model(["a"], template=template)
    assert caught.value.hint
    assert not calls(record, "rkllm_init")


TOOLS = [{"name": "f"}]


@pytest.mark.parametrize("abi_version", ["v1_2_1", "v1_3_1"])
@pytest.mark.parametrize("how", ["raw", "tuple", "call"])
def test_what_needs_the_models_own(open_model: Opener, record: Path, abi_version: str, how: str) -> None:
    template: Any = {"raw": "raw", "tuple": CHATML}.get(how, "model")
    model = open_model(["a"], template=template)
    if how == "call":
        model.generate("x", thinking=True)
        set_function_tools(model, TOOLS)
        set_chat_template(model, *CHATML)
    before = len(calls(record))
    for use in (
        lambda: model.generate("x", thinking=True),
        lambda: model.stream("x", thinking=True),
        lambda: model.logits("x", thinking=True),
        lambda: stepwise(model, "x", thinking=True),
        lambda: set_function_tools(model, TOOLS),
    ):
        with pytest.raises(InvalidArgumentError, match="chat template") as caught:
            use()
        assert "template" in str(caught.value.hint)
    assert len(calls(record)) == before
    # Off is what it is anyway.
    assert model.generate("x", thinking=False).text == "a"


def test_a_library_that_refuses(open_model: Opener, record: Path) -> None:
    log = [["stderr", "E rkllm: no chat template"]]
    model = open_model({"set_chat_template": {"return": -1, "log": log}, "runs": [{"steps": ["a"]}]})
    with pytest.raises(GenerationError, match="rkllm_set_chat_template") as caught:
        set_chat_template(model, *CHATML)
    assert caught.value.log == [log[0][1]]
    # Nothing has been replaced.
    assert model.generate("x", thinking=True).text == "a"
    set_function_tools(model, TOOLS)


def test_a_library_that_refuses_at_opening(open_model: Opener, record: Path) -> None:
    log = [["stderr", "E rkllm: no chat template"]]
    with pytest.raises(RkllmError, match="rkllm_set_chat_template") as caught:
        open_model({"set_chat_template": {"return": -1, "log": log}}, template="raw")
    assert caught.value.log == [log[0][1]]
    # The model that nobody got is given back.
    assert len(calls(record, "rkllm_destroy")) == 1
    assert open_model(["fine"]).generate("x").text == "fine"


@newest
def test_a_library_without_it(open_model: Opener, tmp_path: Path, abi_version: str) -> None:
    bare = fake_library(tmp_path / "bare", abi_version, drop_symbols=["rkllm_set_chat_template"], quiet=True)
    model = open_model(["a"], library=bare)
    with pytest.raises(UnsupportedFeatureError, match="rkllm_set_chat_template"):
        set_chat_template(model, *CHATML)
    model.close()
    with pytest.raises(UnsupportedFeatureError, match="rkllm_set_chat_template"):
        open_model(["a"], library=bare, template="raw")
