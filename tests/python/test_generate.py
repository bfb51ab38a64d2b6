"""What an answer holds, and what the library was asked for it."""

from __future__ import annotations

import pytest

import rkllm_rs
from fakes import ABI_VERSIONS, calls, fake_library
from rkllm_rs import SamplingParams, Tokens, UnsupportedFeatureError

SINCE_1_2_0 = ("v1_2_0", "v1_2_1", "v1_3_1")
SINCE_1_2_1 = ("v1_2_1", "v1_3_1")

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


def test_text_and_ids(open_model):
    answer = open_model(["The", " sky", " is", " blue."]).generate("Why?")
    assert answer.text == "The sky is blue."
    assert answer.token_ids == [1, 2, 3, 4]
    assert answer.finish_reason == "stop"
    assert str(answer) == answer.text
    assert "4 tokens" in repr(answer)


def test_every_token_call_has_its_id(open_model):
    steps = [
        {"bytes": [0xE2, 0x82], "id": 70, "state": 1},
        {"bytes": [0xAC], "id": 71},
        {"text": "", "id": 72},
        {"text": "", "id": 73, "state": 1},
        {"text": "!", "id": 74},
    ]
    answer = open_model(steps).generate("x")
    assert answer.text == "€!"
    assert answer.token_ids == [70, 71, 72, 73, 74]


def test_an_empty_answer_is_stop(open_model):
    for script in ([], {}, [{"text": ""}]):
        with open_model(script) as model:
            answer = model.generate("x")
        assert answer.text == ""
        assert answer.finish_reason == "stop"
        assert len(answer.token_ids) == len(script)


def test_null_text_is_a_token_without_text(open_model):
    answer = open_model(["a", {"null_text": True, "id": 9}, "b"]).generate("x")
    assert (answer.text, answer.token_ids) == ("ab", [1, 9, 3])


def test_null_result_is_survived(open_model):
    script = {"runs": [{"steps": ["a", {"null_result": True}, "b"], "finish": {"null_result": True}}]}
    answer = open_model(script).generate("x")
    assert (answer.text, answer.finish_reason) == ("ab", "stop")


def test_unknown_states_are_tokens(open_model):
    answer = open_model(["a", {"text": "b", "state": 7}]).generate("x")
    assert answer.text == "ab"


def test_finish_text_is_no_token(open_model):
    answer = open_model({"runs": [{"steps": ["a"], "finish": {"text": "a"}}]}).generate("x")
    assert (answer.text, answer.token_ids) == ("a", [1])


def test_runs_follow_one_another(open_model):
    model = open_model({"runs": [{"steps": ["one"]}, {"steps": ["two"]}]})
    assert [model.generate("x").text for _ in range(3)] == ["one", "two", "two"]


@pytest.mark.parametrize(
    "prompt",
    [
        "x",
        "Why?",
        "zwei\nZeilen\t\r",
        "Grüße, 世界 🌍 ́",
        "<|im_start|>{}%s%n",
        "\u202e\ufeff ",
        "a" * 200_000,
    ],
    ids=lambda prompt: prompt[:5].encode("unicode_escape").decode(),
)
@pytest.mark.hazard("V4")
def test_prompts_arrive_byte_for_byte(open_model, record, prompt):
    answer = open_model({"runs": [{"steps": [{"echo": True}]}]}).generate(prompt)
    assert answer.text == prompt
    (run,) = calls(record, "rkllm_run")
    assert run["input"]["prompt_input"] == prompt
    assert run["input"]["input_type"] == 0
    assert run["infer"]["mode"] == 0


def test_token_input(open_model, record):
    answer = open_model({"runs": [{"steps": [{"echo": True}]}]}).generate(Tokens([3, 1, 2**31 - 1, 0]))
    assert answer.text == "3 1 2147483647 0"
    (run,) = calls(record, "rkllm_run")
    assert run["input"]["input_type"] == 1


