"""``rkllm-rs inspect``, ``rkllm_rs.models.inspect``, and the same check before every load."""

from __future__ import annotations

import json
import os
import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls
from rkllm_rs import RKLLM, InvalidTypeError, ModelFormatError, RkllmWarning
from rkllm_rs.cli import main
from rkllm_rs.models import inspect
from support import succeed
from tiny_lora import write_gguf

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Opener

GGUF = os.environ.get("RKLLM_RS_TEST_GGUF", "")
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def text(value: str, mask: int) -> bytes:
    return struct.pack("<Q", len(value)) + bytes(byte ^ mask for byte in value.encode())


def rkllm(mask: int = 0x5A, words: int = 3) -> tuple[bytes, list[int]]:
    """A file like a converted model, with masked texts, and where its parts begin."""
    parts = [bytes(byte ^ mask for byte in b"GGUF"), *(struct.pack("<I", 3),)]
    parts += [struct.pack("<Q", 2), struct.pack("<Q", 4)]
    parts += [text("general.architecture", mask), struct.pack("<I", 8), text("qwen3", mask)]
    parts += [text("rkllm.max_context", mask), struct.pack("<I", 4), struct.pack("<I", 4096)]
    parts += [text("rkllm.core_num", mask), struct.pack("<I", 4), struct.pack("<I", 3)]
    parts += [text("tokenizer.ggml.tokens", mask), struct.pack("<IIQ", 9, 8, words)]
    parts += [text(f"word{at}", mask) for at in range(words)]
    for name, shape, kind, offset in (("token_embd.weight", (64, 1000), 1, 0), ("b", (64,), 0, 128000)):
        parts += [text(name, mask), struct.pack("<I", len(shape)), struct.pack(f"<{len(shape)}Q", *shape)]
        parts += [struct.pack("<I", kind), struct.pack("<Q", offset)]
    head = sum(map(len, parts))
    parts += [bytes(-head % 32), bytes(128000), bytes(256), b"RLLM" + bytes(512)]
    begins = [0]
    for part in parts:
        begins.append(begins[-1] + len(part))
    return b"".join(parts), begins[1:-2]


def told(path: Path, capsys: pytest.CaptureFixture[str], status: int) -> dict[str, Any]:
    assert main(["inspect", "--json", os.fspath(path)]) == status
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found == inspect(path).to_dict()
    return found


def test_a_model_tells_what_it_proves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "Qwen3-0.6B_W8A8_g128_RK3588-v1.2.1.rkllm"
    path.write_bytes(rkllm()[0])
    found = told(path, capsys, 0)
    assert (found["kind"], found["loadable"], found["truncated"]) == ("rkllm", True, False)
    facts = {"tensor_count": 2, "metadata_count": 4, "vocabulary": 1000, "hidden_size": 64}
    assert facts.items() <= found["facts"].items()
    hints = {"chip": "rk3588", "dtype": "w8a8_g128", "toolkit": "1.2.1", "max_context": 4096, "core_num": 3}
    assert found["hints"] == hints
    assert found["problems"] == []
    assert found["last_load"] is None


def test_every_cut_is_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], open_model: Opener, record: Path
) -> None:
    content, begins = rkllm()
    path = tmp_path / "model.rkllm"
    for end in [*begins, begins[-1] + 255]:
        path.write_bytes(content[:end])
        found = told(path, capsys, 1)
        assert found["loadable"] is False, end
        assert found["truncated"] is (True if end >= 24 else None), end
        assert found["problems"][0]["fix"], end
        with pytest.raises(ModelFormatError):
            open_model(path)
    # The library was never asked.
    assert not calls(record, "rkllm_init")


