"""Streams: read, left, cancelled, shared."""

from __future__ import annotations

import copy
import gc
import itertools
import pickle
import threading
import weakref

import pytest

from fakes import calls
from rkllm_rs import Chunk, GenerationError, InvalidTypeError, TextStream, Tokens, TokenStream, _native
from support import HELD, PATIENCE, began, in_thread, wait_until

#: Enough tokens that no test comes to their end.
ENDLESS = {"steps": ["x"], "repeat": 100_000, "delay_ms": 2}


def test_chunks(open_model):
    stream = open_model(["The", " sky", "\n"]).stream("x")
    chunks = list(stream)
    assert [(chunk.text, chunk.token_id) for chunk in chunks] == [("The", 1), (" sky", 2), ("\n", 3)]
    assert str(chunks[1]) == " sky"
    assert repr(chunks[1]) == "Chunk(text=' sky', token_id=2)"


def test_a_chunk_is_read_only_and_made_by_streams_alone(open_model):
    chunk = next(open_model(["a"]).stream("x"))
    for name in ("text", "token_id", "other"):
        with pytest.raises(AttributeError):
            setattr(chunk, name, 5)
    with pytest.raises(AttributeError):
        del chunk.text
    with pytest.raises(TypeError):
        Chunk()
    with pytest.raises(TypeError):
        type("Mine", (Chunk,), {})
    assert (chunk.text, chunk.token_id) == ("a", 1)
    assert {chunk: 1}[chunk] == 1
    assert chunk != next(open_model(["a"]).stream("x"))


def test_a_chunk_lets_go_of_its_text():
    made = []

    class Text(str):
        __slots__ = ("__weakref__",)

    for _ in range(3):
        text = Text("words")
        made.append(weakref.ref(text))
        chunk = _native._chunk(text, 1)
        copies = [chunk.text, str(chunk), repr(chunk), copy.copy(chunk)]
        assert copies[0] is text
        del text, chunk, copies
    gc.collect()
    assert [text() for text in made] == [None] * 3


def test_texts(open_model):
    texts = list(open_model(["The", " sky"]).stream("x").texts())
    assert texts == ["The", " sky"]
    assert {type(text) for text in texts} == {str}


def test_a_stream_is_its_own_iterator(open_model):
    stream = open_model(["a", "b", "c"]).stream("x")
    assert iter(stream) is stream
    assert next(stream).text == "a"
    assert next(stream.texts()) == "b"
    assert [chunk.text for chunk in stream] == ["c"]


def test_streams_are_of_the_classes_that_the_package_names(open_model):
    stream = open_model(["a", "b"]).stream("x")
    assert type(stream) is TokenStream
    assert type(stream.texts()) is TextStream
    for one in (stream, stream.texts()):
        assert weakref.ref(one)() is one
        assert gc.is_tracked(one)
        assert one.__class__.__doc__.startswith("A ")
        with pytest.raises(TypeError):
            pickle.dumps(one)
        with pytest.raises(TypeError):
            type("Mine", (type(one),), {})
        with pytest.raises(InvalidTypeError):
            type(one)()
    assert type(stream).__next__(stream).text == "a"
    assert type(stream.texts()).__next__(stream.texts()) == "b"
    with pytest.raises(TypeError):
        TextStream.__next__(stream)


def test_after_the_end(open_model):
    stream = open_model(["a"]).stream("x")
    assert len(list(stream)) == 1
    assert list(stream) == []
    with pytest.raises(StopIteration):
        next(stream)
    stream.cancel()
    assert stream.result().finish_reason == "stop"


def test_result_alone_and_twice(open_model):
    stream = open_model(["a", "b"]).stream("x")
    first, second = stream.result(), stream.result()
    assert first.text == second.text == "ab"
    assert first.token_ids == second.token_ids == [1, 2]
    assert list(stream) == []


def test_result_after_a_part(open_model):
    stream = open_model({"runs": [{"steps": ["a", "b", "c", "d"], "delay_ms": 5}]}).stream("x")
    assert "".join(chunk.text for chunk in itertools.islice(stream, 2)) == "ab"
    assert stream.result().text == "abcd"
    assert stream.result().token_ids == [1, 2, 3, 4]


def test_stream_returns_at_once(open_model, record, gate):
    model = open_model({"runs": [{"prefill_ms": HELD, "steps": ["a"]}]})
    stream = model.stream("x")
    assert not calls(record, "run_end")
    gate.touch()
    assert stream.result().text == "a"


