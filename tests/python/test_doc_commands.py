"""Every line of README and docs that starts ``rkllm-rs`` is understood, and does something here."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from fakes import fake_library, fake_model
from rkllm_rs.cli import COMMANDS, parser_of
from test_docs import BLOCK, MODEL, PAGES, ROOT

if TYPE_CHECKING:
    from pathlib import Path

#: Commands that have tests of their own, and take long, need a terminal or a network, or do not end.
NOT_RUN = {"bench", "pull", "serve", "verify", "runtime install"}
#: Commands whose answer depends on the machine or the file, and that exit with 1 for some.
MAY_FAIL = {"doctor", "identify", "inspect", "plan", "rm", "runtime", "show"}
TOOLS = 'def weather(city: str) -> str:\n    """The weather."""\n    return "dry"\n'
TEMPLATE = "{{ tools }}{% for one in messages %}{{ one.role }}: {{ one.content }}\n{% endfor %}assistant: "
SCHEMA = '{"type": "object", "properties": {"city": {"type": "string"}}}'


def lines() -> list[tuple[str, str]]:
    """The lines of blocks for a shell, with their page."""
    found: dict[str, str] = {}
    for page in PAGES:
        for kind, block in BLOCK.findall(page.read_text()):
            if kind in {"sh", "console"}:
                for line in block.replace("\\\n", " ").splitlines():
                    if (kind == "sh" or line.startswith("$ ")) and re.search(
                        r"(^|[|;&] *|\$ )rkllm-rs ", line
                    ):
                        found.setdefault(line.removeprefix("$ "), str(page.relative_to(ROOT)))
    return [(page, line) for line, page in found.items()]


def words_of(line: str) -> list[str]:
    """The words behind ``rkllm-rs``."""
    words = shlex.split(line, comments=True)
    behind = words[words.index("rkllm-rs") + 1 :]
    ends = [at for at, word in enumerate(behind) if word in {"|", ">", "&&", "<", ";", "&"}]
    return behind[: ends[0]] if ends else behind


def made(folder: Path, line: str) -> dict[str, str]:
    """What a line needs, and its environment."""
    run: dict[str, Any] = {"steps": ['{"city": ', '"Paris"}']}
    home = folder / "home"
    for name in re.findall(r"[\w./-]+\.rkllm", line):
        fake_model(folder, name, runs=[run], quiet=True)
    for name in re.findall(r"[\w.-]+\.gguf", line):
        (folder / name).symlink_to(MODEL)
    for name in re.findall(r"[\w.-]+\.(?:rknn|so)", line):
        (folder / name).write_bytes(b"RKNN" + bytes(64))
    fake_model(home / "models" / "qwen3-0.6b", "model.rkllm", runs=[run], quiet=True)
    for name in re.findall(r"[\w.-]+\.py", line):
        (folder / name).write_text(TOOLS)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "city.json").write_text(SCHEMA)
    (folder / "notes.txt").write_text("The river rose.\n")
    for one in (".local/share/bash-completion/completions", ".config/fish/completions"):
        (home / one).mkdir(parents=True)
    shim = folder / "bin" / "rkllm-rs"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rkllm_rs "$@"\n')
    shim.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{shim.parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "RKLLM_RS_LIB": str(fake_library(folder / "lib", "v1_3_1", quiet=True)),
    }


LINES = lines()


def test_lines_are_found() -> None:
    assert len(LINES) > 15
    assert {words_of(line)[0] for _, line in LINES} >= {"run", "doctor", "runtime", "inspect"}


@pytest.mark.parametrize(
    ("page", "line"),
    [pytest.param(*one, id=one[1], marks=[pytest.mark.model] * (".gguf" in one[1])) for one in LINES],
)
def test_a_documented_line_works(page: str, line: str, tmp_path: Path) -> None:
    name, *words = words_of(line)
    assert name in COMMANDS, page
    # A name to fill in is a word, too; what a parser does not understand raises SystemExit.
    parser_of(name).read(words)
    if {name, " ".join([name, *words[:1]])} & NOT_RUN or "sudo" in line:
        return
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=tmp_path,
        env=made(tmp_path, line),
        input="Hello.\n",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0 or (done.returncode == 1 and name in MAY_FAIL), f"{page}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    assert done.stdout or ">" in line or done.returncode
