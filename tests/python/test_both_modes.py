"""One case of each public call, and each hazard that has to do with the process, here and in a worker."""

from __future__ import annotations

import asyncio
import os
import signal
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from rkllm_rs import (
    RKLLM,
    AsyncRKLLM,
    BusyError,
    ClosedError,
    Embeddings,
    ForkedProcessError,
    GenerationError,
    GenerationTimeout,
    InvalidArgumentError,
    ModelError,
    RkllmError,
    RkllmWarning,
    Tokens,
)
from support import HELD, began, in_thread
from surface import (
    generate_batch,
    hidden_states_batch,
    load_prompt_cache,
    logits_batch,
    loras,
    release_prompt_cache,
    set_chat_template,
    set_function_tools,
    stepwise,
    stream_batch,
    stream_hidden_states,
    stream_logits,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Opener

pytestmark = [
    pytest.mark.both_modes,
    pytest.mark.filterwarnings("ignore::rkllm_rs.RkllmWarning"),
]

MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")
ROWS = {"rows": 2, "width": 3, "start": 1.0}


def test_where_it_runs(open_model: Opener, mode: str) -> None:
    assert (open_model(["a"]).worker_pid is not None) == (mode == "worker")


def test_text(open_model: Opener) -> None:
    script = ["Hé", {"bytes": [0xE2, 0x82]}, {"bytes": [0xAC]}, " END and more"]
    model = open_model({"runs": [{"steps": script}]})
    answer = model.generate("x")
    assert (answer.text, answer.finish_reason) == ("Hé€ END and more", "stop")
    assert answer.perf.generate_tokens == 4
    assert [chunk.text for chunk in model.stream("x", stop=["END"])] == ["Hé", "€", " "]
    assert model.generate("x", max_new_tokens=1).finish_reason == "length"
    assert "".join(model.stream("x").texts()) == answer.text


def test_every_kind_of_input(open_model: Opener) -> None:
    model = open_model({"runs": [{"steps": [{"echo": True}]}, {"steps": ["ids"]}, {"steps": ["floats"]}]})
    assert model.generate("prömpt").text == "prömpt"
    assert model.generate(Tokens([1, 2])).text == "ids"
    assert model.generate(Embeddings(np.full((2, 8), np.nan, np.float32))).text == "floats"


def test_rows(open_model: Opener) -> None:
    model = open_model({"logits": ROWS, "hidden": [ROWS, {**ROWS, "start": 7.0}]})
    expected = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    kept = [model.logits("x") for _ in range(3)]
    assert all(np.asarray(rows).tolist() == expected for rows in kept)
    states = np.asarray(model.hidden_states("x"))
    assert states.tolist() == [*expected, [7.0, 8.0, 9.0], [10.0, 11.0, 12.0]]
    assert [np.asarray(part).shape for part in stream_logits(model, "x")] == [(2, 3)]
    assert [np.asarray(part).shape for part in stream_hidden_states(model, "x")] == [(2, 3), (2, 3)]
    # What a view looks at outlives everything else.
    view = np.asarray(kept[0])
    view[0, 0] = 5.0
    model.close()
    del kept, model
    assert view.tolist() == [[5.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


def test_rows_that_take_long_to_copy(open_model: Opener) -> None:
    width, starts = 151_936, [1.0, 2.0, 3.0]
    model = open_model({"logits": [{"rows": 1, "width": width, "start": start} for start in starts]})
    for number in range(25):
        with stream_logits(model, "x") as stream:
            if number % 5 == 4:
                continue  # left while they are copied
            views = [np.asarray(part)[0] for part in stream]
        # Each has memory of its own, and all of its values.
        assert [view[0] for view in views] == starts
        assert [view[-1] for view in views] == [start + width - 1 for start in starts]
    with open("/proc/self/maps") as maps:
        assert maps.read().count("rkllm-rows") <= 20  # used again


def test_embeddings_and_scores(open_model: Opener) -> None:
    model = open_model({"hidden": ROWS, "logits": {"rows": 3, "width": 5}})
    assert np.asarray(model.embed("x")).shape[-1] == 3
    assert model.score(Tokens([1, 2]), Tokens([3])).token_ids == [3]


def test_batches(open_model: Opener) -> None:
    rows = [[["a", "b"], ["c"]], [["d"], ["e", "f"]]]
    runs = [{"rows": row} for row in rows]
    model = open_model({"runs": runs, "hidden": ROWS, "logits": ROWS}, n_batch=2)
    assert [answer.text for answer in generate_batch(model, ["x", "y"])] == ["ab", "c"]
    streams = stream_batch(model, ["x", "y"])
    assert ["".join(stream.texts()) for stream in streams] == ["d", "ef"]
    assert len(hidden_states_batch(model, ["x", "y"])) == 2
    assert len(logits_batch(model, ["x", "y"])) == 2


def test_steps(open_model: Opener) -> None:
    model = open_model({"runs": [{"steps": ["a"]}, {"steps": ["b"]}, {"steps": ["c"]}], "kv_cache_size": [4]})
    steps = stepwise(model, "x")
    assert next(steps).text == "a"
    assert model.kv_cache_size() == 4
    model.clear_kv_cache(ranges=[(0, 2)])
    assert steps.send(Tokens([7])).text == "b"
    steps.close()
    assert steps.result().text == "ab"
    assert model.generate("x").text == "c"


def test_state(open_model: Opener, tmp_path: Path) -> None:
    model = open_model({"runs": [{"steps": ["a"]}], "kv_cache_size": [3]})
    adapter = tmp_path / "style.rkllm"
    adapter.write_bytes(bytes(64))
    model.load_lora(adapter, scale=0.5)
    assert [lora.name for lora in loras(model)] == ["style"]
    assert model.generate("x", lora="style", save_prompt_cache=tmp_path / "cache").text == "a"
    load_prompt_cache(model, tmp_path / "cache")
    release_prompt_cache(model)
    set_function_tools(model, '[{"name": "f"}]')
    set_chat_template(model, "system", "<", ">")
    assert model.kv_cache_size() == 3
    model.clear_kv_cache(keep_system_prompt=True)
    assert model.generate("x", keep_history=True).text == "a"


def test_callables_run_in_this_process(open_model: Opener) -> None:
    asked = []

    def tokenizer(text: str) -> list[int]:
        asked.append((text, os.getpid()))
        return [1, 2]

    run = {"ask": [{"tokenize": "héllo", "capacity": 8}], "steps": ["ok", "more"]}
    model = open_model({"runs": [run]}, tokenizer=tokenizer)
    seen: list[tuple[str, int]] = []
    answer = model.generate("x", on_token=lambda chunk: seen.append((chunk.text, os.getpid())))
    assert answer.text == "okmore"
    assert asked == [("héllo", os.getpid())]
    assert seen == [("ok", os.getpid()), ("more", os.getpid())]
    with pytest.raises(BusyError):
        model.generate("x", on_token=lambda _: model.generate("y"))

    def broken(_: str) -> list[int]:
        raise LookupError(_)

    failing = open_model({"runs": [run]}, tokenizer=broken)
    with pytest.raises(LookupError, match="héllo"):
        failing.generate("x")


def test_ends(open_model: Opener, record: Path) -> None:
    endless = {"steps": ["x"], "repeat": 1_000_000, "delay_ms": 5}
    model = open_model({"runs": [endless]})
    with pytest.raises(GenerationTimeout) as caught:
        model.generate("x", timeout=1)
    assert caught.value.partial is not None
    assert caught.value.partial.text.startswith("x")
    stream = model.stream("x")
    next(stream)
    stream.cancel()
    assert stream.result().finish_reason == "cancelled"
    last, waiting = model.stream("x"), model.stream("y")
    next(last)
    model.close()
    for left in (last, waiting):
        with pytest.raises(ClosedError):
            left.result()
    with pytest.raises(ClosedError):
        model.generate("x")
    began(record, "rkllm_destroy")


def test_errors(open_model: Opener) -> None:
    failing = {"return": -1, "log": [["stderr", "E rkllm: it broke"]]}
    model = open_model({"runs": [failing]})
    with pytest.raises(GenerationError) as caught:
        model.generate("x")
    assert caught.value.log == ["E rkllm: it broke"]
    with pytest.raises(InvalidArgumentError, match=r"\Atemperature "):
        model.generate("x", temperature=-1)
    with pytest.raises(ModelError) as refused:
        open_model({"init": {"return": -1, "log": [["stderr", "E rkllm: no"]]}})
    assert refused.value.log == ["E rkllm: no"]


@pytest.mark.hazard("A3")
def test_an_abort_that_is_ignored_for_a_while(open_model: Opener) -> None:
    slow = {"steps": ["a"], "repeat": 1_000_000, "delay_ms": 1, "ignore_abort_ms": 300}
    model = open_model({"runs": [slow, {"steps": ["b"]}]})
    stream = model.stream("x")
    next(stream)
    stream.cancel()
    assert model.generate("y").text == "b"


def test_a_request_behind_a_run_that_does_not_end_is_told_of_a_close(open_model: Opener) -> None:
    run = {"steps": ["a", {"text": "b", "delay_ms": HELD}], "ignore_abort": True}
    model = open_model({"runs": [run], "kv_cache_size": [1]})
    stream = model.stream("x")
    next(stream)
    waiting = in_thread(model.kv_cache_size)
    model.close()
    with pytest.raises(ClosedError):
        waiting()


def test_event_loops(make_model: Callable[..., Path], library: Path) -> None:
    path = make_model({"runs": [{"steps": ["a", "b"], "delay_ms": 5}], "logits": ROWS, "kv_cache_size": [2]})

    async def main() -> None:
        async with AsyncRKLLM(path, library=library) as model:
            assert [chunk.text async for chunk in model.stream("x")] == ["a", "b"]
            answers = await asyncio.gather(*(model.generate("x") for _ in range(3)))
            assert [answer.text for answer in answers] == ["ab"] * 3
            assert (await model.logits("x")).shape == (2, 3)
            assert await model.kv_cache_size() == 2
            stream = model.stream("x")
            assert (await stream.__anext__()).text == "a"
            stream.cancel()

    asyncio.run(main())


@pytest.mark.hazard("N5")
def test_a_fork(open_model: Opener) -> None:
    model = open_model({"runs": [{"steps": ["a"]}]})
    pid = os.fork()
    if not pid:
        status = 1
        try:
            model.generate("x")
        except ForkedProcessError:
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert model.generate("x").text == "a"


def test_rows_that_a_forked_child_looks_at(open_model: Opener) -> None:
    starts = [1.0, 2.0]
    model = open_model({"runs": [{"logits": [{"rows": 1, "width": 8, "start": start}]} for start in starts]})
    view = np.asarray(model.logits("x"))
    theirs, ours = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(ours)
        os.read(theirs, 1)  # its end, whatever becomes of the parent
        os._exit(int(view[0][0]))
    try:
        # What is gone here is still there.
        del view
        assert np.asarray(model.logits("x"))[0][0] == 2
    finally:
        os.close(theirs)
        os.close(ours)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


def test_ctrl_c(open_model: Opener, record: Path, gate: Path) -> None:
    import threading

    model = open_model({"runs": [{"prefill_ms": HELD, "steps": ["a"]}, {"steps": ["b"]}]})
    main = threading.get_ident()

    def interrupt() -> None:
        began(record)
        signal.pthread_kill(main, signal.SIGINT)

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        done = in_thread(interrupt)
        with pytest.raises(KeyboardInterrupt):
            model.generate("x")
        done()
        gate.touch()
    finally:
        signal.signal(signal.SIGINT, handler)
    assert model.generate("y").text == "b"


@pytest.mark.parametrize("abi_version", ["v1_1_0", "v1_2_0", "v1_2_1"])
def test_older_releases(open_model: Opener, abi_version: str) -> None:
    model = open_model({"runs": [{"steps": ["a", "b"]}]}, template="raw")
    assert model.generate("x").text == "ab"
    assert model.runtime.identity.abi == abi_version
    with pytest.raises(RkllmError):
        model.generate("x", keep_history=1)  # type: ignore[arg-type]


# ---- the real model


@pytest.fixture
def real() -> Iterator[Callable[..., Any]]:
    opened = []

    def opener(**keywords: Any) -> RKLLM:
        assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RkllmWarning)
            opened.append(RKLLM(MODEL, max_context_len=256, **keywords))
        return opened[-1]

    yield opener
    for model in opened:
        model.close()


#: What the first mode gave, for the second.
GIVEN: dict[str, Any] = {}


@pytest.mark.model
def test_the_real_model(real: Callable[..., RKLLM]) -> None:
    model = real()
    ids = model.tokenize("Hello, world")
    found = {
        "text": model.generate("Say hello.", max_new_tokens=12, top_k=1).text,
        "seeded": model.generate("Say hello.", max_new_tokens=12, temperature=1.0, seed=7).token_ids,
        "chunks": [chunk.token_id for chunk in model.stream(Tokens(ids), max_new_tokens=6, top_k=1)],
        "ids": ids,
        "back": model.detokenize(ids),
        "logits": np.asarray(model.logits(Tokens(ids))).sum(axis=1).tolist(),
        "states": np.asarray(model.hidden_states("Hello")).sum(axis=1).tolist(),
        "info": (model.info.vocab_size, model.info.context_limit, model.max_context_len),
        "count": model.count_tokens("Hello"),
    }
    assert GIVEN.setdefault("real", found) == found