def test_chunks_come_as_they_are_made(open_model, record):
    stream = open_model({"runs": [{"steps": ["a", {"text": "b", "delay_ms": HELD}]}]}).stream("x")
    assert next(stream).text == "a"
    assert not calls(record, "run_end")


def test_cancel(open_model):
    stream = open_model({"runs": [ENDLESS, {"steps": ["fine"]}]}).stream("x")
    got = [next(stream).text, next(stream).text]
    stream.cancel()
    got += [chunk.text for chunk in stream]
    answer = stream.result()
    assert answer.finish_reason == "cancelled"
    assert answer.text == "".join(got)
    stream.cancel()


def test_cancel_before_the_first_token(open_model, record, gate):
    model = open_model({"runs": [{"prefill_ms": HELD, **ENDLESS}, {"steps": ["fine"]}]})
    stream = model.stream("x")
    began(record)
    stream.cancel()
    assert list(stream) == []
    assert not calls(record, "run_end")
    assert stream.result().finish_reason == "cancelled"
    gate.touch()
    assert model.generate("y").text == "fine"


def test_cancel_from_another_thread(open_model):
    stream = open_model({"runs": [{**ENDLESS, "delay_ms": HELD}]}).stream("x")
    reading = in_thread(lambda: list(stream))
    in_thread(stream.cancel)()
    assert reading() == []


def test_cancel_of_a_run_that_waits(open_model, record):
    model = open_model({"runs": [ENDLESS, {"steps": ["second"]}]})
    first, waiting, third = model.stream("1"), model.stream("2"), model.stream("3")
    waiting.cancel()
    assert list(waiting) == []
    assert waiting.result().finish_reason == "cancelled"
    next(first)
    first.cancel()
    assert third.result().text == "second"
    prompts = [run["input"]["prompt_input"] for run in calls(record, "rkllm_run")]
    assert prompts == ["1", "3"]


@pytest.mark.hazard("A3")
@pytest.mark.parametrize("leave", ["break", "drop", "cancel"])
def test_the_next_answer_is_clean(open_model, record, leave):
    # The library goes on for a while after the abort (hazard A3).
    script = {"runs": [{**ENDLESS, "ignore_abort_ms": 150, "late": ["late"]}, {"steps": ["fine"]}]}
    model = open_model(script)
    stream = model.stream("1")
    for _ in stream:
        break
    if leave == "cancel":
        stream.cancel()
    del stream
    assert model.generate("2").text == "fine"
    assert calls(record, "rkllm_abort")
    assert [end["end"] for end in calls(record, "run_end")] == ["aborted", "played"]


def test_a_loop_left_by_an_exception(open_model, record):
    model = open_model({"runs": [ENDLESS, {"steps": ["fine"]}]})

    def fail():
        for chunk in model.stream("1"):
            _ = 1 // len(chunk.text[1:])

    with pytest.raises(ZeroDivisionError):
        fail()
    assert model.generate("2").text == "fine"


EURO_AND_MORE = "é€🌍x"


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_characters_are_joined(open_model, size):
    raw = EURO_AND_MORE.encode()
    parts = [raw[at : at + size] for at in range(0, len(raw), size)]
    stream = open_model([{"bytes": list(part), "state": 1} for part in parts]).stream("x")
    texts = [chunk.text for chunk in stream]
    assert "".join(texts) == EURO_AND_MORE
    assert "" not in texts
    assert stream.result().token_ids == list(range(1, len(parts) + 1))


def test_every_split_of_a_character(open_model):
    raw = "🌍".encode()
    splits = [(1, 4), (2, 4), (3, 4), (1, 2), (1, 3), (2, 3)]
    runs = []
    for first, second in splits:
        parts = [part for part in (raw[:first], raw[first:second], raw[second:]) if part]
        runs.append({"steps": [{"bytes": list(part)} for part in parts]})
    model = open_model({"runs": runs})
    for _ in splits:
        assert [chunk.text for chunk in model.stream("x")] == ["🌍"]


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([b"a\xf0\x9f"], "a\ufffd"),
        ([b"\xf0\x9f", b"b"], "\ufffdb"),
        ([b"\xff", b"c"], "\ufffdc"),
        ([b"\xed\xa0\x80"], "\ufffd\ufffd\ufffd"),
        ([b"\xc3", b"\xc3\xa9"], "\ufffdé"),
    ],
)
def test_bytes_that_are_no_text(open_model, parts, text):
    stream = open_model([{"bytes": list(part)} for part in parts]).stream("x")
    assert "".join(stream.texts()) == text
    assert stream.result().text == text
    assert len(stream.result().token_ids) == len(parts)


