"""``rkllm-rs ps``: the processes that have a model open."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from cli import succeeds
from rkllm_rs.cli.processes import processes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "/nonexistent")


def shown() -> dict[int, dict[str, Any]]:
    return {one["pid"]: one for one in json.loads(succeeds("ps", "--json"))["models"]}


@pytest.mark.parametrize("isolate", [True, False])
def test_a_program_with_an_open_model(
    child: Callable[..., Any], library: Path, make_model: Callable[..., Path], *, isolate: bool
) -> None:
    code = """
    llm = RKLLM(model, library=library, isolate=sys.argv[3] == "True")
    say("open", llm.worker_pid or os.getpid())
    sys.stdin.readline()
    """
    model = make_model(["a"])
    running = child(code, library, model, isolate, stdin=subprocess.PIPE)
    pid = int(running.expect("open")[1])
    one = shown()[pid]
    assert one["library"] == str(library)
    assert one["worker_of"] == (running.process.pid if isolate else None)
    # The fake reads its model and closes it, so it is known from the words of the program alone.
    assert (one["model"], one["model_from"]) == (str(model), "command line")
    assert one["resident_bytes"] > 1 << 20
    text = succeeds("ps")
    assert str(model) in text
    assert f"pid {pid}," in text


@pytest.mark.model
def test_the_model_is_known_where_it_is_in_memory(child: Callable[..., Any]) -> None:
    code = (
        "llm = RKLLM(os.environ['MODEL'])\nsay('open', llm.worker_pid or os.getpid())\nsys.stdin.readline()"
    )
    running = child(code, "none", "none", env={**os.environ, "MODEL": MODEL}, stdin=subprocess.PIPE)
    pid = int(running.expect("open")[1])
    one = shown()[pid]
    assert (one["model"], one["model_from"]) == (os.path.realpath(MODEL), "memory map")


def made(root: Path, pid: int, words: list[str], maps: str | None) -> None:
    folder = root / str(pid)
    folder.mkdir(parents=True)
    (folder / "cmdline").write_bytes(b"".join(os.fsencode(word) + b"\0" for word in words))
    if maps is not None:
        (folder / "maps").write_bytes(os.fsencode(maps))


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    library = "7f00-7f01 r-xp 00000000 00:01 5    /opt/my lib/librkllmrt.so\n"
    made(tmp_path, 900_001, ["python", "a.py", "/m/a.rkllm"], f"7e00-7e01 rw-p 0 00:00 0\n{library}")
    made(tmp_path, 900_002, ["ended"], None)
    made(tmp_path, 900_003, [], library)  # of the kernel, or ended
    made(tmp_path, 900_004, ["other"], "7f00-7f01 r-xp 0 00:01 5 /usr/lib/libc.so\n")
    made(tmp_path, 900_005, ["python", "b.py"], f"{library}7f02-7f03 r--p 0 00:01 6 /m/b c.gguf\n")
    made(tmp_path, 900_006, ["python", "/x/rkllm_rs/worker.py", "900001"], library)
    made(tmp_path, 900_007, ["python", "/x/rkllm_rs/worker.py", "900005"], "7f0-7f1 r-xp 0 00:01 5 /own.so\n")
    (tmp_path / "self").mkdir()
    found, hidden = processes(str(tmp_path))
    assert [(one["pid"], one["model"], one["worker_of"]) for one in found] == [
        (900_001, "/m/a.rkllm", None),
        (900_005, "/m/b c.gguf", None),
        (900_006, "/m/a.rkllm", 900_001),
        (900_007, None, 900_005),
    ]
    assert [one["library"] for one in found] == [*["/opt/my lib/librkllmrt.so"] * 3, None]
    assert hidden == 0
    assert processes(str(tmp_path / "none")) == ([], 0)
