"""What inputs are made of, and what is refused before the library sees it.

Long because each kind of input has cases of its own.
"""

from __future__ import annotations

import array
import ctypes
import math
import os

import numpy as np
import pytest

from fakes import LAYOUTS, calls, fake_library
from rkllm_rs import (
    RKLLM,
    ContextLengthError,
    Embeddings,
    InvalidArgumentError,
    InvalidTypeError,
    Multimodal,
    SamplingParams,
    Tokens,
    UnsupportedFeatureError,
)
from support import newest

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")

VALUES = [0.5, -1.0, 2.0, 3.25, 4.0, 5.0]
ROWS = np.array(VALUES, np.float32).reshape(2, 3)


class Interface:
    """An array that has NumPy's interface and nothing else."""

    def __init__(self, source, **changes):
        self.source = source
        self.changes = changes

    @property
    def __array_interface__(self):
        return {**self.source.__array_interface__, **self.changes}


def read_only():
    rows = ROWS.copy()
    rows.flags.writeable = False
    return rows


SOURCES = {
    "numpy": (ROWS, None),
    "numpy, read only": (read_only(), None),
    "numpy, part of a larger one": (np.vstack([ROWS * 0, ROWS, ROWS])[2:4], None),
    "numpy, flat": (ROWS.ravel(), 3),
    "numpy, and the width": (ROWS, 3),
    "array": (array.array("f", VALUES), 3),
    "memoryview": (memoryview(ROWS), None),
    "memoryview, cast": (memoryview(array.array("f", VALUES)).cast("B").cast("f", (2, 3)), None),
    "ctypes": ((ctypes.c_float * 3 * 2)(tuple(VALUES[:3]), tuple(VALUES[3:])), None),
    "interface": (Interface(ROWS), None),
    "interface, no strides": (Interface(ROWS, strides=None), None),
    "interface, strides": (Interface(ROWS, strides=(12, 4)), None),
    "interface, flat": (Interface(ROWS.ravel()), 3),
}


@newest
@pytest.mark.parametrize("source", SOURCES)
def test_embeddings_of_every_kind_of_array(open_model, record, source):
    data, width = SOURCES[source]
    embeddings = Embeddings(data, width=width)
    assert (embeddings.shape, len(embeddings)) == ((2, 3), 2)
    assert embeddings == Embeddings(ROWS)
    open_model({"runs": [{"steps": ["a"], "read_embed": 6}]}).generate(embeddings)
    (read,) = calls(record, "embeddings")
    assert (read["embed"]["first"], read["embed"]["last"]) == (VALUES[:4], VALUES[2:])
    assert calls(record, "rkllm_run")[0]["input"]["embed_input"]["n_tokens"] == 2


@newest
def test_embeddings_of_rows_of_our_own(open_model, record):
    model = open_model({"hidden": {"rows": 2, "width": 3}, "runs": [{"steps": ["a"], "read_embed": 6}]})
    states = model.hidden_states("x")
    assert Embeddings(states) == Embeddings(np.arange(6, dtype=np.float32).reshape(2, 3))
    assert Embeddings(states[1], width=3) == Embeddings(np.array([[3, 4, 5]], np.float32))
    model.generate(Embeddings(states))
    assert calls(record, "embeddings")[-1]["embed"]["sum"] == 15


@newest
def test_embeddings_are_a_copy(open_model, record):
    rows = ROWS.copy()
    embeddings = Embeddings(rows)
    rows[:] = 99
    del rows
    model = open_model({"runs": [{"steps": ["a"], "read_embed": 6}]})
    for _ in range(2):
        model.generate(embeddings)
    assert [read["embed"]["first"] for read in calls(record, "embeddings")] == [VALUES[:4]] * 2


def test_embeddings_compare_and_show_themselves():
    assert Embeddings(ROWS) != Embeddings(ROWS + 1)
    assert Embeddings(ROWS) != Embeddings(ROWS.reshape(3, 2))
    assert "2 x 3" in repr(Embeddings(ROWS))


def test_what_is_no_number_is_no_error():
    # A model's own layer may give them; which value they mean is the library's business.
    for value in (math.nan, math.inf, -math.inf):
        assert len(Embeddings(array.array("f", [value]), width=1)) == 1


