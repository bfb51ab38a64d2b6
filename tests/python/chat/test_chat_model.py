"""Conversations on the CPU runtime with the real small model."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import pytest

from rkllm_rs import RKLLM, ContextLengthError, Conversation, Tokens
from talks import TOOL, talk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

LIMIT = 512
ASK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is the capital of France?"},
]


@pytest.fixture(scope="module")
def llm() -> Iterator[RKLLM]:
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    with RKLLM(MODEL, backend="cpu", max_context_len=LIMIT, max_new_tokens=12, top_k=1) as llm:
        yield llm


@pytest.fixture(autouse=True)
def nothing_open(llm: RKLLM) -> None:
    """The model of this module stays open."""


def test_an_answer_is_what_the_rendered_text_gives(llm: RKLLM) -> None:
    answer = llm.chat(ASK)
    assert "Paris" in answer.content
    rendered = Tokens(llm.tokenize(llm.render_chat(ASK), add_special_tokens=False))
    assert answer.token_ids == llm.generate(rendered).token_ids
    assert llm.count_tokens(ASK) == answer.perf.prompt_tokens == len(rendered)
    assert "".join(llm.chat_stream(ASK).texts()) == answer.content


def test_an_answer_that_was_cut_goes_on(llm: RKLLM) -> None:
    whole = llm.chat(ASK)
    begun = llm.chat(ASK, max_new_tokens=4)
    assert begun.finish_reason == "length"
    rest = llm.chat([*ASK, begun.message], continue_final_message=True, max_new_tokens=8)
    assert begun.content + rest.content == whole.content


def test_tokens_of_tools_are_counted_as_they_are_sent(llm: RKLLM) -> None:
    answer = llm.chat(ASK, tools=[TOOL], max_new_tokens=2)
    assert llm.count_tokens(ASK, tools=[TOOL]) == answer.perf.prompt_tokens


def long_talk() -> list[dict[str, Any]]:
    turns = [
        {"role": role, "content": f"{number} " + "word " * 30}
        for number in range(12)
        for role in ("user", "assistant")
    ]
    return [ASK[0], *turns, ASK[1]]


def test_what_does_not_fit_is_refused_before_it_runs(llm: RKLLM) -> None:
    with pytest.raises(ContextLengthError) as caught:
        llm.chat(long_talk())
    assert caught.value.limit == LIMIT
    assert caught.value.needed is not None
    assert caught.value.needed == llm.count_tokens(long_talk())


def test_the_oldest_messages_are_left_out(llm: RKLLM) -> None:
    answer = llm.chat(long_talk(), overflow="drop_oldest")
    assert answer.content
    assert any("left out" in note for note in answer.notes)
    assert 100 < (answer.perf.prompt_tokens or 0) < LIMIT
    # Without need, nothing is.
    assert not llm.chat(ASK, overflow="drop_oldest").notes


def test_the_same_messages_are_left_out_for_some_turns(llm: RKLLM) -> None:
    """Else each turn would be computed as a whole."""
    messages: list[dict[str, Any]] = [ASK[0]]
    left_out, changes = [0], 0
    for number in range(12):
        messages.append({"role": "user", "content": f"{number} " + "word " * 40})
        answer = llm.chat(messages, overflow="drop_oldest", reuse="fast", max_new_tokens=2)
        messages.append(answer.message)
        count = next((int(word) for note in answer.notes for word in note.split() if word.isdigit()), 0)
        changes += count != left_out[-1]
        if count and count == left_out[-1]:
            assert answer.perf.cached_tokens > 100
        left_out.append(count)
    assert left_out[-1] > 5
    assert left_out == sorted(left_out)
    assert changes <= 4


def test_what_does_not_fit_without_its_history_either_is_refused(llm: RKLLM) -> None:
    with pytest.raises(ContextLengthError):
        llm.chat([*long_talk(), {"role": "user", "content": "word " * 600}], overflow="drop_oldest")


@pytest.mark.parametrize("number", [2, 1])
def test_greedy_answers_are_the_same_with_what_is_held(llm: RKLLM, number: int) -> None:
    """All twenty are had by ``make soak-text``."""
    draw = random.Random(number)  # noqa: S311 - no secret
    assert talk(draw, llm, 5, thinks=number % 2 == 1).cached > 0


def test_a_conversation_gives_what_its_messages_give(llm: RKLLM, tmp_path: Path) -> None:
    system = "Answer in one short sentence, and be kind and brief, whatever the question is."
    kept = llm.conversation(system=system)
    first = kept.send("What is the capital of France?")
    assert "Paris" in first.content
    kept.save(tmp_path / "talk.json")
    second = kept.send("And of Italy?")
    messages = [{"role": "system", "content": system}, ASK[1], first.message]
    messages.append({"role": "user", "content": "And of Italy?"})
    expected = llm.chat(messages, reuse=False)
    assert second.token_ids == expected.token_ids
    assert second.perf.cached_tokens
    loaded = Conversation.load(llm, tmp_path / "talk.json")
    assert "".join(loaded.send_stream("And of Italy?").texts()) == expected.content
    assert loaded.messages == kept.messages == [*messages, expected.message]


def test_special_tokens_stay_hidden_where_markers_are_known_by_their_ids() -> None:
    with RKLLM(MODEL, backend="cpu", family="mistral", max_context_len=LIMIT, top_k=1) as llm:
        assert "skip_special_token" not in llm.info.chosen
        answer = llm.chat(ASK, max_new_tokens=24)
        assert "Paris" in answer.content
        assert "<|" not in answer.content
        # What is held back for a stop string changes nothing.
        assert llm.chat(ASK, max_new_tokens=24, stop=["<never>"]).token_ids == answer.token_ids


def test_a_new_process_starts_with_the_kept_system_message(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    rules = {"role": "system", "content": "Answer in one short sentence. " * 20}
    options: dict[str, Any] = {"max_new_tokens": 4, "prompt_cache_dir": folder}

    def opened(**keywords: Any) -> RKLLM:
        return RKLLM(MODEL, backend="cpu", max_context_len=LIMIT, top_k=1, **keywords)

    with opened() as fresh:
        expected = fresh.chat([rules, ASK[1]], max_new_tokens=4)
        made = fresh.chat([rules, ASK[1]], **options)
        assert made.notes == []
    for isolate in (False, True):
        with opened(isolate=isolate) as again:
            answer = again.chat([rules, ASK[1]], **options)
        assert answer.token_ids == made.token_ids == expected.token_ids
        perf = answer.perf
        # All but the last message, and what of the system message is no whole block.
        assert perf.prompt_tokens == expected.perf.prompt_tokens
        assert (perf.cached_tokens or 0) > 64
        assert perf.prefill_tokens == perf.prompt_tokens - perf.cached_tokens
    (file,) = folder.glob("*.promptcache")
    file.write_bytes(file.read_bytes()[:-9])
    with opened() as damaged:
        answer = damaged.chat([rules, ASK[1]], **options)
    assert answer.token_ids == expected.token_ids
    assert len(answer.notes) == 1
