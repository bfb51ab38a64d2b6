"""Benchmarks: figures that a script decides, what is compared, and what a real model gives."""

from __future__ import annotations

import csv
import io
import json
import os
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import pytest

from board_trees import TREES, build
from fakes import calls, fake_library, fake_model
from rkllm_rs import RKLLM, InvalidArgumentError, InvalidTypeError, ModelNotFoundError, bench
from support import HELD, wait_until
from workers import ENDLESS, processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")

#: What a release from 1.2.1 on reports of its own runs.
PERF = {"prefill_time_ms": 100.0, "prefill_tokens": 32, "generate_time_ms": 500.0, "generate_tokens": 16}
#: Answers of as many tokens as are asked for.
RUN: dict[str, Any] = {
    "steps": ["x"],
    "repeat": 500,
    "prefill_ms": 20,
    "obey_max_new_tokens": True,
    "finish": {"perf": PERF},
}
KEYS = {
    *(
        "model",
        "backend",
        "release",
        "prompt_tokens",
        "generate_tokens",
        "repeats",
        "prefill_tokens_per_second",
    ),
    *("generate_tokens_per_second", "time_to_first_token_ms", "load_ms", "peak_memory_mib", "vendor"),
}
#: As Rockchip's table names it.
NAME = "Qwen3-0.6B-rk3588-w8a8.rkllm"


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = processes()
    yield
    wait_until(lambda: processes() <= before, "the worker's end")


@pytest.fixture
def measured(library: Path, tmp_path: Path) -> Callable[..., bench.Report]:
    """Measures a model of this name that plays a script."""

    def run(name: str = "model.rkllm", script: Any = None, **keywords: Any) -> bench.Report:
        path = fake_model(tmp_path, name, quiet=True, **(script or {"runs": [RUN]}))
        keywords = {"libraries": library, "prompt_tokens": 32, "generate_tokens": 16, "repeats": 1} | keywords
        return bench.run(path, warm_up=0, **keywords)

    return run


def test_the_figures_of_the_library_are_told(measured: Callable[..., bench.Report], record: Path) -> None:
    report = measured(prompt_tokens=[32, 100], repeats=3)
    assert not report.failures
    first, second = report.results
    assert (first.backend, first.release, first.source) == ("npu", "1.3.1", "library")
    assert (first.prompt_tokens, first.generate_tokens, first.repeats) == (32, 16, 3)
    assert first.prefill_tokens_per_second == pytest.approx(320)
    assert first.generate_tokens_per_second == pytest.approx(32)
    assert 20 <= first.time_to_first_token_ms["p50"] <= first.time_to_first_token_ms["p99"]
    assert first.load_ms > 0
    assert first.peak_memory_mib > 1
    assert second.prompt_tokens == 100
    # What the library was given: as many ids, none of them of a vocabulary's ends, and nothing reused.
    runs = calls(record, "rkllm_run")
    assert [len(run["input"]["token_input"]["input_ids"]) for run in runs] == [32] * 3 + [100] * 3
    assert all(1000 <= one < 32_000 for run in runs for one in run["input"]["token_input"]["input_ids"])
    assert first.input == "ids"
    assert len(calls(record, "rkllm_clear_kv_cache")) == 6
    assert calls(record, "rkllm_init")[0]["param"]["ignore_eos_token"]


def test_before_1_3_0_an_answer_may_end_earlier(tmp_path: Path, record: Path) -> None:
    library = fake_library(tmp_path, "v1_1_0", record=record, quiet=True)
    model = fake_model(tmp_path, quiet=True, runs=[{"steps": ["a", "b", "c"], "delay_ms": 10}])
    (result,) = bench.run(
        model, libraries=library, prompt_tokens=8, generate_tokens=16, repeats=1, warm_up=0
    ).results
    assert (result.generate_tokens, result.asked_tokens) == (3, 16)
    assert len(calls(record, "rkllm_init")) == 1
    assert result.source == "measured"
    # Two tokens after the first one, in at least 20 ms.
    assert 0 < result.generate_tokens_per_second <= 100
    assert result.prefill_tokens_per_second == pytest.approx(
        8 / result.time_to_first_token_ms["p50"] * 1000, rel=0.01
    )


def test_an_answer_without_tokens_has_no_speed(measured: Callable[..., bench.Report]) -> None:
    report = measured(script={"runs": [{"steps": []}]})
    (result,) = report.results
    assert result.generate_tokens == 0
    assert result.time_to_first_token_ms == {"p50": None, "p99": None}
    assert json.loads(json.dumps(report.to_dict()))
    assert ET.fromstring(bench.plot(report)).tag  # noqa: S314 - ours
    assert bench.table(report)


