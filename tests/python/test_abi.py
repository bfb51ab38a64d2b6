"""The compiled layouts, and the command that shows them."""

from __future__ import annotations

import json
import platform
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from fakes import LAYOUTS, fake_library

ABI = Path(__file__).parents[1] / "abi"
INPUTS_OF_1_2_1B1 = ("RKLLMInput", "RKLLMMultiModelInput")


def run(*words):
    return subprocess.run(
        [sys.executable, "-m", "rkllm_rs", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.fixture(scope="module")
def compiled():
    done = run("abi", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def expected(abi_version):
    machine = platform.machine()
    if machine not in ("x86_64", "aarch64", "armv7l", "armv8l"):
        pytest.skip(f"no layouts of {machine}")
    wide = "x86_64" if machine == "x86_64" else "aarch64"
    target = wide if struct.calcsize("P") == 8 else "armhf"
    return json.loads((ABI / f"{abi_version}.{target}.json").read_text())


def test_all_generations(compiled):
    assert tuple(compiled) == LAYOUTS


@pytest.mark.hazard("V2", "V4")
@pytest.mark.parametrize("abi_version", ["v1_1_0", "v1_2_1", "v1_3_0", "v1_3_1"])
def test_layouts(compiled, abi_version):
    assert compiled[abi_version] == expected(abi_version)


def test_1_2_0_has_the_larger_inputs_of_1_2_1b1(compiled):
    layouts, later = expected("v1_2_0"), expected("v1_2_1b1")
    for name in INPUTS_OF_1_2_1B1:
        assert layouts[name]["size"] < later[name]["size"]
        layouts[name] = later[name]
    assert compiled["v1_2_0"] == layouts


def test_plain_layouts():
    done = run("abi")
    assert done.returncode == 0
    assert "v1_3_1\n" in done.stdout
    assert "RKLLMParam: " in done.stdout


def test_version():
    import rkllm_rs

    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"rkllm-rs {rkllm_rs.__version__}\n")


@pytest.mark.parametrize("words", [[], ["no-such-command"], ["abi", "--no-such-option"]])
def test_usage(words):
    done = run(*words)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: rkllm-rs")


def test_help():
    done = run("--help")
    assert done.returncode == 0
    for command in ("abi", "backends", "identify"):
        assert command in done.stdout


def test_backends():
    done = run("backends")
    assert done.returncode == 0
    assert "npu: " in done.stdout
    status = json.loads(run("backends", "--json").stdout)
    assert [one["name"] for one in status] == ["npu", "cpu"]
    assert {"name", "available", "library", "reason", "hint"} <= set(status[0])


def test_backends_with_a_library(tmp_path, monkeypatch):
    library = fake_library(tmp_path, "v1_3_0")
    monkeypatch.setenv("RKLLM_RS_LIB", str(library))
    assert json.loads(run("backends", "--json").stdout)[0]["library"] == str(library)


@pytest.mark.parametrize("abi_version", LAYOUTS)
def test_identify(tmp_path, abi_version):
    library = fake_library(tmp_path, abi_version)
    done = run("identify", library)
    assert done.returncode == 0, done.stderr
    assert ["abi:", abi_version] in [line.split() for line in done.stdout.splitlines()]
    report = json.loads(run("identify", "--json", library).stdout)
    assert (report["abi"], report["path"], report["backend"]) == (abi_version, str(library), "npu")
    assert [piece["kind"] for piece in report["evidence"]] == ["banner", "symbols", "defaults"]


def test_identify_says_what_is_wrong(tmp_path):
    for words in ([tmp_path / "none.so"], [fake_library(tmp_path, "v1_0_1")]):
        done = run("identify", *words)
        assert done.returncode == 1
        assert done.stderr.startswith("rkllm-rs: ")
        assert "hint" in done.stderr or "Install" in done.stderr or "no such file" in done.stderr
        assert "Traceback" not in done.stderr
