"""``rkllm-rs completion``: what real shells make of the scripts."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from cli import succeeds
from rkllm_rs.cli import COMMANDS

if TYPE_CHECKING:
    from pathlib import Path

#: A line as typed so far, and what can be its last word.
LINES = {
    "rkllm-rs runti": {"runtime"},
    "rkllm-rs --vers": {"--version"},
    "rkllm-rs run --typ": {"--typical-p"},
    "rkllm-rs run --backend ": {"auto", "npu", "cpu"},
    "rkllm-rs run m.rkllm --backend n": {"npu"},
    "rkllm-rs run chat --no-think": {"--no-thinking"},
    "rkllm-rs --debug runtime ins": {"install"},
    "rkllm-rs runtime ": {"list", "install", "verify", "use", "path", "remove"},
    "rkllm-rs runtime install --arch ": {"aarch64", "armhf"},
    "rkllm-rs completion ": {"bash", "zsh", "fish"},
    "rkllm-rs run notes": {"notes.rkllm"},
    "rkllm-rs run m.rkllm --file notes": {"notes.rkllm"},
}
BASH = r"""
source "$1"
while IFS= read -r line; do
    read -ra COMP_WORDS <<< "$line"
    [[ $line == *' ' ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
    _rkllm_rs
    echo "${COMPREPLY[*]}"
done
"""
FISH = r"""
source $argv[1]
while read -l line
    complete -C $line | string replace -r '\t.*' '' | string join ' '
end
"""
#: The functions of zsh itself, which need a terminal, in the shape of what they are called with.
ZSH = r"""
compdef() { }
_describe() { }
_arguments() { print -r -- "$words[CURRENT]|${(j: :)below}|$*" }
source $1
while IFS= read -r line; do
    words=("${(@s: :)line}") CURRENT=${#words}
    _rkllm_rs
done
"""


def script(shell: str, folder: Path) -> Path:
    path = folder / f"script.{shell}"
    path.write_text(succeeds("completion", shell))
    (folder / "notes.rkllm").touch()
    return path


def answers(program: list[str], folder: Path) -> list[str]:
    lines = "".join(f"{line}\n" for line in LINES)
    done = subprocess.run(
        program, input=lines, cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize(("shell", "program"), [("bash", BASH), ("fish", FISH)])
def test_a_shell_completes(shell: str, program: str, tmp_path: Path) -> None:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    file = str(script(shell, tmp_path))
    words = [found, "-c", program, file] if shell == "fish" else [found, "-c", program, "bash", file]
    told = answers(words, tmp_path)
    assert [set(line.split()) for line in told] == list(LINES.values())


def test_zsh_is_told_the_same(tmp_path: Path) -> None:
    found = shutil.which("zsh")
    if found is None:
        pytest.skip("zsh is not installed")
    told = answers([found, "-f", "-c", ZSH, "zsh", str(script("zsh", tmp_path))], tmp_path)
    for (line, expected), answer in zip(LINES.items(), told, strict=True):
        word, offered = answer.split("|", 1)
        assert word == line.rpartition(" ")[2]
        assert [one for one in expected - {"notes.rkllm"} if one not in offered] == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_is_in_the_script(shell: str) -> None:
    text = succeeds("completion", shell)
    assert [name for name in COMMANDS if name not in text] == []
