"""A release above the newest known one: refused, and what is done with it where ``abi=`` admits it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fakes import LAYOUTS, calls, fake_library
from rkllm_rs import Embeddings, Multimodal, Runtime, Tokens, UnsupportedFeatureError, UnsupportedRuntimeError
from support import newest
from test_fields import floats

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Opener
    from rkllm_rs import RKLLM

pytestmark = newest

BANNER = "RKLLM SDK (version: 1.4.0 | target: Linux | build: fake)"
#: What a release that has grown by as much as any before would read behind our structs, and more.
BEHIND = 512


@pytest.fixture
def newer(tmp_path: Path, abi_version: str, record: Path) -> Path:
    """A library that calls itself 1.4.0."""
    return fake_library(tmp_path / "newer", abi_version, banner=BANNER, record=record, quiet=True)


@pytest.fixture
def admitted(open_model: Opener, newer: Path, abi_version: str) -> RKLLM:
    """A model of such a library, which reads behind the structs that it is given."""
    script = {"read_behind": BEHIND, "runs": [{"steps": ["a"]}]}
    return open_model(script, library=newer, abi=abi_version)


def test_it_is_refused_with_advice(newer: Path, record: Path) -> None:
    with pytest.raises(UnsupportedRuntimeError, match=r"1\.4\.0") as caught:
        Runtime.load(newer)
    assert 'abi="v1_3_1"' in (caught.value.hint or "")
    assert not calls(record)


@pytest.mark.parametrize("abi", LAYOUTS[:3])
def test_abi_does_not_override_what_contradicts_it(newer: Path, abi: str, record: Path) -> None:
    with pytest.raises(UnsupportedRuntimeError):
        Runtime.load(newer, abi=abi)
    assert not calls(record, "rkllm_init")


def test_single_prompts_are_served(admitted: RKLLM, record: Path) -> None:
    for given in ("text", Tokens([1, 2]), Embeddings(floats(1, 2, 4))):
        assert admitted.generate(given).text == "a"
    assert admitted.runtime.identity.version == "1.4.0"
    runs = calls(record, "rkllm_run")
    assert runs[0]["input"]["prompt_input"] == "text"
    assert runs[1]["input"]["token_input"]["input_ids"] == [1, 2]


@pytest.mark.hazard("V1")
def test_nothing_but_zeroes_lies_behind_what_it_is_given(admitted: RKLLM, record: Path) -> None:
    admitted.generate("text")
    opened, run = calls(record, "behind")
    zeroes = "00" * BEHIND
    assert (opened["param"], opened["callback"]) == (zeroes, zeroes)
    assert (run["input"], run["infer"]) == (zeroes, zeroes)


SIZED: dict[str, dict[str, Any]] = {
    "image": {"image_embed": floats(1, 3, 4)},
    "video": {"video_embed": floats(1, 2, 3, 4)},
    "audio": {"audio_embed": floats(1, 3, 4)},
}


@pytest.mark.parametrize("kind", SIZED)
def test_multimodal_input_is_refused(admitted: RKLLM, record: Path, kind: str) -> None:
    with pytest.raises(UnsupportedFeatureError, match=r"1\.3\.1") as caught:
        admitted.generate(Multimodal(f"<{kind}>", **SIZED[kind]))
    assert caught.value.hint
    assert not calls(record, "rkllm_run")
    assert admitted.generate("text").text == "a"


def test_batches_are_refused(open_model: Opener, newer: Path, abi_version: str, record: Path) -> None:
    with pytest.raises(UnsupportedFeatureError, match=r"1\.3\.1") as caught:
        open_model(["a"], library=newer, abi=abi_version, n_batch=2)
    assert caught.value.hint
    assert not calls(record, "rkllm_init")
    assert not {"batch", "multimodal_input", "audio"} & Runtime.load(newer, abi=abi_version).capabilities


def test_a_batch_of_its_own_is_not_taken(
    tmp_path: Path, open_model: Opener, abi_version: str, record: Path
) -> None:
    library = fake_library(
        tmp_path / "own", abi_version, banner=BANNER, defaults={"n_batch": 4}, record=record, quiet=True
    )
    model = open_model(["a"], library=library, abi=abi_version)
    assert model.n_batch == 1
    assert model.generate("text").text == "a"
    assert calls(record, "rkllm_init")[0]["param"]["extend_param"]["n_batch"] == 1