WRONG_TYPES = {
    "float64": (ROWS.astype(np.float64), "float64"),
    "float16": (ROWS.astype(np.float16), "float16"),
    "int32": (ROWS.astype(np.int32), "int32"),
    "int64": (ROWS.astype(np.int64), "int64"),
    "bool": (ROWS > 0, r"\?"),
    "complex": (ROWS.astype(np.complex64), "Zf"),
    "object": (ROWS.astype(object), "O"),
    "other byte order": (ROWS.astype(ROWS.dtype.newbyteorder()), "other byte order"),
    "no buffer": (np.array([["2026-01-01"]], "datetime64[D]"), "M8"),
    "array of double": (array.array("d", VALUES), "float64"),
    "bytes": (b"abcd", "uint8"),
    "interface": (Interface(ROWS.astype(np.float64)), "<f8"),
    "list": ([VALUES[:3], VALUES[3:]], "list"),
    "text": ("rows", "str"),
    "number": (1.5, "float"),
    "tokens": (Tokens([1, 2]), "Tokens"),
    "no memory": (Interface(ROWS, data=None), "Interface"),
}


@pytest.mark.parametrize("wrong", WRONG_TYPES)
def test_other_types_are_refused_by_name(wrong):
    data, word = WRONG_TYPES[wrong]
    for make in (
        lambda: Embeddings(data),
        lambda: Embeddings(data, width=1),
        lambda: Multimodal("<image>", data),
        lambda: Multimodal("<video>", video_embed=data),
    ):
        with pytest.raises(InvalidTypeError, match=rf"float32.*, got .*{word}") as caught:
            make()
        assert caught.value.hint


def test_nothing_is_no_array():
    with pytest.raises(InvalidTypeError, match="got NoneType"):
        Embeddings(None)


WIDE = np.zeros((4, 6), np.float32)
GAPS = {
    "transposed": WIDE.T,
    "every other column": WIDE[:, ::2],
    "backwards": WIDE[::-1],
    "Fortran": np.asfortranarray(WIDE),
    "view with gaps": memoryview(WIDE)[::2],
    "interface": Interface(WIDE, strides=(48, 8)),
}


@pytest.mark.parametrize("gaps", GAPS)
def test_arrays_with_gaps_are_refused(gaps):
    with pytest.raises(InvalidArgumentError, match="C-contiguous") as caught:
        Embeddings(GAPS[gaps])
    assert "ascontiguousarray" in caught.value.hint


def test_one_row_has_no_gaps():
    # A stride that is never taken means nothing.
    assert Embeddings(WIDE[:1]).shape == (1, 6)
    assert Embeddings(Interface(WIDE[::2][:1])).shape == (1, 6)


@pytest.mark.parametrize(
    ("shape", "width", "word"),
    [
        ((6,), None, r"\(n, width\), got \[6\]"),
        ((), None, r"\(n, width\), got \[\]"),
        ((1, 2, 3), None, r"\(n, width\), got \[1, 2, 3\]"),
        ((1, 2, 3), 3, r"\(n, 3\), got \[1, 2, 3\]"),
        ((2, 3), 2, r"\(n, 2\), got \[2, 3\]"),
        ((6,), 4, r"\Adata .*4.*6"),
        ((0, 3), None, r"\Adata "),
        ((3, 0), None, r"\Adata "),
        ((0,), 3, r"\Adata "),
        ((6,), 0, r"\Adata "),
        ((6,), -1, "-1"),
        ((6,), 2**70, r"\Awidth "),
    ],
)
def test_shapes_that_are_no_rows(shape, width, word):
    with pytest.raises(InvalidArgumentError, match=word) as caught:
        Embeddings(np.zeros(shape, np.float32), width=width)
    assert caught.value.hint


@pytest.mark.parametrize("width", [3.0, True, "3"])
def test_a_width_is_an_int(width):
    with pytest.raises(InvalidTypeError, match=r"\Awidth .*int"):
        Embeddings(np.zeros(6, np.float32), width=width)


IMAGES = np.zeros((2, 3, 4), np.float32)
VIDEOS = np.zeros((2, 5, 3, 4), np.float32)


def test_counts_come_from_the_shape():
    one = Multimodal("an <image>", IMAGES[0])
    assert (one.prompt, one.n_image, one.n_image_tokens, one.n_video) == ("an <image>", 1, 3, 0)
    two = Multimodal("<image> or <image>", IMAGES, n_image=2, n_image_tokens=3)
    assert (two.n_image, two.n_image_tokens) == (2, 3)
    assert Multimodal("<video>", video_embed=VIDEOS[0]).n_video == 1
    both = Multimodal("<image><video><video>", IMAGES[:1], video_embed=VIDEOS, n_frame_tokens=3)
    assert (both.n_image, both.n_video) == (1, 2)
    assert "1 images, 2 videos" in repr(both)


