"""``rkllm-rs list``, ``show`` and ``rm``, and what is behind them in ``rkllm_rs.models``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from rkllm_rs import InvalidArgumentError, ModelNotFoundError
from rkllm_rs.cli import main
from rkllm_rs.models import describe, find, installed, modelfile, remove
from rkllm_rs.models.settings import parsed
from test_models_find import cached, gguf, home, own, rkllm

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["home", "own"]  # fixtures
GGUF = os.environ.get("RKLLM_RS_TEST_GGUF", "")


def output(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> Any:
    assert main([*words, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def answered(*words: str, answer: str | None) -> subprocess.CompletedProcess[str]:
    """Runs the command with an answer in a pipe, or with nobody to answer."""
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if answer is None else {"input": answer}
    return subprocess.run(
        [sys.executable, "-m", "rkllm_rs", *words], check=False, capture_output=True, text=True, **given
    )


def test_list_prints_what_programs_read(home: Path, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert output(capsys, "list") == []
    path = rkllm(own / "qwen/model.rkllm")
    (one,) = output(capsys, "list")
    assert {key: one[key] for key in ("name", "path", "source", "size_bytes")} == {
        "name": "qwen", "path": str(path), "source": "own", "size_bytes": 2,
    }  # fmt: skip
    assert main(["list"]) == 0
    name, *_, printed = capsys.readouterr().out.split()
    assert (name, printed) == ("qwen", str(path))


def test_files_are_named_as_models_are(home: Path, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = gguf(own / "qwen/model.gguf")
    assert output(capsys, "inspect", "qwen")["path"] == str(path)
    assert output(capsys, "plan", "qwen")["models"][0]["path"] == str(path)
    assert output(capsys, "inspect", "qwem", status=1)["path"] == "qwem"


@pytest.mark.model
def test_show_tells_what_is_known_and_from_where(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own / "smol.gguf").symlink_to(GGUF)
    (own / "tokenizer.json").write_text("{}")
    found = output(capsys, "show", "smol")
    assert found == describe("smol")
    assert (found["name"], found["source"], found["kind"]) == ("smol", "own", "gguf")
    assert (found["path"], found["tokenizer"]) == (str(own / "smol.gguf"), str(own / "tokenizer.json"))
    assert found["facts"]["architecture"] == "llama"
    assert found["chat_template"]["from"] == "model"
    assert found["plan"]["models"][0]["resident_bytes"] > found["size_bytes"] > 1 << 20
    (own / "chat_template.jinja").write_text("{{ messages }}")
    assert describe("smol")["chat_template"]["path"] == str(own / "chat_template.jinja")
    (own / "chat_template.jinja").write_text("{% broken")
    assert describe("smol")["chat_template"]["problem"]
    assert main(["show", "smol"]) == 0
    assert "chat_template.jinja" in capsys.readouterr().out


def test_show_tells_what_a_modelfile_says(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = home / "RKLLAMA/models/qwen2.5:3b"
    rkllm(folder / "Qwen2.5-3B_W8A8_RK3588.rkllm")
    (folder / "Modelfile").write_text(
        'FROM="Qwen2.5-3B_W8A8_RK3588.rkllm"\nHUGGINGFACE_PATH="Qwen/Qwen2.5-3B"\n'
        'SYSTEM="Be brief.\nBe \\"kind\\"."\nTEMPERATURE=0.7\n'
    )
    found = output(capsys, "show", "qwen2.5:3b")
    assert found["system"] == found["modelfile"]["system"] == 'Be brief.\nBe "kind".'
    assert found["modelfile"]["settings"] == {"HUGGINGFACE_PATH": "Qwen/Qwen2.5-3B", "TEMPERATURE": "0.7"}
    assert (found["hints"]["chip"], found["hints"]["dtype"]) == ("rk3588", "w8a8")
    assert main(["show", "qwen2.5:3b"]) == 0
    assert "Be brief." in capsys.readouterr().out
    # It is of the model that it names, and of no other one.
    other = rkllm(folder / "other.rkllm")
    assert modelfile(str(other)) is None
    assert modelfile(find("qwen2.5:3b")) is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM=a.rkllm\nSYSTEM='x # y'\n", {"FROM": "a.rkllm", "SYSTEM": "x # y"}),
        ("FROM ./a.gguf\nSYSTEM You are Mario.\n", {"FROM": "./a.gguf", "SYSTEM": "You are Mario."}),
        (
            'SYSTEM """\nTwo\nlines\n"""\nPARAMETER temperature 1\n',
            {"SYSTEM": "Two\nlines", "TEMPERATURE": "1"},
        ),
        ("# FROM=x\n\nexport num_ctx = 4096 # tokens\n", {"NUM_CTX": "4096"}),
        ('SYSTEM="not closed\nFROM=b\n', {"SYSTEM": '"not closed', "FROM": "b"}),
        ("", {}),
        ("\0\xff=\n=1\n", {}),
    ],
)
def test_both_kinds_of_modelfile_are_read(text: str, expected: dict[str, str]) -> None:
    assert parsed(text) == expected


def test_rm_asks_and_no_answer_means_no(own: Path) -> None:
    path = rkllm(own / "qwen/model.rkllm")
    for answer in (None, "", "\n", "n\n", "yes, but not now\n"):
        done = answered("rm", "qwen", answer=answer)
        assert done.returncode == 1, answer
        assert path.exists(), answer
        assert str(path) in done.stderr  # the question says what would go
    assert answered("rm", "qwen", answer="y\n").returncode == 0
    assert not path.parent.exists()
    assert own.exists()


def test_rm_removes_the_model_and_no_more(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [gguf(own / f"big/q4-0000{at}-of-00002.gguf") for at in (1, 2)]
    size = sum(part.stat().st_size for part in parts)
    (own / "big/notes.txt").write_text("kept")
    linked = rkllm(tmp_path / "elsewhere.rkllm")
    (own / "link.rkllm").symlink_to(linked)
    (removed,) = output(capsys, "rm", "--yes", "big")
    assert (removed["freed_bytes"], removed["files"]) == (size, list(map(str, parts)))
    assert os.listdir(own / "big") == ["notes.txt"]
    assert (remove("link").freed_bytes, linked.exists()) == (0, True)
    assert not (own / "link.rkllm").is_symlink()
    # By its path, too; but not what lies in no folder of models.
    here = rkllm(own / "here.rkllm")
    with pytest.raises(InvalidArgumentError):
        remove(str(linked))
    with pytest.raises(ModelNotFoundError):
        remove("none")
    remove(str(here))
    assert not here.exists()
    assert linked.exists()


def test_rm_takes_the_data_of_the_hubs_cache(home: Path) -> None:
    first = cached(home, "o/r", "a.rkllm")
    second = cached(home, "o/r", "b.rkllm")
    old = cached(home, "o/r", "a.rkllm", commit="old", ref=None)
    shared = cached(home, "o/r", "same.gguf", commit="c0ffee")
    folder = shared.parents[2]
    rkllm(folder / "blobs/c0ffee-same.gguf", gguf(home / "x.gguf").read_bytes())
    (folder / "snapshots/old/other.gguf").symlink_to("../../blobs/c0ffee-same.gguf")
    cached(home, "o/r", "tokenizer.json")
    remove("hub:o/r/same.gguf")
    assert find("hub:o/r/other.gguf")  # another name of the same data
    gone = remove("o/r/a.rkllm")
    assert gone.freed_bytes == 4
    assert not first.is_symlink()
    assert not old.is_symlink()
    assert second.exists()
    remove("hub:o/r/other.gguf")
    assert (folder / "snapshots/c0ffee/tokenizer.json").exists()
    remove("b")  # the last model: the small files go with it
    assert not folder.exists()
    # Weights of another kind are not ours to remove.
    keep = cached(home, "o/t", "model.safetensors")
    cached(home, "o/t", "model.gguf")
    rkllm(keep.parents[2] / "blobs/c0ffee-model.gguf", gguf(home / "x.gguf").read_bytes())
    remove("hub:o/t")
    assert keep.exists()
    assert installed() == []


@pytest.mark.parametrize("words", [["show", "none"], ["rm", "--yes", "none"]])
def test_an_unknown_model_is_told_in_a_line(
    words: list[str], own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rkllm(own / "nine.rkllm")
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "nine" in said
    assert said.startswith("rkllm-rs: ")
