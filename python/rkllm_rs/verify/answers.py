"""Checks of what a model answers: text, tokens, streams, characters, sampling, chat, JSON."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from rkllm_rs._native import Tokens
from rkllm_rs.errors import RkllmError, TemplateError

from .measures import thinking
from .session import HELLO, Session, fail, shown, skip, told

if TYPE_CHECKING:
    from rkllm_rs._native import Generation

Found = tuple[str, Any]

#: Questions that the smallest models answer, and what a right answer has in it.
QUESTIONS = (
    ("What is the capital of France?", re.compile(r"\bparis\b|巴黎", re.IGNORECASE)),
    ("How much is 2 + 2? Answer with the number.", re.compile(r"\b(4|four)\b|四", re.IGNORECASE)),
    ("Which day comes after Wednesday?", re.compile(r"\bthursday\b|星期四|周四", re.IGNORECASE)),
)
FOREIGN = (
    "Repeat exactly: 你好世界 你好世界 你好世界",
    "Write ten different emoji and nothing else: 😀🎉🚀",
    "Schreibe auf Deutsch: schöne Grüße aus Österreich",
)
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "large": {"type": "boolean"}},
    "required": ["city", "large"],
    "additionalProperties": False,
}
REPLACEMENT = "\ufffd"
#: So many characters of several bytes say enough.
_ENOUGH = 4
#: Shorter runs say nothing about when chunks arrive.
_TELLING_MS = 50


def text(session: Session) -> Found:
    """Whether answers make sense."""
    answers: list[str] = []
    # A model that thinks comes to the answer late.
    tries = [*((*one, 32) for one in QUESTIONS), (*QUESTIONS[0], 256)]
    for question, right, length in tries:
        answer = session.generate(question, length)
        answers.append(answer.text)
        if right.search(answer.text):
            break
    else:
        joined = ", ".join(shown(one, 60) for one in answers)
        fail(f"none of three simple questions was answered correctly: {joined}", {"answers": answers})
    value = {
        "tokens_per_second": answer.perf.generate_tokens_per_second,
        "prefill_tokens_per_second": answer.perf.prefill_tokens_per_second,
        "memory_usage_mb": answer.perf.memory_usage_mb,
    }
    return f"{shown(question)} was answered {shown(answer.text)}", value


def _checked_ids(session: Session, answer: Generation) -> None:
    ids, vocabulary = answer.token_ids, session.llm.info.vocab_size
    wrong = [one for one in ids if one < 0 or (vocabulary is not None and one >= vocabulary)]
    if wrong:
        limit = f"0 to {vocabulary - 1}" if vocabulary else "0 or more"
        fail(f"token ids must be {limit}, got {wrong[:4]}")
    if not ids:
        fail("the answer has no token ids")
    if answer.perf.generate_tokens != len(ids):
        fail(f"{answer.perf.generate_tokens} tokens were counted, but {len(ids)} ids arrived")


def tokens(session: Session) -> Found:
    """Token ids, and token input."""
    answer = session.generate(HELLO)
    _checked_ids(session, answer)
    seen = f"{len(answer.token_ids)} ids"
    try:
        # Special tokens are part of the text for families that call tools with them.
        decoded = [
            session.llm.detokenize(answer.token_ids, skip_special_tokens=skipped).strip()
            for skipped in (True, False)
        ]
    except RkllmError:
        seen += "; not compared with the text, since there is no tokenizer"
    else:
        if answer.text.strip() not in decoded:
            fail(f"the ids are the text {shown(decoded[0])}, the answer was {shown(answer.text)}")
        seen += ", which are the text"
    if session.able("token_input"):
        again = session.generate(Tokens(answer.token_ids), 4)
        # The model may have nothing to add to its own answer; what it adds must be tokens.
        if again.token_ids:
            _checked_ids(session, again)
        seen += "; token input works"
    return seen, {"count": len(answer.token_ids)}


def streaming(session: Session) -> Found:
    """When chunks arrive."""
    begin = time.monotonic()
    stream = session.llm.stream(
        "Count from one to thirty in words.", max_new_tokens=24, timeout=session.job.run_timeout
    )
    pieces: list[str] = []
    times: list[float] = []
    for chunk in stream:
        pieces.append(chunk.text)
        times.append(time.monotonic() - begin)
    answer = stream.result()
    if "".join(pieces) != answer.text:
        fail(f"the chunks are {shown(''.join(pieces))}, the answer was {shown(answer.text)}")
    if len(pieces) < 2:  # noqa: PLR2004 - what a stream is
        fail(f"{len(pieces)} chunk arrived; the answer was {shown(answer.text)}")
    spread, took = 1000 * (times[-1] - times[0]), answer.perf.generate_time_ms or 0
    value = {"chunks": len(pieces), "first_ms": round(1000 * times[0], 1), "spread_ms": round(spread, 1)}
    if took > _TELLING_MS and spread < took / 4:
        fail(f"the chunks arrived within {spread:.0f} ms, but generating took {took:.0f} ms", value)
    return f"{len(pieces)} chunks over {spread:.0f} ms, the first after {1000 * times[0]:.0f} ms", value


def utf8(session: Session) -> Found:
    """Characters of several bytes."""
    seen = ""
    for prompt in FOREIGN:
        stream = session.llm.stream(prompt, max_new_tokens=32, timeout=session.job.run_timeout)
        pieces = [chunk.text for chunk in stream]
        answer = stream.result()
        if any("\ud800" <= character <= "\udfff" for piece in pieces for character in piece):
            fail(f"half a character arrived in {shown(answer.text)}")
        # An answer that was cut off may end in the middle of a character.
        if REPLACEMENT in answer.text.rstrip(REPLACEMENT):
            fail(f"bytes that are not UTF-8 arrived in {shown(answer.text)}")
        seen += "".join(one for one in answer.text if not one.isascii())
        if len(seen) >= _ENOUGH:
            break
    if not seen.strip(REPLACEMENT):
        skip("the model answered with ASCII only, so nothing was proved")
    return f"{len(seen)} such characters, all whole, such as {shown(seen, 10)}", {"characters": len(seen)}


def sampling(session: Session) -> Found:
    """Greedy and random answers."""
    prompt = "Write a short story about a fox."
    greedy = [session.generate(prompt, 12, **session.anew()).token_ids for _ in range(2)]
    if greedy[0] != greedy[1]:
        fail(f"two greedy answers differ: {greedy[0][:8]} and {greedy[1][:8]}")
    if not session.able("per_run_sampling"):
        release = session.llm.runtime.identity.version
        return f"two greedy answers are equal; RKLLM {release} has no sampling per run", {"random": None}
    hot = {
        tuple(session.generate(prompt, 12, temperature=1.5, top_k=50, top_p=1.0).token_ids) for _ in range(3)
    }
    if len(hot) == 1:
        fail("three answers at temperature 1.5 are equal")
    return f"two greedy answers are equal; three random ones are {len(hot)} different ones", {
        "random": len(hot)
    }


def chat(session: Session) -> Found:
    """A conversation."""
    question, right = QUESTIONS[0]
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hello! How can I help you?"},
        {"role": "user", "content": question},
    ]
    limit = session.job.run_timeout
    try:
        session.llm.render_chat(messages[-1:])
    except TemplateError as error:
        if "no chat template was found" in str(error):
            skip(f"{told(error)}; put the model's tokenizer_config.json or chat_template.jinja beside it")
        raise
    answer = session.llm.chat(messages, max_new_tokens=64, thinking=False, timeout=limit)
    said = answer.content or answer.reasoning or ""
    value: dict[str, Any] = {"notes": list(answer.notes), "right": right.search(said) is not None}
    if not said.strip():
        fail("the answer is empty", value)
    if answer.message.get("role") != "assistant":
        fail(f"the answer's role is {answer.message.get('role')!r}", value)
    stream = session.llm.chat_stream(messages, max_new_tokens=64, thinking=False, timeout=limit)
    streamed = "".join(stream.texts())
    if streamed != stream.result().content:
        fail(f"the stream was {shown(streamed)}, the answer {shown(stream.result().content)}", value)
    value["thinking"] = thinking(session)
    note = "" if value["right"] else ", which is not what was asked for"
    return f"{shown(question)} was answered {shown(said)}{note}", value


def structured(session: Session) -> Found:
    """JSON."""
    prompt = "Name a city, and whether it is large. Answer in JSON."
    answer = session.generate(prompt, 96, json_schema=SCHEMA)
    way = answer.constraint
    value = {
        "way": way.way if way else None,
        "replaced": way.replaced if way else None,
        "retries": way.retries if way else None,
    }
    if answer.finish_reason == "length":
        fail(f"the answer did not end within 96 tokens: {shown(answer.text)}", value)
    found = answer.parsed
    fits = isinstance(found, dict) and set(found) == {"city", "large"}  # pyright: ignore[reportUnknownArgumentType]
    if not fits or not isinstance(found["city"], str) or not isinstance(found["large"], bool):
        fail(f"the answer does not fit the schema: {shown(answer.text)}", value)
    return f"{shown(answer.text)}, kept by {value['way']!r}", value
