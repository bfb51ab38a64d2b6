"""The example programs: on the CPU runtime with the real small model, or on the fake where that cannot."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fakes import calls, fake_library, fake_model
from support import SLOW

if TYPE_CHECKING:
    from collections.abc import Mapping

EXAMPLES = Path(__file__).parents[2] / "examples"
# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")

real = pytest.mark.model
slow = pytest.mark.timeout(300)


def run(
    name: str, *words: object, environment: Mapping[str, object] | None = None, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs an example, with its warnings left out: no machine that tests has the NPU."""
    settings = {**os.environ, **{key: str(value) for key, value in (environment or {}).items()}}
    return subprocess.run(
        [sys.executable, "-W", "ignore::UserWarning", str(EXAMPLES / name), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        input=typed,
        timeout=120 * SLOW,
        env=settings,
    )


def output(
    name: str, *words: object, environment: Mapping[str, object] | None = None, typed: str = ""
) -> str:
    """What an example prints; it must end well."""
    assert environment or MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    done = run(name, *words, environment=environment, typed=typed)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout.rstrip("\n")


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r": +(\d+)$", text, re.MULTILINE)]


@real
@slow
def test_demo_streams_real_text_and_says_what_it_ran_on() -> None:
    text = output("demo.py", MODEL, "What is the capital of France?")
    assert "tokens per second:" in text
    assert "backend:             cpu" in text
    assert "This was the CPU runtime" in text
    answer = text.split("\n> ")[-1].split("\n\n")[1]
    assert answer.strip()


def test_demo_says_what_is_wrong(tmp_path: Path) -> None:
    missing = tmp_path / "none.gguf"
    done = run("demo.py", missing)
    assert done.returncode == 1
    assert str(missing) in done.stderr
    assert "Traceback" not in done.stderr


@real
@slow
def test_basic_answers_with_figures() -> None:
    text = output("basic.py", MODEL)
    assert "Paris" in text
    assert "backend:           cpu (RKLLM 1.3.0)" in text
    tokens, speed = re.search(r"tokens: +(\d+), ended by '\w+'\ntokens per second: ([\d.]+)", text).groups()
    assert int(tokens) > 5
    assert float(speed) > 0


@real
@slow
def test_streaming_ends_with_the_model_or_before_a_stop_string() -> None:
    whole = output("streaming.py", MODEL, "What is the capital of France?")
    assert re.search(r"\d+ tokens, ended by '(stop|length)'", whole)
    answer = output("streaming.py", MODEL, "Write three sentences about the sea.", "--stop", ".")
    body, _, end = answer.rpartition("\n\n")
    assert body.strip()
    assert "." not in body
    assert end.endswith("ended by 'stop'")


def test_streaming_says_when_the_deadline_has_passed(tmp_path: Path) -> None:
    library = fake_library(tmp_path, "v1_3_0")
    model = fake_model(tmp_path, runs=[{"steps": ["tick "], "repeat": 10_000, "delay_ms": 20}])
    text = output("streaming.py", model, "--timeout", 0.3, environment={"RKLLM_RS_LIB": library})
    assert "tick" in text
    tokens = re.search(r"not done after 0.3 s: (\d+) tokens", text)
    assert tokens
    assert int(tokens[1]) > 0


@real
@slow
def test_async_streaming_leaves_the_loop_free() -> None:
    text = output("async_streaming.py", MODEL)
    assert re.findall(r"^> .*", text, re.MULTILINE) == [
        "> What is the capital of France?",
        "> What is two plus two?",
        "> Say hello.",
    ]
    assert "Paris" in text
    assert int(re.search(r"went round (\d+) times", text)[1]) > 10


@real
@slow
def test_isolation_survives_a_crash() -> None:
    text = output("isolation.py", MODEL)
    assert "WorkerCrashed: signal 9, exit code None" in text
    first, second = re.search(r"in process (\d+)", text)[1], re.search(r"process (\d+) answers", text)[1]
    assert first != second
    assert "Paris" in text


@real
@slow
def test_lora_changes_the_answer_by_its_scale(tmp_path: Path) -> None:
    from tiny_lora import make_lora

    adapter = tmp_path / "style.gguf"
    make_lora(Path(MODEL), adapter)
    text = output("lora.py", MODEL, adapter)
    assert "loaded:  style (1)" in text
    assert "the same tokens: no" in text
    assert "the same tokens: yes" in output("lora.py", MODEL, adapter, "--scale", 0)


@real
@slow
def test_prompt_cache_saves_then_loads_with_less_to_compute(tmp_path: Path) -> None:
    cache = tmp_path / "notes.cache"
    first, second = (output("prompt_cache.py", MODEL, cache) for _ in range(2))
    assert f"saved the cache: {cache.stat().st_size} bytes" in first
    assert "loaded the cache" in second
    answers = [re.search("answer: (.*)", text)[1] for text in (first, second)]
    assert answers[0] == answers[1]
    assert "nine" in answers[0]
    computed = [int(re.search(r"computed: (\d+)", text)[1]) for text in (first, second)]
    assert computed[1] < computed[0]

    cache.write_bytes(cache.read_bytes()[:-100])
    third = output("prompt_cache.py", MODEL, cache)
    assert "not used:" in third
    assert "truncated" in third
    assert "saved the cache" in third


