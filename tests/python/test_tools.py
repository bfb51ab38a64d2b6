"""Function tools: JSON that is checked before the library reads it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls, fake_library
from rkllm_rs import (
    GenerationError,
    InvalidArgumentError,
    InvalidTypeError,
    RkllmError,
    UnsupportedFeatureError,
)
from support import newest
from surface import aio, set_function_tools

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Opener

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Das Wetter für eine Stadt 🌦",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}

since_1_2_1 = pytest.mark.parametrize("abi_version", ["v1_2_1", "v1_3_1"])


def given(record: Path) -> list[dict[str, Any]]:
    return calls(record, "rkllm_set_function_tools")


@since_1_2_1
def test_a_list(open_model: Opener, record: Path, abi_version: str) -> None:
    model = open_model(["a"])
    set_function_tools(
        model, [WEATHER, {"name": "other"}], system_prompt="Sei nett.", tool_response_str="réponse"
    )
    (call,) = given(record)
    assert json.loads(call["tools"]) == [WEATHER, {"name": "other"}]
    # As it was written: models are trained on text, not on escapes.
    assert "für eine Stadt 🌦" in call["tools"]
    assert (call["system_prompt"], call["tool_response_str"]) == ("Sei nett.", "réponse")
    assert model.generate("x", role="tool").text == "a"
    assert calls(record, "rkllm_run")[0]["input"]["role"] == "tool"


@since_1_2_1
def test_text(open_model: Opener, record: Path, abi_version: str) -> None:
    model = open_model(["a"])
    text = ' [ {"name" :"f" } ]\n'
    set_function_tools(model, text)
    (call,) = given(record)
    # Byte for byte what the caller has written.
    assert (call["tools"], call["system_prompt"], call["tool_response_str"]) == (text, "", "tool_response")


def test_a_tuple_and_another_time(open_model: Opener, record: Path) -> None:
    model = open_model(["a"])
    set_function_tools(model, (WEATHER,))
    set_function_tools(model, [{"name": "f"}])
    asyncio.run(aio(model).set_function_tools([{"name": "g"}], tool_response_str="t"))
    assert [json.loads(call["tools"]) for call in given(record)] == [
        [WEATHER],
        [{"name": "f"}],
        [{"name": "g"}],
    ]


LOOP: list[Any] = []
LOOP.append({"name": LOOP})

BAD: dict[str, tuple[Any, type[RkllmError]]] = {
    "no JSON": ("get_weather", InvalidArgumentError),
    "JSON that ends early": ('[{"name": "f"', InvalidArgumentError),
    "Python's spelling": ("[{'name': 'f'}]", InvalidArgumentError),
    "text behind it": ('[{"name": "f"}] and', InvalidArgumentError),
    "empty text": ("", InvalidArgumentError),
    "an object": ('{"name": "f"}', InvalidArgumentError),
    "a dict": (WEATHER, InvalidTypeError),
    "an empty list": ([], InvalidArgumentError),
    "an empty list as text": ("[]", InvalidArgumentError),
    "numbers": ([1, 2], InvalidArgumentError),
    "texts": (["f"], InvalidArgumentError),
    "an object and a number": ([WEATHER, 5], InvalidArgumentError),
    "null": (None, InvalidTypeError),
    "a NUL": ('[{"name": "f"}]\0', InvalidArgumentError),
    "lone surrogates": ([{"name": "\ud800"}], InvalidArgumentError),
    "bytes": (b'[{"name": "f"}]', InvalidTypeError),
    "a set": ([{"names": {"f"}}], InvalidTypeError),
    "a function": ([{"name": len}], InvalidTypeError),
    "a loop": (LOOP, InvalidTypeError),
    "odd keys": ([{("a", "b"): 1}], InvalidTypeError),
    "no number": ([{"limit": float("nan")}], InvalidArgumentError),
    "infinity": ([{"limit": float("inf")}], InvalidArgumentError),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_tools(open_model: Opener, record: Path, case: str) -> None:
    tools, kind = BAD[case]
    model = open_model(["a"])
    with pytest.raises(kind, match="tools") as caught:
        set_function_tools(model, tools)
    assert caught.value.hint
    with pytest.raises(kind, match="tools"):
        asyncio.run(aio(model).set_function_tools(tools))
    assert not given(record)
    assert model.generate("x").text == "a"


@pytest.mark.parametrize("name", ["system_prompt", "tool_response_str"])
@pytest.mark.parametrize("bad", ["a\0b", 5, None])
def test_bad_strings(open_model: Opener, record: Path, name: str, bad: Any) -> None:
    model = open_model(["a"])
    kind = InvalidArgumentError if isinstance(bad, str) else InvalidTypeError
    with pytest.raises(kind, match=name):
        set_function_tools(model, [WEATHER], **{name: bad})
    assert not given(record)


@pytest.mark.parametrize("abi_version", ["v1_1_0", "v1_2_0"])
def test_before_1_2_1(open_model: Opener, record: Path, abi_version: str) -> None:
    model = open_model(["a"])
    with pytest.raises(UnsupportedFeatureError, match=r"1\.2\.1"):
        set_function_tools(model, [WEATHER])
    with pytest.raises(UnsupportedFeatureError, match=r"1\.2\.1"):
        model.generate("x", role="tool")
    assert not calls(record, "rkllm_run")
    assert model.generate("x").text == "a"


@since_1_2_1
def test_a_model_without_a_template(open_model: Opener, record: Path, abi_version: str) -> None:
    log = [["stderr", "E rkllm: the model has no chat template"]]
    model = open_model({"set_function_tools": {"return": -1, "log": log}, "runs": [{"steps": ["a"]}]})
    with pytest.raises(GenerationError, match="rkllm_set_function_tools") as caught:
        set_function_tools(model, [WEATHER])
    assert caught.value.log == [log[0][1]]
    assert model.generate("x").text == "a"


@newest
def test_a_library_without_it(open_model: Opener, tmp_path: Path, abi_version: str) -> None:
    bare = fake_library(tmp_path / "bare", abi_version, drop_symbols=["rkllm_set_function_tools"], quiet=True)
    model = open_model(["a"], library=bare)
    with pytest.raises(UnsupportedFeatureError, match="rkllm_set_function_tools"):
        set_function_tools(model, [WEATHER])
