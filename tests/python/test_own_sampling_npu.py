"""``sampler="own"`` with a library that shows logits in a mode of its own: its calls, and the tokens."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from fakes import ABI_VERSIONS, calls
from rkllm_rs import GenerationError, InvalidArgumentError, Tokens, UnsupportedFeatureError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Opener

since_1_3_0 = pytest.mark.parametrize("abi_version", ABI_VERSIONS[3:])
before_1_3_0 = pytest.mark.parametrize("abi_version", ABI_VERSIONS[:3])
END = 200


def rows(*widths: int) -> dict[str, Any]:
    """Runs whose logits grow with the id, so that the last id is the most likely one: each has so many."""
    # In this mode the library does not say that it has finished.
    return {"runs": [{"logits": [{"width": width}], "no_finish": True} for width in widths]}


def spelling(text: str) -> dict[str, Any]:
    """The same for a text whose tokens are characters, and for its end."""
    return rows(*(ord(character) + 1 for character in text), END + 1)


@pytest.fixture
def files(tmp_path: Path) -> Callable[[dict[str, Any] | None], None]:
    """Files beside the models: a token for each printable character, and an end."""
    folder = tmp_path / "models"
    folder.mkdir(exist_ok=True)

    def write(config: dict[str, Any] | None) -> None:
        tokens = {chr(code): code for code in range(33, 127)}
        model = {"type": "BPE", "vocab": tokens, "merges": []}
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        file = {"version": "1.0", "added_tokens": [], "model": model, "decoder": level}
        (folder / "tokenizer.json").write_text(json.dumps(file))
        if config is not None:
            (folder / "generation_config.json").write_text(json.dumps(config))

    return write


@pytest.fixture
def tokenizer(files: Callable[[dict[str, Any] | None], None]) -> None:
    files({"eos_token_id": [END, 201]})


def given(record: Path) -> list[Any]:
    return [
        one["prompt_input"] if one["input_type"] == 0 else one["token_input"]["input_ids"]
        for one in (run["input"] for run in calls(record, "rkllm_run"))
    ]


@since_1_3_0
@pytest.mark.both_modes
def test_each_token_takes_a_call_of_the_library(open_model: Opener, record: Path, tokenizer: None) -> None:
    llm = open_model(spelling("Hi!"))
    answer = llm.generate("Go", sampler="own", top_k=1)
    assert (answer.text, answer.finish_reason) == ("Hi!", "stop")
    assert answer.token_ids == [ord(character) for character in "Hi!"]
    assert given(record) == ["Go", [ord("H")], [ord("i")], [ord("!")]]
    infer = [run["infer"] for run in calls(record, "rkllm_run")]
    assert [(one["mode"], one["keep_history"]) for one in infer] == [(2, 1)] * 4
    assert len(calls(record, "rkllm_clear_kv_cache")) == 2


@since_1_3_0
def test_a_stream_gives_them_as_they_come_and_ends_at_limits(open_model: Opener, tokenizer: None) -> None:
    llm = open_model(spelling("abcdef"))
    chunks = [chunk.text for chunk in llm.stream("Go", sampler="own", top_k=1, max_new_tokens=2)]
    assert chunks == ["a", "b"]
    assert llm.generate("Go", sampler="own", top_k=1, max_new_tokens=3).finish_reason == "length"


@since_1_3_0
def test_a_stop_string_ends_it(open_model: Opener, record: Path, tokenizer: None) -> None:
    answer = open_model(spelling("abcdef")).generate("Go", sampler="own", top_k=1, stop="c")
    assert (answer.text, answer.finish_reason) == ("ab", "stop")
    assert len(given(record)) == 3


@since_1_3_0
@pytest.mark.both_modes
def test_bias_processor_and_log_probabilities_go_with_it(open_model: Opener, tokenizer: None) -> None:
    seen: list[list[int]] = []

    def processor(token_ids: list[int], row: Any) -> None:
        seen.append(list(token_ids))
        if len(token_ids) == 1:
            row[ord("x")] = 1e6

    llm = open_model(rows(END + 1, END + 1, END + 1))
    answer = llm.generate(
        Tokens([5]),
        sampler="own",
        top_k=1,
        logit_bias={ord("y"): 1000.0},
        logits_processor=processor,
        logprobs=2,
        max_new_tokens=2,
    )
    assert answer.text == "yx"
    assert seen == [[], [ord("y")]]
    assert answer.logprobs is not None
    first = answer.logprobs[0]
    # Those of the library: it has the end as the most likely one.
    assert [one.token_id for one in first.top] == [END, END - 1]
    assert first.top[1].logprob == pytest.approx(first.top[0].logprob - 1)
    total = math.log(sum(math.exp(-step) for step in range(50)))
    assert first.top[0].logprob == pytest.approx(-total, abs=1e-4)


@since_1_3_0
def test_a_chat_and_its_stream_have_it(open_model: Opener, record: Path, tokenizer: None) -> None:
    llm = open_model(spelling("Hi"), chat_template="{{ messages[-1].content }}")
    stream = llm.chat_stream([{"role": "user", "content": "Go"}], sampler="own", top_k=1, logprobs=0)
    assert "".join(stream.texts()) == "Hi"
    answer = stream.result()
    assert (answer.finish_reason, [one.token_id for one in answer.logprobs or ()]) == ("stop", [72, 105])
    assert given(record) == ["Go", [72], [105]]


@since_1_3_0
def test_steps_are_the_librarys(open_model: Opener, tokenizer: None) -> None:
    with pytest.raises(UnsupportedFeatureError) as caught:
        open_model(spelling("Hi")).steps("Go", sampler="own")
    assert "sampler" in str(caught.value)


@since_1_3_0
def test_a_seed_repeats_an_answer(open_model: Opener, tokenizer: None) -> None:
    def answer(seed: int) -> list[int]:
        llm = open_model(rows(*[110] * 12))
        options: dict[str, Any] = {"temperature": 20.0, "top_k": 0, "top_p": 1.0, "max_new_tokens": 12}
        return llm.generate("Go", sampler="own", seed=seed, **options).token_ids

    assert answer(1) == answer(1) != answer(2)


@since_1_3_0
def test_without_its_tokens_it_says_what_is_missing(
    open_model: Opener, record: Path, files: Callable[[dict[str, Any] | None], None]
) -> None:
    with pytest.raises(UnsupportedFeatureError) as caught:
        open_model(spelling("a")).generate("Go", sampler="own")
    assert "tokenizer.json" in str(caught.value)
    files(None)
    with pytest.raises(UnsupportedFeatureError) as caught:
        open_model(spelling("a")).generate("Go", sampler="own")
    assert "generation_config.json" in str(caught.value)
    assert caught.value.hint
    assert not calls(record, "rkllm_run")


@before_1_3_0
def test_an_older_release_would_abort_and_is_refused(
    open_model: Opener, record: Path, tokenizer: None
) -> None:
    with pytest.raises(UnsupportedFeatureError) as caught:
        open_model(spelling("a")).generate("Go", sampler="own")
    assert "1.3.0" in str(caught.value)
    # It does not need itself.
    assert str(caught.value).count("sampler") == 1
    assert not calls(record, "rkllm_run")


@since_1_3_0
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"logprobs": 2}, UnsupportedFeatureError),
        ({"min_p": 0.1}, UnsupportedFeatureError),
        ({"logit_bias": {1: 1.0}}, UnsupportedFeatureError),
        ({"sampler": "own", "keep_history": True}, InvalidArgumentError),
        ({"sampler": "own", "choices": ["a", "b"]}, InvalidArgumentError),
    ],
)
def test_what_does_not_go_with_it_is_refused(
    open_model: Opener, record: Path, tokenizer: None, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        open_model(spelling("a")).generate("Go", **options)
    assert "sampler" in f"{caught.value} {getattr(caught.value, 'hint', '')}"
    assert not calls(record, "rkllm_run")


@since_1_3_0
def test_a_call_that_fails_or_brings_nothing_is_an_error(open_model: Opener, tokenizer: None) -> None:
    for runs in ([{"logits": [{"width": 73}]}, {"return": -1}], [{"logits": []}]):
        with pytest.raises(GenerationError):
            open_model({"runs": runs}).generate("Go", sampler="own", top_k=1)
