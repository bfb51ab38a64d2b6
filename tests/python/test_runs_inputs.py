"""Every byte of the input structs, of all kinds, in all layouts."""

from __future__ import annotations

from typing import Any

import pytest

from fakes import ABI_VERSIONS, LAYOUTS, calls, fake_library
from rkllm_rs import Embeddings, Multimodal, Tokens
from surface import generate_batch
from test_fields import NULL, SET, check, digest, fields_of, floats

SINCE_1_2_0 = ABI_VERSIONS[1:]
SINCE_1_2_1 = ABI_VERSIONS[2:]

#: Where the size of an input counts, and all of it.
every_layout = pytest.mark.parametrize("abi_version", LAYOUTS)

IMAGE = {"prompt": SET, "image_embed": SET, "n_image_tokens": 3}
SEVERAL = {"n_image": 2, "image_width": 640, "image_height": 480}
MARKERS = ("start", "end", "content")


def check_input(
    abi_version: str, shown: dict[str, Any], kind: int, member: str, value: Any, **row: Any
) -> None:
    """Compares an RKLLMInput."""
    values = {"role": SET, "enable_thinking": False, "input_type": kind} | row
    union = {"prompt_input", "embed_input", "token_input", "multimodal_input"}
    own = {field: values[field] for field in fields_of(abi_version, "RKLLMInput") if field not in union}
    check(abi_version, "RKLLMInput", shown["raw_hex"], own | {member: value})


def test_text(open_model, record, abi_version):
    open_model(["a"]).generate("Grüße")
    (run,) = calls(record, "rkllm_run")
    check_input(abi_version, run["input"], 0, "prompt_input", SET)
    assert run["input"]["prompt_input"] == "Grüße"


@pytest.mark.parametrize("abi_version", SINCE_1_2_1)
def test_role_and_thinking(open_model, record, abi_version):
    open_model(["a"]).generate("x", role="tool", thinking=True)
    (run,) = calls(record, "rkllm_run")
    check_input(abi_version, run["input"], 0, "prompt_input", SET, enable_thinking=True)
    assert run["input"]["role"] == "tool"


def test_tokens(open_model, record, abi_version):
    ids = [5, 0, 2**31 - 1]
    open_model(["a"]).generate(Tokens(ids))
    (run,) = calls(record, "rkllm_run")
    check_input(abi_version, run["input"], 1, "token_input", {"input_ids": SET, "n_tokens": 3})
    assert run["input"]["token_input"] == {"input_ids": ids, "n_tokens": 3}


def test_embeddings(open_model, record, abi_version):
    open_model({"runs": [{"steps": ["a"], "read_embed": 20}]}).generate(Embeddings(floats(0.5, 5, 4)))
    (run,) = calls(record, "rkllm_run")
    check_input(abi_version, run["input"], 2, "embed_input", {"embed": SET, "n_tokens": 5})
    assert calls(record, "embeddings")[0]["embed"] == digest(0.5, 20)


