"""Stop strings: the answer ends before them, and no part of one is ever delivered."""

from __future__ import annotations

import asyncio
import codecs
from functools import partial

import pytest

from fakes import calls
from rkllm_rs import GenerationTimeout, InvalidArgumentError, InvalidTypeError, Tokens
from support import began
from surface import aio, nothing_to_read, stepwise

ENDLESS = {"steps": ["x"], "repeat": 100_000, "delay_ms": 2}
#: Tokens without text, until an abort ends them.
SILENCE = {"text": "", "repeat": 100_000, "delay_ms": 2}


def reference(pieces, stops):
    """What must be delivered of ``pieces``, in the plainest way.

    Args:
        pieces: Bytes of the tokens 1, 2, and so on; together they are UTF-8.
        stops: The stop strings.

    Returns:
        The chunks as text and token id, and the ids of all tokens.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    chunks: list[tuple[str, int]] = []
    text, delivered = "", 0
    for number, piece in enumerate(pieces, 1):
        before = len(text)
        text += decoder.decode(piece)
        for end in range(before + 1, len(text) + 1):
            complete = [len(stop) for stop in stops if text[:end].endswith(stop)]
            if complete:
                free = text[delivered : end - max(complete)]
                return chunks + [(free, number)] * bool(free), list(range(1, number + 1))
        held = max(
            (size for stop in stops for size in range(len(stop)) if text.endswith(stop[:size])), default=0
        )
        free = text[delivered : len(text) - held]
        if free:
            chunks.append((free, number))
            delivered += len(free)
    if delivered < len(text):
        chunks.append((text[delivered:], len(pieces)))
    return chunks, list(range(1, len(pieces) + 1))


def steps_of(pieces):
    return [{"bytes": list(piece)} for piece in pieces]


@pytest.mark.parametrize(
    ("pieces", "stop", "text", "tokens"),
    [
        (["one", " STOP", " two"], "STOP", "one ", 2),
        (["one S", "TO", "P two", "x"], "STOP", "one ", 3),
        (["S", "T", "O", "P", "x"], "STOP", "", 4),
        (["aSTOPb", "c"], "STOP", "a", 1),
        (["a", "b", "c"], "STOP", "abc", 3),
        (["a ST", "OR", "E", " ST"], "STOP", "a STORE ST", 4),
        (["aa", "ab"], "aab", "a", 2),
        (["abab", "abc"], "ababc", "ab", 2),
        (["x\n", "\ny"], "\n\n", "x", 2),
        (["<|im", "_end|>", "!"], ["<|im_end|>", "</s>"], "", 2),
        (["x</", "s>"], ["<|im_end|>", "</s>"], "x", 2),
        # The one that is complete first wins, of those complete together the longest.
        (["xabc", "d"], ["abcd", "bc"], "xa", 1),
        (["xabc"], ["c", "abc", "bc"], "x", 1),
        (["xab"], ["abc", "b"], "xa", 1),
    ],
)
def test_across_the_borders_of_tokens(open_model, pieces, stop, text, tokens):
    model = open_model({"runs": [{"steps": pieces}, {"steps": pieces}, {"steps": ["fine"]}]})
    answer = model.generate("x", stop=stop)
    assert (answer.text, answer.finish_reason) == (text, "stop")
    assert answer.token_ids == list(range(1, tokens + 1))
    stream = model.stream("x", stop=stop)
    chunks = [(chunk.text, chunk.token_id) for chunk in stream]
    stops = [stop] if isinstance(stop, str) else stop
    assert chunks == reference([piece.encode() for piece in pieces], stops)[0]
    assert stream.result().text == text
    assert model.generate("y").text == "fine"


def test_across_split_characters(open_model):
    # 1€2, its middle in three tokens.
    pieces = [b"1\xe2", b"\x82", b"\xac2", b"3"]
    model = open_model({"runs": [{"steps": steps_of(pieces)}]})
    assert model.generate("x", stop="€").text == "1"
    assert model.generate("x", stop="€").token_ids == [1, 2, 3]
    assert model.generate("x", stop="1€").text == ""
    assert model.generate("x", stop="€23").text == "1"
    # Another character that begins with the same bytes is none.
    answer = model.generate("x", stop="₭")
    assert (answer.text, answer.token_ids) == ("1€23", [1, 2, 3, 4])


def test_unfinished_characters_behind_it_are_not_delivered(open_model):
    model = open_model({"runs": [{"steps": [{"bytes": list(b"aSTOP\xe2\x82")}, "b"]}]})
    stream = model.stream("x", stop="STOP")
    assert [chunk.text for chunk in stream] == ["a"]
    assert stream.result().text == "a"


def test_what_is_held_back_is_given_as_soon_as_it_is_harmless(open_model):
    steps = ["a", "S", "T", {"text": "x", "id": 9}, {"text": "S", "id": 10}, SILENCE]
    stream = open_model({"runs": [{"steps": steps}]}).stream("x", stop="STOP")
    assert [(next(stream).text, next(stream).text)] == [("a", "STx")]
    # The S that came since is held; nothing else is there to read.
    assert nothing_to_read(stream)
    stream.cancel()
    assert stream.result().token_ids[:4] == [1, 2, 3, 9]


@pytest.mark.parametrize("ending", ["finish", "length", "cancel", "timeout", "unfinished"])
def test_what_is_held_back_is_given_at_the_end(open_model, record, ending):
    steps = ["a", " ST"]
    if ending == "unfinished":
        steps.append({"bytes": [0xE2, 0x82]})
    elif ending != "finish":
        steps.append(SILENCE)
    model = open_model({"runs": [{"steps": steps}, {"steps": ["OP!"]}]})
    keywords = {"length": {"max_new_tokens": 2}, "timeout": {"timeout": 0.5}}.get(ending, {})
    stream = model.stream("x", stop="STOP", **keywords)
    assert next(stream).text == "a"
    assert next(stream).text == " "
    if ending == "cancel":
        stream.cancel()
    if ending == "timeout":
        with pytest.raises(GenerationTimeout) as caught:
            stream.result()
        answer = caught.value.partial
    else:
        answer = stream.result()
    expected = "a ST\ufffd" if ending == "unfinished" else "a ST"
    assert answer.text == expected
    assert answer.finish_reason == {"finish": "stop", "unfinished": "stop", "length": "length"}.get(
        ending, "cancelled"
    )
    if ending in ("finish", "unfinished"):
        # The next run knows nothing of it.
        assert model.generate("y", stop="STOP").text == "OP!"


def test_a_stop_at_the_limit_is_a_stop(open_model):
    model = open_model(["a", "STOP", "b"])
    for limit in (2, 3):
        answer = model.generate("x", stop="STOP", max_new_tokens=limit)
        assert (answer.text, answer.finish_reason, len(answer.token_ids)) == ("a", "stop", 2)


def test_the_library_is_asked_to_stop(open_model, record):
    runs = [
        {"steps": ["a", "STOP", *ENDLESS["steps"] * 5], "repeat": 1000, "delay_ms": 2},
        {"steps": ["fine"]},
    ]
    model = open_model({"runs": runs})
    assert model.generate("x", stop="STOP").text == "a"
    assert model.generate("y").text == "fine"
    assert [line["end"] for line in calls(record, "run_end")] == ["aborted", "played"]


def test_a_stream_that_nobody_reads_stops_too(open_model, record):
    runs = [{"steps": ["a", "ST", "OP"], "repeat": 1}, {"steps": ["fine"]}]
    runs[0]["steps"] += [{"text": "x", "repeat": 100_000, "delay_ms": 2}]
    stream = open_model({"runs": runs}).stream("x", stop="STOP")
    began(record, "run_end")
    assert calls(record, "run_end")[0]["end"] == "aborted"
    assert [chunk.text for chunk in stream] == ["a"]
    assert stream.result().token_ids == [1, 2, 3]


def test_a_library_that_goes_on(open_model):
    # Tokens after the stop belong to nobody, also not to the next answer.
    runs = [{"steps": ["aSTOP", "b", "STOP", "c"], "ignore_abort": True}, {"steps": ["fine"]}]
    model = open_model({"runs": runs})
    answer = model.generate("x", stop="STOP")
    assert (answer.text, answer.token_ids) == ("a", [1])
    assert model.generate("y").text == "fine"


def test_all_ways_to_read_give_the_same(open_model):
    pieces = ["one ", "S", "T", "x", " ST", "O", "P", "!"]
    model = open_model({"runs": [{"steps": pieces}]})
    expected, ids = reference([piece.encode() for piece in pieces], ["STOP"])
    assert [text for text, _ in expected] == ["one ", "STx", " "]
    told = []
    answer = model.generate(
        "x", stop=["STOP"], on_token=lambda chunk: told.append((chunk.text, chunk.token_id))
    )
    assert (told, answer.token_ids) == (expected, ids)
    assert list(model.stream("x", stop=["STOP"]).texts()) == [text for text, _ in expected]

    async def main():
        stream = model.stream("x", stop=["STOP"])
        got = [(chunk.text, chunk.token_id) async for chunk in stream]
        return got, await aio(model).generate("x", stop=["STOP"])

    got, whole = asyncio.run(main())
    assert (got, whole.text, whole.token_ids) == (expected, answer.text, ids)


def test_one_string_or_several(open_model):
    model = open_model(["a", "b", "c", "d"])
    for stop in ("c", ["c"], ("x", "c"), {"c"}, iter(["d", "c"]), ["c", "c"]):
        assert model.generate("x", stop=stop).text == "ab"
    for none in (None, [], ()):
        assert model.generate("x", stop=none).text == "abcd"
    assert model.generate(Tokens([1]), stop="bc").text == "a"
    assert model.generate("x", stop="a").text == ""
    assert model.generate("x", stop=[f"{number}!" for number in range(256)]).text == "abcd"


@pytest.mark.parametrize(
    "stop", ["", ["a", ""], ["a"] * 257, ["a" * 65_537], "a\ud800"], ids=lambda s: f"{len(s)}"
)
def test_strings_that_cannot_be_meant(open_model, record, stop):
    model = open_model(["a"])
    for call in (model.generate, model.stream, partial(stepwise, model)):
        with pytest.raises(InvalidArgumentError, match="stop") as caught:
            call("x", stop=stop)
        assert caught.value.hint
    assert not calls(record, "rkllm_run")


@pytest.mark.parametrize("stop", [5, b"a", [5], [b"a"], [None], True], ids=repr)
def test_what_is_no_string(open_model, stop):
    model = open_model(["a"])
    with pytest.raises(InvalidTypeError, match=r"\Astop\S* .*str"):
        model.generate("x", stop=stop)
