"""A function of the program that changes logits before each token is chosen, with the real small model."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import subprocess
import sys
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from rkllm_rs import (
    RKLLM,
    AsyncRKLLM,
    BusyError,
    GenerationError,
    GenerationTimeout,
    InvalidArgumentError,
    InvalidTypeError,
    Tokens,
)
from support import in_thread
from surface import generate_batch

if TYPE_CHECKING:
    from collections.abc import Iterator

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")
ASK = "Name a colour."
GREEDY: dict[str, Any] = {"temperature": 0, "max_new_tokens": 6, "repeat_penalty": 1}

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", params=[False, True], ids=["here", "worker"])
def llm(request: pytest.FixtureRequest) -> Iterator[RKLLM]:
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    with RKLLM(MODEL, backend="cpu", max_context_len=512, isolate=request.param) as llm:
        yield llm


@pytest.fixture(autouse=True)
def nothing_open(llm: RKLLM) -> None:
    """The model of this module stays open."""


def test_it_sees_the_tokens_so_far_and_all_logits(llm: RKLLM) -> None:
    plain = llm.generate(ASK, **GREEDY).token_ids
    seen: list[list[int]] = []

    def look(token_ids: list[int], row: Any) -> None:
        assert row.shape == (llm.info.vocab_size,)
        assert row.dtype == "float32"
        assert int(row.argmax()) == plain[len(token_ids)]
        seen.append(list(token_ids))

    assert llm.generate(ASK, **GREEDY, logits_processor=look).token_ids == plain
    assert seen == [plain[:count] for count in range(6)]


def test_what_it_writes_counts(llm: RKLLM) -> None:
    (token,) = llm.tokenize(" blue")

    def written(token_ids: list[int], row: Any) -> None:
        row[token] = 1e4

    def returned(token_ids: list[int], row: Any) -> Any:
        copy = row.copy()
        copy[token] = math.inf
        return copy

    for processor in (written, returned):
        assert llm.generate(ASK, **GREEDY, logits_processor=processor).token_ids == [token] * 6
    # Later calls have none.
    assert llm.generate(ASK, **GREEDY).token_ids != [token] * 6


def test_a_grammar_has_the_last_word(llm: RKLLM) -> None:
    (token,) = llm.tokenize(" blue")

    def push(token_ids: list[int], row: Any) -> None:
        row[token] = 1e4

    answer = llm.generate(ASK, choices=["red", "green"], logits_processor=push, logprobs=0)
    assert answer.text in {"red", "green"}
    assert answer.logprobs is not None
    assert answer.logprobs[0].logprob < 0


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_what_it_raises_ends_the_run(llm: RKLLM, kind: type[BaseException]) -> None:
    raised = kind("mine")

    def fail(token_ids: list[int], row: Any) -> None:
        if token_ids:
            raise raised

    with pytest.raises(kind) as caught:
        llm.generate(ASK, **GREEDY, logits_processor=fail)
    assert caught.value is raised
    stream = llm.stream(ASK, **GREEDY, logits_processor=fail)
    with pytest.raises(kind):
        list(stream)
    with pytest.raises(kind):
        llm.chat([{"role": "user", "content": ASK}], **GREEDY, logits_processor=fail)
    assert llm.generate(ASK, **GREEDY).finish_reason == "length"


@pytest.mark.parametrize(
    ("result", "error"),
    [
        ("no", InvalidTypeError),
        ([1.0], InvalidTypeError),
        (b"1234", (InvalidTypeError, InvalidArgumentError)),
    ],
    ids=["text", "list", "bytes"],
)
def test_what_is_no_row_is_refused(llm: RKLLM, result: object, error: Any) -> None:
    with pytest.raises(error, match="logits_processor"):
        llm.generate(ASK, **GREEDY, logits_processor=lambda _ids, _row: result)  # type: ignore[arg-type,return-value]


def test_a_row_of_another_length_is_refused(llm: RKLLM) -> None:
    with pytest.raises(InvalidArgumentError, match=str(llm.info.vocab_size)):
        llm.generate(ASK, **GREEDY, logits_processor=lambda _ids, row: row[:8])


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_row_without_a_token_is_an_error_with_a_hint(llm: RKLLM, value: float) -> None:
    with pytest.raises(GenerationError) as caught:
        llm.generate(ASK, **GREEDY, logits_processor=lambda _ids, row: row * 0 + value)
    assert "logits_processor" in (caught.value.hint or "")
    assert llm.generate(ASK, **GREEDY).finish_reason == "length"


def test_it_cannot_call_the_model(llm: RKLLM) -> None:
    def again(token_ids: list[int], row: Any) -> None:
        llm.generate(ASK)

    with pytest.raises(BusyError):
        llm.generate(ASK, **GREEDY, logits_processor=again)


def test_a_stream_that_nobody_reads_holds_up_nobody_else(llm: RKLLM) -> None:
    calls: list[int] = []
    stream = llm.stream(ASK, **GREEDY, logits_processor=lambda ids, _row: calls.append(len(ids)))
    assert in_thread(lambda: llm.generate(ASK, **GREEDY))().token_ids
    assert len(stream.result().token_ids) == len(calls) == 6


def test_closing_in_the_middle_waits_for_nothing(llm: RKLLM) -> None:
    for _ in range(3):
        with llm.stream(ASK, **GREEDY, logits_processor=lambda _ids, _row: None) as stream:
            next(stream)
    assert llm.generate(ASK, **GREEDY).token_ids


def test_event_loops_batches_and_steps_have_it(llm: RKLLM) -> None:
    (token,) = llm.tokenize(" blue")

    def push(token_ids: list[int], row: Any) -> None:
        row[token] = 1e4

    async def ask() -> list[int]:
        async with AsyncRKLLM(MODEL, backend="cpu", max_context_len=512) as aio:
            first = await aio.generate(ASK, **GREEDY, logits_processor=push)
            rest = [chunk.token_id async for chunk in aio.stream(ASK, **GREEDY, logits_processor=push)]
            assert rest == first.token_ids
            return first.token_ids

    assert asyncio.run(ask()) == [token] * 6
    with RKLLM(MODEL, backend="cpu", max_context_len=512, n_batch=2) as pair:
        for answer in generate_batch(pair, [ASK, "Count."], **GREEDY, logits_processor=push):
            assert answer.token_ids == [token] * 6
    seen: list[list[int]] = []
    with llm.steps(ASK, **GREEDY, logits_processor=lambda ids, _row: seen.append(list(ids))) as steps:
        next(steps)
        steps.send(Tokens([token, token]))
    assert seen[1] == [token, token]


def test_nothing_keeps_it(llm: RKLLM) -> None:
    class Push:
        def __call__(self, token_ids: list[int], row: Any) -> None:
            pass

    push = Push()
    gone = weakref.ref(push)
    llm.generate(ASK, **GREEDY, logits_processor=push)
    del push
    gc.collect()
    assert gone() is None


def test_it_may_refer_to_its_own_stream(llm: RKLLM) -> None:
    class Own:
        stream: Any = None

        def __call__(self, token_ids: list[int], row: Any) -> None:
            pass

    own = Own()
    own.stream = llm.stream(ASK, **GREEDY, logits_processor=own)
    gone = weakref.ref(own.stream)
    assert own.stream.result().token_ids
    del own
    gc.collect()
    assert gone() is None


def test_a_deadline_passes_while_it_runs(llm: RKLLM) -> None:
    with pytest.raises(GenerationTimeout) as caught:
        llm.generate(ASK, temperature=0, timeout=0.5, logits_processor=lambda _ids, _row: time.sleep(0.1))
    assert isinstance(caught.value.partial.token_ids, list)
    assert llm.generate(ASK, **GREEDY).token_ids


PROGRAM = """
import sys
sys.modules["numpy"] = None
import array, os
from rkllm_rs import RKLLM
def push(token_ids, row):
    assert isinstance(row, array.array) and row.typecode == "f"
    row[260] = 1e4
with RKLLM(sys.argv[1], backend="cpu", max_context_len=256) as llm:
    print(llm.generate("Hi", max_new_tokens=2, repeat_penalty=1, logits_processor=push).token_ids)
"""


def test_without_numpy_it_gets_an_array(tmp_path: object) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, MODEL], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "[260, 260]\n", done.stderr
