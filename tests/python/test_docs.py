"""Every Python example of README and docs runs, and every command that they name exists."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fakes import fake_library, fake_model
from tiny_lora import make_lora

ROOT = Path(__file__).parents[2]
# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "/nonexistent")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "cpu-runtime" / "README.md"]
#: Every name in its guide for Bun.FFI, its messages included.
NAMES_OF_RKLLMJS = [
    "RKLLM",
    "RKLLMInputType.PROMPT",
    "init",
    "run",
    "destroy",
    "modelPath",
    "maxContextLen",
    "temperature",
    "inputType",
    "inputData",
    "result.text",
    "'ffi'",
    "'napi'",
    "backendType",
    "initializeFFI",
    "isFFIAvailable",
    "isBunRuntime",
    "getKVCacheSize",
    "clearKVCache",
    "setChatTemplate",
    "benchmarkBackend",
    "initTime",
    "bun-ffi-example.ts",
    "backend-comparison.ts",
    "Could not load RKLLM library from any location",
    "FFI backend failed, falling back to N-API",
    "only available in Bun runtime",
]
#: Folders of the checkout whose files pages name. What is built lies in others.
FOLDERS = (
    "benches",
    "cpu-runtime",
    "crates",
    "data",
    "docker",
    "examples",
    "python",
    "requirements",
    "scripts",
    "src",
    "tests",
)
#: Shown is that a program runs, not how long the small model talks.
SHORT = """
import rkllm_rs
def shorten(model, begin):
    model.__init__ = lambda self, *given, **named: begin(self, *given, **{"max_new_tokens": 12, **named})
shorten(rkllm_rs.RKLLM, rkllm_rs.RKLLM.__init__)
shorten(rkllm_rs.AsyncRKLLM, rkllm_rs.AsyncRKLLM.__init__)
"""
#: What docs/developing/where.md says how to add.
TO_COME = ("v1_3_2", "/server")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        texts = [text for kind, text in BLOCK.findall(page.read_text()) if kind == language]
        name = str(page.relative_to(ROOT))
        found += [(f"{name}#{number}", text) for number, text in enumerate(texts, 1)]
    return found


def programs() -> list[Any]:
    """The Python blocks; those for the CPU runtime alone need the real model.

    Those about clients run with the clients (``scripts/test_clients.py``).
    """
    return [
        pytest.param(where, code, id=where, marks=[pytest.mark.model] * (".rkllm" not in code))
        for where, code in blocks("python")
        if not where.startswith(("docs/guides/clients.md", "docs/guides/several-boards.md"))
    ]


def codes() -> list[tuple[str, str]]:
    """What pages show as code: lines for a shell, joined where they go on, and words in the text."""
    found = []
    for page in PAGES:
        text = page.read_text()
        name = str(page.relative_to(ROOT))
        for kind, block in BLOCK.findall(text):
            if kind in {"sh", "console", "ini", "powershell"}:
                found += [(name, line) for line in block.replace("\\\n", " ").splitlines()]
        found += [(name, code) for code in re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))]
    return found


def found_commands() -> dict[tuple[str, ...], set[str]]:
    """The commands that pages name, by their words, with these pages."""
    found: dict[tuple[str, ...], set[str]] = {}
    for page, code in codes():
        line = re.sub(r"\s#.*", "", code.removeprefix("$ "))
        for part in re.split(r"&&|\|\||[|;]", line):
            words = tuple(part.split())
            if words and words[0] in {"rkllm-rs", "make", "pip"}:
                found.setdefault(words, set()).add(page)
    return found


def plain(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words before the first that is an option, a value or a name to fill in."""
    return tuple(itertools.takewhile(lambda word: re.fullmatch(r"[a-z][a-z-]*", word), words))


def names_of(program: str) -> list[tuple[str, ...]]:
    return sorted({plain(words[1:]) for words in COMMANDS if words[0] == program})


@pytest.mark.parametrize(("where", "code"), programs())
def test_example_runs(where: str, code: str, tmp_path: Path) -> None:
    if "import fastapi" in code or "from fastapi" in code:
        pytest.importorskip("fastapi")
    if "import numpy" in code:
        pytest.importorskip("numpy")
    run: dict[str, Any] = {"steps": ["One, ", "two, ", "three."]}
    if "tokenizer=" in code:
        run["ask"] = [{"tokenize": "abc", "capacity": 8}]
    for name in set(re.findall(r"[\w.-]+\.rkllm", code)):
        fake_model(tmp_path, name, runs=[run], quiet=True)
    for name in set(re.findall(r"[\w.-]+\.gguf", code)):
        if name.endswith("lora.gguf"):
            make_lora(Path(MODEL), tmp_path / name)
        else:
            (tmp_path / name).symlink_to(MODEL)
    environment = dict(os.environ)
    if ".rkllm" in code:
        environment["RKLLM_RS_LIB"] = str(fake_library(tmp_path, "v1_3_0"))
    else:
        code = SHORT + code
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{where}\n{done.stderr}"
    printed = [line for line in done.stdout.splitlines() if line]
    assert bool(printed) == ("print(" in code), f"{where}\n{done.stdout}"


