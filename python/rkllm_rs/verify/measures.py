"""Measurements of what nobody has documented: raw text, BOS, reuse, pauses, logits, markers."""

from __future__ import annotations

import contextlib
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from rkllm_rs._native import Tokens
from rkllm_rs.errors import RkllmError

from .session import HELLO, MARKER, Session, markers, shown, skip

if TYPE_CHECKING:
    from rkllm_rs._native import Generation
    from rkllm_rs._types import Input

Found = tuple[str, Any]

QUESTION = "How much is 2 + 2? Answer with the number."
#: A word that is one token in nearly every vocabulary, also after itself.
WORD = " the"
_UNKNOWN = "the library does not report how many tokens it made of a prompt"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _surplus(session: Session, text: str, unit: str) -> int | None:
    """How many tokens a text has beside itself: by a tokenizer, else by how it grows with its words."""
    counted = session.fed(text)
    if counted is None:
        return None
    ids = session.ids(text, special=False)
    if ids is not None:
        return counted - len(ids)
    twice = session.fed(text + unit * 8)
    return None if twice is None else counted - round((twice - counted) / 8 * (len(text) / len(unit)))


def raw_text(session: Session) -> Found:
    """Whether text without a template arrives as it is, and special tokens in it are recognized."""
    text = WORD * 16
    raw = _surplus(session, text, WORD)
    if raw is None:
        skip(_UNKNOWN)
    value: dict[str, Any] = {"surplus_tokens": raw, "exact": session.ids(text) is not None, "markers": {}}
    plain = session.fed(text)
    for marker in markers(session)[:4]:
        marked = session.fed(text + marker + WORD * 2)
        bare = session.fed(text + WORD * 2)
        if plain is not None and marked is not None and bare is not None:
            value["markers"][marker] = marked - bare
    seen = f"{_plural(raw, 'token')} more than the text has"
    parsed = [name for name, count in value["markers"].items() if count == 1]
    if value["markers"]:
        seen += f"; {len(parsed)} of {len(value['markers'])} special tokens became one token each"
    else:
        seen += "; no special tokens are known for this model"
    value["raw"] = raw in (0, 1)
    value["parsed"] = len(parsed) == len(value["markers"]) if value["markers"] else None
    return seen, value


def bos(session: Session) -> Found:
    """Where a BOS token is added."""
    text = WORD * 16
    value: dict[str, Any] = {"text": _surplus(session, text, WORD), "tokens": None, "further_run": None}
    with_special, without = session.ids(text), session.ids(text, special=False)
    if with_special is not None and without is not None:
        value["tokenizer_adds"] = len(with_special) - len(without)
    if session.able("token_input"):
        ids = session.some_ids(12)
        counted = session.fed(ids)
        value["tokens"] = None if counted is None else counted - len(ids)
    if session.able("keep_history") and session.able("kv_cache_size") and without is not None:
        # The first run begins the history, the second one goes on in it.
        sizes: list[int] = []
        made: list[int] = []
        for _ in range(2):
            answer = session.generate(text, 1, keep_history=True)
            sizes.append(session.size() or 0)
            made.append(len(answer.token_ids))
        value["further_run"] = sizes[1] - sizes[0] - len(without) - made[1]
        session.generate(text, 1)
    if value["text"] is None and value["tokens"] is None:
        skip(_UNKNOWN)
    names = {"text": "text", "tokens": "token input", "further_run": "a further run with keep_history"}
    told = [f"{names[key]}: {value[key]}" for key in names if value[key] is not None]
    return "tokens beside the prompt's own: " + "; ".join(told), value


def _cost(answer: Generation) -> dict[str, Any]:
    perf = answer.perf
    return {
        "prefilled": perf.prefill_tokens,
        "cached": perf.cached_tokens,
        "prefill_ms": perf.prefill_time_ms,
    }


def prefix_reuse(session: Session) -> Found:
    """Whether the second of two prompts with the same beginning costs less."""
    session.require("token_input", "token input")
    length = min(64, session.room())
    ids = session.some_ids(length).to_list()
    fast = {"reuse": "fast"} if session.able("prefix_reuse") else {}
    cold = session.generate(Tokens(ids), 8, **session.anew())
    again = session.generate(Tokens(ids), 8, **fast)
    # The prompt, what was generated, and something new.
    longer = ids + again.token_ids + ids[:4]
    on = session.generate(Tokens(longer), 1, **fast)
    value: dict[str, Any] = {
        "tokens": length,
        "first": _cost(cold),
        "again": _cost(again),
        "with_answer": _cost(on),
    }
    value["with_answer"]["tokens"] = len(longer)
    before, after = cold.perf.prefill_time_ms or 0, again.perf.prefill_time_ms or 0
    value["reused"] = after < before / 2
    computed = again.perf.prefill_tokens
    if computed is not None and cold.perf.prefill_tokens:
        value["reused"] = computed < length // 2
    counted = "" if computed is None else f", {computed} of {length} tokens were computed"
    seen = f"the same prompt again: {after:.0f} ms after {before:.0f} ms{counted}"
    computed = on.perf.prefill_tokens
    if computed is not None:
        value["answer_reused"] = computed < len(again.token_ids) + len(ids[:4])
        seen += f"; followed by its answer and 4 tokens: {computed} of {len(longer)} were computed"
    return seen, value


