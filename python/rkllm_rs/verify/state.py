"""Checks of what a library keeps and how it comes back: aborts, history, caches, rows, adapters, workers."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from array import array
from typing import TYPE_CHECKING, Any

from rkllm_rs._native import Tokens
from rkllm_rs.errors import WorkerCrashed

from .session import HELLO, Session, fail, name_of, skip

if TYPE_CHECKING:
    from rkllm_rs._native import FloatArray, TokenStream

Found = tuple[str, Any]

#: Within this many seconds control must be back, whatever the library does.
_AT_ONCE = 5.0
LONG = "Write a long story about a fox, a dog and a river, with many details."


def _first_ids(session: Session) -> list[int]:
    return session.generate(HELLO, 4).token_ids


def _ended(session: Session, stream: TokenStream, before: list[int], pid: int | None) -> dict[str, Any]:
    """Cancels a run, and looks how the library comes back from it."""
    begin = time.monotonic()
    stream.cancel()
    reason = stream.result().finish_reason
    back = time.monotonic() - begin
    after = _first_ids(session)
    free = time.monotonic() - begin
    value = {"control_s": round(back, 3), "next_run_s": round(free, 3), "finish_reason": reason}
    if back > _AT_ONCE:
        fail(f"cancel() returned control after {back:.1f} s", value)
    if session.pid() != pid:
        limit = session.job.kill_after
        fail(f"the library ignored the abort for {limit:g} s; its worker had to be killed", value)
    if after[:1] != before[:1]:
        fail(f"the next run's answer began with {after[:4]}, before the abort with {before[:4]}", value)
    return value


def abort_prefill(session: Session) -> Found:
    """An abort before the first token."""
    before = _first_ids(session)
    prompt = "The fox ran. " * (session.room() // 4)
    limit = session.job.run_timeout
    stream = session.llm.stream(prompt, max_new_tokens=200, timeout=limit, **session.anew())
    time.sleep(0.02)
    value = _ended(session, stream, before, session.pid())
    if value["finish_reason"] != "cancelled":
        skip("the run was over before it could be aborted")
    return f"control was back after {value['control_s']} s, the next run after {value['next_run_s']} s", value


def abort_tokens(session: Session) -> Found:
    """An abort in the middle of an answer."""
    before = _first_ids(session)
    limit = session.job.run_timeout
    stream = session.llm.stream(LONG, max_new_tokens=400, timeout=limit, **session.anew())
    for _ in range(3):
        if next(stream, None) is None:
            skip("the answer had fewer than three chunks, so there was nothing to abort")
    value = _ended(session, stream, before, session.pid())
    if value["finish_reason"] != "cancelled":
        skip("the run was over before it could be aborted")
    return f"control was back after {value['control_s']} s, the next run after {value['next_run_s']} s", value


def history(session: Session) -> Found:
    """A conversation that the library keeps."""
    session.require("keep_history", "keep_history")
    name = "Zanzibar"
    first = session.generate(f"My name is {name}. Please remember it.", 16, keep_history=True)
    after_first = session.size()
    second = session.generate("What is my name?", 24, keep_history=True)
    after_second = session.size()
    session.generate(HELLO, 1)
    alone = session.size()
    value: dict[str, Any] = {
        "kv_cache": [after_first, after_second, alone],
        "recalled": name.lower() in second.text.lower(),
    }
    known = first.perf.prompt_tokens
    if known is not None and after_first is not None:
        # What a run adds to the KV cache beside its prompt and its answer, such as an end of turn.
        value["added"] = after_first - known - len(first.token_ids)
    if after_first is None or after_second is None or alone is None:
        if not value["recalled"]:
            skip("the library does not report the size of its KV cache, and the model did not recall")
        return "the model recalled what was said", value
    if after_second <= after_first:
        fail(f"the KV cache had {after_first} tokens, and {after_second} after the next turn", value)
    if alone >= after_second:
        fail(f"a run without history left {alone} tokens; with it there were {after_second}", value)
    recalled = "recalled" if value["recalled"] else "did not recall"
    return f"KV cache: {after_first}, then {after_second}, then {alone}; the model {recalled} it", value


def cache(session: Session) -> Found:
    """The KV cache."""
    session.require("clear_kv_cache", "clear_kv_cache()")
    before = _first_ids(session)
    filled = session.size()
    session.llm.clear_kv_cache()
    cleared = session.size()
    after = _first_ids(session)
    value = {"filled": filled, "cleared": cleared}
    if filled is not None and filled < 1:
        fail(f"the KV cache has {filled} tokens after a run", value)
    if cleared:
        fail(f"the KV cache has {cleared} tokens after it was cleared", value)
    if after[:1] != before[:1]:
        fail(f"the answer began with {after[:4]} after clearing, with {before[:4]} before", value)
    return f"{filled} tokens after a run, {cleared} after clearing; the next run works", value


def _numbers(rows: FloatArray) -> array[float]:
    numbers = array("f")
    numbers.frombytes(rows.tobytes())
    if any(one - one != 0 for one in numbers):  # NaN and the infinities
        fail("there are numbers that are not finite")
    if min(numbers) == max(numbers):
        fail(f"all numbers are {numbers[0]}")
    return numbers


def logits(session: Session) -> Found:
    """Logits against greedy decoding."""
    session.require("logits", "logits()")
    limit, wanted = session.job.run_timeout, session.llm.info.vocab_size
    agree: list[bool] = []
    shape: tuple[int, ...] = ()
    for count in (3, 6, 9):
        prompt = session.some_ids(count)
        rows = session.llm.logits(prompt, timeout=limit)
        shape = rows.shape
        if wanted is not None and shape[1] != wanted:
            fail(f"a row has {shape[1]} logits, the vocabulary {wanted} tokens")
        if shape[0] not in (1, count):
            fail(f"{shape[0]} rows came for {count} tokens")
        last = _numbers(rows[len(rows) - 1])
        answer = session.generate(prompt, 1, **session.anew()).token_ids
        if answer:
            agree.append(last.index(max(last)) == answer[0])
    value = {"shape": list(shape), "agree": sum(agree), "of": len(agree)}
    if agree and not any(agree):
        fail(f"the largest logit was the next token in none of {len(agree)} prompts", value)
    return f"shape {tuple(shape)}; {sum(agree)} of {len(agree)} times the next token was the largest", value


def hidden_states(session: Session) -> Found:
    """Hidden states."""
    session.require("hidden_states", "hidden_states()")
    limit, width = session.job.run_timeout, session.llm.info.hidden_size
    ids = session.some_ids(10)
    rows = [session.llm.hidden_states(ids, timeout=limit) for _ in range(2)]
    other = session.llm.hidden_states(Tokens(list(reversed(ids.to_list()))), timeout=limit)
    first, again, reverse = (_numbers(one) for one in (*rows, other))
    shape = rows[0].shape
    if width is not None and shape[1] != width:
        fail(f"a row has {shape[1]} numbers, the model {width}")
    if shape[0] not in (1, len(ids)):
        fail(f"{shape[0]} rows came for {len(ids)} tokens")
    largest = max(abs(one) for one in first)
    apart = max(abs(a - b) for a, b in zip(first, again, strict=True))
    if apart > largest / 100:
        fail(f"equal input differs by {apart:.3g}, with numbers up to {largest:.3g}")
    if len(reverse) == len(first) and max(abs(a - b) for a, b in zip(first, reverse, strict=True)) <= apart:
        fail("the same tokens in reverse have the same hidden states")
    return f"shape {tuple(shape)}; equal input differs by {apart:.2g}", {"shape": list(shape)}


def lora(session: Session) -> Found:
    """A LoRA adapter."""
    if session.job.lora is None:
        skip("no adapter was given; pass --lora FILE")
    session.require("lora", "LoRA")
    before = session.generate(LONG, 16, **session.anew()).token_ids
    session.llm.load_lora(session.job.lora, name="verify")
    after = session.generate(LONG, 16, lora="verify", **session.anew()).token_ids
    if not after:
        fail("the answer with the adapter is empty")
    value = {"file": name_of(session.job.lora), "changed": before != after}
    if before == after:
        fail("the answer is the same with and without the adapter", value)
    return "the adapter was loaded, and changed the answer", value


def prompt_cache(session: Session) -> Found:
    """A prompt cache."""
    session.require("prompt_cache", "a prompt cache")
    prompt = "The quick brown fox jumps over the lazy dog. " * (session.room() // 40 + 1)
    with tempfile.TemporaryDirectory(prefix="rkllm-rs-verify-") as folder:
        file = os.path.join(folder, "prompt.cache")
        saved = session.generate(prompt, 4, save_prompt_cache=file, **session.anew())
        # The file is complete before the next run begins, and that run makes the KV cache another one.
        session.generate(HELLO, 1)
        if not os.path.exists(file) or not os.path.getsize(file):
            fail("no file was written")
        value: dict[str, Any] = {"bytes": os.path.getsize(file), "prefill_ms": saved.perf.prefill_time_ms}
        if session.able("clear_kv_cache"):
            session.llm.clear_kv_cache()
        session.llm.load_prompt_cache(file)
        again = session.generate(prompt, 4)
        value["prefill_ms_with_cache"] = again.perf.prefill_time_ms
        session.llm.release_prompt_cache()
        if again.token_ids[:1] != saved.token_ids[:1]:
            fail(
                f"the answer began with {again.token_ids} from the cache, with {saved.token_ids} before",
                value,
            )
    if session.job.prompt_cache is not None:
        session.llm.load_prompt_cache(session.job.prompt_cache)
        session.generate(HELLO, 4)
        session.llm.release_prompt_cache()
    return f"a file of {value['bytes']} bytes was saved and loaded; the answer began the same", value


def isolation(session: Session) -> Found:
    """The death of the worker in the middle of a run."""
    _first_ids(session)
    pid = session.pid()
    if pid is None:
        fail("the model has no worker")
    stream = session.llm.stream(LONG, max_new_tokens=400, timeout=session.job.run_timeout)
    next(stream, None)
    os.kill(pid, signal.SIGKILL)
    crashed = False
    try:
        stream.result()
    except WorkerCrashed:
        crashed = True
    begin = time.monotonic()
    answer = session.generate(HELLO, 4)
    took = round(time.monotonic() - begin, 2)
    value = {"reload_s": took, "run_ended_by_crash": crashed}
    if session.pid() == pid or not answer.token_ids:
        fail("the model did not come back in a new worker", value)
    ended = "the run raised WorkerCrashed" if crashed else "the run was over before its worker died"
    return f"{ended}; the next run worked after {took} s, with the model loaded again", value