def test_json_csv_and_plot_have_the_same_figures(measured: Callable[..., bench.Report]) -> None:
    report = measured("a<b>&'.rkllm", prompt_tokens=[8, 16], generate_tokens=4)
    data = json.loads(json.dumps(report.to_dict()))
    assert all(set(row) >= KEYS for row in data["results"])
    assert data["machine"]["cpus"] > 0
    rows = list(csv.DictReader(io.StringIO(report.to_csv())))
    for row, result in zip(rows, data["results"], strict=True):
        assert all(any(name.startswith(key) for name in row) for key in KEYS)
        assert float(row["generate_tokens_per_second"]) == result["generate_tokens_per_second"]
        assert float(row["time_to_first_token_ms_p99"]) == result["time_to_first_token_ms"]["p99"]
        assert row["vendor_source"] == ""
    picture = ET.fromstring(bench.plot(report))  # noqa: S314 - ours
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    values = [float(bar.get("data-value")) for bar in picture.iter() if bar.get("data-value")]
    told = [
        result[key]
        for key in ("prefill_tokens_per_second", "generate_tokens_per_second")
        for result in data["results"]
    ]
    assert values[:4] == pytest.approx(told)
    texts = {text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert texts >= {"tokens/s", "ms", "prompt tokens", "8", "16", "0"}
    assert any("a<b>&'" in text for text in texts)


def test_libraries_and_settings_are_compared(
    measured: Callable[..., bench.Report], library: Path, tmp_path: Path, record: Path
) -> None:
    older = fake_library(tmp_path / "older", "v1_2_1", quiet=True)
    variants = [{"enabled_cpus_num": 2}, {"enabled_cpus_num": 4}]
    report = measured(libraries=[library, older], settings=variants)
    assert [one.release for one in report.results] == ["1.3.1", "1.3.1", "1.2.3", "1.2.3"]
    assert [one.settings for one in report.results] == variants * 2
    opened = [one["param"]["extend_param"]["enabled_cpus_num"] for one in calls(record, "rkllm_init")]
    assert opened == [2, 4]
    assert len({line for line in bench.table(report).splitlines() if "enabled_cpus_num=" in line}) == 4


def test_of_several_backends_those_are_left_out_that_a_file_cannot_run_on(
    tmp_path: Path, library: Path
) -> None:
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"GGUF" + bytes(60))
    report = bench.run(gguf, backends=["npu", "cpu"], libraries=library, repeats=1)
    assert [one.backend for one in report.failures] == ["cpu"]
    assert report.failures[0].hint


def test_models_and_libraries_of_the_same_name_are_told_apart(tmp_path: Path, abi_version: str) -> None:
    models = [
        fake_model(tmp_path / name, file, quiet=True, runs=[RUN])
        for name, file in (("one", "qwen.rkllm"), ("two", "qwen.rkllm"), ("three", "model.rkllm"))
    ]
    libraries = [fake_library(tmp_path / name, abi_version, quiet=True) for name in ("a", "b")]
    report = bench.run(models, libraries=libraries, prompt_tokens=8, generate_tokens=2, repeats=1, warm_up=0)
    assert len(report.results) == 6
    picture = ET.fromstring(bench.plot(report))  # noqa: S314 - ours
    assert sum(bar.get("data-value") is not None for bar in picture.iter()) == 18
    table = bench.table(report)
    assert all(f"{name}, npu" in table for name in ("one/qwen.rkllm", "two/qwen.rkllm", "three/model.rkllm"))
    assert all(f"{name}/librkllmrt.so" in table for name in ("a", "b"))


def test_what_fails_is_told_and_the_others_are_measured(measured: Callable[..., bench.Report]) -> None:
    crash = {"runs": [RUN, RUN | {"crash": True}]}
    report = measured(script=crash, prompt_tokens=[8, 16, 24], settings=[{}, {"max_context_len": 32}])
    # The second size ends the worker each time, whatever would have come.
    assert [one.prompt_tokens for one in report.results] == [8, 8]
    assert [one.settings.get("max_context_len") for one in report.failures] == [None, 32]


def test_a_size_that_does_not_fit_leaves_the_others(measured: Callable[..., bench.Report]) -> None:
    report = measured("model-ctx64.rkllm", prompt_tokens=[8, 100, 16])
    assert [one.prompt_tokens for one in report.results] == [8, 16]
    assert len(report.failures) == 1


