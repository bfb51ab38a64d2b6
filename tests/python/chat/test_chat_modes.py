"""Each call of conversations, here and in a worker, and what a worker that dies costs them."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from fakes import calls
from rkllm_rs import WorkerCrashed
from surface import aio

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Opener

TEMPLATE = """\
{%- for message in messages %}[{{ message.role }}]{{ message.content or '' }}
{%- for call in message.tool_calls or [] %}({{ call.function.name }}){% endfor %}
{% endfor -%}
{%- if tools %}[tools]{% endif -%}
[assistant]"""
ASK = [{"role": "user", "content": "Hi"}]
CALL = '<tool_call>\n{"name": "where", "arguments": {"city": "Paris"}}\n</tool_call>'


def runs(*texts: str) -> dict[str, Any]:
    return {"runs": [{"steps": [text]} for text in texts]}


def prompts(record: Path) -> list[str]:
    return [one["input"]["prompt_input"] for one in calls(record, "rkllm_run")]


PIDS: list[int] = []


def where(city: str) -> str:
    """Tells where it runs.

    Args:
        city: The city's name.
    """
    PIDS.append(os.getpid())
    return f"in {city}"


@pytest.mark.both_modes
def test_answers_and_prompts(open_model: Opener, record: Path) -> None:
    llm = open_model(runs("Hello", "<think>\nHm\n</think>\n\nYes"), chat_template=TEMPLATE)
    rendered = llm.render_chat(ASK)
    answer = llm.chat(ASK)
    assert (answer.content, answer.finish_reason) == ("Hello", "stop")
    stream = llm.chat_stream(ASK)
    assert "".join(delta.content for delta in stream).strip() == "Yes"
    assert stream.result().reasoning == "Hm"
    assert prompts(record) == [str(rendered)] * 2


@pytest.mark.both_modes
def test_tools_run_in_this_process(open_model: Opener, record: Path) -> None:
    PIDS.clear()
    llm = open_model(runs(CALL, "There."), chat_template=TEMPLATE)
    answer = llm.run_tools(ASK, tools=[where])
    assert answer.content == "There."
    assert [os.getpid()] == PIDS
    assert "[tool]in Paris" in prompts(record)[1]


@pytest.mark.both_modes
def test_conversations(open_model: Opener, record: Path, tmp_path: Path) -> None:
    PIDS.clear()
    llm = open_model(runs("One", "Two", CALL, "There.", "Three"), chat_template=TEMPLATE)
    talk = llm.conversation(tools=[where])
    assert talk.send("a").content == "One"
    stream = talk.send_stream("b")
    assert "".join(delta.content for delta in stream) == "Two"
    assert talk.send("c").content == "There."
    assert [os.getpid()] == PIDS
    talk.save(tmp_path / "talk.json")
    assert talk.send("d").content == "Three"
    asked = [prompt.count("[user]") for prompt in prompts(record)]
    assert asked == [1, 2, 3, 3, 4]


@pytest.mark.both_modes
def test_event_loops(open_model: Opener) -> None:
    PIDS.clear()
    llm = aio(open_model(runs("One", CALL, "There.", "Two"), chat_template=TEMPLATE))

    async def talk() -> None:
        assert (await llm.chat(ASK)).content == "One"
        assert (await llm.run_tools(ASK, tools=[where])).content == "There."
        stream = llm.chat_stream(ASK)
        assert "".join([delta.content async for delta in stream]) == "Two"

    asyncio.run(talk())
    assert [os.getpid()] == PIDS


def test_a_conversation_goes_on_after_its_worker_was_killed(open_model: Opener, record: Path) -> None:
    llm = open_model(runs("One", "Two"), chat_template=TEMPLATE, isolate=True)
    talk = llm.conversation()
    assert talk.send("a").content == "One"
    assert llm.worker_pid
    os.kill(llm.worker_pid, signal.SIGKILL)
    # The script begins anew in the next one.
    assert talk.send("b").content == "One"
    assert prompts(record)[1].count("[user]") == 2


def test_a_turn_in_which_its_worker_dies_can_be_asked_again(open_model: Opener, record: Path) -> None:
    script = {"runs": [{"steps": ["One"]}, {"steps": ["Tw"], "abort": True}]}
    llm = open_model(script, chat_template=TEMPLATE, isolate=True)
    talk = llm.conversation()
    talk.send("a")
    before = list(talk.messages)
    with pytest.raises(WorkerCrashed) as caught:
        talk.send("b")
    assert caught.value.signal == signal.SIGABRT
    assert list(talk.messages) == before
    assert talk.send("b").content == "One"
    assert [prompt.count("[user]") for prompt in prompts(record)] == [1, 2, 2]
