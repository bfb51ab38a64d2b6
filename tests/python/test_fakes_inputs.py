"""What each fake does with batches, embeddings, cross attention, and modes that give matrices."""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING, Any

import pytest

from fake_driver import Fake, Member, opened, opened_batch, recorded
from fakes import GENERATIONS, calls, fake_model

if TYPE_CHECKING:
    from pathlib import Path

    from fake_driver import Prompt

every_generation = pytest.mark.parametrize("generation", GENERATIONS)
since_1_2_1 = pytest.mark.parametrize("generation", GENERATIONS[2:])


def embedding(fake: Fake, values: list[float], tokens: int) -> Member:
    fields = {"embed": fake.floats(values), "n_tokens": fake.pointer(tokens)}
    return Member(2, "RKLLMEmbedInput", fields)


@since_1_2_1
def test_rows_of_a_batch_end_at_their_own_time(tmp_path: Path, generation: str) -> None:
    rows: list[list[Any]] = [["a"], ["b", {"text": "c", "id": 40, "repeat": 2}, {"echo": True}]]
    runs = [{"rows": rows, "steps": [{"echo": True}, "s"]}]
    fake = opened_batch(tmp_path, 3, generation=generation, runs=runs, record_tokens=True)
    prompts: list[Prompt] = [b"one", b"two", [3, 4]]
    assert fake.run(prompts) == 0
    over = (None, -1)
    assert fake.batches == [
        [(b"a", 1), (b"b", 1), (b"3 4", 1)],
        [over, (b"c", 40), (b"s", 2)],
        [over, (b"c", 40), over],
        [over, (b"two", 4), over],
        [over, over, over],
    ]
    assert [state for state, _, _ in fake.seen] == [0, 0, 0, 0, 2]
    record = tmp_path / "record.jsonl"
    assert calls(record, "token")[1]["ids"] == [-1, 40, 2]
    (end,) = calls(record, "run_end")
    assert (end["end"], end["tokens"], end["row_tokens"]) == ("played", 4, [1, 4, 2])
    (run,) = calls(record, "rkllm_run")
    assert [one["input_type"] for one in run["inputs"]] == [0, 0, 1]
    # The last row's figures are its own.
    assert fake.perf
    assert (fake.perf[1], fake.perf[3]) == (2, 2)


def test_a_batch_obeys_limits_and_aborts(tmp_path: Path) -> None:
    rows = [["a"], ["b"]]
    runs: list[dict[str, Any]] = [
        {"rows": rows, "repeat": 100, "obey_max_new_tokens": True},
        {"rows": [[], ["b"]], "repeat": 100},
        {"rows": rows, "repeat": 100},
        {"rows": [[], []]},
    ]
    fake = opened_batch(tmp_path, 2, runs=runs)
    assert fake.run([b"x", b"y"], infer={"max_new_tokens": struct.pack("<i", 3)}) == 0
    assert len(fake.batches) == 4
    assert fake.batches.pop() == [(None, -1), (None, -1)]
    fake.batches.clear()
    fake.answer = lambda _count: fake.call("rkllm_abort") if len(fake.batches) == 2 else 0
    assert fake.run([b"x", b"y"]) == 0
    assert fake.batches[1:] == [[(None, -1), (b"b", 2)], [(None, -1), (None, 0)]]
    fake.answer = lambda _count: 1
    fake.batches.clear()
    assert fake.run([b"x", b"y"]) == 0
    assert fake.batches == [[(b"a", 1), (b"b", 1)]]
    fake.batches.clear()
    assert fake.run([b"x", b"y"]) == 0
    assert fake.batches == [[(None, -1), (None, -1)]]
    ends = [line["end"] for line in calls(tmp_path / "record.jsonl", "run_end")]
    assert ends == ["played", "aborted", "paused", "played"]


