"""``llm.info``: what is known of a model, and where from; and the warnings that come of it."""

from __future__ import annotations

import asyncio
import os
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls, fake_library
from rkllm_rs import RKLLM, Embeddings, InvalidArgumentError, ModelInfo, RkllmWarning, Tokens
from support import newest
from surface import aopen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Opener

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")

FACTS = (
    "context_limit",
    "vocab_size",
    "hidden_size",
    "platform",
    "npu_cores",
    "toolkit_version",
    "dtype",
    "driver_version",
    "template_problem",
)

RUNTIME = "I rkllm: rkllm-runtime version: 1.2.3, rknpu driver version: 0.9.8, platform: RK3588"
TOOLKIT = (
    "I rkllm: loading rkllm model from /models/qwen3.rkllm",
    (
        "I rkllm: rkllm-toolkit version: 1.2.3, max_context_limit: 4096, npu_core_num: 3, "
        "target_platform: RK3588, model_dtype: W8A8"
    ),
    "I rkllm: Enabled cpus: [4, 5, 6, 7]",
    "I rkllm: Enabled cpus num: 4",
)


def script(*lines: str, stream: str = "stdout", **more: Any) -> dict[str, Any]:
    return {"init": {"log": [[stream, line] for line in lines]}, "runs": [{"steps": ["a"]}], **more}


def facts(info: ModelInfo) -> dict[str, Any]:
    """What is known."""
    known = {name: getattr(info, name) for name in FACTS}
    assert {name for name, value in known.items() if value is not None} == set(info.sources)
    return {name: value for name, value in known.items() if value is not None}


@pytest.mark.parametrize("stream", ["stdout", "stderr", "stdio_stdout"])
def test_from_the_lines_of_loading(open_model: Opener, stream: str) -> None:
    info = open_model(script(RUNTIME, *TOOLKIT, stream=stream)).info
    assert isinstance(info, ModelInfo)
    assert facts(info) == {
        "context_limit": 4096,
        "platform": "RK3588",
        "npu_cores": 3,
        "toolkit_version": "1.2.3",
        "dtype": "W8A8",
        "driver_version": "0.9.8",
    }
    assert set(info.sources.values()) == {"log"}
    assert repr(info) == (
        'ModelInfo(context_limit=4096, vocab_size=None, hidden_size=None, platform="RK3588", npu_cores=3, '
        'toolkit_version="1.2.3", dtype="W8A8", driver_version="0.9.8")'
    )


LINES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "none": ([], {}),
    "others": (["I rkllm: hello", "W rkllm: max_context_limit is odd", "", "max_context_limit"], {}),
    "unknown toolkit": (
        ["I rkllm: rkllm-toolkit version: unknown, max_context_limit: 4096"],
        {"context_limit": 4096},
    ),
    "words for numbers": (["I rkllm: max_context_limit: many, npu_core_num: , target_platform: RK3576"],
                          {"platform": "RK3576"}),
    "too large": (["I rkllm: max_context_limit: 99999999999999999999999"], {}),
    "negative": (["I rkllm: max_context_limit: -1"], {}),
    "one a line": (
        ["I rkllm: rkllm-toolkit version: 1.1.4", "I rkllm: max_context_limit: 16384"],
        {"toolkit_version": "1.1.4", "context_limit": 16384},
    ),
    "other spelling": (["I rkllm: RKLLM-Toolkit Version: 1.2.1, Target_Platform: RK3562"],
                       {"toolkit_version": "1.2.1", "platform": "RK3562"}),
    "the last one counts": (["max_context_limit: 512", "max_context_limit: 4096"], {"context_limit": 4096}),
}  # fmt: skip


@newest
@pytest.mark.parametrize("case", LINES)
def test_lines(open_model: Opener, case: str) -> None:
    lines, known = LINES[case]
    assert facts(open_model(script(*lines)).info) == known


@newest
def test_each_model_has_its_own(open_model: Opener) -> None:
    first = open_model(script("I rkllm: max_context_limit: 4096"))
    second = open_model(script("I rkllm: max_context_limit: 8192"))
    third = open_model(["a"])
    assert [model.info.context_limit for model in (first, second, third)] == [4096, 8192, None]


@newest
def test_lines_of_runs_tell_nothing(open_model: Opener) -> None:
    run = {"steps": ["a"], "log": [["stdout", "I rkllm: max_context_limit: 77, npu_core_num: 9"]]}
    model = open_model({"runs": [run]})
    model.generate("x")
    assert facts(model.info) == {}


def test_what_it_prints_of_itself(open_model: Opener, tmp_path: Path, abi_version: str) -> None:
    # The fake's version line is the library's own: the platform in it is the board's, not the model's.
    library = fake_library(tmp_path / "talks", abi_version)
    assert facts(open_model(["a"], library=library).info) == {"driver_version": "0.9.8"}


