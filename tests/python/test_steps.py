"""``steps()``: a run that pauses after each token, to look and to intervene."""

from __future__ import annotations

import array
from functools import partial

import pytest

from fakes import ABI_VERSIONS, calls
from rkllm_rs import (
    BusyError,
    ClosedError,
    ContextLengthError,
    Embeddings,
    GenerationError,
    InvalidArgumentError,
    InvalidTypeError,
    Multimodal,
    SamplingParams,
    Tokens,
    UnsupportedFeatureError,
)
from support import began, in_thread, wait_until
from surface import stepwise, stream_hidden_states

SINCE_1_2_1 = ABI_VERSIONS[2:]

since_1_2_1 = pytest.mark.parametrize("abi_version", SINCE_1_2_1)
newest = pytest.mark.parametrize("abi_version", SINCE_1_2_1[-1:])


def script(*tokens, **more):
    """Each token is a run of its own for the library; then it ends its answer, and the next one is "fine"."""
    runs = [{"steps": [{"text": token, "id": 11 + at}]} for at, token in enumerate(tokens)]
    return {"runs": [*runs, {}, {"steps": ["fine"]}], "kv_cache_size": [8], **more}


#: Goes on as long as it is asked to.
ENDLESS = {"runs": [{"steps": ["x"]}], "kv_cache_size": [8]}


def runs(record):
    return calls(record, "rkllm_run")


def shown(run):
    """What a run was given: kind and content."""
    given = run["input"]
    return {
        0: lambda: given["prompt_input"],
        1: lambda: given["token_input"]["input_ids"],
        2: lambda: (given["embed_input"]["n_tokens"], given["embed_input"]["embed"]),
    }[given["input_type"]]()


@since_1_2_1
def test_a_token_at_a_time(open_model, record):
    model = open_model(script("The", " sky", "!"))
    steps = stepwise(model, "Why?")
    assert iter(steps) is steps
    # Nothing is asked of the library before somebody wants a token.
    assert runs(record) == []
    for count, text in enumerate(["The", " sky", "!"], 1):
        step = next(steps)
        assert (step.text, step.token_id) == (text, 10 + count)
        assert len(calls(record, "run_end")) == count
    assert list(steps) == []
    # What was given last is what the library goes on with.
    assert [shown(run) for run in runs(record)] == ["Why?", [11], [12], [13]]
    assert [run["paused"] for run in runs(record)] == [False, True, True, True]
    assert [line["callback_returns"] for line in calls(record, "run_end")] == [[1], [1], [1], []]
    answer = steps.result()
    assert (answer.text, answer.token_ids, answer.finish_reason) == ("The sky!", [11, 12, 13], "stop")
    assert not calls(record, "rkllm_clear_kv_cache")
    assert model.generate("y").text == "fine"
    assert runs(record)[-1]["paused"] is False


@pytest.mark.parametrize("abi_version", ABI_VERSIONS[:2])
def test_releases_that_cannot_pause(open_model, record, abi_version):
    model = open_model(["a"])
    with pytest.raises(UnsupportedFeatureError, match=r"RKLLM 1\.2\.1 or later") as caught:
        stepwise(model, "x")
    assert caught.value.hint
    assert runs(record) == []
    assert model.generate("x").text == "a"


def test_send_takes_the_place_of_the_token(open_model, record):
    model = open_model({**ENDLESS, "runs": [{"steps": ["x"], "read_embed": 6}]})
    with stepwise(model, "start") as steps:
        step = next(steps)
        assert steps.send(Tokens([step.token_id, 5, 6])).text == "x"
        assert steps.send("text").text == "x"
        assert steps.send(Embeddings(array.array("f", [1, 2, 3, 4, 5, 6]), width=3)).text == "x"
        assert steps.send(None).text == "x"
        next(steps)
    assert [shown(run) for run in runs(record)] == ["start", [1, 5, 6], "text", (2, [1, 2]), [1], [1]]
    assert [run["paused"] for run in runs(record)] == [False] + [True] * 5
    assert [read["embed"]["sum"] for read in calls(record, "embeddings") if "embed" in read] == [21]


