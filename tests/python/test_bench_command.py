"""The command ``rkllm-rs bench``: what programs read of it, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from fakes import fake_model
from support import PATIENCE, SLOW, began

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")
COMMAND = [sys.executable, "-m", "rkllm_rs", "bench"]
FIGURES = {"prefill_time_ms": 50.0, "prefill_tokens": 8, "generate_time_ms": 20.0, "generate_tokens": 4}
RUN: dict[str, Any] = {
    "steps": ["x"],
    "repeat": 500,
    "obey_max_new_tokens": True,
    "finish": {"perf": FIGURES},
}
SHORT = ("-p", "8", "-n", "4", "-r", "1", "-w", "0")
ROOT = Path(__file__).parents[2]


def documented() -> list[list[str]]:
    """What README, the pages and the command itself show of it, behind its name."""
    from rkllm_rs.cli import bench

    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    texts = [*(page.read_text() for page in pages), bench.EXAMPLES]
    found = [
        line
        for text in texts
        for line in re.findall(r"^(?:\$ |  )?rkllm-rs bench (\w.*)$", text, re.MULTILINE)
    ]
    return [re.sub(r" {2,}.*", "", line).split() for line in dict.fromkeys(found)]


def run(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *map(str, words)], capture_output=True, text=True, check=False, timeout=120 * SLOW, cwd=cwd
    )
    assert "Traceback" not in done.stderr
    return done


def test_a_table_a_plot_and_json_of_two_settings(tmp_path: Path, library: Path) -> None:
    model = fake_model(tmp_path, runs=[RUN], quiet=True)
    words = (
        model,
        *SHORT,
        "--library",
        library,
        "--set",
        "enabled_cpus_num=2,3",
        "--set",
        "embed_flash=true",
    )
    done = run(*words, "--json", "--plot", tmp_path / "out.svg")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [one["settings"] for one in found["results"]] == [
        {"enabled_cpus_num": number, "embed_flash": True} for number in (2, 3)
    ]
    first = found["results"][0]
    assert first["model"] == str(model)
    assert (first["prefill_tokens_per_second"], first["generate_tokens_per_second"]) == (160.0, 200.0)
    assert ET.parse(tmp_path / "out.svg").getroot().get("width")  # noqa: S314 - ours
    table = run(*words)
    assert table.returncode == 0
    assert "160.0" in table.stdout
    assert "200.0" in table.stdout


def test_a_chip_a_name_and_csv(tmp_path: Path, library: Path) -> None:
    # What fits the table but for the release, which is none that Rockchip has published figures of.
    fake_model(tmp_path / "home" / "models" / "qwen3", "Qwen3-0.6B-rk3588-w8a8.rkllm", runs=[RUN], quiet=True)
    done = run("qwen3", *SHORT, "--library", library, "--chip", "rk3588", "--csv")
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert (row["model"], row["generate_tokens"], row["vendor_source"]) == ("qwen3", "4", "")
    assert float(row["memory_bound_limit_gb_per_s"]) == 28.0


def test_without_a_model_those_that_are_installed(tmp_path: Path, library: Path) -> None:
    assert run(*SHORT).returncode == 1
    for name in ("one", "two"):
        fake_model(tmp_path / "home" / "models" / name, "model.rkllm", runs=[RUN], quiet=True)
    done = run(*SHORT, "--library", library, "--json")
    assert done.returncode == 0, done.stderr
    assert sorted(Path(one["model"]).parent.name for one in json.loads(done.stdout)["results"]) == [
        "one",
        "two",
    ]


def test_ctrl_c_prints_what_was_found(tmp_path: Path, library: Path) -> None:
    record = tmp_path / "record"
    endless = {"steps": ["x"], "repeat": 1_000_000, "delay_ms": 5}
    model = fake_model(tmp_path, runs=[RUN, RUN, endless], record=record, quiet=True)
    words = [model, "-p", "8,16", "-n", "100", "-r", "1", "-w", "1", "--library", library, "--json"]
    words += ["--plot", tmp_path / "out.svg"]
    process = subprocess.Popen(
        [*COMMAND, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        began(record, count=3)
        # As a terminal does: to all processes of the command.
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    found = json.loads(out)
    assert found["interrupted"]
    assert [one["prompt_tokens"] for one in found["results"]] == [8]
    assert (tmp_path / "out.svg").stat().st_size > 0


def test_ctrl_c_in_a_load_ends_at_once(tmp_path: Path, library: Path, record: Path) -> None:
    model = fake_model(tmp_path, init={"delay_ms": 600_000}, runs=[RUN], quiet=True)
    process = subprocess.Popen(
        [*COMMAND, str(model), "--library", str(library), "--csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        began(record, "rkllm_init")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert out.startswith("model,")
    assert len(out.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["/no/such/model.rkllm"], 1),
        (["MODEL", "-p", "none"], 2),
        (["MODEL", "-p", "0"], 2),
        (["MODEL", "-r", "0"], 2),
        (["MODEL", "--json", "--csv"], 2),
        (["MODEL", "--backend", "gpu"], 2),
        (["MODEL", "--set", "max_context_len"], 2),
        (["MODEL", "--set", "colour=1"], 2),
        (["MODEL", "--timeout", "0"], 2),
        (["MODEL", "--library", "/no/such/library.so"], 1),
        (["MODEL", "--plot", "/no/such/folder/out.svg"], 1),
        (["MODEL", "--plot", "out.png"], 2),
    ],
)
def test_what_cannot_be_measured(words: list[str], status: int, tmp_path: Path) -> None:
    model = fake_model(tmp_path, runs=[RUN], quiet=True)
    done = run(*(model if word == "MODEL" else word for word in words), cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert done.stderr
    assert not done.stdout
    assert not list(tmp_path.glob("out.*"))


def test_a_picture_that_was_not_drawn_leaves_no_file(tmp_path: Path) -> None:
    model = fake_model(tmp_path, runs=[RUN], quiet=True)
    assert run(model, "--library", "/no/such.so", "--plot", tmp_path / "out.svg").returncode == 1
    assert not (tmp_path / "out.svg").exists()


@pytest.mark.parametrize("line", documented(), ids=lambda line: " ".join(line[1:]))
def test_what_the_documentation_shows_runs(line: list[str], tmp_path: Path, library: Path) -> None:
    for word in line:
        if word.endswith(".so"):
            (tmp_path / word).symlink_to(library)
        elif word.endswith((".rkllm", ".gguf")):
            fake_model(tmp_path, Path(word).with_suffix(".rkllm").name, runs=[RUN], quiet=True)
    words = [word.replace(".gguf", ".rkllm") for word in line]
    more = [] if "--library" in words else ["--library", library]
    done = run(*words, *more, "-w", 0, "-r", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    for file in re.findall(r"--plot (\S+)", " ".join(words)):
        assert (tmp_path / file).stat().st_size > 0


@pytest.mark.model
def test_the_real_model() -> None:
    done = run(MODEL, *SHORT, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (result,) = found["results"]
    assert result["generate_tokens_per_second"] > 0
    assert result["vendor"] is None
    assert found["machine"]["before"].keys() == found["machine"]["after"].keys()
