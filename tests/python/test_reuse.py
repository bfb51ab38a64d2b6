"""``reuse=``: what of a prompt reaches the library, and what is told of it."""

from __future__ import annotations

import itertools
import pickle
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from fakes import LAYOUTS, calls, fake_library
from rkllm_rs import (
    RKLLM,
    Embeddings,
    InvalidArgumentError,
    InvalidTypeError,
    RkllmWarning,
    Tokens,
    UnsupportedFeatureError,
)
from surface import aio, generate_batch, stepwise, stream_batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Opener

#: The first turn, its answer with the end token, and the second turn.
FIRST, ANSWER, SECOND = [1, 2, 3], [4, 5], [1, 2, 3, 4, 5, 6, 7]

parted = pytest.mark.parametrize("abi_version", ["v1_3_0", "v1_3_1"])
matched = pytest.mark.parametrize("abi_version", ["v1_2_0", "v1_2_1"])


def turn(made: list[int], size: int, **more: Any) -> dict[str, Any]:
    """A run that makes tokens, after which so many positions are in the cache."""
    steps = [{"text": "x", "id": one} for one in made]
    return {"steps": steps, "kv_cache_size": [size], "obey_max_new_tokens": True, **more}


def script(*runs: dict[str, Any]) -> dict[str, Any]:
    return {"runs": list(runs or (turn(ANSWER, 5), turn([8], 8), turn([9], 9)))}


def sent(record: Path) -> list[str | tuple[int | None, list[int]]]:
    """Whether each run keeps its history, with its tokens, and where the cache was cleared."""
    found: list[str | tuple[int | None, list[int]]] = []
    for call in calls(record):
        if call["fn"] == "rkllm_clear_kv_cache":
            assert call["keep_system_prompt"] == 0
            found.append("clear")
        elif call["fn"] == "rkllm_run":
            tokens = call["input"]["token_input"]["input_ids"]
            found.append((call["infer"].get("keep_history"), tokens))
    return found


def ask(llm: RKLLM, ids: list[int], **keywords: Any) -> Any:
    return llm.generate(Tokens(ids), **{"reuse": "fast"} | keywords)


@parted
def test_a_turn_that_goes_on_is_sent_alone(open_model: Opener, record: Path) -> None:
    llm = open_model(script())
    first, second = ask(llm, FIRST), ask(llm, SECOND)
    assert sent(record) == ["clear", (1, FIRST), (1, SECOND[5:])]
    assert (first.perf.prompt_tokens, first.perf.cached_tokens) == (3, 0)
    assert (second.perf.prompt_tokens, second.perf.cached_tokens, second.perf.prefill_tokens) == (7, 5, 2)


@parted
def test_an_end_token_that_is_not_computed_is_sent(open_model: Opener, record: Path) -> None:
    llm = open_model(script(turn(ANSWER, 4), turn([8], 7)))
    ask(llm, FIRST)
    ask(llm, SECOND)
    assert sent(record)[2:] == [(1, SECOND[4:])]


@parted
@pytest.mark.parametrize("ids", [SECOND[:5], FIRST, [1, 2, 9, 4, 5, 6], [7]], ids=str)
def test_an_edited_turn_is_sent_as_a_whole(open_model: Opener, record: Path, ids: list[int]) -> None:
    llm = open_model(script())
    ask(llm, FIRST)
    ask(llm, ids)
    assert sent(record)[2:] == ["clear", (1, ids)]


def between(llm: RKLLM, tmp_path: Path) -> dict[str, Callable[[], object]]:
    """What may happen between two turns."""
    adapter = tmp_path / "style.rkllm"
    adapter.write_bytes(b"RKLLM" + bytes(64))
    cache = tmp_path / "cache.bin"
    zeros = memoryview(bytes(16)).cast("B").cast("f", (1, 4))

    def saved() -> None:
        ask(llm, FIRST, save_prompt_cache=cache)

    def loaded() -> None:
        cache.write_bytes(b"x")
        llm.load_prompt_cache(cache, verify=False)

    return {
        "text": lambda: llm.generate("x"),
        "tokens": lambda: llm.generate(Tokens(FIRST)),
        "history": lambda: llm.generate(Tokens([9]), keep_history=True),
        "stop": lambda: ask(llm, FIRST, stop="x"),
        "steps": lambda: next(iter(stepwise(llm, "x"))),
        "rows": lambda: llm.hidden_states(Tokens(FIRST)),
        "embeddings": lambda: llm.generate(Embeddings(zeros)),
        "clear": llm.clear_kv_cache,
        "template": lambda: llm.set_chat_template("", "", ""),
        "saved": saved,
        "loaded": loaded,
        "nothing": lambda: ask(llm, FIRST, reuse=False),
    }