def test_figures_of_the_library(open_model, abi_version):
    figures = {
        "prefill_time_ms": 40.0,
        "prefill_tokens": 20,
        "generate_time_ms": 500.0,
        "generate_tokens": 50,
        "memory_usage_mb": 12.5,
    }
    perf = open_model({"runs": [{"steps": ["a", "b"], "finish": {"perf": figures}}]}).generate("x").perf
    if abi_version in SINCE_1_2_1:
        assert perf.source == "library"
        assert {name: getattr(perf, name) for name in figures} == figures
        assert perf.generate_tokens_per_second == pytest.approx(100)
        assert perf.prefill_tokens_per_second == pytest.approx(500)
    else:
        assert perf.source == "measured"
        assert perf.generate_tokens == 2
        assert perf.prefill_tokens is None
        assert perf.memory_usage_mb is None


def test_measured_figures(open_model):
    script = {"runs": [{"prefill_ms": 60, "delay_ms": 20, "steps": ["a"], "repeat": 4}]}
    perf = open_model(script).generate("x").perf
    assert perf.time_to_first_token_ms >= 60
    assert perf.total_time_ms >= 140
    assert perf.queued_time_ms >= 0
    assert perf.generate_tokens == 4
    assert "generate_tokens=4" in repr(perf)


@pytest.mark.hazard("G3")
def test_length_by_us_and_by_the_library(open_model, record, abi_version):
    model = open_model({"runs": [{"steps": ["a"], "repeat": 50}]}, max_new_tokens=20)
    answer = model.generate("x", max_new_tokens=3)
    assert (answer.text, answer.token_ids, answer.finish_reason) == ("aaa", [1, 2, 3], "length")
    (run,) = calls(record, "rkllm_run")
    if abi_version >= "v1_3_0":
        assert run["infer"]["max_new_tokens"] == 3
    else:
        assert "max_new_tokens" not in run["infer"]
    # The library went on to say more: nothing of it is in the next answer.
    again = model.generate("x", max_new_tokens=2)
    assert (again.text, again.finish_reason) == ("aa", "length")


def test_length_of_a_library_that_counts_itself(open_model):
    script = {"runs": [{"steps": ["a"], "repeat": 50, "obey_max_new_tokens": True}]}
    answer = open_model(script, max_new_tokens=5).generate("x")
    assert (answer.text, answer.finish_reason) == ("aaaaa", "length")


def test_an_answer_below_the_limit_is_stop(open_model):
    answer = open_model(["a", "b"], max_new_tokens=5).generate("x", max_new_tokens=3)
    assert answer.finish_reason == "stop"


def test_more_tokens_than_at_init(open_model, abi_version):
    model = open_model({"runs": [{"steps": ["a"], "repeat": 8}]}, max_new_tokens=4)
    if abi_version >= "v1_3_0":
        assert len(model.generate("x", max_new_tokens=6).token_ids) == 6
        return
    with pytest.raises(rkllm_rs.InvalidArgumentError, match=r"\Amax_new_tokens .*4.*6") as caught:
        model.generate("x", max_new_tokens=6)
    assert caught.value.hint


@pytest.mark.hazard("G3")
def test_a_limit_is_always_set(open_model, vendor_library, record):
    # Models without a working end-of-sequence token would go on for ever (hazard G3).
    model = open_model({"runs": [{"steps": ["a"], "repeat": 700}]}, library=vendor_library)
    assert model.max_new_tokens == model.max_context_len == 512
    assert calls(record, "rkllm_init")[0]["param"]["max_new_tokens"] == 512
    assert len(model.generate("x").token_ids) == 512


def test_sampling_at_init(open_model, record):
    model = open_model(["a"], sampling=SamplingParams(**SAMPLING))
    param = calls(record, "rkllm_init")[0]["param"]
    assert {name: param[name] for name in SAMPLING} == SAMPLING
    assert model.sampling == SamplingParams(**SAMPLING)


