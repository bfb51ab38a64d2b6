"""What all commands of ``rkllm-rs`` share: how they start, what they print, and how they end."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import rkllm_rs
from cli import cli, status_of, succeeds
from rkllm_rs import RkllmError
from rkllm_rs._extras import require
from rkllm_rs.cli import COMMANDS, GROUPS, main, parser_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: What no command needs before it knows what it is to do.
HEAVY = {
    "rich",
    "prompt_toolkit",
    "huggingface_hub",
    "numpy",
    "asyncio",
    "typing",
    "dataclasses",
    "json",
    "shutil",
}


def modules_after(*words: str) -> set[str]:
    """What is imported by a command."""
    program = (
        "import sys; before = set(sys.modules); from rkllm_rs.cli import main\n"
        "status = main(sys.argv[1:])\n"
        "print(*sorted(set(sys.modules) - before), file=sys.stderr)\nsys.exit(status)"
    )
    # Without site: environments put modules of their own there.
    folder = rkllm_rs.__path__[0].rpartition("/")[0]
    program = f"import sys; sys.path.insert(0, {folder!r})\n{program}"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program, *words], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stderr.split())


def test_only_the_module_of_the_command_is_imported() -> None:
    found = modules_after("abi")
    of_others = {f"rkllm_rs.cli.{module}" for name, (module, _) in COMMANDS.items() if name != "abi"}
    assert "rkllm_rs.cli.abi" in found
    # Which argparse of Python 3.14 imports for its colours.
    of_argparse = {"dataclasses"} if sys.version_info >= (3, 14) else set()
    assert found & (of_others | HEAVY) - of_argparse == set()


def test_the_overview_imports_no_command() -> None:
    found = modules_after("--help") | modules_after("version")
    assert (
        found & ({f"rkllm_rs.cli.{module}" for module, _ in COMMANDS.values()} | HEAVY | {"argparse"})
        == set()
    )


def test_the_overview_has_every_command_and_an_example() -> None:
    text = succeeds("--help")
    for heading, group in GROUPS.items():
        assert f"\n{heading}:\n" in text
        for name, (_, help_) in group.items():
            assert re.search(rf"^  {name} +{re.escape(help_)}$", text, re.MULTILINE)
    assert "\n  rkllm-rs run " in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_that_it_understands(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "\nexamples:\n" in text
    assert "--debug" in text
    examples = re.findall(
        rf"rkllm-rs {name}([^\n|>)]*?)(?=  |$|[|>)])", text.partition("examples:")[2], re.MULTILINE
    )
    assert examples
    import shlex

    for example in examples:
        parser_of(name).read(shlex.split(example.replace("*.rkllm", "a.rkllm")))


@pytest.mark.parametrize("name", ["list", "install", "verify", "use", "path", "remove"])
def test_commands_below_have_examples_too(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["runtime", name, "--help"])
    assert f"\nexamples:\n  rkllm-rs runtime {name}" in capsys.readouterr().out


def test_help_of_a_command_by_the_word() -> None:
    assert succeeds("help", "version") == succeeds("version", "--help")


def test_version() -> None:
    assert succeeds("version") == succeeds("--version") == f"rkllm-rs {rkllm_rs.__version__}\n"
    told = json.loads(succeeds("version", "--json"))
    assert told["version"] == rkllm_rs.__version__
    assert told["python"] == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.parametrize(
    "words",
    [
        ["--debug", "identify", "/no/such/file"],
        ["identify", "--debug", "/no/such/file"],
        ["identify", "/no/such/file", "--debug"],
        ["--debug", "runtime", "use", "9.9.9"],
        ["runtime", "--debug", "use", "9.9.9"],
        ["runtime", "use", "9.9.9", "--debug"],
    ],
    ids=" ".join,
)
def test_a_traceback_is_printed_with_debug_only(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(*words) == 1
    shown = capsys.readouterr().err
    assert status_of(*(word for word in words if word != "--debug")) == 1
    plain = capsys.readouterr().err
    assert shown.startswith("Traceback")
    assert shown.endswith(plain)
    assert plain.startswith("rkllm-rs: ")
    assert "\nhint: " in plain


@pytest.mark.parametrize(
    "error", [KeyError("x"), RuntimeError("two\nlines"), RecursionError(), MemoryError()]
)
def test_a_fault_of_ours_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise error

    monkeypatch.setattr(rkllm_rs, "backends", broken)
    assert main(["backends"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert type(error).__name__ in line
    assert "--debug" in line
    assert main(["--debug", "backends"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_not_a_fault_of_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def denied() -> None:
        raise PermissionError(13, os.strerror(13), "/etc/secret")

    monkeypatch.setattr(rkllm_rs, "backends", denied)
    assert main(["backends"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "/etc/secret" in line
    assert "--debug" not in line


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stopped() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rkllm_rs, "backends", stopped)
    assert main(["backends"]) == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], "COMMAND"),
        (["bakends"], "backends"),
        (["model.rkllm"], "run model.rkllm"),
        (["abi", "--jso"], "Did you mean --json?"),
        (["run", "m", "hi", "--max-tokens", "5"], "--max-new-tokens"),
        (["run", "m", "hi", "--temp=1"], "--temperature"),
        (["run", "m", "hi", "--max-new-tokens", "0"], "--max-new-tokens must be"),
        (["identify", "--backend", "gpu"], "npu"),
        (["runtime"], "COMMAND"),
    ],
)
def test_words_that_are_not_understood(
    words: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: rkllm-rs")
    assert named in err
    assert not words or "\nhint: " in err
    assert "Traceback" not in err


def test_options_may_have_underscores() -> None:
    parser = parser_of("run")
    both = [parser.read(["m", "hi", option, "3"]) for option in ("--max-new-tokens", "--max_new_tokens")]
    assert [one.max_new_tokens for one in both] == [3, 3]
    assert parser.read(["m", "--stop=a_b"]).stop == ["a_b"]
    assert parser.read(["m", "--", "--a_b"]).prompt == ["--a_b"]


def test_closed_streams_are_no_traceback() -> None:
    script = '"$0" -m rkllm_rs identify /no/such/file <&- 2>&-; test $? = 1'
    subprocess.run(["sh", "-c", script, sys.executable], check=True, timeout=120)


def test_names_that_are_not_text_are_printed(tmp_path: Path) -> None:
    """A file may have any bytes as its name, and a terminal any encoding."""
    path = os.fsencode(tmp_path) + b"/\xff\xe4.rkllm"
    with open(path, "wb") as file:
        file.write(b"x")
    for encoding in ("utf-8", "ascii"):
        words = [sys.executable, "-m", "rkllm_rs", "inspect", path]
        done = subprocess.run(
            words,
            env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True,
            check=False,
            timeout=120,
        )
        assert (done.returncode, b"Traceback" in done.stderr) == (1, False)
        assert (path in done.stdout) == (encoding == "utf-8")


def test_a_missing_extra_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert require("json", extra="cli", purpose="a test") is json
    with pytest.raises(RkllmError) as caught:
        require("no_such_package.part", extra="cli", purpose="a test")
    assert "no_such_package" in str(caught.value)
    assert "pip install 'rkllm_rs[cli]'" in (caught.value.hint or "")


def test_without_the_extras_the_rest_works(
    tmp_path: Path, library: Path, make_model: Callable[..., Path]
) -> None:
    folder = tmp_path / "extras"
    folder.mkdir()
    for name in ("rich", "prompt_toolkit", "huggingface_hub"):
        (folder / f"{name}.py").write_text(f"raise ModuleNotFoundError('no {name}', name={name!r})\n")
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {"PYTHONPATH": path, "RKLLM_RS_LIB": library}
    model = make_model(["One, ", "two"])
    assert succeeds("run", model, "hi", environment=environment) == "One, two\n"
    for words in (["list"], ["show", model], ["backends"], ["version"], ["completion", "bash"], ["ps"]):
        succeeds(*words, environment=environment)
    done = cli("chat", model, environment=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert "pip install 'rkllm_rs[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broken_extra_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_extra.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError) as caught:
        require("broken_extra", extra="cli", purpose="a test")
    assert caught.value.name == "no_such_package"


@pytest.mark.parametrize(
    ("words", "status"), [(["version"], 1), (["--debug", "version"], 1), (["doctor"], None)]
)
def test_without_the_native_module(words: list[str], status: int | None, tmp_path: Path) -> None:
    package = tmp_path / "rkllm_rs"
    package.mkdir()
    here = rkllm_rs.__path__[0]
    for name in os.listdir(here):
        if not name.startswith("_native"):
            (package / name).symlink_to(os.path.join(here, name))
    done = cli(*words, environment={"PYTHONPATH": tmp_path}, cwd=tmp_path)
    assert ("Traceback" in done.stderr) == ("--debug" in words)
    if status is None:
        assert "native" in done.stdout
    else:
        assert done.returncode == status
        assert "rkllm-rs doctor" in done.stderr


def test_lists_for_programs() -> None:
    assert [one["name"] for one in json.loads(succeeds("backends", "--json"))] == ["npu", "cpu"]
    assert {"folder", "installed", "releases"} <= json.loads(succeeds("runtime", "list", "--json")).keys()