def fences(text: str) -> list[str]:
    """What stands behind the marks that begin a block, however they are written."""
    begun, found = "", []
    for mark, info in re.findall(r"^[ \t>]*(`{3,}|~{3,})[ \t]*(.*)$", text, re.MULTILINE):
        if not begun:
            begun = mark
            found.append(mark + info.strip())
        elif mark.startswith(begun) and not info:
            begun = ""
    return found


def test_every_block_of_python_runs() -> None:
    """Only blocks that are written as `test_example_runs` reads them run; the reference shows signatures."""
    other = {
        "console",
        "ini",
        "json",
        "mermaid",
        "powershell",
        "rust",
        "sh",
        "text",
        "toml",
        "typescript",
        "yaml",
        "{toctree}",
    }
    known = {f"```{language}" for language in {"python", *other}}
    for page in PAGES:
        if page.parent.name != "reference":
            found = fences(page.read_text())
            assert [fence for fence in found if fence not in known] == [], page
            ran = BLOCK.findall(page.read_text())
            assert found.count("```python") == sum(language == "python" for language, _ in ran), page
    assert fences("~~~ Python3\n```\n~~~\n> ```py\n> ```\n") == ["~~~Python3", "```py"]


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_no_word_of_a_page_is_taken_for_a_tag() -> None:
    """A word such as ``<think>`` outside code vanishes when the page becomes HTML."""
    for page in PAGES:
        text = re.sub(r"<!--.*?-->", "", BLOCK.sub("", page.read_text()), flags=re.DOTALL)
        text = re.sub(r"(`+)[^\n]*?[^`\n]\1(?!`)", "", text)
        assert re.findall(r"</?[a-zA-Z|][^>\n]*>", text) == [], page


def test_the_page_for_those_who_come_from_rkllmjs_has_all_of_its_names() -> None:
    page = (ROOT / "docs" / "guides" / "migration.md").read_text()
    rows = "\n".join(line for line in page.splitlines() if line.startswith("| "))
    assert [name for name in NAMES_OF_RKLLMJS if name not in rows] == []


COMMANDS = found_commands()


def test_every_page_is_searched_for_commands() -> None:
    """A pattern that no longer finds anything would let every test below pass."""
    assert {"rkllm-rs", "make", "pip"} <= {words[0] for words in COMMANDS}
    assert len(COMMANDS) > 30


@pytest.mark.parametrize("command", names_of("rkllm-rs"), ids=" ".join)
def test_commands_exist(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rkllm_rs", *command, "--help"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, COMMANDS
    for words, pages in COMMANDS.items():
        if words[0] == "rkllm-rs" and plain(words[1:]) == command:
            options = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert options <= {*re.findall(r"--[a-z-]+", done.stdout), "--help"}, pages


def test_targets_of_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = {
        word: pages for words, pages in COMMANDS.items() if words[0] == "make" for word in plain(words[1:])
    }
    assert {word: pages for word, pages in named.items() if word not in targets} == {}


def test_what_pip_is_to_install_exists() -> None:
    """Our own distributions and their extras; others are not ours to check."""
    metadata = (ROOT / "pyproject.toml").read_text()
    extras = re.search(r"\[project\.optional-dependencies\]\n(.*?)\n\n", metadata, re.DOTALL)
    assert extras
    known = set(re.findall(r"^(\w+) =", extras[1], re.MULTILINE))
    for words, pages in COMMANDS.items():
        if words[:2] == ("pip", "install"):
            named = [re.fullmatch(r"rkllm_rs\[([\w,]+)\]", word.strip("'\"")) for word in words[2:]]
            wanted = {extra for match in named if match for extra in match[1].split(",")}
            assert wanted <= known, (words, pages)


def test_paths_exist() -> None:
    """Files of the checkout that a page names, in text or as a part of a command."""
    path = re.compile(rf"(?<![\w./~-])(?:{'|'.join(FOLDERS)})/[\w./-]*\w(?![*{{.\w])")
    named = {(word, page) for page, code in codes() for word in path.findall(code)}
    assert len(named) > 50
    lost = {
        (word, page)
        for word, page in named
        if not (ROOT / word).exists() and not ((ROOT / page).parent / word).exists()
    }
    assert {(word, page) for word, page in lost if not any(part in word for part in TO_COME)} == set()


def test_the_demo_s_model_is_where_the_first_steps_link_to(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "start" / "laptop.md").read_text()
    link = next(line for line in page.splitlines() if line.startswith("ln -s "))
    environment = {**os.environ, "HOME": str(tmp_path)}
    environment.pop("XDG_CACHE_HOME", None)
    code = "import fetch_model; print(fetch_model.cache_folder(), fetch_model.NAME, sep='/')"
    place = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "scripts",
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    subprocess.run(["sh", "-c", link], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "smollm2.gguf").readlink() == Path(place)