def test_unset_sampling_keeps_the_librarys(tmp_path, open_model, record, abi_version):
    defaults = {"temperature": 0.5, "top_k": 11}
    library = fake_library(tmp_path / "other", abi_version, defaults=defaults, record=record)
    model = open_model(["a"], library=library, sampling=SamplingParams(top_k=3))
    param = calls(record, "rkllm_init")[0]["param"]
    assert (param["temperature"], param["top_k"]) == (0.5, 3)
    assert (model.sampling.temperature, model.sampling.top_k) == (0.5, 3)


def test_sampling_of_a_call(open_model, record, abi_version):
    model = open_model(["a"], sampling=SamplingParams(top_k=5, temperature=0.5))
    model.generate("x")
    model.generate("x", sampling=SamplingParams(top_k=5))
    if abi_version >= "v1_3_0":
        model.generate("x", sampling=SamplingParams(**SAMPLING))
        model.generate("x", sampling=SamplingParams(top_k=9))
        model.generate("x")
        own = [run["infer"]["sampling_params"] for run in calls(record, "rkllm_run")]
        assert own[0] is own[1] is own[4] is None
        assert {name: own[2][name] for name in SAMPLING} == SAMPLING
        assert (own[3]["top_k"], own[3]["temperature"]) == (9, 0.5)
        return
    with pytest.raises(UnsupportedFeatureError, match=r"RKLLM 1\.3\.0 or later") as caught:
        model.generate("x", sampling=SamplingParams(top_k=6))
    assert caught.value.hint
    assert len(calls(record, "rkllm_run")) == 2


def test_history(open_model, record, abi_version):
    model = open_model(["a"])
    if abi_version not in SINCE_1_2_0:
        with pytest.raises(UnsupportedFeatureError, match=r"RKLLM 1\.2\.0 or later"):
            model.generate("x", keep_history=True)
        assert not calls(record, "rkllm_run")
        return
    model.generate("x", keep_history=True)
    model.generate("x")
    assert [run["infer"]["keep_history"] for run in calls(record, "rkllm_run")] == [1, 0]


def test_role_and_thinking(open_model, record, abi_version):
    model = open_model(["a"])
    if abi_version not in SINCE_1_2_1:
        for keywords in ({"role": "tool"}, {"thinking": True}, {"thinking": False}):
            with pytest.raises(UnsupportedFeatureError, match=r"RKLLM 1\.2\.1 or later"):
                model.generate("x", **keywords)
        assert not calls(record, "rkllm_run")
        assert model.generate("x", role="user").text == "a"
        return
    model.generate("x")
    model.generate("x", role="tool", thinking=True)
    model.generate("x", thinking=False)
    seen = [(run["input"]["role"], run["input"]["enable_thinking"]) for run in calls(record, "rkllm_run")]
    assert seen == [("user", False), ("tool", True), ("user", False)]


SETTINGS = [
    # keyword, value, struct, field, value there, layouts
    ("max_context_len", 2048, None, "max_context_len", 2048, ABI_VERSIONS),
    ("max_new_tokens", 77, None, "max_new_tokens", 77, ABI_VERSIONS),
    ("skip_special_token", False, None, "skip_special_token", False, ABI_VERSIONS),
    ("base_domain_id", 1, "extend_param", "base_domain_id", 1, ABI_VERSIONS),
    ("n_keep", 16, None, "n_keep", 16, SINCE_1_2_0),
    ("embed_flash", False, "extend_param", "embed_flash", 0, SINCE_1_2_0),
    ("enabled_cpus_num", 2, "extend_param", "enabled_cpus_num", 2, SINCE_1_2_0),
    ("enabled_cpus_mask", 0b1100_0001, "extend_param", "enabled_cpus_mask", 0b1100_0001, SINCE_1_2_0),
    ("n_batch", 4, "extend_param", "n_batch", 4, SINCE_1_2_1),
    ("use_cross_attn", True, "extend_param", "use_cross_attn", 1, SINCE_1_2_1),
    ("ignore_eos_token", True, None, "ignore_eos_token", True, ("v1_3_1",)),
    ("img_start", "<s>", None, "img_start", "<s>", ABI_VERSIONS[:3]),
    ("img_end", "<e>", None, "img_end", "<e>", ABI_VERSIONS[:3]),
    ("img_content", "<c>", None, "img_content", "<c>", ABI_VERSIONS[:3]),
]


