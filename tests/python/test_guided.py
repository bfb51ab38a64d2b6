"""``constraint="guided"`` and ``"retry"``: what reaches the library where an answer leaves its form."""

from __future__ import annotations

import json
import sys

import pytest

from fakes import ABI_VERSIONS, calls
from rkllm_rs import (
    GenerationError,
    GenerationTimeout,
    InvalidArgumentError,
    InvalidTypeError,
    Tokens,
    UnsupportedFeatureError,
)
from support import began, in_thread

SINCE_1_2_1 = ABI_VERSIONS[2:]
BEFORE_1_2_1 = ABI_VERSIONS[:2]

since_1_2_1 = pytest.mark.parametrize("abi_version", SINCE_1_2_1)
since_1_3_0 = pytest.mark.parametrize("abi_version", ABI_VERSIONS[3:])
before_1_2_1 = pytest.mark.parametrize("abi_version", BEFORE_1_2_1)


def said(*texts):
    """Tokens of a run; those of one character have its code as their id."""
    return {
        "steps": [{"text": text, "id": ord(text) if len(text) == 1 else 5000 + len(text)} for text in texts]
    }


@pytest.fixture
def tokenizer(tmp_path):
    """A ``tokenizer.json`` beside the models, with a token for each printable character."""
    vocabulary = {chr(code): code for code in range(33, 127)}
    file = tmp_path / "models" / "tokenizer.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"model": {"vocab": vocabulary}, "decoder": {"type": "ByteLevel"}}))
    return file


def runs(record):
    return calls(record, "rkllm_run")


def given(record):
    """What each run was given: text or ids."""
    inputs = [run["input"] for run in runs(record)]
    return [
        one["prompt_input"] if one["input_type"] == 0 else one["token_input"]["input_ids"] for one in inputs
    ]


def codes(text):
    return [ord(character) for character in text]


@since_1_2_1
@pytest.mark.both_modes
def test_a_legal_token_takes_the_place_of_one_that_does_not_fit(open_model, record, tokenizer):
    script = {"runs": [said("a", "X"), said("e", "g")]}
    model = open_model(script, top_k=1)
    answer = model.generate("Go", regex="a[bc]d[ef]g*")
    assert answer.text == "abdeg"
    assert answer.token_ids == codes("abdeg")
    assert answer.finish_reason == "stop"
    kept = answer.constraint
    assert (kept.way, kept.replaced, kept.retries, kept.complete) == ("guided", 1, 0, True)
    # What is forced behind it goes along; the run is not told to keep a history, and goes on from a pause.
    assert given(record) == ["Go", codes("bd")]
    assert [run["paused"] for run in runs(record)] == [False, True]
    assert [run["infer"]["keep_history"] for run in runs(record)] == [0, 0]


@since_1_2_1
def test_what_fits_of_a_token_is_kept(open_model, record, tokenizer):
    model = open_model({"runs": [said("1", "2z"), said("y")]}, top_k=1)
    answer = model.generate("Go", regex="[0-9]+(x|y)")
    assert answer.text == "12y"
    assert given(record) == ["Go", codes("2")]
    assert answer.constraint.replaced == 1


@since_1_2_1
def test_a_forced_stretch_is_sent_as_a_whole(open_model, record, tokenizer):
    model = open_model({"runs": [said("a"), said("7")]}, top_k=1)
    answer = model.generate("Go", regex="[ax]bcd[0-9]")
    assert answer.text == "abcd7"
    # The token before it was not computed yet.
    assert given(record) == ["Go", codes("abcd")]
    assert (answer.constraint.replaced, answer.constraint.retries) == (0, 0)


@since_1_2_1
def test_each_call_is_counted_and_has_its_reason(open_model, record, tokenizer):
    model = open_model({"runs": [said("{", '"'), said("x")]}, top_k=40, temperature=1.0)
    schema = {"type": "object", "properties": {"long": {"type": "integer"}}, "required": ["long"]}
    answer = model.generate("Go", json_schema={**schema, "additionalProperties": False})
    kept = answer.constraint
    assert answer.parsed == {"long": 0}
    assert kept.calls == len(runs(record)) <= 1 + kept.replaced + kept.forced + kept.retries
    assert (kept.forced, kept.replaced > 0, kept.retries > 0) == (1, True, True)