@pytest.mark.parametrize("abi_version", ["v1_3_1"])
@pytest.mark.parametrize(
    "what",
    [
        "text",
        "tokens",
        "history",
        "stop",
        "steps",
        "rows",
        "embeddings",
        "clear",
        "template",
        "saved",
        "loaded",
        "nothing",
    ],
)
def test_whatever_happens_between_makes_it_whole(
    open_model: Opener, record: Path, tmp_path: Path, what: str
) -> None:
    llm = open_model({**script(*[turn(ANSWER, 5)] * 9), "hidden": {"width": 4}})
    ask(llm, FIRST)
    between(llm, tmp_path)[what]()
    before = len(calls(record, "rkllm_run"))
    ask(llm, SECOND)
    assert len(calls(record, "rkllm_run")) == before + 1
    last = [call for call in calls(record) if call["fn"] in {"rkllm_run", "rkllm_clear_kv_cache"}][-2:]
    assert last[0]["fn"] == "rkllm_clear_kv_cache"
    assert last[1]["input"]["token_input"]["input_ids"] == SECOND


@pytest.mark.parametrize("abi_version", ["v1_3_1"])
def test_an_answer_that_was_cut_at_its_limit_is_not_gone_on_from(open_model: Opener, record: Path) -> None:
    """Whether the library computes its last token in the next run, nobody knows."""
    llm = open_model(script(turn([*ANSWER, 6], 5), turn([8], 8)))
    ask(llm, FIRST, max_new_tokens=2)
    ask(llm, SECOND)
    assert sent(record)[2:] == ["clear", (1, SECOND)]


@parted
@pytest.mark.parametrize(
    "second",
    [turn([8], 11), turn([8], 8, finish={"perf": {"prefill_tokens": 3}}), turn([], 0, error=True)],
    ids=["size", "count", "error"],
)
def test_a_library_that_does_something_else_is_not_trusted(
    open_model: Opener, record: Path, second: dict[str, Any]
) -> None:
    llm = open_model(script(turn(ANSWER, 5), second, turn([9], 9)))
    ask(llm, FIRST)
    failed = "error" in second
    if failed:
        with pytest.raises(Exception, match="error"):
            ask(llm, SECOND)
    else:
        ask(llm, SECOND)
    longer = [*SECOND, 8, 9]
    ask(llm, longer)
    # A run that failed says nothing of how the library keeps history.
    assert sent(record)[3:] == (["clear", (1, longer)] if failed else [(0, longer)])


@parted
def test_an_adapter_has_a_cache_of_its_own(open_model: Opener, record: Path, tmp_path: Path) -> None:
    llm = open_model(script())
    path = tmp_path / "style.rkllm"
    path.write_bytes(b"RKLLM" + bytes(64))
    llm.load_lora(path)
    ask(llm, FIRST)
    ask(llm, SECOND, lora="style")
    assert sent(record)[2:] == ["clear", (1, SECOND)]


@matched
def test_older_releases_find_it_themselves(open_model: Opener, record: Path) -> None:
    llm = open_model(script())
    ask(llm, FIRST)
    ask(llm, SECOND)
    assert sent(record) == [(0, FIRST), (0, SECOND)]


@pytest.mark.parametrize("abi_version", LAYOUTS)
def test_by_default_a_run_goes_as_it_is(open_model: Opener, record: Path, abi_version: str) -> None:
    llm = open_model(script())
    llm.generate(Tokens(FIRST))
    llm.generate(Tokens(SECOND), reuse="auto")
    history = None if abi_version == "v1_1_0" else 0
    assert sent(record) == [(history, FIRST), (history, SECOND)]


def test_nothing_is_reused_when_the_cache_is_cleared(
    open_model: Opener, record: Path, abi_version: str
) -> None:
    llm = open_model({**script(), "hidden": {"width": 4}})
    perf = ask(llm, FIRST, reuse=False).perf
    llm.stream(Tokens(FIRST), reuse=False).result()
    clears = [] if abi_version == "v1_1_0" else ["clear"]
    history = None if abi_version == "v1_1_0" else 0
    assert sent(record) == [*clears, (history, FIRST)] * 2
    # Before 1.2.0 nothing is reused, as far as is known.
    assert perf.cached_tokens == (None if abi_version == "v1_1_0" else 0)


