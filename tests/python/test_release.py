"""What a release goes by: one version, all files, pinned actions, a container without root."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.y*ml"))
CPU = "cpu-runtime/python/rkllm_rs_cpu/__init__.py"


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def run(script: str, *arguments: object) -> Done:
    """Runs a script in this process: under emulation another one takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        module = importlib.import_module(script)
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", [script, *map(str, arguments)])
        status = module.main()
    return Done(status, out.getvalue(), err.getvalue())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout that is ready for a release of 1.2.3."""
    (tmp_path / "Cargo.toml").write_text(
        '[workspace]\nmembers = ["."]\n\n[workspace.package]\nedition = "2024"\nversion = "1.2.3"\n\n'
        '[workspace.dependencies]\nlibc = "0.2"\n\n[package]\nname = "rkllm_rs"\nversion.workspace = true\n'
    )
    (tmp_path / CPU).parent.mkdir(parents=True)
    (tmp_path / CPU).write_text('"""The runtime."""\n\n__version__ = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## Unreleased\n\n## 1.2.3 - 2027-01-31\n\n### Added\n\n- All.\n\n"
        "## 1.2.2 - 2027-01-01\n\n- It.\n"
    )
    return tmp_path


def check(tree: Path, *arguments: str) -> Done:
    return run("check_version", "--root", tree, *arguments)


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_this_checkout_has_one_version() -> None:
    done = run("check_version")
    assert done.returncode == 0, done.stderr
    import rkllm_rs

    assert done.stdout.strip() == rkllm_rs.__version__


@pytest.mark.parametrize("arguments", [(), ("--tag", "v1.2.3")])
def test_a_release_that_agrees(tree: Path, arguments: tuple[str, ...]) -> None:
    done = check(tree, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1.2.3\n", "")


@pytest.mark.parametrize("path", ["pyproject.toml", "cpu-runtime/pyproject.toml"])
def test_a_release_without_addresses(tree: Path, path: str) -> None:
    for other in ("pyproject.toml", "cpu-runtime/pyproject.toml"):
        urls = '[project]\nname = "a"\n\n[project.urls]\nHomepage = "https://a.example"\n\n[tool.a]\n'
        (tree / other).write_text(urls)
    assert check(tree, "--tag", "v1.2.3").returncode == 0
    replace(tree / path, 'Homepage = "https://a.example"\n', "")
    done = check(tree, "--tag", "v1.2.3")
    assert (done.returncode, path in done.stderr) == (1, True)
    assert check(tree).returncode == 0


@pytest.mark.parametrize("tag", ["1.2.3", "v1.2.4", "v1.2.3-rc.1", "V1.2.3", "v1.2.3 ", ""])
def test_a_tag_that_disagrees(tree: Path, tag: str) -> None:
    done = check(tree, "--tag", tag)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "tag v1.2.3" in done.stderr


def test_a_pre_release_is_written_as_each_side_writes_it(tree: Path) -> None:
    for file in (tree / "Cargo.toml", tree / "CHANGELOG.md"):
        replace(file, "1.2.3", "1.2.3-rc.1")
    done = check(tree, "--tag", "v1.2.3-rc.1")
    assert done.returncode == 1
    assert "not 1.2.3rc1" in done.stderr
    replace(tree / CPU, "1.2.3", "1.2.3rc1")
    assert check(tree, "--tag", "v1.2.3-rc.1").returncode == 0


@pytest.mark.parametrize("version", ["1.2", "1.2.3-nightly", "1.2.3+build", "1.2.3-rc1", "1.2.3rc1"])
def test_a_version_that_one_side_cannot_write(tree: Path, version: str) -> None:
    replace(tree / "Cargo.toml", "1.2.3", version)
    done = check(tree, "--tag", f"v{version}")
    assert done.returncode == 1
    assert version in done.stderr


def test_the_version_of_another_section_is_none(tree: Path) -> None:
    replace(tree / "Cargo.toml", 'version = "1.2.3"\n', "")
    replace(tree / "Cargo.toml", "[package]\n", '[package]\nversion = "1.2.3"\n')
    done = check(tree, "--tag", "v1.2.3")
    assert done.returncode == 1
    assert "[workspace.package]" in done.stderr


@pytest.mark.parametrize("text", ['__version__ = "1.2.2"\n', "version = 1\n"])
def test_a_cpu_runtime_of_another_version(tree: Path, text: str) -> None:
    (tree / CPU).write_text(text)
    done = check(tree)
    assert done.returncode == 1
    assert CPU in done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "## 1.2.2 - 2027-01-01\n\n- It.\n",
        "## 1.2.3\n\n- Without a date.\n",
        "## 1.2.3 - 2027-01-31\n\n## 1.2.2 - 2027-01-01\n\n- Nothing for 1.2.3.\n",
        "## 1x2.3 - 2027-01-31\n\n- A dot is a dot.\n",
        "## Unreleased\n\n- Not moved yet.\n",
    ],
)
def test_a_changelog_without_the_release(tree: Path, text: str) -> None:
    (tree / "CHANGELOG.md").write_text(text)
    done = check(tree, "--tag", "v1.2.3")
    assert done.returncode == 1
    assert "CHANGELOG.md" in done.stderr
    assert (check(tree).returncode == 0) == ("Unreleased" in text)


FILES = [
    *(
        f"rkllm_rs-1.2.3rc1-{python}-manylinux2014_{machine}.manylinux_2_17_{machine}.whl"
        for machine in ("aarch64", "armv7l", "x86_64")
        for python in ("cp310-abi3", "cp314-cp314t")
    ),
    *(
        f"rkllm_rs_cpu-1.2.3rc1-py3-none-manylinux_2_31_{machine}.whl"
        for machine in ("aarch64", "armv7l", "x86_64")
    ),
    "rkllm_rs-1.2.3rc1.tar.gz",
    "rkllm_rs-1.2.3rc1.cdx.json",
    "rkllm_rs_cpu-1.2.3rc1.cdx.json",
]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for name in FILES:
        (folder / name).write_text(name)
    return folder


def test_all_files_get_their_sums(files: Path) -> None:
    for _ in range(2):
        done = run("release_files", "1.2.3-rc.1", files)
        assert done.returncode == 0, done.stderr
    lines = (files / "SHA256SUMS").read_text().splitlines()
    assert lines == [f"{hashlib.sha256(name.encode()).hexdigest()}  {name}" for name in sorted(FILES)]


@pytest.mark.parametrize("missing", FILES)
def test_a_missing_file_is_no_release(files: Path, missing: str) -> None:
    (files / missing).unlink()
    done = run("release_files", "1.2.3-rc.1", files)
    assert done.returncode == 1
    assert not (files / "SHA256SUMS").exists()


@pytest.mark.parametrize(
    "name",
    ["core", "rkllm_rs-1.2.3rc1-cp310-abi3-linux_x86_64.whl", FILES[0].replace("1.2.3rc1", "1.2.2"), "x.whl"],
)
def test_a_file_too_many_is_no_release(files: Path, name: str) -> None:
    (files / name).write_text("")
    done = run("release_files", "1.2.3-rc.1", files)
    assert done.returncode == 1
    assert name in done.stderr


def test_files_of_another_version_are_no_release(files: Path) -> None:
    assert run("release_files", "1.2.3", files).returncode == 1


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit(workflow: Path) -> None:
    text = workflow.read_text()
    used = re.findall(r"^\s*(?:- )?uses:\s*(.*)$", text, re.MULTILINE)
    assert used
    for action in used:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action
    # One version of an action throughout.
    pins = {tuple(action.split(" # ")[0].split("@")) for action in used}
    assert len({name for name, _ in pins}) == len(pins)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_start_what_exists(workflow: Path) -> None:
    text = workflow.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    made = {word for words in re.findall(r"run: make (.*)$", text, re.MULTILINE) for word in words.split()}
    files = {ROOT / path for path in re.findall(r"\b(?:scripts|requirements)/[\w.]+\.\w+", text)}
    assert made | files
    assert made <= targets
    assert [path for path in files if not path.is_file()] == []
    assert [path for path in files if path.suffix == ".sh" and not os.access(path, os.X_OK)] == []


def test_release_publishes_for_a_pushed_tag_only() -> None:
    text = (ROOT / ".github/workflows/release.yml").read_text()
    jobs = dict(
        re.findall(r"^  ([a-z0-9-]+):\n((?:    .*\n|\n|  #.*\n)+)", text.split("\njobs:\n")[1], re.MULTILINE)
    )
    assert "\npermissions: {}\n" in text
    for name, body in jobs.items():
        assert re.search(r"^    permissions:", body, re.MULTILINE), name
        assert re.search(r"^    timeout-minutes:", body, re.MULTILINE), name
    powerful = {name for name, body in jobs.items() if re.search(r": write\b", body)}
    assert powerful == {"publish", "publish-cpu", "github-release"}
    for name in powerful:
        assert "    if: github.event_name == 'push' && github.ref_type == 'tag'\n" in jobs[name]
        assert re.search(r"^    needs: .*\brelease-ok\b", jobs[name], re.MULTILINE)
        assert re.search(r"^    environment:", jobs[name], re.MULTILINE)
        assert "actions/checkout" not in jobs[name]
    # The gate knows every job before it.
    gate = re.search(r"^    needs: \[(.*)\]$", jobs["release-ok"], re.MULTILINE)
    assert gate
    assert set(gate[1].split(", ")) == set(jobs) - powerful - {"release-ok"}


def test_the_container_is_not_root() -> None:
    text = (ROOT / "docker/Dockerfile").read_text()
    users = re.findall(r"^USER\s+(\S+)", text, re.MULTILINE)
    assert users
    assert users[-1].split(":")[0] not in {"root", "0"}
    assert not re.search(r"^(ADD|COPY)\b", text, re.MULTILINE)
    compose = (ROOT / "docker/compose.yaml").read_text()
    assert "privileged" not in compose
    assert not re.search(r"^\s*user:", compose, re.MULTILINE)