OTHERS: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.rkllm", b"", "empty"),
    "lfs": ("a.rkllm", LFS, "lfs-pointer"),
    "html": ("a.rkllm", b"<!DOCTYPE html><html>404", "html"),
    "part": ("a.rkllm.part", b"\x01" * 4096, "part"),
    "pieces": ("a.rkllm.part-00", b"\x01" * 4096, "part"),
    "rknn": ("vision.rknn", b"RKNN" + bytes(4096), "rknn"),
    "rknn as rkllm": ("vision.rkllm", b"RKNN" + bytes(4096), "rknn"),
    "rknn3": ("model.rknn3", b"\x07" * 4096, "rknn3"),
    "text": ("a.rkllm", b"just a note", "unknown"),
    "other": ("a.zip", b"PK\x03\x04" + bytes(range(256)), "unknown"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], library: Path, record: Path, case: str
) -> None:
    name, content, kind = OTHERS[case]
    path = tmp_path / name
    path.write_bytes(content)
    found = told(path, capsys, 1)
    assert (found["kind"], found["loadable"]) == (kind, False)
    assert found["problems"][0]["fix"]
    if case == "other":
        return  # A library that is named is given whatever its user names.
    with pytest.raises(ModelFormatError) as caught:
        RKLLM(path, library=library)
    assert caught.value.hint
    assert not calls(record)


def test_parts_of_a_gguf_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind, facts in (
        ("adapter", {"general.architecture": "llama", "general.type": "adapter"}),
        ("projector", {"general.architecture": "clip"}),
        ("gguf", {"general.architecture": "llama"}),
    ):
        path = tmp_path / f"{kind}.gguf"
        write_gguf(path, facts, {})
        assert told(path, capsys, int(kind != "gguf"))["kind"] == kind


@pytest.mark.skipif(not GGUF, reason="RKLLM_RS_TEST_GGUF is not set")
def test_a_real_gguf_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(Path(GGUF), capsys, 0)
    assert (found["kind"], found["truncated"]) == ("gguf", False)
    assert (found["facts"]["vocabulary"], found["facts"]["hidden_size"]) == (49152, 576)
    cut = tmp_path / "cut.gguf"
    with open(GGUF, "rb") as file:
        content = file.read()
    cut.write_bytes(content[:-1])
    assert told(cut, capsys, 1)["truncated"] is True
    with pytest.raises(ModelFormatError):
        RKLLM(cut, backend="cpu")


def test_doubts_are_warnings(tmp_path: Path, library: Path) -> None:
    path = tmp_path / "model.rkllm"
    path.write_bytes(b"\xe5" * 4096)
    found = inspect(path)
    assert found.loadable
    assert found.truncated is None
    assert found.problems
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", RkllmWarning)
        # The fake takes scripts only; that it was asked is what counts.
        with pytest.raises(ModelFormatError):
            RKLLM(path, library=library)
    assert any("does not begin like" in str(one.message) for one in seen)


def test_a_path_is_needed() -> None:
    with pytest.raises(InvalidTypeError):
        inspect(5)  # type: ignore[arg-type]


def test_several_files_are_one_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, gone = (tmp_path / name for name in ("a.rkllm", "b.rkllm", "c.rkllm"))
    good.write_bytes(rkllm()[0])
    bad.write_bytes(b"")
    assert main(["inspect", "--json", *map(os.fspath, (good, bad, gone))]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["kind"] for line in lines] == ["rkllm", "empty", "unknown"]
    assert main(["inspect", os.fspath(good)]) == 0
    assert "kind:        rkllm" in capsys.readouterr().out


LINE = (
    "I rkllm: rkllm-toolkit version: 1.2.1, max_context_limit: 2048, npu_core_num: 3, "
    "target_platform: RK3588, model_dtype: W8A8"
)