def multimodal(
    abi_version: str,
    images: dict[str, Any],
    videos: dict[str, Any] | None = None,
    audios: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Values of the multimodal struct, whatever it looks like; what is not given is 0 or NULL."""
    values: dict[str, Any] = {}
    for path in fields_of(abi_version, name_of(abi_version)):
        outer, _, field = path.rpartition(".")
        given = {"video": videos, "audio": audios}.get(outer, images) or {}
        empty: Any = 0
        if field.endswith("_embed"):
            empty = NULL
        elif field.endswith(MARKERS):
            # Never NULL: the library makes strings of them.
            empty = SET
        values[path] = given.get(field, empty)
    return values


def name_of(abi_version: str) -> str:
    """The struct, as the union's member has it."""
    return fields_of(abi_version, "RKLLMInput")["multimodal_input"]


@every_layout
def test_one_image(open_model, record, abi_version):
    model = open_model({"runs": [{"steps": ["a"], "read_embed": 12}]})
    model.generate(Multimodal("see <image>!", floats(0.5, 3, 4)))
    (run,) = calls(record, "rkllm_run")
    value = multimodal(abi_version, IMAGE | {"n_image": 1})
    check_input(abi_version, run["input"], 3, "multimodal_input", value)
    assert run["input"]["multimodal_input"]["prompt"] == "see <image>!"
    assert calls(record, "embeddings")[0]["image"] == digest(0.5, 12)


@pytest.mark.parametrize("abi_version", SINCE_1_2_0)
def test_several_images_with_sizes(tmp_path, open_model, record, abi_version):
    library = None
    if abi_version == "v1_2_0":
        # 1.2.0 itself knows one image only.
        banner = "RKLLM SDK (version: 1.2.1b1 | target: Linux | build: fake)"
        library = fake_library(tmp_path / "b1", abi_version, banner=banner, record=record, quiet=True)
    model = open_model(
        {"runs": [{"steps": ["a"], "read_embed": 24}]}, **({"library": library} if library else {})
    )
    images = Multimodal("<image> and <image>", floats(0.5, 2, 3, 4), image_width=640, image_height=480)
    model.generate(images)
    (run,) = calls(record, "rkllm_run")
    check_input(abi_version, run["input"], 3, "multimodal_input", multimodal(abi_version, IMAGE | SEVERAL))
    assert calls(record, "embeddings")[0]["image"] == digest(0.5, 24)


@pytest.mark.parametrize("abi_version", LAYOUTS[3:])
def test_images_and_videos_with_markers(open_model, record, abi_version):
    video = {
        "video_embed": SET, "n_frame_tokens": 2, "n_frame_per_video": 5, "n_video": 2,
        "frame_width": 320, "frame_height": 200,
    }  # fmt: skip
    marks = {f"{kind}_{end}": f"<{kind}{end}>" for kind in ("image", "video") for end in MARKERS}
    model = open_model({"runs": [{"steps": ["a"], "read_embed": {"image": 24, "video": 80}}]})
    given = Multimodal(
        "<image><image> <video><video>",
        floats(0.5, 2, 3, 4),
        n_image=2, n_image_tokens=3, image_width=640, image_height=480,
        video_embed=floats(0.25, 2, 5, 2, 4),
        n_video=2, n_frame_per_video=5, n_frame_tokens=2, frame_width=320, frame_height=200,
        **marks,
    )  # fmt: skip
    model.generate(given)
    (run,) = calls(record, "rkllm_run")
    check_input(
        abi_version, run["input"], 3, "multimodal_input", multimodal(abi_version, IMAGE | SEVERAL, video)
    )
    shown = run["input"]["multimodal_input"]
    assert {name: shown[name[:5]][name] for name in marks} == marks
    (read,) = calls(record, "embeddings")
    assert (read["image"], read["video"]) == (digest(0.5, 24), digest(0.25, 80))


@pytest.mark.parametrize("abi_version", ["v1_3_1"])
def test_a_video_alone(open_model, record, abi_version):
    model = open_model({"runs": [{"steps": ["a"], "read_embed": {"video": 24}}]})
    model.generate(Multimodal("<video>", video_embed=floats(0.25, 3, 2, 4)))
    (run,) = calls(record, "rkllm_run")
    video = {"video_embed": SET, "n_frame_tokens": 2, "n_frame_per_video": 3, "n_video": 1}
    value = multimodal(abi_version, {"prompt": SET}, video)
    check_input(abi_version, run["input"], 3, "multimodal_input", value)
    assert calls(record, "embeddings")[0]["video"] == digest(0.25, 24)


SOUND = {"audio_embed": SET, "n_audio_tokens": 3, "n_audio": 2}


@pytest.mark.parametrize("abi_version", ["v1_3_1"])
def test_sounds_with_markers(open_model, record, abi_version):
    marks = {f"audio_{end}": f"<a {end}>" for end in MARKERS}
    model = open_model({"runs": [{"steps": ["a"], "read_embed": {"image": 12, "audio": 24}}]})
    given = Multimodal(
        "<audio><image><audio>",
        floats(0.5, 3, 4),
        audio_embed=floats(0.25, 2, 3, 4),
        n_audio=2, n_audio_tokens=3,
        **marks,
    )  # fmt: skip
    model.generate(given)
    (run,) = calls(record, "rkllm_run")
    value = multimodal(abi_version, IMAGE | {"n_image": 1}, audios=SOUND)
    check_input(abi_version, run["input"], 3, "multimodal_input", value)
    shown = run["input"]["multimodal_input"]["audio"]
    assert {name: shown[name] for name in marks} == marks
    (read,) = calls(record, "embeddings")
    assert (read["image"], read["audio"]) == (digest(0.5, 12), digest(0.25, 24))


@pytest.mark.parametrize("abi_version", ["v1_3_1"])
def test_one_sound_alone(open_model, record, abi_version):
    model = open_model({"runs": [{"steps": ["a"], "read_embed": {"audio": 12}}]})
    model.generate(Multimodal("hear <audio>", audio_embed=floats(0.25, 3, 4)))
    (run,) = calls(record, "rkllm_run")
    sound = SOUND | {"n_audio": 1}
    check_input(
        abi_version,
        run["input"],
        3,
        "multimodal_input",
        multimodal(abi_version, {"prompt": SET}, audios=sound),
    )
    assert calls(record, "embeddings")[0]["audio"] == digest(0.25, 12)


@pytest.mark.parametrize("abi_version", ["v1_3_1"])
def test_sounds_in_each_row_of_a_batch(open_model, record, abi_version):
    sizes = [{"audio": 12}, {"image": 8, "audio": 24}, {"video": 16}]
    model = open_model({"runs": [{"steps": ["a"], "read_embed": sizes}]}, n_batch=3)
    answers = generate_batch(
        model,
        [
            Multimodal("<audio>", audio_embed=floats(1, 3, 4)),
            Multimodal("<audio><image><audio>", floats(5, 2, 4), audio_embed=floats(2, 2, 3, 4)),
            Multimodal("<video>", video_embed=floats(3, 2, 2, 4)),
        ],
    )
    assert [answer.text for answer in answers] == ["a"] * 3
    (run,) = calls(record, "rkllm_run")
    first, second, third = run["inputs"]
    prompt = {"prompt": SET}
    one, image = SOUND | {"n_audio": 1}, IMAGE | {"n_image_tokens": 2, "n_image": 1}
    video = {"video_embed": SET, "n_frame_tokens": 2, "n_frame_per_video": 2, "n_video": 1}
    for row, value in (
        (first, multimodal(abi_version, prompt, audios=one)),
        (second, multimodal(abi_version, image, audios=SOUND)),
        (third, multimodal(abi_version, prompt, video)),
    ):
        check_input(abi_version, row, 3, "multimodal_input", value)
    read = calls(record, "embeddings")
    assert [row.get("audio") for row in read[:2]] == [digest(1, 12), digest(2, 24)]
    assert (read[1]["image"], read[2]["video"]) == (digest(5, 8), digest(3, 16))


# The stride is the size of the struct, which is all that 1.3.0 and 1.3.1 differ in.
@pytest.mark.hazard("V1")
@pytest.mark.parametrize("abi_version", LAYOUTS[2:])
def test_each_row_of_a_batch(open_model, record, abi_version):
    script = {"runs": [{"steps": ["a"], "read_embed": [0, 0, 8, 12]}]}
    inputs = ["x", Tokens([1, 2]), Embeddings(floats(1, 2, 4)), Multimodal("<image>", floats(9, 3, 4))]
    model = open_model(script, n_batch=4)
    generate_batch(model, inputs, role=["user", "tool", "user", "tool"], thinking=[True, False, True, False])
    (run,) = calls(record, "rkllm_run")
    text, tokens, embeddings, image = run["inputs"]
    check_input(abi_version, text, 0, "prompt_input", SET, enable_thinking=True)
    check_input(abi_version, tokens, 1, "token_input", {"input_ids": SET, "n_tokens": 2})
    check_input(
        abi_version, embeddings, 2, "embed_input", {"embed": SET, "n_tokens": 2}, enable_thinking=True
    )
    check_input(abi_version, image, 3, "multimodal_input", multimodal(abi_version, IMAGE | {"n_image": 1}))
    assert [row["role"] for row in run["inputs"]] == ["user", "tool", "user", "tool"]
    read = calls(record, "embeddings")
    assert (read[2]["embed"], read[3]["image"]) == (digest(1, 8), digest(9, 12))
