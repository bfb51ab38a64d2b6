"""The acceptance suite for boards, on libraries that are wrong in one thing each.

Long because each item has a library that fails it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fakes import fake_library
from rkllm_rs import InvalidArgumentError, InvalidTypeError, verify
from rkllm_rs.cli import main
from support import PATIENCE, SLOW, began, wait_until
from tiny_lora import make_lora
from workers import ENDLESS, HANGS, processes

if TYPE_CHECKING:
    from collections.abc import Callable

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")

CHECKS = [
    *("identity", "layout", "load", "text", "tokens", "streaming", "abort-prefill", "abort-tokens", "utf8"),
    *("sampling", "history", "cache", "logits", "hidden-states", "lora", "prompt-cache", "chat"),
    *("structured", "isolation", "soak"),
]
MEASURED = ["raw-text", "bos", "prefix-reuse", "pause-cost", "logits-cost", "markers"]

#: What a good library might answer to any prompt, in chunks.
GOOD = {"steps": ["Paris", " is", " a city", " 世界", "😀"]}


@pytest.fixture
def verified(library: Path, make_model: Callable[..., Path]) -> Callable[..., verify.Report]:
    """Verifies a library that plays a script; asserts what is true of every report."""

    def run(script: Any = None, only: list[str] | None = None, **keywords: Any) -> verify.Report:
        path = make_model(script or {"runs": [GOOD]})
        keywords.setdefault("library", library)
        keywords.setdefault("timeout", 60 * SLOW)
        before = processes()
        report = verify.run(path, only=only, **keywords)
        assert [item.id for item in report.items] == CHECKS + MEASURED
        # What is tested runs on no NPU, whatever the library is.
        assert not report.npu
        assert processes() <= before
        return report

    return run


def verdicts(report: verify.Report, *names: str) -> dict[str, str]:
    return {item.id: item.verdict for item in report.items if not names or item.id in names}


def reason(report: verify.Report, name: str) -> str:
    item = report.find(name)
    assert item is not None
    return item.reason


def test_a_good_library_passes(verified: Callable[..., verify.Report]) -> None:
    names = ["identity", "layout", "load", "text", "tokens", "streaming", "utf8", "isolation"]
    report = verified(only=names)
    assert verdicts(report, *names) == dict.fromkeys(names, "pass")
    assert not report.failed
    assert report.backend == "npu"
    assert report.find("identity").value["release"] == "1.3.1"
    # Nothing else was asked for.
    assert {item.verdict for item in report.items if item.id not in names} == {"skipped"}


def test_nonsense_fails(verified: Callable[..., verify.Report]) -> None:
    report = verified({"runs": [{"steps": ["!", "!", "!"]}]}, ["text"])
    assert verdicts(report, "load", "text") == {"load": "pass", "text": "fail"}
    assert "'!!!'" in reason(report, "text")
    assert report.failed


def test_token_ids_must_be_valid(verified: Callable[..., verify.Report]) -> None:
    report = verified({"runs": [{"steps": ["Paris", {"text": "!", "id": -7}]}]}, ["text", "tokens"])
    assert verdicts(report, "text", "tokens") == {"text": "pass", "tokens": "fail"}


def test_an_answer_in_one_chunk_is_not_streamed(verified: Callable[..., verify.Report]) -> None:
    assert verdicts(verified({"runs": [{"steps": ["Paris"]}]}, ["streaming"]))["streaming"] == "fail"


def test_chunks_that_come_all_at_the_end_are_not_streamed(verified: Callable[..., verify.Report]) -> None:
    late = {**GOOD, "finish": {"perf": {"generate_time_ms": 5000}}}
    report = verified({"runs": [late]}, ["streaming"])
    assert verdicts(report)["streaming"] == "fail"
    assert report.find("streaming").value["chunks"] == len(GOOD["steps"])


def test_broken_characters_fail(verified: Callable[..., verify.Report]) -> None:
    run = {"steps": ["世", {"bytes": [0xE4, 0xB8]}, "界"]}
    assert verdicts(verified({"runs": [run]}, ["utf8"]))["utf8"] == "fail"
    assert verdicts(verified({"runs": [{"steps": ["ASCII"]}]}, ["utf8"]))["utf8"] == "skipped"


def test_answers_that_never_differ_are_not_sampled(verified: Callable[..., verify.Report]) -> None:
    assert verdicts(verified(only=["sampling"]))["sampling"] == "fail"


def test_greedy_answers_that_differ_fail(verified: Callable[..., verify.Report]) -> None:
    runs = [{"steps": [{"text": "x", "id": number}]} for number in range(9)]
    report = verified({"runs": runs}, ["sampling"])
    assert "greedy" in reason(report, "sampling")
    assert report.failed


def test_a_kv_cache_that_is_not_cleared_fails(verified: Callable[..., verify.Report]) -> None:
    report = verified({"runs": [GOOD], "kv_cache_size": [9]}, ["cache", "history"])
    assert verdicts(report, "cache", "history") == {"cache": "fail", "history": "fail"}


def test_an_adapter_without_effect_fails(verified: Callable[..., verify.Report], tmp_path: Path) -> None:
    adapter = tmp_path / "style.rkllm"
    adapter.write_bytes(b"\xe5" * 5000)
    other = {"steps": ["another"]}
    assert verdicts(verified(only=["lora"], lora=adapter))["lora"] == "fail"
    assert verdicts(verified({"runs": [GOOD, other]}, ["lora"], lora=adapter))["lora"] == "pass"
    assert verdicts(verified(only=["lora"], lora=tmp_path / "none"))["lora"] == "fail"


def test_a_prompt_cache_that_changes_the_answer_fails(verified: Callable[..., verify.Report]) -> None:
    other = {"steps": [{"text": "x", "id": 99}]}
    assert verdicts(verified(only=["prompt-cache"]))["prompt-cache"] == "pass"
    assert verdicts(verified({"runs": [GOOD, other]}, ["prompt-cache"]))["prompt-cache"] == "fail"
    assert (
        verdicts(verified({"runs": [GOOD], "no_cache_file": True}, ["prompt-cache"]))["prompt-cache"]
        == "fail"
    )


def test_a_chat_without_an_answer_fails(verified: Callable[..., verify.Report], tmp_path: Path) -> None:
    # Without a chat template there is nothing to verify.
    assert verdicts(verified(only=["chat"]))["chat"] == "skipped"
    template = tmp_path / "models" / "chat_template.jinja"
    template.write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:")
    assert verdicts(verified(only=["chat"]))["chat"] == "pass"
    assert verdicts(verified({"runs": [{"steps": []}]}, ["chat"]))["chat"] == "fail"


def test_what_the_switch_for_thinking_does_is_measured(
    verified: Callable[..., verify.Report], tmp_path: Path
) -> None:
    template = tmp_path / "models" / "chat_template.jinja"
    template.parent.mkdir(exist_ok=True)
    template.write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "<|im_start|>assistant\n{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
    )
    ends = {"steps": ["<think>", "so", "</think>"]}
    # Two turns of a chat, then with and without thinking, then the run that is looked at.
    runs = [GOOD, GOOD, GOOD, {"steps": ["other"]}, ends]
    item = verified({"runs": runs}, ["chat"]).find("chat")
    assert item.verdict == "pass", item.reason
    assert item.value["thinking"] == {"text": {"differs": True}, "ends_at_mark": True}


def test_logits_must_be_those_that_are_generated_from(verified: Callable[..., verify.Report]) -> None:
    # The largest of eight numbers that are counted up is the last one.
    right, wrong = ({"steps": [{"text": "x", "id": number}], "logits": {"width": 8}} for number in (7, 3))
    found = [verified({"runs": [run]}, ["logits"]).find("logits") for run in (right, wrong)]
    assert [item.verdict for item in found] == ["pass", "fail"]
    assert [item.value["agree"] for item in found] == [3, 0]


def test_hidden_states_must_depend_on_the_input(verified: Callable[..., verify.Report]) -> None:
    # Those of the fake are counted up from the same start, whatever the input.
    run = {"steps": [{"text": "x", "id": 3}, {"text": "y", "id": 2}], "hidden": {"width": 8}}
    report = verified({"runs": [run]}, ["hidden-states"])
    assert verdicts(report)["hidden-states"] == "fail"
    assert "reverse" in reason(report, "hidden-states")


@pytest.mark.hazard("N5")
def test_a_library_that_aborts_is_survived(verified: Callable[..., verify.Report]) -> None:
    crash = {**GOOD, "abort": True}
    report = verified({"runs": [crash]}, ["text", "tokens", "history"])
    names = "load", "text", "tokens", "history"
    assert verdicts(report, *names) == dict.fromkeys(names, "fail") | {"load": "pass"}
    assert "WorkerCrashed" in reason(report, "text")


def test_a_library_that_aborts_while_it_loads_a_model(verified: Callable[..., verify.Report]) -> None:
    report = verified({"init": {"crash": True}})
    assert verdicts(report, "identity", "load") == {"identity": "pass", "load": "fail"}
    for name in CHECKS[3:] + MEASURED:
        assert verdicts(report)[name] == "skipped"
        assert "could not be loaded" in reason(report, name)


@pytest.mark.hazard("L4")
def test_a_library_that_hangs_while_it_loads_is_killed(verified: Callable[..., verify.Report]) -> None:
    report = verified({"init": HANGS}, timeout=5 * SLOW)
    assert verdicts(report, "identity", "load", "text") == {
        "identity": "pass",
        "load": "fail",
        "text": "skipped",
    }


@pytest.mark.hazard("L4")
def test_what_hangs_in_a_call_without_a_limit_fails_alone(verified: Callable[..., verify.Report]) -> None:
    script = {"runs": [GOOD], "get_kv_cache_size": HANGS}
    names = ["text", "history", "isolation"]
    report = verified(script, names, timeout=6 * SLOW)
    assert verdicts(report, *names) == {"text": "pass", "history": "fail", "isolation": "pass"}


def test_a_library_that_does_not_open(verified: Callable[..., verify.Report], tmp_path: Path) -> None:
    waits = fake_library(tmp_path / "slow", "v1_3_1", constructor_wait=tmp_path / "never")
    report = verified(library=waits, timeout=2 * SLOW)
    assert verdicts(report, "identity", "load") == {"identity": "fail", "load": "skipped"}
    assert report.backend is None


def test_a_process_that_does_not_start_is_a_failure(
    verified: Callable[..., verify.Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RKLLM_RS_WORKER_PYTHON", "/bin/false")
    report = verified()
    assert verdicts(report, "identity", "load") == {"identity": "fail", "load": "skipped"}
    assert report.failed


def test_no_library(verified: Callable[..., verify.Report], tmp_path: Path) -> None:
    report = verified(library=tmp_path / "none.so")
    assert verdicts(report, "identity", "load") == {"identity": "fail", "load": "skipped"}
    assert "LibraryNotFoundError" in reason(report, "identity")


def test_a_library_of_another_layout_than_it_says(
    verified: Callable[..., verify.Report], tmp_path: Path
) -> None:
    odd = fake_library(tmp_path / "odd", "v1_3_1", defaults={"as": "v1_2_1"})
    report = verified(library=odd)
    assert verdicts(report, "identity", "layout", "load") == {
        "identity": "fail",
        "layout": "fail",
        "load": "skipped",
    }
    # What says nothing of the layout does not fail it.
    nameless = fake_library(tmp_path / "nameless", "v1_3_1", banner=None, drop_symbols=["rkllm_run"])
    assert verdicts(verified(library=nameless), "identity", "layout") == {
        "identity": "fail",
        "layout": "skipped",
    }


def test_a_model_that_cannot_be_loaded_again_fails_isolation(
    verified: Callable[..., verify.Report], tmp_path: Path
) -> None:
    def loaded(item: verify.Item, _report: verify.Report) -> None:
        if item.id == "load":
            (model,) = (tmp_path / "models").glob("*.rkllm")
            model.write_text(json.dumps({"init": {"return": -1}}))

    # Its first answers take so long that the file is another one by then.
    slow = {**GOOD, "prefill_ms": 400}
    report = verified({"runs": [slow]}, ["load", "isolation"], on_item=loaded)
    assert verdicts(report, "load", "isolation") == {"load": "pass", "isolation": "fail"}
    assert report.failed


def test_an_answer_is_kept_to_its_schema(verified: Callable[..., verify.Report], tmp_path: Path) -> None:
    # A token for each printable character, so that what does not fit can be replaced.
    tokenizer = tmp_path / "models" / "tokenizer.json"
    tokenizer.parent.mkdir(exist_ok=True)
    vocabulary = {chr(code): code for code in range(33, 127)}
    tokenizer.write_text(json.dumps({"model": {"vocab": vocabulary}, "decoder": {"type": "ByteLevel"}}))

    def said(text: str) -> dict[str, Any]:
        return {"steps": [{"text": one, "id": ord(one)} for one in text]}

    broken = said('{"city":"Rome"!')
    report = verified({"runs": [broken, said("true}")]}, ["structured"])
    item = report.find("structured")
    assert item.verdict == "pass", item.reason
    assert item.value["way"] == "guided"
    assert item.value["replaced"] >= 1
    # Where tokens cannot be replaced, an answer that never fits is a failure.
    old = fake_library(tmp_path / "old", "v1_1_0", quiet=True)
    never = verified({"runs": [said("Rome")]}, ["structured"], library=old)
    assert verdicts(never)["structured"] == "fail"


@pytest.mark.hazard("A2")
def test_a_library_that_ignores_aborts_fails(verified: Callable[..., verify.Report]) -> None:
    stubborn = {**ENDLESS, "ignore_abort": True}
    runs = [GOOD, stubborn, GOOD]
    report = verified({"runs": runs}, ["abort-tokens"], timeout=6 * SLOW)
    assert verdicts(report)["abort-tokens"] == "fail"
    assert "killed" in reason(report, "abort-tokens")


def test_a_library_that_obeys_passes(verified: Callable[..., verify.Report]) -> None:
    slow = {**ENDLESS, "prefill_ms": 200}
    runs = [GOOD, slow, GOOD, GOOD, ENDLESS, GOOD]
    report = verified({"runs": runs}, ["abort-prefill", "abort-tokens"])
    assert verdicts(report, "abort-prefill", "abort-tokens") == {
        "abort-prefill": "pass",
        "abort-tokens": "pass",
    }


def test_tokens_of_an_aborted_run_in_the_next_answer_fail(verified: Callable[..., verify.Report]) -> None:
    stale = {"steps": [{"text": "x", "id": 99}]}
    report = verified({"runs": [GOOD, ENDLESS, stale]}, ["abort-tokens"])
    assert verdicts(report)["abort-tokens"] == "fail"


@pytest.mark.hazard("G7")
def test_errors_that_the_library_prints_fail(verified: Callable[..., verify.Report]) -> None:
    line = "E RKNN: failed to submit!, op id: 1, op name: MatMul, flags: 0x5"
    report = verified({"runs": [{**GOOD, "log": [["stderr", line]]}]}, ["text"])
    assert verdicts(report)["text"] == "fail"
    assert "submit" in reason(report, "text")


def test_what_the_release_lacks_is_skipped(verified: Callable[..., verify.Report], tmp_path: Path) -> None:
    old = fake_library(tmp_path / "old", "v1_1_0", quiet=True)
    names = ["text", "history", "cache", "logits", "pause-cost"]
    report = verified(only=names, library=old)
    assert verdicts(report, *names) == {**dict.fromkeys(names, "skipped"), "text": "pass"}


def test_soak_sees_a_run_that_fails(verified: Callable[..., verify.Report]) -> None:
    runs = [GOOD] * 4 + [{**GOOD, "return": -1}]
    # It ends at the run that fails.
    report = verified({"runs": runs}, ["soak"], soak=10)
    assert verdicts(report)["soak"] == "fail"
    assert report.find("soak").value["runs"] == 4
    assert verdicts(verified(only=["soak"], soak=0.001))["soak"] == "pass"


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"model": 3}, InvalidTypeError),
        ({"soak": -1}, InvalidArgumentError),
        ({"soak": "long"}, InvalidTypeError),
        ({"timeout": 0}, InvalidArgumentError),
        ({"timeout": float("nan")}, InvalidArgumentError),
        ({"only": ["txt"]}, InvalidArgumentError),
        ({"backend": "gpu"}, InvalidArgumentError),
    ],
)
def test_arguments_are_checked(wrong: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        verify.run(**{"model": "model.rkllm", **wrong})


def command(*words: object) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "rkllm_rs", "verify", *map(str, words)]


def test_ctrl_c_prints_what_was_found(library: Path, record: Path, make_model: Callable[..., Path]) -> None:
    model = make_model({"runs": [{"steps": ["x"], "prefill_ms": 600_000}]})
    process = subprocess.Popen(
        command(model, "--library", library, "--json"),
        stdout=subprocess.PIPE,
        text=True,
    )
    began(record)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=PATIENCE)
    report = json.loads(out)
    assert process.returncode == 130
    assert [item["id"] for item in report["items"]] == CHECKS + MEASURED
    found = {item["id"]: item["verdict"] for item in report["items"]}
    assert (found["load"], found["text"], found["chat"]) == ("pass", "skipped", "skipped")
    assert report["interrupted"]


def test_killed_it_leaves_nothing_behind(
    library: Path, record: Path, make_model: Callable[..., Path]
) -> None:
    model = make_model({"runs": [{"steps": ["x"], "prefill_ms": 600_000}]})
    process = subprocess.Popen(command(model, "--library", library), stdout=subprocess.PIPE)
    began(record)
    process.kill()
    process.communicate(timeout=PATIENCE)

    def users() -> list[str]:
        found = []
        for pid in os.listdir("/proc"):
            try:
                maps = Path(f"/proc/{pid}/maps").read_bytes()
            except OSError:
                continue
            found += [pid] * (os.fsencode(library) in maps)
        return found

    wait_until(lambda: not users(), "the end of all processes that have the library")


def test_a_report_that_cannot_be_written_is_told_before_the_model_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["verify", "model.rkllm", "--report", "/no/such/folder/report.md"]) == 1
    out, err = capsys.readouterr()
    assert (out, "\nhint: " in err) == ("", True)


def test_the_command_writes_a_report_for_an_issue(
    library: Path, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    home = Path(os.environ["HOME"])
    model = home / "secret" / "model.rkllm"
    model.parent.mkdir()
    model.write_bytes(make_model({"runs": [GOOD]}).read_bytes())
    file = tmp_path / "report.md"
    words = command(model, "--library", library, "--only", "text", "--report", file)
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    first, *lines = done.stdout.splitlines()
    # What it ran on comes first, and is no NPU.
    assert "says nothing about an NPU" in first
    assert [line.split()[1] for line in lines[:3]] == ["identity", "load", "text"]
    text = file.read_text()
    assert str(home) not in text
    assert "| pass | text |" in text
    assert "model.rkllm" in text
    # Doctor's facts are part of it.
    assert "| kernel |" in text
    assert os.uname().nodename not in text


@pytest.mark.model
@pytest.mark.timeout(300)
def test_the_cpu_runtime_passes_with_a_real_model(tmp_path: Path) -> None:
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    file = tmp_path / "report.md"
    adapter = tmp_path / "style.gguf"
    make_lora(Path(MODEL), adapter)
    words = command(MODEL, "--json", "--report", file, "--lora", adapter)
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=240 * SLOW)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert (report["backend"], report["npu"]) == ("cpu", False)
    found = {item["id"]: item["verdict"] for item in report["items"]}
    expected = dict.fromkeys(CHECKS, "pass") | dict.fromkeys(MEASURED, "measured")
    assert found == expected | {"soak": "skipped"}
    value = {item["id"]: item["value"] for item in report["items"]}
    # Of this model and llama.cpp it is known what there is to measure.
    assert (value["raw-text"]["raw"], value["raw-text"]["parsed"]) == (True, True)
    assert (value["bos"]["text"], value["bos"]["tokens"]) == (0, 0)
    assert value["prefix-reuse"]["reused"]
    assert value["prefix-reuse"]["answer_reused"]
    assert value["pause-cost"]["cache_kept"]
    assert value["markers"]["end_shown"]
    assert "<|im_end|>" in value["markers"]["shown"]
    assert [row["tokens"] for row in value["logits-cost"]][:2] == [1, 1]
    assert "CPU runtime" in file.read_text()


def test_the_command_fails_with_an_item(library: Path, make_model: Callable[..., Path]) -> None:
    model = make_model({"runs": [{"steps": ["!"]}]})
    words = command(model, "--library", library, "--only", "text", "--json")
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert (report["backend"], report["npu"]) == ("npu", False)
    assert set(report["items"][0]) >= {"id", "verdict", "seconds", "reason", "value"}