@since_1_2_1
def test_what_is_forced_first_follows_a_prompt_of_tokens(open_model, record, tokenizer, abi_version):
    model = open_model({"runs": [said("7")]}, top_k=1, max_new_tokens=10)
    answer = model.generate(Tokens([5, 6]), regex="abc[0-9]")
    assert answer.token_ids == codes("abc7")
    assert given(record) == [[5, 6, *codes("abc")]]
    if abi_version == SINCE_1_2_1[-1]:
        assert runs(record)[0]["infer"]["max_new_tokens"] == 7


@since_1_2_1
def test_a_whole_answer_that_is_forced_needs_no_library(open_model, record, tokenizer):
    answer = open_model([], top_k=1).generate(Tokens([5]), choices=["yes"])
    assert (answer.text, answer.finish_reason) == ("yes", "stop")
    assert not runs(record)


@since_1_2_1
def test_an_answer_that_fits_takes_one_call(open_model, record, tokenizer):
    answer = open_model({"runs": [said("{", "}")]}).generate("Go", json_schema={"type": "object"})
    assert answer.parsed == {}
    assert answer.constraint.replaced == 0
    assert len(runs(record)) == 1


@since_1_2_1
def test_a_model_that_ends_too_early_goes_on_from_all_there_is(open_model, record, tokenizer):
    model = open_model({"runs": [said(), said("4")]}, top_k=1)
    answer = model.generate(Tokens([5, 6]), regex="ab?c[0-9]")
    assert answer.text == "abc4"
    assert given(record) == [[5, 6, *codes("a")], [5, 6, *codes("abc")]]
    assert not runs(record)[1]["paused"]


@since_1_2_1
def test_an_answer_to_text_that_ends_too_early_is_brought_to_its_end(open_model, record, tokenizer):
    answer = open_model({"runs": [said("{")]}, top_k=1).generate("Go", json_schema={"type": "object"})
    assert answer.finish_reason == "stop"
    assert isinstance(answer.parsed, dict)
    assert len(runs(record)) == 1


@since_1_2_1
def test_the_library_chooses_again_where_it_would_not_choose_the_same(open_model, record, tokenizer):
    script = {"runs": [said("a", "X"), said("c", "d")], "kv_cache_size": [8]}
    answer = open_model(script, top_k=40, temperature=1.0).generate("Go", regex="a[bc]d")
    assert answer.text == "acd"
    assert (answer.constraint.replaced, answer.constraint.retries) == (0, 1)
    [cleared] = calls(record, "rkllm_clear_kv_cache")[:1]
    assert (cleared["start_pos"], cleared["end_pos"]) == ([7], [8])
    assert given(record) == ["Go", codes("a")]


@since_1_2_1
def test_no_more_tokens_come_than_are_allowed(open_model, record, tokenizer):
    model = open_model({"runs": [said("a")]}, top_k=1, max_new_tokens=3)
    answer = model.generate("Go", regex="[ax]bcdefg[0-9]")
    assert answer.token_ids == codes("abc")
    assert answer.finish_reason == "length"
    assert not answer.constraint.complete
    assert answer.parsed is None
    assert len(runs(record)) == 1


@since_1_2_1
def test_a_model_that_never_fits_ends(open_model, record, tokenizer):
    answer = open_model({"runs": [said("X")]}, top_k=1).generate("Go", json_schema=dict[str, list[int]])
    assert answer.constraint.complete
    assert isinstance(answer.parsed, dict)
    # One call for each replaced token, and the first.
    assert len(runs(record)) <= answer.constraint.replaced + 1


@since_1_2_1
def test_a_stop_string_ends_an_answer_in_a_forced_stretch(open_model, record, tokenizer):
    answer = open_model({"runs": [said("a")]}, top_k=1).generate("Go", regex="[ax]bcd[0-9]", stop=["c"])
    assert answer.text == "ab"
    assert answer.finish_reason == "stop"
    assert not answer.constraint.complete


@since_1_2_1
def test_chunks_and_on_token_have_each_token(open_model, tokenizer):
    model = open_model({"runs": [said("a"), said("7")]}, top_k=1)
    seen = []
    answer = model.generate("Go", regex="[ax]bcd[0-9]", on_token=seen.append)
    assert "".join(chunk.text for chunk in seen) == answer.text == "abcd7"
    assert answer.perf.generate_tokens == 5


