"""``rkllm-rs run``: where the prompt comes from, and what of the answer goes where."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from cli import cli, status_of, succeeds, written
from fakes import calls, fake_library
from support import HELD, PATIENCE, began

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[..., Path]

THOUGHT = ["<think>", "hm", "</think>", "two"]
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "/nonexistent")


@pytest.fixture(autouse=True)
def _library(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RKLLM_RS_LIB", str(library))


def prompted(record: Path) -> list[str]:
    return [call["input"]["prompt_input"] for call in calls(record, "rkllm_run")]


def qwen(make_model: Make, *steps: Any, **run: Any) -> Path:
    """A model whose family shows by its name."""
    path = make_model({"runs": [{"steps": list(steps), **run}]})
    return path.rename(path.with_name("qwen3-test.rkllm"))


# Where the prompt comes from.


def test_the_prompt_is_what_stands_behind_the_model(make_model: Make, record: Path) -> None:
    model = make_model(["One, ", "two."])
    assert succeeds("run", model, "why", "--max-new-tokens", "9", "is it so?") == "One, two.\n"
    assert succeeds("run", model, "--", "--odd") == "One, two.\n"
    assert prompted(record) == ["why is it so?", "--odd"]


def test_the_prompt_from_files_and_stdin(make_model: Make, record: Path, tmp_path: Path) -> None:
    model = make_model(["a"])
    notes, more = written(tmp_path / "notes", "\ufeffnotes\n\n"), written(tmp_path / "more", "more\r\n")
    succeeds("run", model, input="from stdin\n")
    succeeds("run", model, "-", input="dash")
    succeeds("run", model, "--file", "-", input="file")
    succeeds("run", model, "words", "-", "--file", notes, "--file", more, input="stdin\n")
    succeeds("run", model, "words", input="not read")
    succeeds("run", model, "words", "-", input="\n")
    whole = "words\n\nnotes\n\n\nmore\n\nstdin"
    assert prompted(record) == ["from stdin", "dash", "file", whole, "words", "words"]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ([], 2),  # nothing on stdin
        ([""], 2),
        (["-", "--json-schema", "-"], 2),
        (["a", "--file", "/no/such/file"], 1),
        (["a", "--file", "/"], 1),
        (["-", "stdin cannot be read"], 1),
        (["a", "--file", "LATIN"], 1),
        (["a", "--system", "b", "--raw"], 2),
        (["a", "--image", "cat.png"], 1),
        (["a", "--top-p", "7"], 2),
        (["a", "--top-k", "x"], 2),
        (["a", "--seed", "-1"], 2),
        (["a", "--timeout", "0"], 2),
        (["a", "--max-new-tokens", "0"], 2),
        (["a", "--logit-bias", "5"], 2),
        (["a", "--json-schema", "/no/such/file"], 1),
        (["a", "--json-schema", "LATIN"], 1),
        (["a", "--json-schema", "TEXT"], 2),
        (["a", "--json-schema", "{"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_is_refused_before_the_model_is_loaded(
    words: list[str],
    status: int,
    make_model: Make,
    record: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "LATIN").write_bytes(b"caf\xe9")
    (tmp_path / "TEXT").write_text("{")
    with open(os.devnull, "a" if "stdin cannot be read" in words else "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert status_of("run", make_model(["a"]), *words) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert "--debug" not in err  # which a fault of ours names
    assert "rkllm-rs" in err
    assert not calls(record, "rkllm_init")


def test_a_terminal_is_not_waited_for(make_model: Make) -> None:
    ours, theirs = pty.openpty()
    try:
        done = cli("run", make_model(["a"]), stdin=theirs)
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 2
    assert "rkllm-rs chat" in done.stderr


# What the model is given.


def test_what_helps_is_named_as_an_option(make_model: Make, tmp_path: Path) -> None:
    """Texts name arguments of Python; the command has another spelling, and must have the option."""
    library = fake_library(tmp_path / "new", "v1_3_1", quiet=True)
    words = ["run", make_model(["a"]), "hi", "--library", library, "--no-isolate"]
    seeded = cli(*words, "--seed", "5")
    assert (seeded.returncode, "--strict makes" in seeded.stderr) == (0, True), seeded.stderr
    lacking = cli(*words, "--min-p", "0.1")
    assert (lacking.returncode, 'Pass --sampler "own"' in lacking.stderr) == (1, True), lacking.stderr
    own = cli(*words, "--min-p", "0.1", "--sampler", "own")
    assert (own.returncode, "tokenizer.json" in own.stderr) == (1, True), own.stderr


def test_sampling_and_limits_reach_the_library(make_model: Make, record: Path) -> None:
    model = make_model(["One ", "two ", "three"])
    settings = {"top_k": 7, "temperature": 0.5, "repeat_penalty": 1.25, "max_context_len": 512}
    flags = [word for name, value in settings.items() for word in ("--" + name.replace("_", "-"), value)]
    text = succeeds("run", model, "hi", *flags, "--stop", "x", "--stop", "two")
    assert text == "One \n"
    (opened,) = calls(record, "rkllm_init")
    assert {name: opened["param"][name] for name in settings} == settings


def test_sampling_works_with_releases_that_take_it_at_the_opening_only(
    make_model: Make, tmp_path: Path, record: Path
) -> None:
    library = fake_library(tmp_path / "old", "v1_2_0", record=record, quiet=True)
    succeeds("run", make_model(["a"]), "hi", "--temperature", "0.5", "--library", library)
    assert calls(record, "rkllm_init")[0]["param"]["temperature"] == 0.5


def test_raw_is_without_a_template_and_system_is_with_one(make_model: Make, record: Path) -> None:
    model = qwen(make_model, "a")
    succeeds("run", model, "hi", "--raw")
    succeeds("run", model, "hi", "--system", "Be brief.")
    raw, chat = prompted(record)
    assert raw == "hi"
    assert chat.index("Be brief.") < chat.index("hi") < chat.index("assistant")


def test_the_system_message_of_a_modelfile_is_used(make_model: Make, record: Path) -> None:
    model = qwen(make_model, "a")
    (model.parent / "Modelfile").write_text(f'FROM="{model.name}"\nSYSTEM="Be kind."\n')
    succeeds("run", str(model), "hi")
    succeeds("run", str(model), "hi", "--system", "Be brief.")
    own, given = prompted(record)
    assert own.index("Be kind.") < own.index("hi")
    assert ("Be brief." in given, "Be kind." in given) == (True, False)


def test_a_file_that_is_no_model_is_told_before_a_library_that_is_missing(tmp_path: Path) -> None:
    path = written(tmp_path / "bad.rkllm", "garbage\n")
    done = cli("run", path, "hi", environment={"RKLLM_RS_LIB": "", "HOME": tmp_path})
    assert done.returncode == 1
    assert str(path) in done.stderr.splitlines()[0]


def test_hints_name_the_options(make_model: Make, tmp_path: Path, record: Path) -> None:
    library = fake_library(tmp_path / "old", "v1_1_0", record=record, quiet=True)
    done = cli("run", make_model(["a"]), "hi", "--library", library)
    assert done.returncode == 1  # that release has no template of its own
    assert "--family" in done.stderr
    assert "family=" not in done.stderr


# What is printed.


def test_thinking_is_left_out_or_beside_the_answer(make_model: Make) -> None:
    model = qwen(make_model, *THOUGHT)
    plain, asked = cli("run", model, "hi"), cli("run", model, "hi", "--thinking")
    assert plain.stdout == asked.stdout == "two\n"
    assert ("hm" in plain.stderr.split(), "hm" in asked.stderr.split()) == (False, True)
    assert "\x1b" not in asked.stderr


def on_a_terminal(model: Path, **environment: str) -> bytes:
    """What a terminal is sent."""
    ours, theirs = pty.openpty()
    variables = {**os.environ, "TERM": "xterm", **environment}
    words = [sys.executable, "-W", "ignore", "-m", "rkllm_rs", "run", str(model), "hi"]
    shown = b""
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=variables) as started:
        os.close(theirs)
        try:
            while data := os.read(ours, 4096):
                shown += data
        except OSError:  # the other end is closed
            pass
        os.close(ours)
        assert started.wait(PATIENCE) == 0
    return shown


@pytest.mark.parametrize("no_color", ["", "1"])
def test_thinking_is_dimmed_on_a_terminal(make_model: Make, no_color: str) -> None:
    shown = on_a_terminal(qwen(make_model, *THOUGHT), NO_COLOR=no_color)
    thought = b"hm\r\n\r\ntwo\r\n" if no_color else b"\x1b[2mhm\x1b[22m\r\n\r\ntwo\r\n"
    assert thought in shown


def test_a_terminal_is_told_of_a_long_load(make_model: Make) -> None:
    script: dict[str, Any] = {"runs": [{"steps": ["a"]}], "init": {"delay_ms": 1500}}
    shown = on_a_terminal(make_model(script))
    assert b"model1.rkllm" in shown.partition(b"\r\x1b[K")[0]
    assert shown.partition(b"\r\x1b[K")[2].startswith(b"a\r\n")


def test_a_model_cannot_command_a_terminal(make_model: Make) -> None:
    steps = ["a\x1b[2Jb\r\n", "\x9b2Jc\td"]
    assert "a␛[2Jb\r\n\ufffd2Jc\td\r\n".encode() in on_a_terminal(make_model(steps))
    # Elsewhere it is a text like any other.
    done = subprocess.run(
        [sys.executable, "-m", "rkllm_rs", "run", str(make_model(steps)), "hi"],
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode() == "".join(steps) + "\n"


def test_an_answer_of_thinking_alone_is_told(make_model: Make) -> None:
    done = cli("run", qwen(make_model, "<think>", "hm"), "hi")
    assert (done.returncode, done.stdout) == (0, "")
    assert "--no-thinking" in done.stderr


def test_json_is_one_object(make_model: Make) -> None:
    told = json.loads(succeeds("run", qwen(make_model, *THOUGHT), "hi", "--json"))
    assert (told["text"], told["reasoning"], told["finish_reason"]) == ("two", "hm", "stop")
    assert told["perf"]["generate_tokens"] == 4
    raw = json.loads(succeeds("run", make_model(["a", "b"]), "hi", "--json", "--raw"))
    assert (raw["text"], raw["finish_reason"]) == ("ab", "stop")


def test_json_as_it_comes(make_model: Make) -> None:
    text = succeeds("run", make_model(["One, ", {"text": "two", "delay_ms": 20}]), "hi", "--json", "--stream")
    lines = [json.loads(line) for line in text.splitlines()]
    assert "".join(line["text"] for line in lines) == "One, two"
    assert ["finish_reason" in line for line in lines] == [False] * (len(lines) - 1) + [True]
    assert lines[-1]["finish_reason"] == "stop"
    assert lines[-1]["perf"]["generate_tokens"] == 2


def test_stats_go_to_stderr(make_model: Make) -> None:
    done = cli("run", make_model(["a", "b"]), "hi", "--stats")
    assert done.stdout == "ab\n"
    assert "2 tokens" in done.stderr


def test_split_characters_are_whole(make_model: Make) -> None:
    steps = [{"bytes": [0xF0, 0x9F]}, {"bytes": [0x98, 0x80]}]
    assert succeeds("run", make_model(steps), "hi") == "😀\n"


def test_what_came_before_an_error_is_printed(make_model: Make) -> None:
    done = cli("run", make_model({"runs": [{"steps": ["One, ", "two"], "return": -1}]}), "hi")
    assert (done.returncode, done.stdout) == (1, "One, two\n")
    assert "rkllm-rs: " in done.stderr


def started(*words: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rkllm_rs", "run", *map(str, words)]

    def default() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=default,  # noqa: PLW1509 - however the tests were started
    )


def test_each_token_is_in_the_pipe_when_it_comes(make_model: Make) -> None:
    """Though the next one does not."""
    with started(make_model(["One, ", "two", {"text": "three", "delay_ms": 600_000}]), "hi") as running:
        assert running.stdout is not None
        seen = b""
        while seen != b"One, two":
            seen += os.read(running.stdout.fileno(), 100)
        running.kill()


@pytest.mark.parametrize("isolate", ["--isolate", "--no-isolate"])
def test_ctrl_c_in_an_answer(make_model: Make, isolate: str) -> None:
    with started(
        make_model({"runs": [{"steps": ["a "], "repeat": 100_000, "delay_ms": 10}]}), "hi", isolate
    ) as running:
        assert running.stdout is not None
        assert os.read(running.stdout.fileno(), 2) == b"a "
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 130
    assert out.endswith(b"\n")
    assert b"Traceback" not in err


def test_ctrl_c_in_a_load(make_model: Make, record: Path) -> None:
    with started(make_model({"init": {"delay_ms": HELD}}), "hi") as running:
        began(record, "rkllm_init")
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=PATIENCE)
    assert (running.returncode, out) == (130, b"")
    assert b"Traceback" not in err


def test_a_reader_that_leaves_ends_the_answer(make_model: Make) -> None:
    with started(
        make_model({"runs": [{"steps": ["a "], "repeat": 100_000, "delay_ms": 10}]}), "hi"
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert os.read(running.stdout.fileno(), 2) == b"a "
        running.stdout.close()
        assert running.wait(PATIENCE) == 141
        assert b"rror" not in running.stderr.read()


def test_a_full_disk_ends_the_answer(make_model: Make) -> None:
    model = make_model({"runs": [{"steps": ["a "], "repeat": 100_000, "delay_ms": 10}]})
    words = [sys.executable, "-m", "rkllm_rs", "run", str(model), "hi"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            words, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=PATIENCE
        )
    assert done.returncode == 1
    assert "cannot write the output" in done.stderr


# Models.


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    for name in ("no-such-model", str(tmp_path / "none.rkllm"), "hub:nobody/nothing"):
        done = cli("run", name, "hi")
        assert (done.returncode, done.stdout) == (1, "")
        assert "\nhint: " in done.stderr


def test_a_broken_file_and_one_for_another_backend(tmp_path: Path) -> None:
    broken = written(tmp_path / "broken.gguf", "not a model")
    for words in ([broken], [written(tmp_path / "m.rkllm", "{}"), "--backend", "cpu"]):
        done = cli("run", *words, "hi")
        assert (done.returncode, done.stdout) == (1, "")
        assert "Traceback" not in done.stderr


def test_a_model_by_its_name(make_model: Make, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "models" / "tiny"
    folder.mkdir(parents=True)
    make_model(["a"]).rename(folder / "model.rkllm")
    assert succeeds("run", "tiny", "hi") == "a\n"


@pytest.mark.model
def test_the_real_model(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer", "maximum": 99}}}
    schema |= {"required": ["age"], "additionalProperties": False}
    file = written(tmp_path / "schema.json", json.dumps(schema))
    words = ["run", MODEL, "How old is the captain?", "--max-new-tokens", 12, "--temperature", "0"]
    first = json.loads(succeeds(*words, "--json"))
    assert first["perf"]["prompt_tokens"] > 0
    lines = [
        json.loads(line)
        for line in succeeds(*words, "--json-schema", file, "--json", "--stream").splitlines()
    ]
    assert json.loads("".join(line["text"] for line in lines)) == lines[-1]["parsed"]
    assert isinstance(lines[-1]["parsed"]["age"], int)
