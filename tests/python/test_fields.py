"""Every byte of the structs that the library is handed, built here from the layouts of the headers."""

from __future__ import annotations

import array
import ctypes
import inspect
import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fakes import ABI_VERSIONS, calls, fake_library
from rkllm_rs import RKLLM, CrossAttention, SamplingParams
from surface import aopen_signature, set_cross_attention

if TYPE_CHECKING:
    from collections.abc import Mapping

ABI = Path(__file__).parents[1] / "abi"
WIDE = ctypes.sizeof(ctypes.c_void_p) == 8
TARGET = "x86_64" if WIDE else "armhf"

SINCE_1_2_0 = ABI_VERSIONS[1:]
SINCE_1_2_1 = ABI_VERSIONS[2:]

#: A pointer that must not be NULL; what it points to is in the record.
SET = object()
NULL = object()

CODES = {
    "int32_t": "i",
    "int": "i",
    "uint32_t": "I",
    "int8_t": "b",
    "uint8_t": "B",
    "bool": "?",
    "float": "f",
    "size_t": "Q" if WIDE else "I",
    "RKLLMInputType": "i",
    "RKLLMInferMode": "i",
}

SAMPLING = {
    "top_k": 7,
    "top_p": 0.5,
    "temperature": 0.25,
    "repeat_penalty": 1.5,
    "frequency_penalty": 0.75,
    "presence_penalty": -0.5,
    "mirostat": 2,
    "mirostat_tau": 3.5,
    "mirostat_eta": 0.125,
}

#: C field: keyword of RKLLM(), its value, what the field holds then.
SETTINGS: dict[str, tuple[str, Any, Any]] = {
    "max_context_len": ("max_context_len", 1024, 1024),
    "max_new_tokens": ("max_new_tokens", 99, 99),
    "n_keep": ("n_keep", 7, 7),
    "skip_special_token": ("skip_special_token", False, False),
    "ignore_eos_token": ("ignore_eos_token", True, True),
    "img_start": ("img_start", "<s>", SET),
    "img_end": ("img_end", "<e>", SET),
    "img_content": ("img_content", "<c>", SET),
    "base_domain_id": ("base_domain_id", 2, 2),
    "embed_flash": ("embed_flash", False, 0),
    "enabled_cpus_num": ("enabled_cpus_num", 2, 2),
    "enabled_cpus_mask": ("enabled_cpus_mask", {1, 5}, 0b100010),
    "n_batch": ("n_batch", 3, 3),
    "use_cross_attn": ("use_cross_attn", True, 1),
}
#: Set by us alone: a path, no other thread, nothing in what the vendor keeps for later.
OURS = {"model_path": SET, "is_async": False, "reserved": b""}

#: Keywords of RKLLM() that are no fields of its structs.
NO_FIELDS = {
    "min_p",
    "typical_p",
    "logit_bias",
    "vendor_log",
    "self",
    "unknown",
    "model",
    "backend",
    "library",
    "abi",
    "sampling",
    "template",
    "chat_template",
    "family",
    "tokenizer",
    "embedder",
    "open_timeout",
    "strict",
    "isolate",
    "restart",
    "kill_after",
}


def abi(abi_version: str, kind: str) -> Any:
    """A table of the headers; the larger input structs of 1.2.1b1 serve both releases of v1_2_0."""
    name = "v1_2_1b1" if abi_version == "v1_2_0" else abi_version
    return json.loads((ABI / f"{name}.{kind}.json").read_text())


def fields_of(abi_version: str, name: str) -> dict[str, str]:
    """Type of each field of a struct; those that are structs themselves show their own as ``a.b``."""
    types = abi(abi_version, "api")["field_types"][name]
    return {field: one["type"] for field, one in types.items() if one["type"] != "struct"}


def check(abi_version: str, name: str, raw_hex: str, values: Mapping[str, Any]) -> None:
    """Compares a struct that was recorded with one made of ``values``, zero in all other fields.

    Args:
        abi_version: Whose layout.
        name: The struct's.
        raw_hex: What the library was given.
        values: One for each field; of a union, for the member in use.
    """
    raw = bytes.fromhex(raw_hex)
    expected = fill(abi_version, name, raw, values)
    assert raw == bytes(expected), f"{name}\n{raw.hex()}\n{expected.hex()}"


