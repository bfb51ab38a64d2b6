"""``rkllm-rs plan``, ``rkllm_rs.models.plan``, and the domains that models are opened in."""

from __future__ import annotations

import json
import os
import struct
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls
from rkllm_rs import InvalidArgumentError
from rkllm_rs.cli import main
from rkllm_rs.models import plan
from support import both_ends

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Opener

GIB = 1 << 30


def board(folder: Path, *, chip: str = "rk3588", free: int = 64 * GIB, **files: str) -> Path:
    """The files of a board with so much memory."""
    contents = {
        "proc/device-tree/compatible": f"vendor,board\0rockchip,{chip}\0",
        "proc/meminfo": f"MemTotal: {free // 1024} kB\nMemAvailable: {free // 1024} kB\nCmaFree: 1024 kB\n",
        "sys/module/rknpu/version": "0.9.8\n",
        **{name.replace("__", "/"): text for name, text in files.items()},
    }
    for name, text in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def sparse(path: Path, size: int, begin: bytes = b"\xe5" * 4096) -> Path:
    """A file of that size that takes no room."""
    path.write_bytes(begin)
    os.truncate(path, size)
    return path


def gguf(numbers: dict[str, int]) -> bytes:
    """A GGUF file without tensors, with these numbers of its architecture."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1 + len(numbers))
    head += text("general.architecture") + struct.pack("<I", 8) + text("llama")
    for name, value in numbers.items():
        head += text(f"llama.{name}") + struct.pack("<II", 4, value)
    return head


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return board(tmp_path / "root")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return sparse(tmp_path / "small.rkllm", GIB)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    return sparse(tmp_path / "large.rkllm", 9 * GIB)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return sparse(tmp_path / "vision.rknn", GIB, b"RKNN" + bytes(64))


def bases(root: Path, *files: Path, **keywords: Any) -> list[tuple[int | None, int]]:
    found = plan(files, root=root, **keywords)
    assert found.fits, found.problems
    assert found.assumptions
    taken: set[int] = set()
    for model in found.models:
        if model.base_domain_id is not None:
            own = set(range(model.base_domain_id, model.base_domain_id + model.domains))
            assert not own & taken
            assert max(own) <= 15
            taken |= own
    return [(model.base_domain_id, model.domains) for model in found.models]


def test_where_models_lie(root: Path, small: Path, large: Path, encoder: Path) -> None:
    assert bases(root, small) == [(0, 1)]
    assert bases(root, large) == [(1, 3)]
    assert bases(root, small, small) == [(0, 1), (1, 1)]
    assert bases(root, encoder, small) == [(0, 1), (1, 1)]
    assert bases(root, small, encoder, large, small) == [(1, 1), (0, 1), (2, 3), (5, 1)]


@pytest.mark.parametrize("chip", ["rk3562", "rv1126b"])
def test_chips_whose_models_stay_in_domain_0(tmp_path: Path, chip: str, small: Path, encoder: Path) -> None:
    root = board(tmp_path / chip, chip=chip)
    assert [model.base_domain_id for model in plan([small, encoder], root=root).models] == [0, 0]
    assert bases(root, small, small) == [(0, 1), (1, 1)]
    big = sparse(small.with_name("big.rkllm"), 3 * GIB)
    assert not plan([big, encoder], root=root).fits


def test_a_release_with_one_domain(root: Path, small: Path, large: Path, encoder: Path) -> None:
    assert bases(root, small, release="1.1.4") == [(0, 1)]
    for files in ([small, small], [large], [large, encoder]):
        found = plan(files, root=root, release="1.1.4")
        assert not found.fits
        assert {model.base_domain_id for model in found.models} == {0}
    assert bases(root, large, release="1.2.1") == [(1, 3)]


@pytest.mark.parametrize(
    ("release", "problems"), [("1.1.4", 1), ("1.2.0", 1), ("1.2.1", 1), ("1.2.2", 0), ("1.4.0", 0)]
)
def test_a_release_with_one_model_in_a_process(root: Path, small: Path, release: str, problems: int) -> None:
    assert len(plan([small, small], root=root, release=release).problems) == problems
    assert plan([small], root=root, release=release).fits


def test_what_is_no_release(root: Path, small: Path) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        plan(small, root=root, release="newest")
    assert caught.value.hint


def test_what_does_not_fit(tmp_path: Path, root: Path, small: Path, large: Path) -> None:
    full = board(tmp_path / "full", free=GIB)
    for where, files in (
        (full, [small]),
        (root, [sparse(tmp_path / "huge.rkllm", 60 * GIB)]),
        (board(tmp_path / "cma", var__log__dmesg="RKNPU fdab0000.npu: using non-iommu mode\n"), [small]),
        (board(tmp_path / "armhf", **{"lib__ld-linux-armhf.so.3": ""}), [large]),
        (root, [sparse(tmp_path / "a-rk3576-w8a8.rkllm", GIB)]),
        (root, [sparse(tmp_path / "empty.rkllm", 0, b"")]),
    ):
        found = plan(files, root=where)
        assert not found.fits, where
        assert all(problem.summary and problem.fix for problem in found.problems)
    fits = board(tmp_path / "lib64", **{"lib__ld-linux-aarch64.so.1": ""})
    assert plan(large, root=fits).fits


def test_the_context_counts(root: Path, small: Path, tmp_path: Path) -> None:
    short, long = (plan(small, root=root, max_context_len=size).models[0] for size in (512, 8192))
    assert long.context_bytes == 16 * short.context_bytes
    assert long.resident_bytes - short.resident_bytes == long.context_bytes - short.context_bytes
    assert short.resident_bytes > GIB + short.context_bytes
    numbers = {
        "block_count": 10,
        "embedding_length": 512,
        "attention.head_count": 8,
        "attention.head_count_kv": 2,
        "context_length": 1000,
    }
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf(numbers))
    (model,) = plan(path, root=root).models
    # Keys and values of 2 heads of 64, in 16 bits, in 10 layers.
    assert model.context_bytes == 1000 * 10 * 2 * 64 * 2 * 2
    assert (model.base_domain_id, model.domains) == (None, 0)


def test_an_unknown_machine_is_assumed(tmp_path: Path, small: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    found = plan(small, root=empty)
    assert found.fits
    assert found.models[0].base_domain_id == 0
    hostile = board(tmp_path / "hostile")
    (hostile / "proc/meminfo").unlink()
    os.mkfifo(hostile / "proc/meminfo")
    assert plan(small, root=hostile).fits


def test_the_command(root: Path, small: Path, large: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "--root", os.fspath(root), "--max-context-len", "1024", "--release", "1.3.0"]
    assert main([*words, "--json", os.fspath(small), os.fspath(large)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) >= {"fits", "assumptions", "problems", "models"}
    assert [model["path"] for model in found["models"]] == [os.fspath(small), os.fspath(large)]
    assert {type(model["base_domain_id"]) for model in found["models"]} == {int}
    assert main([*words, os.fspath(large)]) == 0
    assert "base_domain_id=1" in capsys.readouterr().out
    assert main(["plan", "--root", os.fspath(root), os.fspath(small) + "x"]) == 1
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["plan", "--max-context-len", "0", os.fspath(small)])


def opened(record: Path) -> list[int]:
    params = [call["param"] for call in calls(record, "rkllm_init")]
    return [param["extend_param"]["base_domain_id"] for param in params]


@pytest.mark.hazard("M3", "M4")
def test_models_of_a_program_lie_apart(open_model: Opener, record: Path) -> None:
    first, second = open_model(["a"]), open_model(["b"])
    assert opened(record) == [0, 1]
    assert first.info.chosen.get("base_domain_id") is None
    assert second.info.chosen["base_domain_id"] == 1
    third = open_model(["c"], base_domain_id=0)
    assert "base_domain_id" not in third.info.chosen
    first.close()
    third.close()
    open_model(["d"])
    assert opened(record)[2:] == [0, 0]


@both_ends
def test_the_oldest_release_has_one_domain(open_model: Opener, record: Path, abi_version: str) -> None:
    for _ in range(2):
        with open_model(["a"]) as model:
            assert "base_domain_id" not in model.info.chosen
    assert opened(record) == [0, 0], abi_version