def test_nothing_can_be_sent_before_the_first_token(open_model, record):
    with stepwise(open_model(script("a", "b")), "x") as steps:
        for given in (Tokens([1]), "y"):
            with pytest.raises(InvalidArgumentError, match=r"\Ainput ") as caught:
                steps.send(given)
            assert caught.value.hint
        assert runs(record) == []
        # As with a generator, None is what may be sent.
        assert steps.send(None).text == "a"
        assert next(steps).text == "b"


def test_what_cannot_be_sent(open_model, record):
    model = open_model({**ENDLESS, "logits": {"width": 7}}, max_context_len=32)
    model.logits("x")
    before = len(runs(record))
    with stepwise(model, "x") as steps:
        next(steps)
        for wrong in (5, b"a", [1], object()):
            with pytest.raises(InvalidTypeError, match=r"\Ainput .*Tokens"):
                steps.send(wrong)
        with pytest.raises(InvalidArgumentError, match="empty"):
            steps.send("")
        with pytest.raises(InvalidArgumentError, match=r"\Aids\[\d+\] .*7"):
            steps.send(Tokens([7]))
        with pytest.raises(ContextLengthError, match=r"33.*32"):
            steps.send(Tokens([1] * 33))
        # Nothing was lost by that.
        assert next(steps).text == "x"
    assert len(runs(record)) == before + 2


@pytest.mark.parametrize("abi_version", ["v1_2_1"])
def test_what_cannot_be_sent_to_a_release(open_model, record):
    video = Multimodal(
        "<video>", video_embed=memoryview(array.array("f", [0] * 4)).cast("B").cast("f", (1, 2, 2))
    )
    with stepwise(open_model(ENDLESS), "x") as steps:
        next(steps)
        with pytest.raises(UnsupportedFeatureError, match=r"1\.3\.0"):
            steps.send(video)
        assert next(steps).text == "x"
    assert len(runs(record)) == 2


def test_the_cache_between_steps(open_model, record):
    model = open_model(script("a", "b", "c"))
    with stepwise(model, "x") as steps:
        next(steps)
        assert model.kv_cache_size() == 8
        model.clear_kv_cache(ranges=[(2, 5)])
        model.clear_kv_cache(ranges=((0, 8),))
        model.clear_kv_cache(ranges=[(3, 3)])
        assert next(steps).text == "b"
        assert model.kv_cache_size() == 8
        assert next(steps).text == "c"
        assert list(steps) == []
    cleared = calls(record, "rkllm_clear_kv_cache")
    seen = [(call["start_pos"], call["end_pos"], call["paused"]) for call in cleared]
    assert seen == [([2], [5], True), ([0], [8], True), ([3], [3], True)]
    assert model.generate("y").text == "fine"


@pytest.mark.parametrize(
    ("ranges", "word"),
    [
        ([(0, 9)], r"8 .*\(0, 9\)"),
        ([(-1, 3)], r"\(-1, 3\)"),
        ([(5, 4)], r"\(5, 4\)"),
        ([(9, 9)], r"\(9, 9\)"),
        ([], "1, got 0"),
        ([(0, 1), (0, 1)], "1, got 2"),
        ([(0, 2**31)], r"\Aranges\[0\]\[1\] "),
    ],
)
def test_ranges_that_cannot_be(open_model, record, ranges, word):
    model = open_model(script("a", "b"))
    with stepwise(model, "x") as steps:
        next(steps)
        with pytest.raises((InvalidArgumentError, InvalidTypeError), match=word) as caught:
            model.clear_kv_cache(ranges=ranges)
        assert caught.value.hint
        assert not calls(record, "rkllm_clear_kv_cache")
        assert next(steps).text == "b"