@pytest.mark.parametrize("abi_version", ["v1_2_1"])
def test_every_call_that_generates_takes_it(open_model: Opener, record: Path) -> None:
    import asyncio

    llm = open_model(script())
    next(iter(stepwise(llm, Tokens(FIRST), reuse=False)))
    asyncio.run(aio(llm).generate(Tokens(FIRST), reuse=False))
    assert sent(record)[0] == sent(record)[-2] == "clear"
    batch = open_model(script(), n_batch=2)
    count = len(calls(record, "rkllm_clear_kv_cache"))
    generate_batch(batch, [Tokens(FIRST), Tokens(SECOND)], reuse=False)
    stream_batch(batch, [Tokens(FIRST), Tokens(SECOND)], reuse=False).results()
    assert len(calls(record, "rkllm_clear_kv_cache")) == count + 2


@pytest.mark.parametrize("abi_version", ["v1_1_0"])
def test_what_is_too_old_is_told(open_model: Opener) -> None:
    llm = open_model(script())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ask(llm, FIRST)
        ask(llm, FIRST)
    assert [(one.category, "reuse" in str(one.message)) for one in caught] == [(RkllmWarning, True)]
    llm.close()
    strict = open_model(script(), strict=True)
    with pytest.raises(UnsupportedFeatureError, match=r"reuse.*1\.2\.0"):
        ask(strict, FIRST)
    assert ask(strict, FIRST, reuse=False).token_ids == ANSWER


@pytest.mark.parametrize("abi_version", ["v1_2_1"])
def test_a_library_that_cannot_clear_is_told(open_model: Opener, tmp_path: Path, abi_version: str) -> None:
    library = fake_library(tmp_path, abi_version, drop_symbols=["rkllm_clear_kv_cache"])
    with pytest.warns(RkllmWarning, match="rkllm_clear_kv_cache"):
        assert ask(open_model(script(), library=library), FIRST, reuse=False).token_ids == ANSWER
    with pytest.raises(UnsupportedFeatureError, match="rkllm_clear_kv_cache"):
        ask(open_model(script(), library=library, strict=True), FIRST, reuse=False)


@pytest.mark.parametrize("abi_version", ["v1_3_1"])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (True, InvalidArgumentError),
        ("", InvalidArgumentError),
        ("all", InvalidArgumentError),
        (0, InvalidTypeError),
    ],
)
def test_what_it_cannot_be(open_model: Opener, record: Path, value: object, error: type[Exception]) -> None:
    llm = open_model(script())
    with pytest.raises(error, match="reuse"):
        ask(llm, FIRST, reuse=value)
    assert not sent(record)


def test_the_prompt_is_counted(open_model: Opener, abi_version: str) -> None:
    run = turn(ANSWER, 5, finish={"perf": {"prefill_tokens": 1, "generate_tokens": 2}})
    llm = open_model(script(run))
    perf = llm.generate(Tokens(FIRST)).perf
    told = abi_version >= "v1_2_1"
    assert perf.prompt_tokens == 3
    assert (perf.prefill_tokens, perf.cached_tokens) == ((1, 2) if told else (None, None))
    text = llm.generate("x").perf
    assert (text.prompt_tokens, text.cached_tokens) == (None, None)
    if abi_version > "v1_1_0":
        kept = llm.generate(Tokens(FIRST), keep_history=True).perf
        assert (kept.prompt_tokens, kept.cached_tokens) == (None, None)
    again = pickle.loads(pickle.dumps(perf))  # noqa: S301 - made here
    assert (again.prompt_tokens, again.cached_tokens) == (perf.prompt_tokens, perf.cached_tokens)


@pytest.mark.parametrize("abi_version", ["v1_3_1"])
def test_a_long_talk(open_model: Opener, record: Path) -> None:
    """Each turn is sent once, however long the talk."""
    runs, ids, sizes = [], [10], []
    for at in range(20):
        runs.append(turn([100 + at, 2], len(ids) + 1))
        sizes.append(len(ids))
        ids = [*ids, 100 + at, 2, 10 + at]
    llm = open_model(script(*runs))
    ids = [10]
    for at in range(20):
        ask(llm, ids)
        ids = [*ids, 100 + at, 2, 10 + at]
    runs = [one for one in sent(record) if one != "clear"]
    assert runs[0] == (1, [10])
    assert all(history == 1 and tokens == [2, 10 + at] for at, (history, tokens) in enumerate(runs[1:]))
    assert list(itertools.accumulate([1, *[3] * 19])) == sizes