@since_1_2_1
def test_a_deadline_and_closing_end_it(open_model, record, tokenizer):
    endless = {"runs": [{"steps": [{"text": "a", "id": 97}], "repeat": 100000, "delay_ms": 5}]}
    model = open_model(endless)
    with pytest.raises(GenerationTimeout) as caught:
        model.generate("Go", regex="a+b", timeout=0.3)
    assert caught.value.partial.text.startswith("a")
    result = in_thread(lambda: model.generate("Go", regex="a+b"))
    began(record, count=2)
    model.close()
    with pytest.raises(Exception, match="closed"):
        result()


@since_1_2_1
def test_without_a_tokenizer_the_file_is_named(open_model, tmp_path):
    model = open_model({"runs": [said("a", "X")]}, top_k=1)
    with pytest.raises(UnsupportedFeatureError) as caught:
        model.generate("Go", regex="a[bc]d[ef]")
    assert str(tmp_path / "models" / "tokenizer.json") in str(caught.value)
    assert "retry" in caught.value.hint


def utf8(text):
    """A tokenizer whose tokens are bytes, with a mark before all."""
    return [1, *text.encode()]


@since_1_3_0
@pytest.mark.both_modes
def test_the_programs_tokenizer_spells_what_is_sent(open_model, record):
    model = open_model({"runs": [said("a", "X"), said("e", "g")]}, top_k=1, tokenizer=utf8)
    answer = model.generate("Go", regex="a[bc]d[ef]g*")
    assert (answer.text, answer.token_ids) == ("abdeg", codes("abdeg"))
    assert given(record) == ["Go", codes("bd")]


@since_1_3_0
def test_it_spells_characters_of_several_tokens(open_model, record):
    model = open_model({"runs": [said("x", "X"), said("a")]}, top_k=1, tokenizer=utf8)
    answer = model.generate("Go", regex="[xy]é![ab]")
    assert answer.text == "xé!a"
    # The token after which it was paused is sent again.
    assert given(record) == ["Go", list("xé!".encode())]


@since_1_3_0
def test_what_the_tokenizer_raises_comes_as_it_is(open_model, record):
    def broken(text):
        raise KeyError(text)

    model = open_model({"runs": [said("a")]}, top_k=1, tokenizer=broken)
    with pytest.raises(KeyError):
        model.generate("Go", regex="a[bc]d")
    assert runs(record) == []
    # Nothing was kept of that.
    assert model.generate("Go").text == "a"


@since_1_3_0
def test_a_tokenizer_that_cannot_spell_is_told(open_model, record):
    model = open_model({"runs": [said("a", "X")]}, top_k=1, tokenizer=lambda _: [])
    with pytest.raises(UnsupportedFeatureError) as caught:
        model.generate("Go", regex="a[bc]d")
    assert caught.value.hint


@since_1_2_1
def test_tokens_that_have_come_are_known(open_model, record):
    model = open_model({"runs": [said("b", "d"), said("a", "X"), said("e")]}, top_k=1)
    assert model.generate("Go", regex="[a-z]+").text == "bd"
    assert model.generate("Go", regex="a[bc]d[ef]").text == "abde"
    assert given(record)[-1] == codes("bd")


@since_1_2_1
def test_a_tokenizer_that_cannot_be_read_is_named(open_model, tokenizer):
    tokenizer.write_text("{}")
    with pytest.raises(Exception, match=r"tokenizer\.json"):
        open_model({"runs": [said("a")]}).generate("Go", regex="ab")


@before_1_2_1
def test_earlier_releases_cannot_pause(open_model, record):
    model = open_model({"runs": [said("yes")]})
    with pytest.raises(UnsupportedFeatureError, match=r"1\.2\.1") as caught:
        model.generate("Go", choices=["yes"], constraint="guided")
    assert "retry" in caught.value.hint
    assert not runs(record)
    assert model.generate("Go", choices=["yes"]).constraint.way == "retry"


