"""Callables that serve the library's questions (``tokenizer=``, ``embedder=``), and ``on_token``."""

from __future__ import annotations

import array
import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls
from rkllm_rs import (
    BusyError,
    GenerationError,
    InvalidTypeError,
    ModelError,
    RkllmError,
    Tokens,
    UnsupportedFeatureError,
)
from support import PATIENCE, in_thread
from surface import (
    aio,
    aopen,
    generate_batch,
    loras,
    release_prompt_cache,
    set_chat_template,
    set_function_tools,
    stepwise,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Opener

TEXT = "Grüße 🐟"
WORD = {"tokenize": TEXT, "capacity": 64}
ROWS = {"embed": [7, 8, 9], "width": 4}


class Served:
    """A tokenizer and an embedder that note how they were called."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.threads: list[int] = []

    def tokenizer(self, text: str) -> list[int]:
        self.told.append(text)
        self.threads.append(threading.get_native_id())
        return list(text.encode())

    def embedder(self, ids: list[int]) -> object:
        self.told.append(ids)
        self.threads.append(threading.get_native_id())
        flat = array.array("f", [token + column / 8 for token in ids for column in range(4)])
        return memoryview(flat).cast("B").cast("f", (len(ids), 4))

    def keywords(self) -> dict[str, Any]:
        return {"tokenizer": self.tokenizer, "embedder": self.embedder}


def asking(*questions: dict[str, Any], **run: Any) -> dict[str, Any]:
    """A script whose first run asks, and whose second does not."""
    return {"runs": [{"ask": list(questions), "steps": ["a", "b"], **run}, {"steps": ["fine"]}]}


def test_answers_arrive_byte_for_byte(open_model: Opener, record: Path) -> None:
    served = Served()
    model = open_model(asking(WORD, ROWS), **served.keywords())
    assert model.generate("x").text == "ab"
    assert served.told == [TEXT, [7, 8, 9]]
    (asked,) = calls(record, "tokenizer")
    assert (asked["text"], asked["capacity"]) == (TEXT, 64)
    assert (asked["return"], asked["tokens"]) == (len(TEXT.encode()), list(TEXT.encode()))
    assert not asked["overrun"]
    (asked,) = calls(record, "embedding")
    floats = [token + column / 8 for token in (7, 8, 9) for column in range(4)]
    assert (asked["ids"], asked["bytes"], asked["floats"]) == ([7, 8, 9], 48, floats)
    assert (asked["return"], asked["overrun"]) == (0, False)


def test_the_library_gets_only_the_callbacks_that_are_served(open_model: Opener, record: Path) -> None:
    served = Served()
    for keywords, tokenizer, embedder in (
        ({}, False, False),
        ({"tokenizer": served.tokenizer}, True, False),
        ({"embedder": served.embedder}, False, True),
    ):
        open_model(["a"], **keywords).close()
        callback = calls(record, "rkllm_init")[-1]["callback"]
        assert callback["tokenizer_callback"] is tokenizer
        assert callback["embed_callback"] is embedder


@pytest.mark.parametrize("size", [0, 1, 64])
def test_as_many_ids_as_there_is_room_for(open_model: Opener, record: Path, size: int) -> None:
    model = open_model(asking({"tokenize": "t", "capacity": 64}), tokenizer=lambda _: range(size))
    assert model.generate("x").text == "ab"
    assert calls(record, "tokenizer")[0]["tokens"] == list(range(size))


def test_any_float32_array_will_do(open_model: Opener, record: Path) -> None:
    numpy = pytest.importorskip("numpy")
    rows = numpy.arange(12, dtype=numpy.float32).reshape(3, 4)
    answers = iter([rows, memoryview(rows), rows.reshape(12), numpy.asfortranarray(rows).copy("C")])
    model = open_model({"runs": [{"ask": [ROWS], "steps": ["a"]}]}, embedder=lambda _: next(answers))
    for _ in range(4):
        assert model.generate("x").text == "a"
    assert [asked["floats"] for asked in calls(record, "embedding")] == [list(range(12))] * 4


@pytest.mark.hazard("A8")
@pytest.mark.parametrize("thread", [False, True])
@pytest.mark.parametrize("way", ["generate", "iterate", "texts", "result"])
def test_they_run_on_the_reading_thread(open_model: Opener, way: str, *, thread: bool) -> None:
    served = Served()
    model = open_model(asking({**WORD, "thread": thread}, {**ROWS, "thread": thread}), **served.keywords())
    ways: dict[str, Callable[[], object]] = {
        "generate": lambda: model.generate("x").text,
        "iterate": lambda: "".join(chunk.text for chunk in model.stream("x")),
        "texts": lambda: "".join(model.stream("x").texts()),
        "result": lambda: model.stream("x").result().text,
    }

    def read() -> int:
        assert ways[way]() == "ab"
        return threading.get_native_id()

    reader = in_thread(read)()
    assert served.threads == [reader] * 2


def test_rows_steps_and_batches_are_served(open_model: Opener) -> None:
    served = Served()
    script = {"runs": [{"ask": [WORD, ROWS], "steps": ["a", "b"]}]}
    model = open_model(script, **served.keywords())
    assert model.logits("x").shape == (1, 4)
    assert model.hidden_states("x").shape == (1, 4)
    assert model.embed("x").shape == (4,)
    assert len(served.told) == 6
    with stepwise(model, "x") as steps:
        assert next(steps).text == "a"
    assert len(served.told) == 8
    model.close()
    batch = open_model(script, n_batch=2, **served.keywords())
    served.told.clear()
    assert [one.text for one in generate_batch(batch, ["x", "y"])] == ["ab", "ab"]
    assert served.told == [TEXT, [7, 8, 9]]


def test_questions_while_the_model_is_opened(open_model: Opener, record: Path) -> None:
    served = Served()
    script = {"init": {"ask": [WORD, {**ROWS, "thread": True}]}, "runs": [{"steps": ["a"]}]}
    model = open_model(script, **served.keywords())
    assert served.told == [TEXT, [7, 8, 9]]
    assert set(served.threads) == {threading.get_native_id()}
    assert model.generate("x").text == "a"
    assert calls(record, "tokenizer")[0]["tokens"] == list(TEXT.encode())


def test_an_exception_while_the_model_is_opened(open_model: Opener, record: Path) -> None:
    def tokenizer(_: str) -> list[int]:
        message = "no vocabulary"
        raise LookupError(message)

    with pytest.raises(LookupError, match="no vocabulary"):
        open_model({"init": {"ask": [WORD]}}, tokenizer=tokenizer)
    assert open_model(["fine"]).generate("x").text == "fine"


def test_a_wrong_answer_while_the_model_is_opened(open_model: Opener) -> None:
    with pytest.raises(ModelError, match="tokenizer_callback failed"):
        open_model({"init": {"ask": [{"tokenize": "t", "capacity": 1}]}}, tokenizer=lambda _: [1, 2])
    assert open_model(["fine"]).generate("x").text == "fine"


class OwnError(Exception):
    """What no library raises."""


@pytest.mark.hazard("A6")
@pytest.mark.parametrize("thread", [False, True])
@pytest.mark.parametrize("question", [WORD, ROWS], ids=["tokenizer", "embedder"])
def test_an_exception_ends_the_run_and_is_raised(
    open_model: Opener, record: Path, question: dict[str, Any], *, thread: bool
) -> None:
    raised = OwnError("mine")

    def fail(_: object) -> Any:
        raise raised

    model = open_model(asking({**question, "thread": thread}), tokenizer=fail, embedder=fail)
    stream = model.stream("x")
    with pytest.raises(OwnError) as caught:
        stream.result()
    assert caught.value is raised
    assert "fail" in str(caught.traceback[-1])
    # The run is over for its reader, and the model serves the next one.
    assert list(stream) == []
    assert model.generate("x").text == "fine"
    assert calls(record, "run_end")[0]["end"] in {"failed", "aborted"}


def test_also_what_is_no_exception(open_model: Opener) -> None:
    def fail(_: object) -> Any:
        raise KeyboardInterrupt

    model = open_model(asking(WORD), tokenizer=fail)
    with pytest.raises(KeyboardInterrupt):
        model.generate("x")
    assert model.generate("x").text == "fine"


WRONG: dict[str, tuple[dict[str, Any], Any, type[RkllmError], str]] = {
    "too many ids": ({"tokenize": "t", "capacity": 2}, [1, 2, 3], GenerationError, "3 ids.*2"),
    "text": (WORD, "text", InvalidTypeError, "tokenizer"),
    "none": (WORD, None, InvalidTypeError, "tokenizer"),
    "floats for ids": (WORD, [1.5], InvalidTypeError, "tokenizer"),
    "too few rows": (ROWS, array.array("f", [0] * 8), GenerationError, "12 floats for 3 tokens.*8"),
    "too many rows": (ROWS, array.array("f", [0] * 16), GenerationError, "12 floats.*16"),
    "doubles": (ROWS, array.array("d", [0] * 12), InvalidTypeError, "embedder.*float32.*float64"),
    "list": (ROWS, [[0.0] * 4] * 3, InvalidTypeError, "embedder"),
    "no rows": (ROWS, None, InvalidTypeError, "embedder"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_answers_are_told(open_model: Opener, record: Path, case: str) -> None:
    question, answer, kind, words = WRONG[case]
    model = open_model(asking(question), tokenizer=lambda _: answer, embedder=lambda _: answer)
    with pytest.raises(kind, match=words) as caught:
        model.generate("x")
    assert isinstance(caught.value, RkllmError)
    assert not any(asked["overrun"] for asked in calls(record, "tokenizer") + calls(record, "embedding"))
    assert model.generate("x").text == "fine"


def test_a_question_that_nobody_was_given_for(open_model: Opener) -> None:
    model = open_model(asking(ROWS), tokenizer=Served().tokenizer)
    with pytest.raises(GenerationError, match="embed_callback is NULL"):
        model.generate("x")
    assert model.generate("x").text == "fine"


CALLS: dict[str, Callable[[Any], object]] = {
    "generate": lambda model: model.generate("y"),
    "stream": lambda model: model.stream("y"),
    "steps": lambda model: stepwise(model, "y"),
    "logits": lambda model: model.logits("y"),
    "embed": lambda model: model.embed("y"),
    "score": lambda model: model.score(Tokens([1]), Tokens([2])),
    "kv_cache_size": lambda model: model.kv_cache_size(),
    "clear_kv_cache": lambda model: model.clear_kv_cache(),
    "set_chat_template": set_chat_template,
    "set_function_tools": lambda model: set_function_tools(model, [{"name": "f"}]),
    "load_lora": lambda model: model.load_lora("/none"),
    "release_prompt_cache": release_prompt_cache,
}


@pytest.mark.parametrize("call", CALLS)
def test_calls_on_the_model_from_inside_are_refused(open_model: Opener, record: Path, call: str) -> None:
    refused: list[BusyError] = []

    def tokenizer(_: str) -> list[int]:
        with pytest.raises(BusyError, match="callback") as caught:
            CALLS[call](model)
        refused.append(caught.value)
        # What waits for nobody is allowed.
        assert model.info.vocab_size is None
        assert loras(model) == ()
        return [1]

    model = open_model(asking(WORD), tokenizer=tokenizer)
    assert model.generate("x").text == "ab"
    assert refused[0].hint
    assert model.generate("x").text == "fine"
    assert len(calls(record, "rkllm_run")) == 2


def test_another_model_can_be_asked_from_inside(open_model: Opener) -> None:
    other = open_model(["1 2 3"])
    model = open_model(asking(WORD), tokenizer=lambda text: map(int, other.generate(text).text.split()))
    assert model.generate("x").text == "ab"


@pytest.mark.parametrize("thread", [False, True])
def test_async_for(open_model: Opener, *, thread: bool) -> None:
    served = Served()
    model = open_model(asking({**WORD, "thread": thread}, ROWS, prefill_ms=20), **served.keywords())

    async def main() -> str:
        return "".join([chunk.text async for chunk in model.stream("x")])

    assert asyncio.run(asyncio.wait_for(main(), PATIENCE)) == "ab"
    assert set(served.threads) == {threading.get_native_id()}
    assert asyncio.run(asyncio.wait_for(aio(model).generate("y"), PATIENCE)).text == "fine"


def test_an_exception_in_async_for(open_model: Opener) -> None:
    def fail(_: str) -> list[int]:
        raise OwnError

    model = open_model(asking(WORD), tokenizer=fail)

    async def main() -> str:
        with pytest.raises(OwnError):
            await asyncio.wait_for(aio(model).generate("x"), PATIENCE)
        return (await aio(model).generate("y")).text

    assert asyncio.run(main()) == "fine"


def test_questions_during_aopen(make_model: Callable[..., Path], library: Path) -> None:

    served = Served()
    path = make_model({"init": {"delay_ms": 50, "ask": [WORD, ROWS]}, "runs": [{"steps": ["a"]}]})

    async def main() -> str:
        opening = aopen(path, backend="npu", library=library, **served.keywords())
        async with await asyncio.wait_for(opening, PATIENCE / 2) as model:
            return (await aio(model).generate("x")).text

    with pytest.warns(UserWarning, match="NPU"):
        assert asyncio.run(main()) == "a"
    assert served.told == [TEXT, [7, 8, 9]]


def test_several_readers_of_one_run_answer_once(open_model: Opener) -> None:
    served = Served()
    model = open_model(asking(*[WORD, ROWS] * 10), **served.keywords())
    stream = model.stream("x")
    readers = [in_thread(stream.result) for _ in range(3)]
    # What each gets depends on who takes the pieces; none hangs, and no question is answered twice.
    for reader in readers:
        assert reader().finish_reason == "stop"
    assert served.told == [TEXT, [7, 8, 9]] * 10


def test_only_1_3_0_asks(open_model: Opener, record: Path, abi_version: str) -> None:
    served = Served()
    for name, served_by in served.keywords().items():
        if abi_version >= "v1_3_0":
            assert open_model(["a"], **{name: served_by}).generate("x").text == "a"
            continue
        with pytest.raises(UnsupportedFeatureError, match=r"1\.3\.0"):
            open_model(["a"], **{name: served_by})
        assert not calls(record, "rkllm_init")


@pytest.mark.parametrize("name", ["tokenizer", "embedder"])
@pytest.mark.parametrize("bad", [5, "f", [1], object()])
def test_only_callables(open_model: Opener, record: Path, name: str, bad: object) -> None:
    with pytest.raises(InvalidTypeError, match=name):
        open_model(["a"], **{name: bad})
    assert not calls(record, "rkllm_init")


@pytest.mark.hazard("A7")
def test_the_callables_live_as_long_as_the_model(open_model: Opener) -> None:
    import gc
    import weakref

    served = Served()
    alive = weakref.ref(served)
    model = open_model(asking(WORD, ROWS), **served.keywords())
    del served
    gc.collect()
    assert model.generate("x").text == "ab"
    assert alive() is not None


def test_score_uses_the_tokenizer(open_model: Opener, record: Path) -> None:
    served = Served()
    model = open_model({"runs": [{"logits": {"width": 256}}]}, tokenizer=served.tokenizer)
    score = model.score("ab", "c")
    assert score.token_ids == [ord("c")]
    assert served.told == ["ab", "c"]
    assert calls(record, "rkllm_run")[0]["input"]["token_input"]["input_ids"] == [97, 98, 99]