@real
@slow
def test_kv_cache_grows_is_cleared_and_loses_positions() -> None:
    text = output("kv_cache.py", MODEL)
    empty, one, two, cleared, paused, fewer = numbers(text)
    assert empty == cleared == 0
    assert 0 < one < two
    assert fewer == paused - 2
    assert re.search(r"""answer: +['"].+['"]""", text)


@real
@slow
def test_chat_templates_make_different_answers() -> None:
    text = output("chat_template.py", MODEL)
    own, ours, none = (
        re.search(rf"^{name}: +(.+)$", text, re.MULTILINE)[1] for name in ("the model's own", "ours", "none")
    )
    assert "Paris" in ours
    # Without a template the model goes on with the sentence.
    assert none.strip("'\"").startswith(" Paris")
    assert len({own, ours, none}) == 3


@real
@slow
def test_a_conversation_is_taken_back_forked_and_loaded() -> None:
    text = output("conversation.py", MODEL)
    assert re.search(r"^first: .*Paris", text, re.MULTILINE)
    assert re.search(r"^reused: [1-9]\d* tokens", text, re.MULTILINE)
    assert "taken back: And of Italy?" in text
    assert "messages: 5 5 7" in text


@real
@slow
def test_a_chat_keeps_what_was_said() -> None:
    typed = "My name is Ann. Hello.\nWhat is my name?\n\n"
    text = output("chat.py", MODEL, "--max-new-tokens", 16, typed=typed)
    assert len(re.findall(r"^\[\d+ tokens\]$", text, re.MULTILINE)) == 2


@real
@slow
def test_answers_come_in_a_form_that_a_program_reads() -> None:
    text = output("structured.py", MODEL)
    assert re.search(r"^class: Animal\(name='Rex', years=\d+, kind='(cat|dog|bird)'\)$", text, re.MULTILINE)
    assert re.search(r"^choice: (yes|no)$", text, re.MULTILINE)
    assert re.search(r"^pattern: \d{4}-\d{2}-\d{2}$", text, re.MULTILINE)


@real
@slow
def test_tokens_tell_how_likely_they_were() -> None:
    text = output("logprobs.py", MODEL)
    assert re.search(r"^'.+' +\d+%   of: '.*' \d+%, '.*' \d+%, '.*' \d+%$", text, re.MULTILINE)
    assert re.search(r"^without its first token: .", text, re.MULTILINE)
    assert len(re.findall(r"^min_p, seed \d: .", text, re.MULTILINE)) == 2


def test_tools_are_shown_and_called(tmp_path: Path) -> None:
    library = fake_library(tmp_path, "v1_2_1")
    call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
    runs = [{"steps": [call]}, {"steps": [call]}, {"steps": ["It is ", "sunny."]}]
    # By the name of the file, which comes without a chat template.
    model = fake_model(tmp_path, "Qwen3-0.6B.rkllm", runs=runs, record=tmp_path / "record")
    text = output("tools.py", model, environment={"RKLLM_RS_LIB": library})
    assert 'get_weather({"city": "Paris"})' in text
    assert "answer: It is sunny. (stop)" in text
    last = calls(tmp_path / "record", "rkllm_run")[-1]["input"]["prompt_input"]
    assert "Sunny, 21 degrees celsius in Paris." in last


@real
@slow
def test_tools_are_shown_to_a_real_model() -> None:
    text = output("tools.py", MODEL, "--max-new-tokens", 12)
    assert re.search(r"^(no call: .|get_\w+\()", text)
    assert re.search(r"^answer: (?s:.*) \((stop|length|tool_calls)\)\Z", text, re.MULTILINE)


@real
@slow
def test_two_chats_in_an_event_loop() -> None:
    text = output("async_chat.py", MODEL)
    assert len(re.findall(r"^(first|second): ", text, re.MULTILINE)) > 4
    assert {"first", "second"} == set(re.findall(r"^\w+", text, re.MULTILINE))


@real
@slow
def test_the_second_turn_takes_what_is_held() -> None:
    text = output("prefix_reuse.py", MODEL)
    turns = re.findall(r"^(.+): (\d+) tokens, (\d+) of them held, (\d+) computed", text, re.MULTILINE)
    (_, *first), (_, *second), (_, *without) = turns
    assert int(first[1]) == int(without[1]) == 0
    assert int(second[0]) == int(without[0])
    # The new message with its marks, and a few tokens.
    assert int(second[2]) < 40