@pytest.mark.parametrize(
    ("prompt", "images", "videos", "word"),
    [
        ("no tag", IMAGES[0], None, "<image>.*1, got 0"),
        ("<image><image>", IMAGES[0], None, "<image>.*1, got 2"),
        ("<image>", IMAGES, None, "<image>.*2, got 1"),
        ("<Image>", IMAGES[0], None, "<image>.*got 0"),
        ("<image><video>", IMAGES[0], None, "<video>.*0, got 1"),
        ("<video>", None, VIDEOS, "<video>.*2, got 1"),
        ("<image><video>", None, VIDEOS[0], "<image>.*0, got 1"),
        ("<image>", None, None, r"\Aimage_embed "),
        ("", None, None, r"\Aimage_embed "),
        ("<image>\0", IMAGES[0], None, "NUL"),
        ("<image>", IMAGES[0, 0], None, r"\(tokens, width\), got \[4\]"),
        ("<image>", IMAGES[None], None, r"\(tokens, width\), got \[1, 2, 3, 4\]"),
        ("<video>", None, VIDEOS[0, 0], r"\(frames, tokens, width\), got \[3, 4\]"),
        ("<image>", IMAGES[0, :0], None, "0 floats"),
        ("<image>", IMAGES[0, :, :0], None, "0 floats"),
        ("", IMAGES[:0], None, "0 floats"),
    ],
)
def test_tags_and_embeddings_must_agree(prompt, images, videos, word):
    with pytest.raises(InvalidArgumentError, match=word) as caught:
        Multimodal(prompt, images, video_embed=videos)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("n_image", 1),
        ("n_image", 0),
        ("n_image_tokens", 4),
        ("n_video", 3),
        ("n_frame_per_video", 3),
        ("n_frame_tokens", 5),
        ("image_width", -1),
        ("image_start", "a\0b"),
        ("video_content", "a\0b"),
    ],
)
def test_counts_that_disagree(keyword, value):
    with pytest.raises(InvalidArgumentError, match=keyword) as caught:
        Multimodal("<image><image><video><video>", IMAGES, video_embed=VIDEOS, **{keyword: value})
    assert caught.value.hint


@pytest.mark.parametrize(
    ("keyword", "value"), [("n_image", 2.0), ("frame_width", "1"), ("image_end", b"x"), ("video_start", 1)]
)
def test_keywords_of_another_type(keyword, value):
    with pytest.raises(InvalidTypeError, match=keyword):
        Multimodal("<image><image><video><video>", IMAGES, video_embed=VIDEOS, **{keyword: value})


@pytest.mark.parametrize("keyword", ["n_image", "n_image_tokens", "image_width", "image_height"])
def test_what_belongs_to_images_needs_images(keyword):
    with pytest.raises(InvalidArgumentError, match=keyword):
        Multimodal("<video>", video_embed=VIDEOS[0], **{keyword: 2})


@pytest.mark.parametrize("keyword", ["n_video", "n_frame_per_video", "n_frame_tokens", "frame_width"])
def test_what_belongs_to_videos_needs_videos(keyword):
    with pytest.raises(InvalidArgumentError, match=keyword):
        Multimodal("<image>", IMAGES[0], **{keyword: 2})


@pytest.mark.parametrize("keyword", ["n_audio", "n_audio_tokens"])
def test_what_belongs_to_sounds_needs_sounds(keyword):
    with pytest.raises(InvalidArgumentError, match=keyword):
        Multimodal("<image>", IMAGES[0], **{keyword: 2})
    with pytest.raises(InvalidArgumentError, match="audio"):
        Multimodal("<image>", IMAGES[0], audio_start="<a>")


def test_sounds_are_counted_from_their_shape():
    sounds = np.zeros((2, 3, 4), np.float32)
    given = Multimodal("<audio> <audio>", audio_embed=sounds, n_audio=2, n_audio_tokens=3)
    assert (given.n_audio, given.n_image, given.n_video) == (2, 0, 0)
    assert "2 sounds" in repr(given)
    for text, given_array, more in (
        ("<audio>", sounds, {}),
        ("none", sounds[0], {}),
        ("<audio><audio>", sounds[0], {}),
        ("<audio>", sounds[0], {"n_audio": 2}),
        ("<audio>", sounds[0], {"n_audio_tokens": 2}),
        ("<audio>", sounds[0, 0], {}),
        ("<audio>", sounds[None], {}),
        ("<audio>", sounds[0][:, :0], {}),
        ("<audio>", sounds[0].T, {}),
    ):
        with pytest.raises(InvalidArgumentError):
            Multimodal(text, audio_embed=given_array, **more)
    for wrong in (sounds.astype(np.float64), "sound", 5):
        with pytest.raises(InvalidTypeError):
            Multimodal("<audio>", audio_embed=wrong)