@pytest.mark.parametrize(
    "ranges", [5, "ab", [5], [(1,)], [(1, 2, 3)], [("a", "b")], [(0.0, 1.0)], (0, 3)], ids=repr
)
def test_what_is_no_range(open_model, record, ranges):
    model = open_model(script("a"))
    with stepwise(model, "x") as steps:
        next(steps)
        with pytest.raises((InvalidTypeError, InvalidArgumentError), match=r"\Aranges\S* .*, got") as caught:
            model.clear_kv_cache(ranges=ranges)
        assert caught.value.hint
        assert not calls(record, "rkllm_clear_kv_cache")


def test_ranges_after_the_end(open_model, record):
    model = open_model(ENDLESS)
    for _ in range(20):
        with stepwise(model, "x") as steps:
            next(steps)
        with pytest.raises(InvalidArgumentError, match=r"\Aranges "):
            model.clear_kv_cache(ranges=[(0, 1)])
    # What ends a pause is clearing all of it, once for each.
    cleared = calls(record, "rkllm_clear_kv_cache")
    assert [(call["start_pos"], call["paused"]) for call in cleared] == [(None, True)] * 20


def test_ranges_without_a_pause(open_model, record):
    model = open_model(script("a"))
    steps = stepwise(model, "x")
    with pytest.raises(InvalidArgumentError, match=r"\Aranges ") as caught:
        model.clear_kv_cache(ranges=[(0, 1)])
    assert "steps()" in caught.value.hint
    assert [step.text for step in steps] == ["a"]
    with pytest.raises(InvalidArgumentError, match=r"\Aranges "):
        model.clear_kv_cache(ranges=[(0, 1)])
    assert not calls(record, "rkllm_clear_kv_cache")


@pytest.mark.parametrize("abi_version", ABI_VERSIONS[:2])
def test_ranges_of_older_releases(open_model, record):
    model = open_model(["a"])
    with pytest.raises(UnsupportedFeatureError, match=r"RKLLM 1\.2\.1 or later"):
        model.clear_kv_cache(ranges=[(0, 1)])
    assert not calls(record, "rkllm_clear_kv_cache")


def test_clearing_the_whole_cache_ends_them(open_model, record):
    model = open_model({**ENDLESS, "runs": [{"steps": ["a"]}, {"steps": ["fine"]}]})
    steps = stepwise(model, "x")
    next(steps)
    model.clear_kv_cache()
    assert list(steps) == []
    assert (steps.result().text, steps.result().finish_reason) == ("a", "cancelled")
    assert model.generate("y").text == "fine"
    assert [run["paused"] for run in runs(record)] == [False, False]


def test_runs_from_the_middle_would_wait_for_themselves(open_model, record):
    model = open_model(ENDLESS)
    with stepwise(model, "x") as steps:
        next(steps)
        for call in (
            model.generate,
            model.stream,
            model.logits,
            partial(stream_hidden_states, model),
            # Made they may be: they begin with the first token.
            lambda given: next(stepwise(model, given)),
        ):
            with pytest.raises(BusyError, match="steps") as caught:
                call("y")
            assert caught.value.hint
        assert next(steps).text == "x"
    assert len(runs(record)) == 2
    assert model.generate("y").text == "x"


def test_other_threads_wait_in_their_order(open_model, record):
    model = open_model({**ENDLESS, "runs": [*ENDLESS["runs"] * 3, {"steps": ["1"]}, {"steps": ["2"]}]})
    steps = stepwise(model, "x")
    next(steps)
    streams = [in_thread(lambda: model.stream("first"))(), in_thread(lambda: model.stream("second"))()]
    third = in_thread(lambda: model.generate("third").text)
    next(steps)
    next(steps)
    assert [shown(run) for run in runs(record)] == ["x", [1], [1]]
    # Requests need not wait: they are what one pauses for.
    assert in_thread(model.kv_cache_size)() == 8
    steps.close()
    assert [stream.result().text for stream in streams] == ["1", "2"]
    assert third() == "2"
    assert [shown(run) for run in runs(record)[3:]] == ["first", "second", "third"]
    assert [run["paused"] for run in runs(record)[3:]] == [False] * 3


