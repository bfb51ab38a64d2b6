"""The main job on a real model: the CPU runtime below the same package that opens the vendor's library."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from fakes import fake_library
from rkllm_rs import (
    RKLLM,
    BackendFallbackWarning,
    ContextLengthError,
    GenerationTimeout,
    ModelFormatError,
    SamplingParams,
    Tokens,
    backends,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")
GREEDY = SamplingParams(top_k=1)

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def llm() -> Iterator[RKLLM]:
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    with RKLLM(MODEL, max_context_len=1024, max_new_tokens=64, sampling=GREEDY) as model:
        yield model


@pytest.fixture(autouse=True)
def nothing_open() -> None:
    """The model stays open over the tests of this module."""


def test_auto_takes_the_cpu_runtime_for_gguf(llm: RKLLM) -> None:
    assert llm.backend == "cpu"
    identity = llm.runtime.identity
    assert (identity.abi, identity.version, identity.cpu_runtime) == ("v1_3_0", "1.3.0", True)
    assert identity.evidence[0].kind == "marker"
    assert [status.available for status in backends() if status.name == "cpu"] == [True]


def test_text_is_real_and_comes_token_by_token(llm: RKLLM) -> None:
    stream = llm.stream("Explain in two sentences why the sky is blue.")
    pieces = [chunk.text for chunk in stream]
    answer = stream.result()
    assert len(pieces) > 10
    assert "".join(pieces) == answer.text
    # What exactly it writes depends on the CPU's arithmetic.
    assert {"blue", "light", "sky"} & set(answer.text.lower().split())
    assert answer.finish_reason in {"stop", "length"}
    assert answer.perf.source == "library"
    assert (answer.perf.prefill_tokens or 0) > 10
    assert answer.perf.generate_tokens == len(answer.token_ids)
    assert (answer.perf.generate_tokens_per_second or 0) > 0


def test_greedy_gives_the_same_twice_and_tokens_count(llm: RKLLM) -> None:
    first = llm.generate("Count from one to five.", max_new_tokens=20)
    again = llm.generate("Count from one to five.", max_new_tokens=20)
    assert first.token_ids == again.token_ids
    assert first.finish_reason == "length"
    assert len(first.token_ids) == 20


def test_sampling_of_one_call(llm: RKLLM) -> None:
    hot = SamplingParams(top_k=50, top_p=1.0, temperature=1.5)
    texts = {llm.generate("Invent a name for a cat.", max_new_tokens=24, sampling=hot).text for _ in range(3)}
    assert len(texts) > 1
    assert llm.sampling.top_k == 1


def test_tokens_go_in_as_they_are(llm: RKLLM) -> None:
    words = llm.generate("The capital of France is", max_new_tokens=8)
    raw = llm.generate(Tokens(words.token_ids), max_new_tokens=8)
    assert raw.perf.prefill_tokens in {len(words.token_ids), 1}
    assert raw.token_ids


def test_history_goes_on_only_when_asked(llm: RKLLM) -> None:
    llm.clear_kv_cache()
    llm.generate("My name is Ada. Remember it.", max_new_tokens=16, keep_history=True)
    after_one = llm.kv_cache_size()
    told = llm.generate("What is my name?", max_new_tokens=24, keep_history=True)
    assert llm.kv_cache_size() > after_one
    llm.clear_kv_cache()
    assert llm.kv_cache_size() == 0
    # Whether so small a model gets the name right depends on how the processor rounds.
    assert told.text != llm.generate("What is my name?", max_new_tokens=24).text
    llm.clear_kv_cache()


def test_a_prompt_beyond_the_context_is_told_and_nothing_breaks(llm: RKLLM) -> None:
    with pytest.raises(ContextLengthError) as raised:
        llm.generate("word " * 3000)
    assert "1024" in str(raised.value)
    with pytest.raises(ContextLengthError):
        llm.generate(Tokens([1] * 1025))
    assert llm.generate("Say hi.", max_new_tokens=4).text


def test_cancel_and_deadline_reach_into_the_prefill(llm: RKLLM) -> None:
    long = "Tell me about the sea and the sky. " * 90
    with pytest.raises(GenerationTimeout) as raised:
        llm.generate(long, timeout=0.05)
    assert raised.value.partial is not None
    stream = llm.stream(long)
    started = time.monotonic()
    stream.cancel()
    assert list(stream) == []
    # The next answer need not wait for the prefill of the one before.
    assert llm.generate("Say hi.", max_new_tokens=4).text
    assert time.monotonic() - started < 30


def test_threads_and_tasks_are_served_in_turn(llm: RKLLM) -> None:
    expected = llm.generate("Say one word.", max_new_tokens=6).text
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(llm.generate("Say one word.", max_new_tokens=6).text))
        for _ in range(2)
    ]

    async def task() -> str:
        return "".join([text async for text in llm.stream("Say one word.", max_new_tokens=6).texts()])

    async def tasks() -> list[str]:
        return await asyncio.gather(*(task() for _ in range(10)))

    for thread in threads:
        thread.start()
    texts = asyncio.run(tasks())
    for thread in threads:
        thread.join()
    assert {*texts, *found} == {expected}


def test_characters_of_several_tokens_come_whole(llm: RKLLM) -> None:
    answer = llm.generate("Repeat exactly: 😀 é ü 漢字", max_new_tokens=40)
    assert "\N{REPLACEMENT CHARACTER}" not in answer.text.rstrip("\N{REPLACEMENT CHARACTER}")


def test_wrong_backends_name_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="cpu"):
        RKLLM(MODEL, backend="npu")
    (tmp_path / "model.rkllm").write_bytes(bytes(2048))
    with pytest.raises(ModelFormatError, match="npu"):
        RKLLM(tmp_path / "model.rkllm", backend="cpu")


def test_falls_back_to_the_second_choice_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "model.rkllm").write_bytes(bytes(2048))
    (tmp_path / "model.gguf").symlink_to(MODEL)
    with pytest.warns(BackendFallbackWarning) as caught, RKLLM(tmp_path / "model") as model:
        assert model.backend == "cpu"
    assert "model.gguf runs on the cpu: " in str(caught[0].message)
    assert "NPU" in str(caught[0].message)


def test_two_models_at_once() -> None:
    with (
        RKLLM(MODEL, sampling=GREEDY, max_new_tokens=8) as one,
        RKLLM(MODEL, sampling=GREEDY, max_new_tokens=8) as two,
    ):
        streams = [one.stream("Say hi."), two.stream("Say hi.")]
        assert streams[0].result().token_ids == streams[1].result().token_ids


def test_ctrl_c_in_the_prefill() -> None:
    program = f"""
import os, signal, threading, time
from rkllm_rs import RKLLM
with RKLLM({MODEL!r}, max_context_len=4096) as llm:
    long = "Tell me about the sea and the sky. " * 400
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    start = time.monotonic()
    try:
        llm.generate(long)
    except KeyboardInterrupt:
        print("interrupted", time.monotonic() - start)
    print("usable", bool(llm.generate("Say hi.", max_new_tokens=4).text))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert words[0] == "interrupted"
    assert float(words[1]) < 5
    assert words[2:] == ["usable", "True"]


def test_no_code_comes_from_the_working_folder_or_the_environment(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    for name in ("libggml-cpu.so", "libggml-cpu-haswell.so", "libggml-cpu-armv8.0_1.so", "librkllmrt_cpu.so"):
        evil = fake_library(tmp_path / "work", "v1_3_0", name=name, constructor_touch=touched)
    program = f"""
from rkllm_rs import RKLLM
with RKLLM({MODEL!r}, max_context_len=256) as llm:
    print(bool(llm.generate("Say hi.", max_new_tokens=2).text))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path / "work",
        env={**os.environ, "GGML_BACKEND_PATH": str(evil), "GGML_BACKEND_DIR": str(tmp_path / "work")},
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert not touched.exists()