@pytest.mark.parametrize(
    ("keyword", "value", "struct", "field", "expected", "able"), SETTINGS, ids=[one[0] for one in SETTINGS]
)
def test_each_setting_arrives(open_model, record, abi_version, keyword, value, struct, field, expected, able):
    if abi_version not in able:
        with pytest.raises(UnsupportedFeatureError, match=r"RKLLM 1\.\d\.\d") as caught:
            open_model(["a"], **{keyword: value})
        assert caught.value.hint
        assert not calls(record, "rkllm_init")
        return
    open_model(["a"], **{keyword: value})
    param = calls(record, "rkllm_init")[0]["param"]
    assert (param[struct] if struct else param)[field] == expected


@pytest.mark.hazard("V3")
def test_what_is_not_set_keeps_the_librarys_defaults(open_model, record, abi_version):
    open_model(["a"])
    (init,) = calls(record, "rkllm_init")
    param = init["param"]
    assert param["is_async"] is False
    assert param["top_p"] == pytest.approx(0.9)
    if abi_version < "v1_3_0":
        assert [param[name] for name in ("img_start", "img_end", "img_content")] == ["", "", ""]
    if abi_version in SINCE_1_2_0:
        extend = param["extend_param"]
        assert extend["enabled_cpus_mask"].bit_count() == extend["enabled_cpus_num"] > 0
    if abi_version in SINCE_1_2_1:
        assert param["extend_param"]["n_batch"] == 1


@pytest.mark.hazard("N1")
@pytest.mark.parametrize("abi_version", ABI_VERSIONS[:3])
def test_null_markers_become_empty(tmp_path, open_model, record, abi_version):
    # A NULL marker takes the process with it (hazard N1).
    defaults = {"img_start": None, "img_end": None, "img_content": None}
    library = fake_library(tmp_path / "other", abi_version, defaults=defaults, record=record)
    # Without the pointers the defaults tell too little where the functions do not separate.
    open_model(["a"], library=library, abi=abi_version)
    param = calls(record, "rkllm_init")[0]["param"]
    assert [param[name] for name in defaults] == ["", "", ""]


def test_callbacks_from_another_thread(open_model):
    steps = [{"text": "a", "thread": True}, "b", {"text": "c", "thread": True}]
    answer = open_model(steps).generate("x")
    assert (answer.text, answer.finish_reason) == ("abc", "stop")


def test_callbacks_after_run_has_returned(open_model):
    script = {"runs": [{"steps": ["a", "b"], "delay_ms": 30, "return_before_callbacks": True}]}
    answer = open_model(script).generate("x")
    assert (answer.text, answer.finish_reason) == ("ab", "stop")


def test_cache_calls(open_model, record, abi_version):
    model = open_model({"kv_cache_size": [42]})
    if abi_version == "v1_1_0":
        with pytest.raises(UnsupportedFeatureError, match=r"1\.2\.0"):
            model.clear_kv_cache()
    else:
        model.clear_kv_cache()
        model.clear_kv_cache(keep_system_prompt=True)
        kept = [call["keep_system_prompt"] for call in calls(record, "rkllm_clear_kv_cache")]
        assert kept == [0, 1]
    if abi_version in SINCE_1_2_1:
        assert model.kv_cache_size() == 42
    else:
        with pytest.raises(UnsupportedFeatureError, match=r"1\.2\.1"):
            model.kv_cache_size()