def test_no_release_can_mask(open_model, record):
    with pytest.raises(UnsupportedFeatureError, match="mask") as caught:
        open_model([]).generate("Go", choices=["yes"], constraint="mask")
    assert "guided" in caught.value.hint
    assert not runs(record)


@pytest.mark.both_modes
def test_an_answer_that_does_not_fit_is_asked_for_again(open_model, record, abi_version):
    model = open_model(
        {"runs": [said("Well"), said("ye", "t"), said(" ", "ye", "s")]}, top_k=40, temperature=1.0
    )
    answer = model.generate("Go", choices=["yes", "no"], constraint="retry")
    assert (answer.text, answer.finish_reason) == ("yes", "stop")
    kept = answer.constraint
    assert (kept.way, kept.replaced, kept.retries, kept.complete) == ("retry", 0, 2, True)
    assert given(record) == ["Go"] * 3
    assert kept.calls == 3
    assert answer.perf.generate_tokens == len(answer.token_ids)


def test_greedy_decoding_is_asked_again_until_the_answer_is_the_same(open_model, record, abi_version):
    fails, fits = [said("Well"), said("ye", "t"), said("ye", "t")], [said("Well"), said("yes")]
    model = open_model({"runs": fails + fits}, top_k=1)
    with pytest.raises(GenerationError):
        model.generate("Go", choices=["yes", "no"], constraint="retry")
    assert len(runs(record)) == 3
    assert model.generate("Go", choices=["yes", "no"], constraint="retry").constraint.retries == 1


def test_an_answer_that_never_fits_is_an_error_with_the_last_one(open_model, record, abi_version):
    model = open_model({"runs": [said("ye", "t"), said("yo")]}, top_k=40, temperature=1.0)
    stream = model.stream("Go", choices=["yes"], constraint="retry")
    with pytest.raises(GenerationError, match="choices") as caught:
        stream.result()
    assert caught.value.partial.text == "yo"
    assert 2 <= len(runs(record)) <= 10


def test_an_answer_that_was_cut_is_not_asked_for_again(open_model, record):
    model = open_model({"runs": [said("a", "a", "a", "a")]}, max_new_tokens=2)
    answer = model.generate("Go", regex="a+b", constraint="retry")
    assert (answer.text, answer.finish_reason) == ("aa", "length")
    assert not answer.constraint.complete
    assert len(runs(record)) == 1


def test_what_fits_at_once_is_asked_for_once(open_model, record, abi_version):
    answer = open_model({"runs": [said("{", "}", "\n")]}).generate("Go", json_schema={}, constraint="retry")
    assert (answer.text, answer.parsed) == ("{}", {})
    assert len(runs(record)) == 1


@pytest.mark.skipif(
    not hasattr(sys, "get_int_max_str_digits"), reason="this Python reads numbers of any length"
)
def test_a_number_that_python_cannot_read_is_an_error_of_ours(open_model):
    digits = "12" * 5000
    answer = open_model({"runs": [said(digits)]}).generate("Go", json_schema=int, constraint="retry")
    assert answer.text == digits
    with pytest.raises(GenerationError) as caught:
        _ = answer.parsed
    assert isinstance(caught.value.__cause__, ValueError)


def test_history_is_kept_without_a_pause(open_model, record):
    model = open_model({"runs": [said("yes")]})
    with pytest.raises(InvalidArgumentError, match="keep_history"):
        model.generate("Go", choices=["yes"], keep_history=True, constraint="guided")
    answer = model.generate("Go", choices=["yes"], keep_history=True)
    assert answer.constraint.way == "retry"
    assert runs(record)[0]["infer"]["keep_history"] == 1


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [
        ({"choices": ["a"], "constraint": "strict"}, InvalidArgumentError),
        ({"choices": ["a"], "constraint": 1}, InvalidTypeError),
        ({"constraint": "guided"}, InvalidArgumentError),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_constraint_that_cannot_be_meant_is_refused(open_model, record, wanted, kind):
    with pytest.raises(kind, match="constraint"):
        open_model([]).generate("Go", **wanted)
    assert not runs(record)


def test_several_prompts_at_once_are_refused(open_model):
    with pytest.raises(UnsupportedFeatureError, match="n_batch"):
        open_model([], n_batch=2).generate_batch(["a", "b"], choices=["a"])