def test_steps_wait_for_steps(open_model, record):
    model = open_model({**ENDLESS, "runs": [*ENDLESS["runs"] * 2, {"steps": ["other"]}, {}]})
    steps = stepwise(model, "x")
    next(steps)
    other = in_thread(lambda: [step.text for step in stepwise(model, "y")])
    next(steps)
    steps.close()
    assert other() == ["other"]


def test_who_takes_the_tokens_is_who_must_not_wait(open_model):
    # Made here and taken there: a run from the midst of it would wait for ever.
    model = open_model(ENDLESS)
    steps = stepwise(model, "x")

    def body():
        with steps:
            next(steps)
            with pytest.raises(BusyError, match="steps"):
                model.stream("y")
        return model.generate("z").text

    assert in_thread(body)() == "x"


@since_1_2_1
@pytest.mark.parametrize("word", ["role", "lora", "sampling", "cache"])
def test_settings_go_along(tmp_path, open_model, record, abi_version, word):
    adapter = tmp_path / "style.rkllm"
    adapter.write_bytes(bytes(range(256)))
    model = open_model(script("a", "b"))
    model.load_lora(adapter, name="fein")
    keywords = {
        "role": {"role": "tool", "thinking": True},
        "lora": {"lora": "fein"},
        "sampling": {"sampling": SamplingParams(top_k=9) if abi_version >= "v1_3_0" else None},
        "cache": {"save_prompt_cache": tmp_path / "cache"},
    }[word]
    assert [step.text for step in stepwise(model, "x", **keywords)] == ["a", "b"]
    first, *others = runs(record)
    if word == "role":
        for run in (first, *others):
            assert (run["input"]["role"], run["input"]["enable_thinking"]) == ("tool", True)
    elif word == "cache":
        # The prompt's cache is that of the first run alone.
        assert first["infer"]["prompt_cache_params"]["save_prompt_cache"] == 1
        assert [run["infer"]["prompt_cache_params"] for run in others] == [None, None]
    else:
        field = {"lora": "lora_params", "sampling": "sampling_params"}[word]
        assert [run["infer"].get(field) for run in others] == [first["infer"].get(field)] * 2
    for run in (first, *others):
        assert run["infer"]["keep_history"] == 0


def test_keywords_that_steps_do_not_have(open_model):
    model = open_model(["a"])
    with pytest.raises(TypeError, match="keep_history"):
        stepwise(model, "x", keep_history=True)
    with open_model(["a"], n_batch=2) as batch, pytest.raises(InvalidArgumentError, match="n_batch"):
        stepwise(batch, "x")


def test_a_model_that_is_closed_in_the_middle(open_model, record):
    model = open_model(ENDLESS)
    steps = stepwise(model, "x")
    next(steps)
    model.close()
    for call in (lambda: next(steps), steps.result, lambda: stepwise(model, "x")):
        with pytest.raises(ClosedError):
            call()
    wait_until(lambda: calls(record, "rkllm_destroy"), "the end of the model")


def test_a_model_that_is_closed_before(open_model):
    model = open_model(ENDLESS)
    steps = stepwise(model, "x")
    model.close()
    with pytest.raises(ClosedError):
        next(steps)


def test_the_library_does_not_know_how_to_go_on(open_model, record):
    model = open_model({"runs": [{"steps": ["a"]}, {"return": -3}, {"steps": ["fine"]}]})
    steps = stepwise(model, "x")
    next(steps)
    for _ in range(2):
        with pytest.raises(GenerationError, match="-3"):
            next(steps)
    with pytest.raises(GenerationError, match="-3"):
        steps.result()
    assert model.generate("y").text == "fine"
    assert [run["paused"] for run in runs(record)] == [False, True, False]


def test_waiting_is_seen_from_the_record(open_model, record):
    # The pause is over when next() returns: what is asked then meets it so.
    model = open_model(ENDLESS)
    with stepwise(model, "x") as steps:
        for count in range(1, 60):
            next(steps)
            model.clear_kv_cache(ranges=[(0, 1)])
            began(record, "rkllm_clear_kv_cache", count)
    assert all(call["paused"] for call in calls(record, "rkllm_clear_kv_cache")[:59])