SEVERAL = Multimodal("<image> <image>", IMAGES)
SIZED = Multimodal("<image>", IMAGES[0], image_width=8, image_height=6)
MARKED = Multimodal("<image>", IMAGES[0], image_start="<s>")
VIDEO = Multimodal("<video>", video_embed=VIDEOS[0])
AUDIO = Multimodal("<audio>", audio_embed=IMAGES[0])


@pytest.mark.parametrize("abi_version", LAYOUTS)
@pytest.mark.parametrize(
    ("given", "release", "able"),
    [
        (SEVERAL, r"1\.2\.1b1", LAYOUTS[2:]),
        (SIZED, r"1\.2\.1b1", LAYOUTS[2:]),
        (MARKED, r"1\.3\.0", LAYOUTS[3:]),
        (VIDEO, r"1\.3\.0", LAYOUTS[3:]),
        (AUDIO, r"1\.3\.1", LAYOUTS[4:]),
    ],
    ids=["several", "sized", "marked", "video", "audio"],
)
def test_features_of_later_releases(open_model, record, abi_version, given, release, able):
    model = open_model(["a"])
    if abi_version in able:
        assert model.generate(given).text == "a"
        return
    with pytest.raises(UnsupportedFeatureError, match=release) as caught:
        model.generate(given)
    assert caught.value.hint
    assert not calls(record, "rkllm_run")


@pytest.mark.parametrize("abi_version", ["v1_2_0"])
def test_several_images_from_the_beta_on(tmp_path, open_model, record, abi_version):
    banner = "RKLLM SDK (version: 1.2.1b1 | target: Linux | build: fake)"
    library = fake_library(tmp_path / "b1", abi_version, banner=banner, record=record, quiet=True)
    model = open_model(["a"], library=library)
    assert model.generate(SEVERAL).text == model.generate(SIZED).text == "a"
    with pytest.raises(UnsupportedFeatureError, match=r"1\.3\.0"):
        model.generate(MARKED)


@pytest.mark.parametrize("abi_version", ["v1_1_0"])
def test_our_template_is_put_around_text_with_images_too(open_model, record):
    # Up to 1.1.x the caller writes prefix and postfix into each prompt.
    model = open_model(["a"], template=("S", "<", ">"))
    model.generate("text")
    model.generate(Multimodal("an <image>", IMAGES[0]))
    model.generate(Tokens([1]))
    text, image, tokens = (run["input"] for run in calls(record, "rkllm_run"))
    assert text["prompt_input"] == "S<text>"
    assert image["multimodal_input"]["prompt"] == "S<an <image>>"
    assert tokens["token_input"]["n_tokens"] == 1


def test_more_than_the_window_holds(open_model, record):
    model = open_model(["a"], max_context_len=5)
    assert model.generate(Embeddings(np.zeros((5, 2), np.float32))).text == "a"
    for given in (
        Tokens([1] * 6),
        Embeddings(np.zeros((6, 2), np.float32)),
        Multimodal("<image>", np.zeros((6, 2), np.float32)),
    ):
        for call in (model.generate, model.hidden_states):
            with pytest.raises(ContextLengthError, match=r"6.*5") as caught:
                call(given)
            assert caught.value.hint
    assert len(calls(record, "rkllm_run")) == 1


@pytest.mark.model
@pytest.mark.timeout(300)
def test_a_model_that_tells_its_sizes():
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    with RKLLM(MODEL, max_context_len=64, max_new_tokens=4, sampling=SamplingParams(top_k=1)) as llm:
        width, size = llm.info.hidden_size, llm.info.vocab_size
        assert width
        assert size
        for wrong in (width - 1, width + 1, 1):
            with pytest.raises(InvalidArgumentError, match=rf"{width}.*got {wrong}") as caught:
                llm.generate(Embeddings(np.zeros((2, wrong), np.float32)))
            assert caught.value.hint
        for given in (Tokens([size]), Tokens([1, 2**31 - 1])):
            for call in (llm.generate, llm.logits, llm.hidden_states):
                with pytest.raises(InvalidArgumentError, match=rf"\Aids\[\d\] .*{size}"):
                    call(given)
        # Nothing was lost by that.
        assert len(llm.generate(Tokens([size - 1])).token_ids) <= 4
        assert llm.logits(Tokens([1, 2])).shape == (2, size)
        assert llm.generate(Embeddings(np.full((3, width), 0.01, np.float32))).token_ids
