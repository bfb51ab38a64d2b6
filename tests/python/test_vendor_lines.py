"""What the vendor's lines become: every row of ``data/vendor-lines.json``, as its library would print it."""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rkllm_rs import (
    RKLLM,
    ContextLengthError,
    DriverError,
    FileMissingError,
    GenerationError,
    InvalidArgumentError,
    ModelError,
    ModelFormatError,
    ModelPlatformError,
    ModelVersionError,
    NpuMemoryError,
    PromptCacheError,
    RkllmError,
    RkllmWarning,
    TemplateError,
    UnsupportedFeatureError,
    WorkerCrashed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Opener

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
vendor_lines = importlib.import_module("vendor_lines")
DATA: list[dict[str, Any]] = json.loads(vendor_lines.DATA.read_text("utf-8"))

RKNN = "E RKNN: [12:34:56.789] "
HANDLE = f"{RKNN}failed to allocate handle, ret: -1, errno: "

#: The row's number, a line, and what it becomes.
CAUSES: list[tuple[int, str, type[RkllmError]]] = [
    (1, "W rkllm: Warning: Your rknpu driver version is too low, please upgrade to 0.9.7", DriverError),
    (
        2,
        "Platform error, must be either RK3588, RK3576, RV1126B or RK3562. Your platform is lite",
        DriverError,
    ),
    (2, "Platform error, must be either RK3588 or RK3576. Your platform is unknown", DriverError),
    (3, "Query platform error!", DriverError),
    (4, "failed to check rknpu hardware version: 0xffffffff", DriverError),
    (5, f"{RKNN}failed to open rknpu module, need to insmod rknpu dirver!", DriverError),
    (6, f"{RKNN}failed to open rknn device!", DriverError),
    (7, "Device is not available", DriverError),
    (7, "Get device properties failed", DriverError),
    (8, "E rkllm: the model's target_platform does not match the real platform", ModelPlatformError),
    (
        9,
        (
            "E rkllm: The rkllm-runtime version is lower than the rkllm-toolkit version. "
            "Please update rkllm-runtime to 1.3.0 or higher."
        ),
        ModelVersionError,
    ),
    (
        10,
        "W rkllm: the model version is too old, please use the latest toolkit to reconvert the model",
        ModelVersionError,
    ),
    (11, "E rkllm: invalid rkllm model!", ModelFormatError),
    (12, f"{RKNN}invalid rknn llm model magic", ModelVersionError),
    (12, "load model file error!", ModelVersionError),
    (12, "rknn_init fail! ret=-1", ModelVersionError),
    (13, "E rkllm: invalid magic number, got 1234", ModelFormatError),
    (13, "invalid magic characters 'RKLM'", ModelFormatError),
    (13, "error: failed to load model", ModelFormatError),
    (14, "E rkllm: failed to read header", ModelFormatError),
    (14, "E rkllm: failed to read key-value pairs", ModelFormatError),
    (14, "E rkllm: failed to read tensor info", ModelFormatError),
    (14, "E rkllm: failed to read tensor data", ModelFormatError),
    (
        14,
        "failed to read weight tensor: must read size(1024), real read size(12)",
        ModelFormatError,
    ),
    (15, "E rkllm: failed to open 'a.rkllm': 'No such file or directory'", FileMissingError),
    (15, "E rkllm: failed to open 'a.rkllm': 'Permission denied'", ModelFormatError),
    (16, "E rkllm: the model architecture lfm2 is not supported by rkllm", ModelVersionError),
    (16, "E rkllm: unsupported model architecture: lfm2", ModelVersionError),
    (
        17,
        "E rkllm: An unsupported rope type was detected, please try upgrading the rkllm-runtime version.",
        ModelVersionError,
    ),
    (18, "E rkllm: tensor blk.0.attn_q.weight not found", ModelFormatError),
    (18, "E rkllm: wrong number of tensors, expected 311, got 310", ModelFormatError),
    (18, "E rkllm: tensor a has wrong shape, expected 1, got 2", ModelFormatError),
    (
        19,
        "E rkllm: max_context[16384] must be less than the model's max_context_limit[4096]",
        ContextLengthError,
    ),
    (20, "E rkllm: The n_keep must be less than the max_context_len", InvalidArgumentError),
    (
        21,
        ("E rkllm: The number of enabled CPUs must be greater than or equal to the number of NPU cores."),
        InvalidArgumentError,
    ),
    (21, "E rkllm: Mismatch between enabled CPUs mask and expected count: 4", InvalidArgumentError),
    (
        21,
        "E rkllm: Expected The number of enabled CPUs between 1 and 8 for RK3588",
        InvalidArgumentError,
    ),
    (21, "E rkllm: For RK3562, only CPUs 0 to 3 can be set", InvalidArgumentError),
    (22, "base_domain_id must >= 0, but current base_domain_id is -1", InvalidArgumentError),
    (23, "n_batch must be between 1 and 100, but got 0", InvalidArgumentError),
    (24, f"{HANDLE}14, errstr: Bad address", NpuMemoryError),
    (25, f"{HANDLE}12, errstr: Cannot allocate memory", NpuMemoryError),
    (26, f"{HANDLE}22, errstr: Invalid argument", DriverError),
    (27, f"{RKNN}failed to malloc npu memory, size: 1427746880, flags: 0x2", NpuMemoryError),
    (28, "can not create weight memory for domain1", NpuMemoryError),
    (28, "Error: iommu_context->weight_memory is NULL", NpuMemoryError),
    (
        29,
        f"{RKNN}failed to convert handle(1020) to fd, ret: -1, errno: 24, errstr: Too many open files",
        DriverError,
    ),
    (30, f"{RKNN}failed to allocate fd from heap", DriverError),
    (30, "DMA Heap allocation failed", DriverError),
    (30, "Failed to open DMA heap: /dev/dma_heap/system", DriverError),
    (33, "Mismatch driver version, rknn requires driver version >= 0.9.6", DriverError),
    (
        34,
        (
            "W RKNN: [01:02:03.004] Current driver version: 0.9.2, recommend to upgrade the driver "
            "to the new version: >= 0.9.6"
        ),
        DriverError,
    ),
    (39, "E rkllm: multimodal input must contain the <image> tag", InvalidArgumentError),
    (40, "E rkllm: The n_image_token of multimodal_input is not set", InvalidArgumentError),
    (40, "E rkllm: The n_image/n_image_token of multimodal_input is 0", InvalidArgumentError),
    (40, "E rkllm: The image_embed of multimodal_input is empty", InvalidArgumentError),
    (41, "E rkllm: patch_h[14] * patch_w[14] != n_image_token[64]!", InvalidArgumentError),
    (
        42,
        "Chat template auto-parsing failed: please configure it via rkllm_set_chat_template",
        TemplateError,
    ),
    (44, "E rkllm: prompt cache file 'a.cache' does not exist", PromptCacheError),
    (44, "E rkllm: prompt cache file 'a.cache' is empty", PromptCacheError),
    (44, "failed to load prompt cache from a.cache", PromptCacheError),
    (44, "E rkllm: the prompt dose not match the current model[qwen2]", PromptCacheError),
    (45, "W rkllm: The rwkv model does not support loading prompt cache!", UnsupportedFeatureError),
    (45, "W rkllm: The rwkv model does not support saving prompt cache!", UnsupportedFeatureError),
    (46, "Lora adapter path does not exist!", FileMissingError),
    (46, "Not Found Lora adapter named: style", FileMissingError),
    (47, "E rkllm: 32-bit systems only support models with weights smaller than 2GB", NpuMemoryError),
    (49, "E rkllm: RKLLMParam pointer is NULL", GenerationError),
    (49, "D rkllm: rkllm_infer_params is NULL", GenerationError),
    (49, "D rkllm: rkllm_input is NULL", GenerationError),
    (51, f"{RKNN}parseRKNN: invalid RKNN_MAGIC!", ModelFormatError),
    (51, f"{RKNN}rknn_init, load model failed!", ModelFormatError),
    (51, "Import rknn model failed!", ModelFormatError),
]

#: The same, for lines that fail a run whatever the library returned.
FAILED: list[tuple[int, str, type[RkllmError]]] = [
    (31, "E rkllm: matmul(w8a8) run failed", DriverError),
    (31, "E rkllm: matmul(fp16) run failed", DriverError),
    (31, "E rkllm: matmul run failed[w4a8]", DriverError),
    (31, "2features matmul run failed", DriverError),
    (
        32,
        (
            f"{RKNN}failed to submit!, op id: 1, op name: MatMul, flags: 0x5, task start: 0, "
            "run task counter: 0, int status: 0"
        ),
        GenerationError,
    ),
    (35, f"{RKNN}meet unkown shape, op name: matmul_qk_rkllm_spilt_0", GenerationError),
    (35, f"{RKNN}meet unkown op, op name: matmul", GenerationError),
    (
        36,
        (
            "E rkllm: the length of prompt is greater than max context "
            "(prompt: 1299 tokens, max context: 1020)"
        ),
        ContextLengthError,
    ),
    (
        36,
        "error: prompt gather than max context (prompt: 1299 tokens, max context: 1020)",
        ContextLengthError,
    ),
    (
        37,
        (
            "E rkllm: the context is not enough! history_s: 400, cur_input_s: 200, discard_s: 0, "
            "max_context: 512!"
        ),
        ContextLengthError,
    ),
    (48, "E rkllm: overflow detected at input", GenerationError),
]

HARMLESS = [
    (38, "I rkllm: context to be full[500 + 20], delete the kv cache in [4, 250), total: 520"),
    (
        43,
        (
            "W rkllm: Calling rkllm_set_chat_template will disable the internal automatic chat template "
            "parsing, including enable_thinking"
        ),
    ),
    (52, "I rkllm: rkllm-runtime version: 1.2.3, rknpu driver version: 0.9.8, platform: RK3588"),
    (
        53,
        (
            "I rkllm: rkllm-toolkit version: 1.2.3, max_context_limit: 16384, npu_core_num: 3, "
            "target_platform: RK3588, model_dtype: W8A8"
        ),
    ),
    (54, "Enabled cpus: [4, 5, 6, 7]"),
    (54, "I rkllm: Enabled cpus num: 4"),
    (54, "I rkllm: Using mrope"),
    (54, "I rkllm: match same image, so keep the image_embed cache, total 1"),
    (55, "rkllm init failed"),
    (None, "Failed to find and initialize Opencl library"),
    (None, "tf32 not Support Argb Mode, Fallback to CPU Normalize"),
    (None, "I rkllm: user said: matmul(w8a8) run failed"),
    (None, "user: why does it say failed to submit! here?"),
    (None, "W rkllm: memory is low, out of memory soon"),
]

CRASHES = [
    (50, "GGML_ASSERT(ctx != NULL) failed"),
    (50, "terminate called after throwing an instance of 'std::out_of_range'"),
]


def log(*lines: str) -> list[list[str]]:
    return [["stdout" if at % 2 else "stderr", line] for at, line in enumerate(lines)]


def test_every_row_has_its_line() -> None:
    tested = {row[0] for row in [*CAUSES, *FAILED, *HARMLESS, *CRASHES]}
    assert {row["no"] for row in DATA if "no" in row} <= tested
    for number, _, kind in [*CAUSES, *FAILED]:
        rows = [row for row in DATA if row.get("no") == number]
        assert kind.__name__ in {row["error"] for row in rows}, number


@pytest.mark.parametrize(("number", "line", "kind"), [*CAUSES, *FAILED])
def test_a_model_that_does_not_open(open_model: Opener, number: int, line: str, kind: type) -> None:
    with pytest.raises(RkllmError) as caught:
        open_model({"init": {"return": -1, "log": log(line)}})
    assert type(caught.value) is kind, number
    assert caught.value.log == [line]
    assert caught.value.hint


@pytest.mark.parametrize(("number", "line", "kind"), [*CAUSES, *FAILED])
def test_a_run_that_fails(open_model: Opener, number: int, line: str, kind: type) -> None:
    model = open_model({"runs": [{"return": -1, "log": log(line)}, {"steps": ["a"]}]})
    with pytest.raises(RkllmError) as caught:
        model.generate("x")
    assert type(caught.value) is kind, number
    assert caught.value.log == [line]
    assert caught.value.hint
    assert model.generate("x").text == "a"


@pytest.mark.both_modes
@pytest.mark.parametrize(("number", "line", "kind"), FAILED)
def test_a_failed_computation_fails_the_run(open_model: Opener, number: int, line: str, kind: type) -> None:
    runs = [{"steps": ["gar", "bage"], "log_end": log(line)}, {"steps": ["a"]}]
    model = open_model({"runs": runs})
    pieces: list[str] = []
    with pytest.raises(RkllmError) as caught:
        pieces.extend(chunk.text for chunk in model.stream("x"))
    assert type(caught.value) is kind, number
    assert line in caught.value.log
    # The line belongs to that run alone.
    assert model.generate("x").text == "a"


def test_a_model_that_only_seems_to_open(open_model: Opener) -> None:
    lines = [f"{RKNN}invalid rknn llm model magic", "load model file error!", "rknn_init fail! ret=-1"]
    with pytest.raises(ModelVersionError) as caught:
        open_model({"init": {"log": log(*lines)}})
    assert sorted(caught.value.log) == sorted(lines)


@pytest.mark.parametrize(("number", "line"), HARMLESS)
def test_harmless_lines(open_model: Opener, number: int | None, line: str) -> None:
    opened = {"log": log(line)}
    model = open_model({"init": opened, "runs": [{"steps": ["a"], "log_end": log(line)}]})
    assert model.generate("x").text == "a"
    with pytest.raises(ModelError) as caught:
        open_model({"init": {"return": -1, "log": log(line)}})
    assert type(caught.value) is ModelError, number


def test_warnings_are_kept_until_a_failure(open_model: Opener) -> None:
    old = "W rkllm: Warning: Your rknpu driver version is too low, please upgrade to 0.9.7"
    runs: list[dict[str, Any]] = [{"steps": ["a"]}, {"return": -1}, {"return": -1, "log": log(FAILED[-2][1])}]
    model = open_model({"init": {"log": log(old)}, "runs": runs})
    assert model.generate("x").text == "a"
    with pytest.raises(DriverError) as caught:
        model.generate("x")
    assert caught.value.log == [old]
    with pytest.raises(ContextLengthError):
        model.generate("x")


def test_the_first_cause_wins(open_model: Opener) -> None:
    first = f"{HANDLE}22, errstr: Invalid argument"
    then = f"{RKNN}failed to malloc npu memory, size: 1, flags: 0x2"
    with pytest.raises(RkllmError) as caught:
        open_model({"init": {"return": -1, "log": [["stderr", first], ["stderr", then]]}})
    assert type(caught.value) is DriverError
    assert caught.value.log == [first, then]


@pytest.mark.parametrize("line", [row[1] for row in FAILED if row[0] == 36])
def test_the_line_tells_how_long_the_prompt_is(open_model: Opener, line: str) -> None:
    model = open_model({"runs": [{"return": -1, "log": log(line)}]})
    with pytest.raises(ContextLengthError) as caught:
        model.generate("x")
    assert (caught.value.needed, caught.value.limit) == (1299, 1020)


@pytest.mark.parametrize(("number", "line"), CRASHES)
def test_a_library_that_ends_the_process(open_model: Opener, number: int, line: str) -> None:
    model = open_model({"runs": [{"log": log(line), "abort": True}]}, isolate=True)
    with pytest.raises(WorkerCrashed) as caught:
        model.generate("x")
    assert line in caught.value.log, number


def test_a_template_that_the_library_cannot_read(make_model: Callable[..., Path], library: Path) -> None:
    line = next(line for number, line, _ in CAUSES if number == 42)
    path = make_model({"init": {"log": log(line)}, "runs": [{"steps": ["a"]}]})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", RkllmWarning)
        with RKLLM(path, library=library) as model:
            assert model.info.template_problem == line
        assert any(line in str(one.message) for one in told)
        del told[:]
        with RKLLM(path, library=library, template="raw") as model:
            assert model.info.template_problem is None
        assert not any(line in str(one.message) for one in told)


def test_the_page_is_current() -> None:
    page = vendor_lines.PAGE.read_text("utf-8")
    assert vendor_lines.rewritten(page, DATA) == page, "run scripts/vendor_lines.py"


def test_a_changed_row_changes_the_page() -> None:
    page = vendor_lines.PAGE.read_text("utf-8")
    changed = json.loads(json.dumps(DATA))
    changed[0]["cause"] = "something else"
    assert "something else" in vendor_lines.rewritten(page, changed)