def fill(abi_version: str, name: str, raw: bytes, values: Mapping[str, Any]) -> bytearray:
    """The struct made of ``values``; addresses are taken from ``raw``, after a look at them."""
    layout = abi(abi_version, TARGET)[name]
    types = fields_of(abi_version, name)
    assert len(raw) == layout["size"]
    assert set(values) <= set(types), f"{name} has no {set(values) - set(types)}"
    # Padding belongs to no field, nor to any member of a union: nobody reads it.
    expected = bytearray(raw)
    for field, one in abi(abi_version, "api")["field_types"][name].items():
        at, size = layout["fields"][field], one["size64" if WIDE else "size32"]
        expected[at : at + size] = bytes(size)
    for field, value in values.items():
        at, kind = layout["fields"][field], types[field]
        if value is SET or value is NULL:
            size = struct.calcsize("P")
            assert kind.endswith("*"), f"{name}.{field} is no pointer"
            assert any(raw[at : at + size]) == (value is SET), f"{name}.{field}"
            expected[at : at + size] = raw[at : at + size]
        elif isinstance(value, dict):
            size = abi(abi_version, TARGET)[kind]["size"]
            expected[at : at + size] = fill(
                abi_version, kind, raw[at : at + size], complete(value, kind, abi_version)
            )
        elif not isinstance(value, bytes):
            packed = struct.pack(f"<{CODES[kind]}", value)
            expected[at : at + len(packed)] = packed
    return expected


def complete(values: dict[str, Any], name: str, abi_version: str) -> dict[str, Any]:
    """``values``, of which no field of the struct may be missing."""
    missing = set(fields_of(abi_version, name)) - set(values)
    assert not missing, f"nobody sets {missing} of {name}"
    return values