def test_a_character_cut_by_the_limit(open_model):
    raw = list("€".encode())
    steps = [{"bytes": raw[:1]}, {"bytes": raw[1:2]}, {"bytes": raw[2:]}]
    answer = open_model(steps).generate("x", max_new_tokens=2)
    assert (answer.text, answer.finish_reason) == ("\ufffd", "length")


def test_a_million_tokens(open_model):
    count = 1_000_000
    model = open_model({"runs": [{"steps": ["abc"], "repeat": count}]}, max_new_tokens=2 * count)
    stream = model.stream("x")
    assert sum(len(chunk.text) for chunk in stream) == 3 * count
    assert len(stream.result().token_ids) == count


def test_an_unread_stream_holds_nobody_up(open_model):
    model = open_model(
        {"runs": [{"steps": ["a"], "repeat": 50_000}, {"steps": ["b"]}]}, max_new_tokens=60_000
    )
    unread = model.stream("1")
    assert model.generate("2").text == "b"
    assert len(unread.result().token_ids) == 50_000


def test_threads_are_served_in_turn(open_model, record):
    model = open_model({"runs": [{"steps": [{"echo": True}, "!"], "delay_ms": 5}]})
    prompts = [f"prompt {number}" for number in range(8)]
    streams = [model.stream(prompt) for prompt in prompts]
    answers = [in_thread(stream.result) for stream in streams]
    assert [answer().text for answer in answers] == [f"{prompt}!" for prompt in prompts]
    assert [run["input"]["prompt_input"] for run in calls(record, "rkllm_run")] == prompts


def test_two_threads_generate(open_model):
    model = open_model({"runs": [{"steps": [{"echo": True}], "delay_ms": 3}]})
    work = [
        in_thread(lambda name=name: [model.generate(f"{name}{i}").text for i in range(20)]) for name in "ab"
    ]
    for name, result in zip("ab", work, strict=True):
        assert result() == [f"{name}{number}" for number in range(20)]


@pytest.mark.hazard("A3")
def test_late_calls_are_dropped(open_model, record):
    runs = [{"steps": ["a"], "late": ["late"] * 3, "late_ms": 30}, {"steps": ["b", "c"], "delay_ms": 40}]
    model = open_model({"runs": runs, "record_tokens": True})
    assert model.generate("1").text == "a"
    assert model.generate("2").text == "bc"
    wait_until(lambda: len(calls(record, "token")) == 6, "the late calls")
    assert model.generate("3").text == "bc"


def test_two_threads_share_a_stream(open_model):
    count = 20_000
    steps = [{"text": "x", "repeat": count}]
    stream = open_model(steps, max_new_tokens=2 * count).stream("x")
    shares = [in_thread(lambda: [chunk.token_id for chunk in stream]) for _ in range(2)]
    ids = sorted(itertools.chain.from_iterable(share() for share in shares))
    assert ids == list(range(1, count + 1))


def test_two_threads_wait_for_one_stream(open_model):
    stream = open_model({"runs": [{"prefill_ms": 200, "steps": ["a"]}]}).stream("x")
    waiting = [in_thread(stream.result) for _ in range(3)]
    assert [result().text for result in waiting] == ["a"] * 3


@pytest.mark.hazard("A8")
def test_other_threads_run_while_one_waits(open_model, record, gate):
    run = {"prefill_ms": HELD, "steps": ["a", "b"]}
    stream = open_model({"record_tokens": True, "runs": [run]}).stream("x")
    done = threading.Event()
    waiting = in_thread(stream.result)
    in_thread(done.set)
    assert done.wait(PATIENCE)
    # Had the one that waits kept the interpreter to itself, there would be some.
    assert calls(record, "token") == []
    gate.touch()
    assert waiting().text == "ab"
    assert len(calls(record, "token")) >= 2


def test_an_error_comes_behind_the_tokens(open_model):
    stream = open_model({"runs": [{"steps": ["a", "b"], "error": True}]}).stream("x")
    assert [next(stream).text, next(stream).text] == ["a", "b"]
    for _ in range(2):
        with pytest.raises(GenerationError):
            next(stream)
    with pytest.raises(GenerationError):
        stream.result()


def test_repr_tells_how_far_it_is(open_model):
    stream = open_model(["a", "b"]).stream(Tokens([1]))
    stream.result()
    assert "2 tokens" in repr(stream)


def test_a_stream_takes_weak_references(open_model):
    import weakref

    stream = open_model(["a"]).stream("x")
    watch = weakref.ref(stream)
    del stream
    gc.collect()
    assert watch() is None