@since_1_2_1
def test_matrices_of_a_batch_tell_the_rows_apart(tmp_path: Path, generation: str) -> None:
    script: dict[str, Any] = {"hidden": {"width": 2, "start": 1}, "logits": {"rows": 1, "width": 3}}
    fake = opened_batch(tmp_path, 2, generation=generation, **script)
    prompts: list[Prompt] = [[5, 6], embedding(fake, [0.0] * 12, 3)]
    assert fake.run(prompts, mode=1) == 0
    assert [values for _, values, _ in fake.matrices] == [
        [1.0, 2.0, 3.0, 4.0],
        [1001.0, 1002.0, 1003.0, 1004.0, 1005.0, 1006.0],
    ]
    fake.matrices.clear()
    assert fake.run([[5, 6], [7]], mode=2) == 0
    assert [values for _, values, _ in fake.matrices] == [[0.0, 1.0, 2.0], [1000.0, 1001.0, 1002.0]]
    shown = calls(tmp_path / "record.jsonl", "callback")
    assert [line["rows"] for line in shown] == [[2, 3], [1, 1]]


@every_generation
def test_matrices_may_come_in_several_callbacks(tmp_path: Path, generation: str) -> None:
    hidden = [{"rows": 2, "width": 1}, {"rows": 1, "width": 1, "start": 2}]
    runs: list[dict[str, Any]] = [{"hidden": hidden, "normal_first": True}, {}]
    fake = opened(tmp_path, generation, runs=runs, hidden={"rows": 1, "width": 1})
    assert fake.run(mode=1) == 0
    state = 4 if generation == "v1_1_0" else 0
    assert fake.seen == [(0, b"", 0), (state, None, 0), (state, None, 0), (2, None, 0)]
    assert [values for _, values, _ in fake.matrices] == [[0.0, 1.0], [2.0]]
    fake.seen.clear()
    assert fake.run(mode=1) == 0
    assert [its for its, _, _ in fake.seen] == [state, 2]
    shown = calls(tmp_path / "record.jsonl", "callback")
    assert [line["rows"] for line in shown] == [[], [2], [1], [1]]


def test_an_abort_between_matrices_ends_the_run(tmp_path: Path) -> None:
    logits = [{"rows": 1, "width": 1}] * 3
    fake = opened(tmp_path, "v1_3_0", normal_first=True, runs=[{"logits": logits, "delay_ms": 1}])
    fake.answer = lambda count: fake.call("rkllm_abort") if count == 2 else 0
    assert fake.run(mode=2) == 0
    assert [state for state, _, _ in fake.seen] == [0, 0, 2]
    fake.answer = lambda _count: 1
    assert fake.run(mode=2) == 0
    assert [state for state, _, _ in fake.seen] == [0, 0, 2, 0]


@every_generation
def test_embeddings_can_be_read_whole(tmp_path: Path, generation: str) -> None:
    fake = opened(tmp_path, generation, read_embed=6, hidden={"width": 1})
    assert fake.run(embedding(fake, [0.1, 2.0, 3.0, 4.0, 5.0, 6.0], 3), mode=1) == 0
    assert [values for _, values, _ in fake.matrices] == [[0.0, 1.0, 2.0]]
    (run,) = calls(tmp_path / "record.jsonl", "rkllm_run")
    assert run["input"]["embed_input"] == {"embed": [0.1, 2.0, 3.0], "n_tokens": 3}
    (read,) = calls(tmp_path / "record.jsonl", "embeddings")
    assert read["row"] == 0
    assert read["embed"].pop("sum") == pytest.approx(20.1)
    assert read["embed"] == {"count": 6, "first": [0.1, 2.0, 3.0, 4.0], "last": [3.0, 4.0, 5.0, 6.0]}
    assert "image" not in read


@pytest.mark.parametrize("generation", GENERATIONS[:3])
def test_images_are_recorded(tmp_path: Path, generation: str) -> None:
    fake = opened(tmp_path, generation, runs=[{"steps": [{"echo": True}], "read_embed": 8}])
    name = next(name for name in fake.layouts if name.startswith("RKLLMMultiMod"))
    sizes = [field for field in fake.layouts[name]["fields"] if field not in ("prompt", "image_embed")]
    fields = {field: fake.pointer(at + 2) for at, field in enumerate(sizes)}
    fields |= {"prompt": fake.text(b"see <image>"), "image_embed": fake.floats(range(8))}
    assert fake.run(Member(3, name, fields)) == 0
    assert fake.texts() == [b"see <image>"]
    (run,) = calls(tmp_path / "record.jsonl", "rkllm_run")
    shown = run["input"]["multimodal_input"]
    assert (shown.pop("prompt"), shown.pop("image_embed")) == ("see <image>", [0.0, 1.0])
    assert shown == {field: at + 2 for at, field in enumerate(sizes)}
    assert ("n_image" in shown) == (generation != "v1_1_0")
    (read,) = calls(tmp_path / "record.jsonl", "embeddings")
    assert (read["image"]["count"], read["image"]["sum"]) == (8, 28.0)