def test_function_tools_carry_the_call_there_and_the_result_back(tmp_path: Path) -> None:
    record = tmp_path / "record"
    library = fake_library(tmp_path, "v1_2_1")
    call = '{"name": "get_temperature", "arguments": {"city": "Paris"}}'
    model = fake_model(
        tmp_path,
        record=record,
        runs=[{"steps": ["<tool_", f"call>{call}</tool_call>"]}, {"steps": ["It is 21 ", "degrees."]}],
    )
    text = output("function_tools.py", model, environment={"RKLLM_RS_LIB": library})
    assert "called: get_temperature({'city': 'Paris'})" in text
    assert "answered: It is 21 degrees." in text
    (tools,) = calls(record, "rkllm_set_function_tools")
    assert json.loads(tools["tools"])[0]["function"]["name"] == "get_temperature"
    question, result = (line["input"] for line in calls(record, "rkllm_run"))
    assert question["role"] == "user"
    assert result["role"] == "tool"
    assert json.loads(result["prompt_input"]) == [{"city": "Paris", "temperature": 21}]


@real
@slow
def test_function_tools_get_by_without_a_call() -> None:
    # A model of this size knows no tools: what it says is printed as it is.
    text = output("function_tools.py", MODEL, "What is the capital of France?")
    assert text.removeprefix("answered without a tool:").strip()


def test_cross_attention_hands_the_arrays_over(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    record = tmp_path / "record"
    size = 2 * 16 * 4 * 8
    library = fake_library(tmp_path, "v1_2_1")
    model = fake_model(
        tmp_path,
        record=record,
        cross={"k": size, "v": size},
        runs=[{"steps": ["A cat."]}],
    )
    text = output("cross_attention.py", model, environment={"RKLLM_RS_LIB": library})
    assert "encoder output of 16 tokens" in text
    assert "answer: A cat." in text
    seen = calls(record, "cross_attention")[-1]
    random = np.random.default_rng(0)
    keys = random.standard_normal((2, 16, 4, 8), dtype=np.float32)
    values = random.standard_normal((2, 16, 4, 8), dtype=np.float32)
    assert seen["k"]["first"] == pytest.approx(keys.ravel()[:4].tolist(), rel=1e-5)
    # The values of the first tokens, of the first head and the first width, stand side by side.
    assert seen["v"]["first"] == pytest.approx(values[0, :4, 0, 0].tolist(), rel=1e-5)
    assert seen["positions"]["last"] == [12, 13, 14, 15]


@real
@slow
def test_cross_attention_says_that_the_cpu_runtime_has_none() -> None:
    pytest.importorskip("numpy")
    done = run("cross_attention.py", MODEL)
    assert done.returncode == 1
    assert "no cross attention" in done.stderr
    assert "Traceback" not in done.stderr


@real
@slow
def test_embeddings_and_logits_make_sense() -> None:
    pytest.importorskip("numpy")
    text = output("embeddings_and_logits.py", MODEL)
    alike, unlike = (float(number) for number in re.findall(r"likeness ([\d.-]+)", text))
    assert unlike < alike <= 1.001
    assert re.search(r"logits \d+ x 49152; likeliest next tokens: \[\d+, \d+, \d+\]", text)
    assert re.search(r"hidden states \d+ x 576", text)
    expected, silly = (float(number) for number in re.findall(r"perplexity ([\d.]+)", text))
    assert 1 <= expected < 10 < silly


@real
@slow
def test_batch_answers_each_row_at_its_own_length() -> None:
    text = output("batch.py", MODEL)
    rows = re.findall(r"^> (.*)\n((?:.|\n)*?)\n\((\d+) tokens, ended by '(\w+)'\)", text, re.MULTILINE)
    assert [question for question, *_ in rows] == [
        "What is the capital of France?",
        "Name a colour.",
        "Write a long poem about rain.",
    ]
    assert all(answer.strip() and 0 < int(tokens) <= 48 for _, answer, tokens, _ in rows)
    assert len({answer for _, answer, _, _ in rows}) == 3
    assert rows[-1][3] == "length"
    assert "[0, 1, 2]" in text


@real
@slow
def test_backend_comparison_says_why_the_npu_is_not_there() -> None:
    text = output("backend_comparison.py", "--cpu", MODEL, "--max-new-tokens", 8)
    header, load, first, speed, tokens = (line.split() for line in text.splitlines()[:5])
    assert header == ["npu", "cpu"]
    assert load[2] == "-" != load[3]
    assert float(first[-1]) > 0
    assert float(speed[-1]) > 0
    assert tokens[-1] == "8"
    assert "npu is missing: Could not load RKLLM library from any location" in text


@real
@slow
def test_backend_comparison_stands_side_by_side(tmp_path: Path) -> None:
    library = fake_library(tmp_path, "v1_2_1")
    model = fake_model(
        tmp_path,
        init={"delay_ms": 50},
        runs=[{"steps": ["a", "b", "c"], "delay_ms": 5, "prefill_ms": 20}],
    )
    words = ["--npu", model, "--cpu", MODEL, "--max-new-tokens", 8]
    text = output("backend_comparison.py", *words, environment={"RKLLM_RS_LIB": library})
    _, load, first, speed, tokens = (line.split() for line in text.splitlines()[:5])
    assert float(load[2]) >= 0.05
    assert float(first[3]) >= 20
    assert float(speed[3]) > 0
    assert tokens == ["tokens", "3", "8"]
    assert "missing" not in text