def test_the_last_load_is_remembered(
    open_model: Opener, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    path = make_model({"init": {"log": [["stderr", LINE]]}})
    assert inspect(path).last_load is None
    open_model(path).close()
    assert inspect(path).last_load == {
        "context_limit": 2048,
        "npu_cores": 3,
        "platform": "RK3588",
        "toolkit_version": "1.2.1",
        "dtype": "W8A8",
    }
    (store,) = (tmp_path / "home/cache/rkllm_rs").glob("*.json")
    entries = json.loads(store.read_text())
    (entry,) = entries.values()
    for wrong in ("many", [], None, {"a": 1}, -5, 1e300):
        for key in ("context_limit", "platform", "npu_cores"):
            store.write_text(json.dumps({os.fspath(path.resolve()): {**entry, key: wrong}, "/x": 7}))
            last = inspect(path).last_load
            assert last is not None
            # A platform may be any text.
            assert key not in last or (key == "platform" and wrong == "many")
            with open_model(path) as model:
                assert model.info.context_limit == 2048
    path.write_text(path.read_text() + " ")
    assert inspect(path).last_load is None


def test_nothing_is_remembered_if_that_is_off(
    open_model: Opener,
    make_model: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RKLLM_RS_CACHE", "off")
    path = make_model({"init": {"log": [["stderr", LINE]]}})
    for _ in range(2):
        with open_model(path) as model:
            assert "max_context_len" not in model.info.chosen
    assert not list(tmp_path.rglob("models.json"))
    assert inspect(path).last_load is None


def test_a_large_directory_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "model.rkllm"
    content, begins = rkllm(words=150_000)
    path.write_bytes(content)

    def read() -> int:
        with open("/proc/self/io", encoding="ascii") as opened:
            return int(opened.readline().split()[1])

    before = read()
    for _ in range(5):
        assert inspect(path).loadable
    # With its head, and what a buffer reads beyond it.
    assert read() - before < 5 * (begins[-2] + 200_000)


HUGE = (1 << 28, 1 << 40, (1 << 64) - 1)


def claims() -> dict[str, bytes]:
    """Heads of models that claim much more than there is, each at another place."""
    files: dict[str, bytes] = {}
    for mask, suffix in ((0, "gguf"), (0x5A, "rkllm")):
        magic = bytes(byte ^ mask for byte in b"GGUF") + struct.pack("<I", 3)
        name = text("general.architecture", mask)
        key = name + struct.pack("<I", 8) + text("llama", mask)
        one = struct.pack("<QQ", 1, 1)
        for huge in HUGE:
            number = struct.pack("<Q", huge)
            heads = {
                "tensors": number + struct.pack("<Q", 1) + key,
                "keys": struct.pack("<Q", 1) + number + key,
                "name": one + number,
                "text": one + name + struct.pack("<I", 8) + number,
                "numbers": one + name + struct.pack("<II", 9, 6) + number,
                "texts": one + name + struct.pack("<II", 9, 8) + number,
                "lists": one + name + struct.pack("<II", 9, 9) + number,
                "tensor": one + key + number,
                "shape": one + key + text("t", mask) + struct.pack("<I", 1) + number,
            }
            files |= {f"{place}-{huge}.{suffix}": magic + head for place, head in heads.items()}
    return files


def test_what_a_file_claims_takes_no_memory(tmp_path: Path, library: Path) -> None:
    """With 32 MB to spare; the files seem to be of a TB, so that nothing is found to be cut before."""
    folder = tmp_path / "claims"
    folder.mkdir()
    for name, head in claims().items():
        with (folder / name).open("wb") as file:
            file.write(head)
            file.truncate(1 << 40)
    code = """
import os, resource
from rkllm_rs.models import inspect
def look(path):
    assert inspect(path).kind in ("gguf", "rkllm", "unknown")
    print(os.path.basename(path))
    if path.endswith(".gguf"):  # its template, too
        try:
            RKLLM(path, library=library, backend="cpu")
        except RkllmError as error:
            assert error.hint
look(sys.argv[3])
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
hard = resource.getrlimit(resource.RLIMIT_AS)[1]
resource.setrlimit(resource.RLIMIT_AS, (now + (32 << 20), hard))
for name in os.listdir(os.fsdecode(model)):
    look(os.path.join(os.fsdecode(model), name))
"""
    lines = succeed(code, library, folder, folder / "name-268435456.gguf")
    assert set(lines) == set(claims())