def test_images_and_videos_are_recorded(tmp_path: Path) -> None:
    sizes = [{"image": 4, "video": 10}, {"image": 2}]
    fake = opened_batch(tmp_path, 2, runs=[{"steps": [{"echo": True}], "read_embed": sizes}])
    name = "RKLLMMultiModalInput"
    fields = {"prompt": fake.text(b"<image> <video>")}
    expected: dict[str, dict[str, Any]] = {"image": {}, "video": {}}
    for at, path in enumerate(fake.layouts[name]["fields"]):
        outer, _, field = path.partition(".")
        if field in ("image_embed", "video_embed"):
            fields[path] = fake.floats(range(10))
            expected[outer][field] = [0.0, 1.0, 2.0] if outer == "image" else [0.0, 1.0]
        elif field.endswith(("_start", "_end", "_content")):
            fields[path] = fake.text(path.encode())
            expected[outer][field] = path
        elif field:
            expected[outer][field] = {"n_image_tokens": 3, "n_frame_tokens": 2}.get(field, at + 10)
            fields[path] = fake.pointer(expected[outer][field])
    assert fake.run([Member(3, name, fields), Member(3, name, fields)]) == 0
    (run,) = calls(tmp_path / "record.jsonl", "rkllm_run")
    for one in run["inputs"]:
        assert one["multimodal_input"] == {"prompt": "<image> <video>", **expected}
    first, second = calls(tmp_path / "record.jsonl", "embeddings")
    assert (first["image"]["sum"], first["video"]["sum"]) == (6.0, 45.0)
    assert (second["row"], second["image"]["count"], second["video"]["count"]) == (1, 2, 0)


@since_1_2_1
def test_cross_attention_is_read_again_at_each_run(tmp_path: Path, generation: str) -> None:
    fake = opened(tmp_path, generation, cross={"k": 6, "v": 5}, runs=[{"steps": ["a"]}])
    arrays: list[Any] = [
        (ctypes.c_float * 6)(*range(6)),
        (ctypes.c_float * 5)(*range(10, 15)),
        (ctypes.c_float * 3)(1, 0.5, 0),
        (ctypes.c_int32 * 3)(7, 8, 9),
    ]
    pointers = b"".join(fake.pointer(ctypes.addressof(array)) for array in arrays)
    params = ctypes.create_string_buffer(pointers + struct.pack("<q", 3))
    assert fake.run() == 0
    assert fake.call("rkllm_set_cross_attn_params", params) == 0
    ctypes.memset(params, 0, len(params))
    arrays[1][2] = 100.0
    assert fake.run() == 0
    record = tmp_path / "record.jsonl"
    (given,) = calls(record, "rkllm_set_cross_attn_params")
    assert given["params"]["encoder_k_cache"] == [0.0, 1.0, 2.0]
    assert given["k"] == {"count": 6, "sum": 15.0, "first": [0, 1, 2, 3], "last": [2, 3, 4, 5]}
    assert given["v"] == {"count": 5, "sum": 60.0, "first": [10, 11, 12, 13], "last": [11, 12, 13, 14]}
    assert given["mask"] == {"count": 3, "sum": 1.5, "first": [1, 0.5, 0], "last": [1, 0.5, 0]}
    assert given["positions"] == {"count": 3, "sum": 24.0, "first": [7, 8, 9], "last": [7, 8, 9]}
    (again,) = calls(record, "cross_attention")
    assert [again[name] for name in ("k", "mask", "positions")] == [
        given[name] for name in ("k", "mask", "positions")
    ]
    assert again["v"]["sum"] == 148.0


def test_misspelt_keys_are_errors(tmp_path: Path) -> None:
    fake = recorded(tmp_path, "v1_3_0")
    wrong: list[dict[str, Any]] = [
        {"hidden": [{"rows": 1, "widht": 2}]},
        {"read_embed": {"images": 2}},
        {"cross": {"q": 1}},
        {"runs": [{"ask": [{"tokenize": "x", "width": 3}]}]},
        {"runs": [{"rows": [{"text": "not a list"}]}]},
    ]
    for script in wrong:
        assert fake.init(fake_model(tmp_path, **script)) == -1