def param(abi_version: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of RKLLMParam with RKLLMExtendParam in it, out of one table for both."""
    own = {field: values[field] for field in fields_of(abi_version, "RKLLMParam") if field != "extend_param"}
    return own | {
        "extend_param": {field: values[field] for field in fields_of(abi_version, "RKLLMExtendParam")}
    }


def floats(start: float, *shape: int) -> Any:
    """An array of that shape with ascending numbers, without NumPy."""
    count = 1
    for length in shape:
        count *= length
    flat = array.array("f", [start + at for at in range(count)])
    return memoryview(flat).cast("B").cast("f", shape)


def digest(start: float, count: int) -> dict[str, Any]:
    """What the fake records of such an array."""
    numbers = [start + at for at in range(count)]
    return {"count": count, "sum": sum(numbers), "first": numbers[:4], "last": numbers[-4:]}


def test_each_keyword_of_opening_is_checked_here():
    keywords = set(inspect.signature(RKLLM.__init__).parameters) - NO_FIELDS - set(SAMPLING)
    assert keywords == {keyword for keyword, _, _ in SETTINGS.values()}
    assert set(aopen_signature().parameters) >= keywords
    assert {name for name in dir(SamplingParams()) if not name.startswith("_")} >= set(SAMPLING)


def test_opening_with_everything_set(open_model, make_model, record, abi_version):
    there = set(fields_of(abi_version, "RKLLMParam")) | set(fields_of(abi_version, "RKLLMExtendParam"))
    given = {keyword: value for field, (keyword, value, _) in SETTINGS.items() if field in there}
    model = make_model(["a"])
    open_model(model, sampling=SamplingParams(**SAMPLING), **given)
    (init,) = calls(record, "rkllm_init")
    shown = init["param"]
    values = {field: expected for field, (_, _, expected) in SETTINGS.items()} | SAMPLING | OURS
    check(abi_version, "RKLLMParam", shown["raw_hex"], param(abi_version, values))
    assert shown["model_path"] == str(model)
    for marker in there & {"img_start", "img_end", "img_content"}:
        assert shown[marker] == SETTINGS[marker][1]


@pytest.fixture
def library(vendor_library: Path) -> Path:
    """What is not set is the vendor's default."""
    return vendor_library


#: Defaults that no library has, so that each that arrives is the library's own.
STRANGE = {
    "max_context_len": 1000,
    "max_new_tokens": 77,
    "top_k": 11,
    "n_keep": 5,
    "top_p": 0.625,
    "temperature": 0.375,
    "repeat_penalty": 1.25,
    "frequency_penalty": 0.5,
    "presence_penalty": -0.75,
    "mirostat": 1,
    "mirostat_tau": 4.5,
    "mirostat_eta": 0.25,
    "skip_special_token": 0,
    "ignore_eos_token": 1,
    "is_async": 1,
    "img_start": "<1>",
    "img_end": "<2>",
    "img_content": "<3>",
    "base_domain_id": 3,
    "embed_flash": 0,
    "enabled_cpus_num": 3,
    "enabled_cpus_mask": 0b111,
    "n_batch": 1,
    "use_cross_attn": 1,
}


def test_opening_with_nothing_set_keeps_all_defaults(tmp_path, open_model, record, abi_version):
    types = fields_of(abi_version, "RKLLMParam") | fields_of(abi_version, "RKLLMExtendParam")
    there = {field: value for field, value in STRANGE.items() if field in types}
    library = fake_library(tmp_path / "own", abi_version, defaults=there, record=record, quiet=True)
    open_model(["a"], library=library, abi=abi_version)
    (init,) = calls(record, "rkllm_init")
    texts = dict.fromkeys(("img_start", "img_end", "img_content"), SET)
    check(abi_version, "RKLLMParam", init["param"]["raw_hex"], param(abi_version, there | texts | OURS))
    assert [init["param"].get(name) for name in texts] == [there.get(name) for name in texts]


@pytest.mark.parametrize("abi_version", SINCE_1_2_0)
@pytest.mark.parametrize("mask", [0b1010, {1, 3}, [3, 1], range(1, 4, 2)], ids=repr)
def test_cpus_are_a_mask_or_numbers(open_model, record, abi_version, mask):
    open_model(["a"], enabled_cpus_mask=mask)
    extend = calls(record, "rkllm_init")[0]["param"]["extend_param"]
    assert (extend["enabled_cpus_num"], extend["enabled_cpus_mask"]) == (2, 0b1010)


@pytest.mark.parametrize("abi_version", ["v1_3_1"])
def test_callbacks(open_model, record, abi_version):
    def asked(_question):
        raise AssertionError

    open_model(["a"])
    open_model(["a"], tokenizer=asked)
    open_model(["a"], embedder=asked)
    plain, tokens, embeddings = (init["callback"] for init in calls(record, "rkllm_init"))
    assert set(plain) == set(fields_of(abi_version, "RKLLMCallback"))
    # The result's userdata comes with each run, where it is another one.
    expected = dict.fromkeys(plain, True) | {"result_userdata": False, "tokenizer_callback": False}
    expected["embed_callback"] = False
    assert plain == expected
    assert tokens == expected | {"tokenizer_callback": True}
    assert embeddings == expected | {"embed_callback": True}


@pytest.mark.parametrize("abi_version", ABI_VERSIONS[:3])
def test_the_older_callback_is_a_function(open_model, record):
    open_model(["a"]).generate("x")
    assert calls(record, "rkllm_init")[0]["callback"] is True
    assert calls(record, "rkllm_run")[0]["userdata"] is True


def infer(abi_version: str, **values: Any) -> dict[str, Any]:
    """Values of RKLLMInferParam for a run that sets nothing but these."""
    usual = {
        "mode": 0,
        "lora_params": NULL,
        "prompt_cache_params": NULL,
        "sampling_params": NULL,
        "keep_history": 0,
        # The limit of opening, which is that of the context window here.
        "max_new_tokens": 512,
    } | values
    return {field: usual[field] for field in fields_of(abi_version, "RKLLMInferParam")}


def test_a_run_with_nothing_set(open_model, record, abi_version):
    open_model(["a"]).generate("x")
    (run,) = calls(record, "rkllm_run")
    check(abi_version, "RKLLMInferParam", run["infer"]["raw_hex"], infer(abi_version))


def test_a_run_with_everything_set(tmp_path, open_model, record, abi_version):
    adapter = tmp_path / "style.rkllm"
    adapter.write_bytes(bytes(range(256)))
    cache = tmp_path / "prompt.cache"
    model = open_model(["a"])
    model.load_lora(adapter, name="fein", scale=0.375)
    given: dict[str, Any] = {"lora": "fein", "save_prompt_cache": cache}
    if abi_version in SINCE_1_2_0:
        given["keep_history"] = True
    if abi_version >= "v1_3_0":
        given |= {"sampling": SamplingParams(**SAMPLING), "max_new_tokens": 33}
    model.generate("x", **given)
    (run,) = calls(record, "rkllm_run")
    shown = run["infer"]
    pointers = dict.fromkeys(("lora_params", "prompt_cache_params", "sampling_params"), SET)
    expected = infer(abi_version, keep_history=1, max_new_tokens=33, **pointers)
    check(abi_version, "RKLLMInferParam", shown["raw_hex"], expected)
    # What they point to, each with all fields of its struct.
    inner = {
        "lora_params": ("RKLLMLoraParam", {"lora_adapter_name": "fein"}),
        "prompt_cache_params": (
            "RKLLMPromptCacheParam",
            {"save_prompt_cache": 1, "prompt_cache_path": f"{cache}.part"},
        ),
        "sampling_params": ("RKLLMSamplingParam", SAMPLING),
    }
    for field in set(expected) & set(inner):
        name, values = inner[field]
        assert {key: shown[field][key] for key in fields_of(abi_version, name)} == values


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_the_mode(open_model, record, abi_version, mode):
    if mode == 2 and abi_version == "v1_1_0":
        pytest.skip("1.1.x has no logits")
    model = open_model(["a"])
    call = (model.generate, model.hidden_states, model.logits)[mode]
    call("x")
    (run,) = calls(record, "rkllm_run")
    check(abi_version, "RKLLMInferParam", run["infer"]["raw_hex"], infer(abi_version, mode=mode))


def test_an_adapter(tmp_path, open_model, record, abi_version):
    adapter = tmp_path / "style.rkllm"
    adapter.write_bytes(bytes(range(256)))
    open_model(["a"]).load_lora(adapter, name="fein", scale=0.375)
    shown = calls(record, "rkllm_load_lora")[0]["adapter"]
    values = {"lora_adapter_path": SET, "lora_adapter_name": SET, "scale": 0.375}
    check(
        abi_version, "RKLLMLoraAdapter", shown["raw_hex"], complete(values, "RKLLMLoraAdapter", abi_version)
    )
    assert (shown["lora_adapter_path"], shown["lora_adapter_name"]) == (str(adapter), "fein")


@pytest.mark.parametrize("abi_version", SINCE_1_2_1)
def test_cross_attention(open_model, record, abi_version):
    layers, tokens, heads, width = 2, 3, 2, 4
    count = layers * tokens * heads * width
    script = {"cross": {"k": count, "v": count}, "runs": [{"steps": ["a"]}]}
    model = open_model(script, use_cross_attn=True)
    k, v = floats(0, layers, tokens, heads, width), floats(100, layers, heads, width, tokens)
    set_cross_attention(model, CrossAttention(k, v, floats(1, tokens), [7, 8, 9]))
    del k, v
    model.generate("x")
    (given,) = calls(record, "rkllm_set_cross_attn_params")
    pointers = ("encoder_k_cache", "encoder_v_cache", "encoder_mask", "encoder_pos")
    values = dict.fromkeys(pointers, SET) | {"num_tokens": tokens}
    name = "RKLLMCrossAttnParam"
    check(abi_version, name, given["params"]["raw_hex"], complete(values, name, abi_version))
    # Nobody says whether the library copies: the arrays are there at the run too.
    (again,) = calls(record, "cross_attention")
    for seen in (given, again):
        assert (seen["k"], seen["v"]) == (digest(0, count), digest(100, count))
        assert (seen["mask"]["first"], seen["positions"]["first"]) == ([1, 2, 3], [7, 8, 9])