@pytest.mark.parametrize("abi_version", ["v1_2_0", "v1_2_1", "v1_3_1"])
def test_from_results(open_model: Opener, abi_version: str) -> None:
    model = open_model({"runs": [{"logits": {"width": 32}, "hidden": {"width": 6}, "steps": ["a"]}]})
    assert facts(model.info) == {}
    model.logits("x")
    assert (facts(model.info), model.info.sources) == ({"vocab_size": 32}, {"vocab_size": "results"})
    model.hidden_states("x")
    assert facts(model.info) == {"vocab_size": 32, "hidden_size": 6}
    assert set(model.info.sources.values()) == {"results"}


def test_hidden_states_tell_the_width(open_model: Opener) -> None:
    model = open_model({"runs": [{"hidden": {"width": 6}}]})
    model.hidden_states("x")
    assert facts(model.info) == {"hidden_size": 6}


@newest
def test_what_is_known_is_checked(open_model: Opener, record: Path) -> None:
    model = open_model({"runs": [{"logits": {"width": 32}, "hidden": {"width": 6}, "steps": ["a"]}]})
    rows = Embeddings(memoryview(bytes(32)).cast("f", (2, 4)))
    # As long as nobody knows better, the library is the one to judge.
    model.generate(Tokens([31, 32]))
    model.generate(rows)
    model.logits("x")
    model.hidden_states("x")
    before = len(calls(record))
    with pytest.raises(InvalidArgumentError, match=r"\Aids\[\d+\] .*32.*32"):
        model.generate(Tokens([31, 32]))
    with pytest.raises(InvalidArgumentError, match=r"\Aembeddings .*6 .*got 4"):
        model.generate(rows)
    assert len(calls(record)) == before
    assert model.generate(Tokens([31])).text == "a"


@pytest.mark.model
def test_from_the_cpu_runtime() -> None:
    with RKLLM(MODEL, max_context_len=256) as model:
        known = {"context_limit": 8192, "vocab_size": 49152, "hidden_size": 576}
        assert facts(model.info) == known
        assert set(model.info.sources.values()) == {"cpu runtime"}
        assert model.logits(Tokens([1])).shape == (1, 49152)
        assert model.hidden_states(Tokens([1])).shape == (1, 576)
        # Results teach nothing new.
        assert set(model.info.sources.values()) == {"cpu runtime"}


@newest
def test_it_stays_after_close(open_model: Opener) -> None:
    model = open_model(script(*TOOLKIT))
    info = model.info
    model.close()
    assert model.info.context_limit == info.context_limit == 4096


# ---- warnings


def told(use: Callable[[], object]) -> list[str]:
    """The warnings of ``use``, less that there is no NPU here."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        use()
    for warning in caught:
        assert issubclass(warning.category, RkllmWarning)
        assert warning.filename == __file__
    texts = [str(warning.message) for warning in caught]
    return [text for text in texts if "shows no NPU" not in text]


def opens(library: Path, model: Path, **keywords: Any) -> list[str]:
    return told(lambda: RKLLM(model, library=library, **keywords).close())


@pytest.mark.hazard("G2")
def test_a_context_beyond_the_models_limit(library: Path, make_model: Callable[..., Path]) -> None:
    model = make_model(script(*TOOLKIT))
    (warning,) = [text for text in opens(library, model, max_context_len=8192) if "max_context_len" in text]
    assert "8192" in warning
    assert "4096" in warning
    for length in (4096, 512):
        assert not [text for text in opens(library, model, max_context_len=length) if "max_context" in text]
    unknown = make_model(["a"])
    assert not [text for text in opens(library, unknown, max_context_len=10**6) if "max_context" in text]


DRIVERS = {"0.9.7": True, "0.9.6": True, "0.8.12": True, "0.9.8": False, "0.9.10": False, "1.0.0": False}


@pytest.mark.hazard("G7")
@pytest.mark.parametrize("version", DRIVERS)
def test_an_old_driver(library: Path, make_model: Callable[..., Path], version: str) -> None:
    line = f"I rkllm: rkllm-runtime version: 1.2.3, rknpu driver version: {version}, platform: RK3588"
    found = [text for text in opens(library, make_model(script(line))) if version in text]
    assert bool(found) is DRIVERS[version]
    if found:
        assert "0.9.8" in found[0]


@newest
@pytest.mark.parametrize("version", ["none", "unknown", "", "?", "beta"])
def test_a_driver_of_no_version(library: Path, make_model: Callable[..., Path], version: str) -> None:
    line = f"I rkllm: rkllm-runtime version: 1.2.3, rknpu driver version: {version}, platform: RK3588"
    assert not [text for text in opens(library, make_model(script(line))) if "driver is" in text]


@newest
def test_both_in_an_event_loop(library: Path, make_model: Callable[..., Path]) -> None:
    line = "I rkllm: rknpu driver version: 0.9.6"
    model = make_model(script(line, "I rkllm: max_context_limit: 512"))

    async def main() -> None:
        async with await aopen(model, library=library, max_context_len=1024):
            pass

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(main())
    texts = [str(warning.message) for warning in caught]
    assert sum("0.9.6" in text for text in texts) == 1
    assert sum("limit of 512" in text for text in texts) == 1