def pause_cost(session: Session) -> Found:
    """Milliseconds per token with and without pauses."""
    session.require("pause", "a pause")
    prompt, count = session.some_ids(8), 16
    # The first token includes prefill.
    times: list[list[float]] = []
    sizes: list[int | None] = []
    for paused in (False, True):
        stamps: list[float] = []
        options: dict[str, Any] = {"max_new_tokens": count, "timeout": session.job.run_timeout}
        options |= session.anew()
        run = session.llm.steps(prompt, **options) if paused else session.llm.stream(prompt, **options)
        with run:
            stamps.extend(time.monotonic() for _ in run)
        times.append(stamps)
    if min(len(stamps) for stamps in times) < 3:  # noqa: PLR2004 - two intervals
        skip("the answers were too short to compare")
    plain, stepped = (1000 * (stamps[-1] - stamps[0]) / (len(stamps) - 1) for stamps in times)
    if session.able("kv_cache_size"):
        with session.llm.steps(prompt, max_new_tokens=6, timeout=session.job.run_timeout) as steps:
            sizes = [session.size() for _ in steps]
    value: dict[str, Any] = {
        "run_ms_per_token": round(plain, 2),
        "steps_ms_per_token": round(stepped, 2),
        "cost_ms_per_token": round(stepped - plain, 2),
        "kv_cache": sizes,
    }
    kept = ""
    known = [one for one in sizes if one is not None]
    if len(known) > 1:
        value["cache_kept"] = all(b - a == 1 for a, b in pairwise(known))
        kept = "; the KV cache grew by one token per step" if value["cache_kept"] else f"; KV cache: {known}"
    return f"{plain:.1f} ms per token in one run, {stepped:.1f} ms with pauses{kept}", value


def logits_cost(session: Session) -> Found:
    """Milliseconds of a logits call."""
    session.require("logits", "logits()")
    limit = session.job.run_timeout
    rows: list[dict[str, Any]] = []
    for count in (1, 8, 24):
        prompt = session.some_ids(count)
        if session.able("clear_kv_cache"):
            session.llm.clear_kv_cache()
        took: list[float] = []
        for _ in range(2):
            begin = time.monotonic()
            session.llm.logits(prompt, timeout=limit)
            took.append(round(1000 * (time.monotonic() - begin), 1))
        rows.append({"tokens": count, "cache": "empty", "ms": took[0]})
        rows.append({"tokens": count, "cache": "same tokens", "ms": took[1]})
    base = session.some_ids(min(48, session.room())).to_list()
    session.generate(Tokens(base), 1)
    begin = time.monotonic()
    session.llm.logits(Tokens([*base, *base[:1]]), timeout=limit)
    took_filled = round(1000 * (time.monotonic() - begin), 1)
    rows.append({"tokens": len(base) + 1, "cache": f"the first {len(base)} of them", "ms": took_filled})
    told = ", ".join(f"{row['tokens']}: {row['ms']:.0f} ms" for row in rows if row["cache"] == "empty")
    return f"by number of tokens, {told}; {len(base) + 1} with all but one cached: {took_filled:.0f} ms", rows


def thinking(session: Session) -> dict[str, Any] | None:
    """What the switch for thinking does: with text, with token input, and at the end of the thinking.

    ``None`` for a model without one, and for a library that has none.
    """
    question = QUESTION
    try:
        turns = [
            session.llm.render_chat([{"role": "user", "content": question}], thinking=on)
            for on in (True, False)
        ]
    except RkllmError:
        return None
    if turns[0] == turns[1] or not session.able("thinking"):
        return None
    value: dict[str, Any] = {}
    inputs: dict[str, Input] = {"text": question}
    if session.able("token_input") and (ids := session.ids(question)):
        inputs["tokens"] = Tokens(ids)
    for name, given in inputs.items():
        on, off = (session.generate(given, 24, thinking=flag, **session.anew()) for flag in (True, False))
        value[name] = {"differs": on.token_ids != off.token_ids}
    first = session.generate(question, 256, thinking=True, **session.anew())
    # RKLLM 1.3.0 was reported to end the run there, so that the answer needs a second one.
    value["ends_at_mark"] = first.finish_reason == "stop" and first.text.rstrip().endswith("</think>")
    return value


def shown_markers(session: Session) -> Found:
    """Special tokens in the text, with skip_special_token=False."""
    known = markers(session)
    found: list[str] = []
    ends: list[str] = []
    for question in (HELLO, QUESTION):
        prompt = question
        with contextlib.suppress(RkllmError):  # without a template the model may not end by itself
            prompt = session.llm.render_chat([{"role": "user", "content": question}])
        answer = session.generate(prompt, 48)
        found += MARKER.findall(answer.text)
        found += [one for one in known if one in answer.text]
        last = MARKER.findall(answer.text.rstrip()[-44:])
        if answer.finish_reason == "stop":
            ends.append(last[-1] if last and answer.text.rstrip().endswith(last[-1]) else "")
    unique = list(dict.fromkeys(found))
    value: dict[str, Any] = {"shown": unique, "template": known, "ended": len(ends)}
    value["end_shown"] = any(ends) if ends else None
    seen = f"shown: {', '.join(shown(one) for one in unique) or 'none'}"
    ending = "no answer ended by itself" if not ends else f"the end of the answer is shown: {any(ends)}"
    return f"{seen}; {ending}", value