def test_a_library_that_does_not_come_back_is_left(measured: Callable[..., bench.Report]) -> None:
    report = measured(script={"runs": [ENDLESS | {"ignore_abort": True}]}, generate_tokens=400, timeout=0.3)
    assert not report.results
    assert len(report.failures) == 1


def test_runs_at_once_wait_in_the_queue(
    measured: Callable[..., bench.Report], gate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    stream = RKLLM.stream

    def ask(self: RKLLM, *arguments: Any, **options: Any) -> Any:
        asked.append(stream(self, *arguments, **options))
        if len(asked) == 1 + 3:
            gate.touch()
        return asked[-1]

    monkeypatch.setattr(RKLLM, "stream", ask)
    # The first of the three is held until all are asked for.
    script = {"gate": gate, "runs": [RUN, RUN | {"prefill_ms": HELD}]}
    alone, both = measured(script=script, concurrency=[1, 3]).results
    assert (alone.concurrency, both.concurrency) == (1, 3)
    perfs = [one.result().perf for one in asked]
    assert alone.time_to_first_token_ms["p50"] == pytest.approx(perfs[0].time_to_first_token_ms, abs=0.001)
    # The wait for the runs before counts, as a caller would say.
    waits = sorted(perf.queued_time_ms + perf.time_to_first_token_ms for perf in perfs[1:])
    assert both.time_to_first_token_ms["p50"] == pytest.approx(waits[1], abs=0.001)
    assert both.time_to_first_token_ms["p99"] == pytest.approx(waits[2], abs=0.001)


def test_a_batch_is_a_run_of_several_prompts(measured: Callable[..., bench.Report], record: Path) -> None:
    report = measured(settings=[{"n_batch": 1}, {"n_batch": 3}], generate_tokens=5)
    assert [one.generate_tokens for one in report.results] == [5, 5]
    assert [len(run.get("inputs", [0])) for run in calls(record, "rkllm_run")] == [1, 3]
    assert "all runs together" in bench.table(report)


@pytest.mark.parametrize(
    ("abi_version", "name", "board", "found"),
    [
        ("v1_3_0", NAME, "rk3588-vendor61-098", "RK3588"),
        # Another release, quantisation, model, chip; no chip at all.
        ("v1_3_1", NAME, "rk3588-vendor61-098", None),
        ("v1_3_0", NAME.replace("w8a8", "w8a8_g128"), "rk3588-vendor61-098", None),
        ("v1_3_0", NAME.replace("0.6B", "0.6B-abliterated"), "rk3588-vendor61-098", None),
        ("v1_3_0", NAME.replace("rk3588-", ""), "rv1126b-armhf", "RV1126B"),
        ("v1_3_0", NAME, "pc-x86", None),
    ],
)
def test_the_vendor_s_figure_is_for_exactly_this(
    abi_version: str,
    name: str,
    board: str,
    found: str | None,
    measured: Callable[..., bench.Report],
    tmp_path: Path,
) -> None:
    report = measured(name, root=build(TREES[board], tmp_path / "root"))
    (result,) = report.results
    assert (result.vendor and result.vendor["chip"]) == found
    other = result.vendor_other_release
    assert (other and (other["release"], other["generate_tokens_per_second"])) == (
        ("1.3.0", 32.91) if abi_version == "v1_3_1" else None
    )
    if found == "RK3588":
        assert result.vendor["generate_tokens_per_second"] == 32.91
        assert result.vendor["time_to_first_token_ms"] == 199.09
        assert result.vendor["source"].startswith("https://")
        assert not result.vendor["same_shape"]
        assert result.memory_bound["limit_gb_per_s"] == 28.0
        assert result.memory_bound["percent"] == pytest.approx(result.peak_memory_mib * 32 / 280, abs=0.1)
        assert report.machine["before"]["clocks"]["memory"]["mhz"] == 2112
        assert report.machine["after"]["temperatures_c"]["npu-thermal"] == 41.0


@pytest.mark.parametrize("abi_version", ["v1_3_0"], indirect=True)
def test_a_chip_may_be_given_and_a_figure_of_the_same_shape_is_drawn(
    measured: Callable[..., bench.Report],
) -> None:
    report = measured(NAME, chip="RK3588S", prompt_tokens=128, generate_tokens=64)
    assert report.results[0].vendor["same_shape"]
    assert "Rockchip" in bench.plot(report)
    assert "32.9" in bench.table(report)


@pytest.mark.parametrize(("board", "slow"), [("rk3588-vendor61-098", 0), ("rk3588-ddr-parked", 1)])
def test_a_slow_board_is_told_with_what_is_suspected(
    board: str, slow: int, measured: Callable[..., bench.Report], tmp_path: Path
) -> None:
    perf = PERF | {"generate_time_ms": 3200.0 if slow else 4.0}
    report = measured(
        script={"runs": [RUN | {"finish": {"perf": perf}}]},
        prompt_tokens=[8, 16],
        root=build(TREES[board], tmp_path / "root"),
    )
    lines = [line for line in bench.table(report).splitlines() if "doctor" in line]
    assert len(lines) == slow
    assert all("528 of 2112 MHz" in line for line in lines)
    assert all(one.during["clocks"]["memory"]["mhz"] == (528 if slow else 2112) for one in report.results)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("Qwen3-0.6B-rk3588-w8a8.rkllm", "qwen3-0.6b"),
        ("Qwen2.5-1.5B-Instruct_W8A8_RK3588.rkllm", "qwen2.5-1.5b"),
        ("qwen2-0.5b-instruct-rk3576-w4a16_g128-1.2.1.rkllm", "qwen2-0.5b"),
        ("TinyLlama-1.1B-Chat-v1.0-rk3588-w8a8-opt-0-hybrid-ratio-0.0.rkllm", "tinyllama-1.1b"),
        ("internlm2-chat-1_8b-w8a8-rk3588.rkllm", "internlm2-1.8b"),
        ("Phi-3-mini-4k-instruct_rk3588.rkllm", "phi3-3.8b"),
        ("gemma-2-2b-it-rk3588-w8a8-npu3.rkllm", "gemma2-2b"),
        ("gemma-4-E2B-it_w8a8_rk3588_ctx16384.rkllm", "gemma4-e2b"),
        ("Qwen3-VL-2b-w8a8-rk3588.rkllm", "qwen3vl-2b"),
        ("qwen3-0.6b/model.rkllm", "qwen3-0.6b"),
        # Converted in another way, other weights, other sizes.
        ("Qwen3-0.6B-rk3588-w8a8-opt-1-hybrid-ratio-0.5.rkllm", None),
        ("DeepSeek-R1-Distill-Qwen-1.5B_W8A8_RK3588.rkllm", None),
        ("Qwen2.5-Coder-1.5B-Instruct_W8A8_RK3588.rkllm", None),
        ("Qwen3-1.7B-rk3588-w8a8.rkllm", None),
        ("model.rkllm", None),
    ],
)
def test_names_of_the_field_are_those_of_the_table(name: str, model: str | None) -> None:
    from rkllm_rs.bench.vendor import model_of

    assert model_of(name) == model


def test_a_misspelled_argument_names_the_call_of_this_module() -> None:
    with pytest.raises(InvalidTypeError) as caught:
        bench.run("model.gguf", setting=1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    assert "settings" in str(caught.value.hint)
    assert "help(rkllm_rs.bench.run)" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"prompt_tokens": 0}, InvalidArgumentError),
        ({"generate_tokens": []}, InvalidArgumentError),
        ({"repeats": 0}, InvalidArgumentError),
        ({"repeats": [1, 2]}, InvalidTypeError),
        ({"chip": "rk9999"}, InvalidArgumentError),
        ({"concurrency": 1.5}, InvalidTypeError),
        ({"backends": "gpu"}, InvalidArgumentError),
        ({"settings": {"colour": 1}}, InvalidArgumentError),
        ({"settings": {"isolate": False}}, InvalidArgumentError),
        ({"timeout": 0}, InvalidArgumentError),
        ({"chip": 3588}, InvalidTypeError),
        ({"colour": 1}, InvalidTypeError),
        ({"models": []}, InvalidArgumentError),
        ({"models": 5}, InvalidTypeError),
        ({"models": "/no/such/model.rkllm"}, ModelNotFoundError),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_loaded(keywords: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        bench.run(**{"models": "model.rkllm"} | keywords)
    assert caught.value.hint


@pytest.mark.model
def test_the_real_model_is_measured() -> None:
    report = bench.run(MODEL, prompt_tokens=[8, 24], generate_tokens=4, repeats=1, warm_up=0)
    assert not report.failures
    for result, size in zip(report.results, (8, 24), strict=True):
        assert (result.backend, result.prompt_tokens, result.generate_tokens) == ("cpu", size, 4)
        assert result.prefill_tokens_per_second > 0
        assert result.generate_tokens_per_second > 0
        assert 50 < result.peak_memory_mib < 2000
        assert (result.vendor, result.memory_bound, result.input) == (None, None, "text")
