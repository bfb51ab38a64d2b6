"""Conversations on the fake: what reaches the library, and what is made of its answer.

Long because each promise of a chat has a case of its own.
"""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any

import pytest

from conversations import TEMPLATE
from fakes import calls
from rkllm_rs import (
    ChatAnswer,
    ChatDelta,
    FileMissingError,
    GenerationTimeout,
    InvalidArgumentError,
    InvalidTypeError,
    TemplateError,
    ToolError,
    UnsupportedFeatureError,
)
from surface import aio

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Opener

ASK = [{"role": "user", "content": "Hi"}]
PROMPT = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def get_weather(city: str) -> str:
    """Tells the weather.

    Args:
        city: The city's name.
    """
    if city == "Atlantis":
        message = "Atlantis has sunk"
        raise LookupError(message)
    return f"It is sunny in {city}."


async def get_time(city: str) -> str:
    """Tells the time.

    Args:
        city: The city's name.
    """
    await asyncio.sleep(0)
    return f"It is noon in {city}."


def call(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def run(*texts: str) -> dict[str, Any]:
    return {"steps": list(texts)}


def runs(*texts: str) -> dict[str, Any]:
    """One run for each text."""
    return {"runs": [run(text) for text in texts]}


def prompts(record: Path) -> list[str]:
    return [one["input"]["prompt_input"] for one in calls(record, "rkllm_run")]


def test_what_reaches_the_library(open_model: Opener, record: Path, abi_version: str) -> None:
    llm = open_model(runs("Hello", "Fine"), chat_template=TEMPLATE)
    messages: list[dict[str, Any]] = [{"role": "system", "content": "Be kind."}, *ASK]
    answer = llm.chat(messages)
    assert (answer.content, answer.reasoning, answer.tool_calls) == ("Hello", None, [])
    assert answer.finish_reason == "stop"
    assert answer.message == {"role": "assistant", "content": "Hello"}
    llm.chat([*messages, answer.message, {"role": "user", "content": [{"type": "text", "text": "How?"}]}])
    begin = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    more = "Hello<|im_end|>\n<|im_start|>user\nHow?<|im_end|>\n<|im_start|>assistant\n"
    assert prompts(record) == [begin, begin + more]
    off = {"system_prompt": "", "prompt_prefix": "", "prompt_postfix": ""}
    switched = [{name: one[name] for name in off} for one in calls(record, "rkllm_set_chat_template")]
    # 1.1.x has no template of its own.
    assert switched == ([] if abi_version == "v1_1_0" else [off])


def test_text_gets_the_strings_back_that_the_model_was_opened_with(open_model: Opener, record: Path) -> None:
    strings = ("S", "<u>", "<a>")
    llm = open_model(runs("a", "b", "c"), chat_template=TEMPLATE, template=strings)
    llm.chat(ASK)
    llm.generate("Hi")
    llm.chat(ASK)
    names = ("system_prompt", "prompt_prefix", "prompt_postfix")
    set_to = [tuple(one[name] for name in names) for one in calls(record, "rkllm_set_chat_template")]
    assert set_to == [strings, ("", "", ""), strings, ("", "", "")]


def test_text_after_a_chat_is_rendered_as_well(open_model: Opener, record: Path, abi_version: str) -> None:
    llm = open_model(runs("a", "b", "c"), chat_template=TEMPLATE)
    llm.chat(ASK)
    llm.generate("Hi")
    # 1.1.x puts nothing around text, before a chat or after it.
    assert prompts(record) == [PROMPT, "Hi" if abi_version == "v1_1_0" else PROMPT]
    if abi_version >= "v1_2_1":
        llm.generate("Hi", thinking=False)
        assert prompts(record)[2] == PROMPT + "<think>\n\n</think>\n\n"
    if abi_version != "v1_1_0":
        with pytest.raises(InvalidArgumentError, match="keep_history"):
            llm.generate("Hi", keep_history=True)


def test_the_callers_messages_stay_as_they_are(open_model: Opener) -> None:
    llm = open_model(runs("a"), chat_template=TEMPLATE)
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": None, "tool_calls": [_called("x", '{"a": 1}')]},
        {"role": "tool", "tool_call_id": "1", "content": "r"},
    ]
    before = copy.deepcopy(messages)
    llm.chat(messages)
    assert messages == before


def _called(name: str, arguments: str) -> dict[str, Any]:
    return {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.both_modes
def test_a_stream_gives_what_the_answer_has(open_model: Opener) -> None:
    pieces = ["<th", "ink>\nHm", "m\n</th", "ink>\n\nHel", "lo ", call("get_weather", '{"city": "Paris"}')]
    script = {"runs": [run(*pieces), run(*pieces)]}
    llm = open_model(script, chat_template=TEMPLATE)
    whole = llm.chat(ASK, tools=[get_weather])
    assert (whole.content.strip(), whole.reasoning) == ("Hello", "Hmm")
    assert whole.finish_reason == "tool_calls"
    (asked,) = whole.tool_calls
    assert (asked.name, asked.arguments, asked.error) == ("get_weather", {"city": "Paris"}, None)
    told: list[ChatDelta] = []
    stream = llm.chat_stream(ASK, tools=[get_weather], on_token=told.append)
    deltas = list(stream)
    assert [id(delta) for delta in told] == [id(delta) for delta in deltas]
    assert "".join(delta.content for delta in deltas) == whole.content
    assert "".join(delta.reasoning for delta in deltas) == whole.reasoning
    pieces_of_calls = [piece for delta in deltas for piece in delta.tool_calls]
    assert [piece.name for piece in pieces_of_calls if piece.name] == ["get_weather"]
    assert "".join(piece.arguments for piece in pieces_of_calls) == asked.arguments_json
    assert stream.result().content == whole.content


@pytest.mark.parametrize("abi_version", ["v1_2_1"])
def test_thinking_starts_from_how_the_prompt_ends(open_model: Opener, record: Path) -> None:
    opens = TEMPLATE.replace("{% if enable_thinking is", "<think>\n{% if false and enable_thinking is")
    llm = open_model(runs("Hm</think>\n\nHi", "Hi", "Hi"), chat_template=TEMPLATE)
    opened = llm.chat(ASK, chat_template=opens)
    assert (opened.reasoning, opened.content) == ("Hm", "Hi")
    closed = llm.chat(ASK, thinking=False)
    assert (closed.reasoning, closed.content) == (None, "Hi")
    llm.chat(ASK, template_kwargs={"enable_thinking": False})
    assert prompts(record)[1:] == [PROMPT + "<think>\n\n</think>\n\n"] * 2
    with pytest.raises(InvalidArgumentError, match="thinking"):
        llm.chat(ASK, thinking=True, template_kwargs={"enable_thinking": False})


@pytest.mark.parametrize("abi_version", ["v1_2_1"])
def test_thinking_that_takes_too_long_is_ended_and_answered(open_model: Opener, record: Path) -> None:
    script = {"runs": [run("<think>", "\na", " b", " c", " d", " e"), run("So.")]}
    llm = open_model(script, chat_template=TEMPLATE)
    answer = llm.chat(ASK, max_reasoning_tokens=3)
    assert answer.content == "So."
    assert answer.reasoning
    assert answer.notes
    first, second = prompts(record)
    assert second.startswith(first + "<think>\na")
    assert second.endswith("\n</think>\n\n")


@pytest.mark.parametrize("abi_version", ["v1_3_0", "v1_3_1"])
def test_a_run_that_ends_with_the_thinking_goes_on(open_model: Opener, record: Path) -> None:
    llm = open_model(runs("<think>\nHm\n</think>\n\n", "Hi"), chat_template=TEMPLATE)
    stream = llm.chat_stream(ASK)
    assert "".join(stream.texts()) == "Hi"
    answer = stream.result()
    assert (answer.reasoning, answer.content, answer.finish_reason) == ("Hm", "Hi", "stop")
    # Both runs are counted.
    assert answer.perf.generate_tokens == len(answer.token_ids) == 2
    first, second = prompts(record)
    assert second == first + "<think>\nHm\n</think>\n\n"


def test_thinking_without_a_switch_is_closed_in_the_prompt(open_model: Opener, record: Path) -> None:
    opens = PLAIN + "<think>\n"
    llm = open_model(runs("Hi", "Hi"), chat_template=opens, family="deepseek")
    answer = llm.chat(ASK, thinking=False)
    assert (answer.reasoning, answer.content) == (None, "Hi")
    assert answer.notes
    assert prompts(record) == ["[user]Hi[assistant]<think>\n\n</think>\n\n"]


def test_a_template_that_begins_the_thinking_tells_that_its_model_thinks(
    open_model: Opener, record: Path
) -> None:
    """Its family is one that does not."""
    opens = PLAIN + "{% if add_generation_prompt %}<think>\n{% endif %}"
    llm = open_model(runs("Hm</think>Hi", "Hi"), chat_template=opens, family="chatml")
    answer = llm.chat(ASK, thinking=True)
    assert (answer.reasoning, answer.content, answer.notes) == ("Hm", "Hi", [])
    answer = llm.chat(ASK, thinking=False)
    assert (answer.reasoning, answer.content, len(answer.notes)) == (None, "Hi", 1)
    assert prompts(record)[1] == "[user]Hi[assistant]<think>\n\n</think>\n\n"


def test_an_answer_that_its_family_ends_with_a_text_ends_there(open_model: Opener) -> None:
    answer = ["Good", " day", "\n\nUs", "er: and", " more"]
    llm = open_model({"runs": [run(*answer)] * 2}, chat_template=PLAIN, family="rwkv")
    ended = llm.chat(ASK)
    assert (ended.content, ended.finish_reason) == ("Good day", "stop")
    assert llm.chat(ASK, stop="od").content == "Go"


def test_thinking_that_is_never_closed_is_a_partial_answer(open_model: Opener) -> None:
    script = {"runs": [{**run("<think>\n", "a ", "b ", "c "), "obey_max_new_tokens": True}]}
    llm = open_model(script, chat_template=TEMPLATE)
    answer = llm.chat(ASK, max_new_tokens=3)
    assert (answer.content, answer.finish_reason) == ("", "length")
    assert answer.reasoning
    assert answer.reasoning.strip() == "a b"


def test_tools_are_run_until_the_model_asks_for_none(open_model: Opener, record: Path) -> None:
    llm = open_model(
        runs(call("get_weather", '{"city": "Paris"}') + call("get_time", '{"city": "Rome"}'), "Sunny; noon."),
        chat_template=TEMPLATE,
    )
    answer = llm.run_tools(ASK, tools=[get_weather, get_time])
    assert answer.content == "Sunny; noon."
    second = prompts(record)[1]
    assert (
        "<|im_start|>tool\nIt is sunny in Paris.<|im_end|>\n<|im_start|>tool\nIt is noon in Rome." in second
    )


@pytest.mark.parametrize(
    "asked",
    [
        call("get_weather", '{"city": "Atlantis"}'),
        call("get_weather", '{"town": "Paris"}'),
        call("get_weather", '{"city": "Par'),
        call("get_rain", "{}"),
    ],
    ids=["raises", "does not fit", "is cut", "is unknown"],
)
def test_the_model_is_told_what_went_wrong_with_a_call(open_model: Opener, record: Path, asked: str) -> None:
    llm = open_model(runs(asked, "Sorry."), chat_template=TEMPLATE)
    assert llm.run_tools(ASK, tools=[get_weather]).content == "Sorry."
    _, result = prompts(record)[1].split("<|im_start|>tool\n")
    assert "rror" in result


def test_an_answer_in_place_of_its_message(open_model: Opener) -> None:
    llm = open_model(runs("a"), chat_template=TEMPLATE)
    with pytest.raises(InvalidTypeError, match="ChatAnswer") as caught:
        llm.chat([*ASK, llm.chat(ASK)])
    assert "answer.message" in str(caught.value.hint)


def test_a_tool_without_a_function_is_refused(open_model: Opener, record: Path) -> None:
    llm = open_model(runs("Done."), chat_template=TEMPLATE)
    for run in (llm.run_tools, lambda *given, **more: asyncio.run(aio(llm).run_tools(*given, **more))):
        with pytest.raises(ToolError, match="get_rain") as caught:
            run(ASK, tools=[get_weather, {"name": "get_rain", "parameters": {}}])
        assert caught.value.hint
    assert not prompts(record)


def test_the_last_round_is_returned_with_its_calls(open_model: Opener, record: Path) -> None:
    llm = open_model(runs(*[call("get_weather", '{"city": "Paris"}')] * 3), chat_template=TEMPLATE)
    answer = llm.run_tools(ASK, tools=[get_weather], max_rounds=2)
    assert answer.finish_reason == "tool_calls"
    assert len(prompts(record)) == 2


@pytest.mark.parametrize(("timeout", "error"), [("1", InvalidTypeError), (-1, InvalidArgumentError)])
def test_a_wrong_time_limit_of_all_rounds_is_refused(
    open_model: Opener, record: Path, timeout: Any, error: type[Exception]
) -> None:
    llm = open_model(runs("a"), chat_template=TEMPLATE)
    with pytest.raises(error, match="timeout"):
        llm.run_tools(ASK, tools=[get_weather], timeout=timeout)
    assert not calls(record, "rkllm_run")


def test_only_one_call_where_only_one_is_wanted(open_model: Opener) -> None:
    both = [call("get_weather", '{"city": "Paris"}'), call("get_weather", '{"city": "Rome"}')]
    llm = open_model({"runs": [run(*both)]}, chat_template=TEMPLATE)
    answer = llm.chat(ASK, tools=[get_weather], parallel_tool_calls=False)
    assert [one.arguments for one in answer.tool_calls] == [{"city": "Paris"}]
    assert answer.finish_reason == "tool_calls"


def test_tools_that_must_not_be_called_are_not_shown(open_model: Opener, record: Path) -> None:
    llm = open_model(runs("Hi", "Hi"), chat_template=TEMPLATE)
    llm.chat(ASK, tools=[get_weather], tool_choice="none")
    llm.chat(ASK, tools=[])
    assert prompts(record) == [PROMPT, PROMPT]


PLAIN = "{% for message in messages %}[{{ message.role }}]{{ message.content }}{% endfor %}[assistant]"


def test_what_a_template_does_not_show_is_written_out_and_noted(open_model: Opener, record: Path) -> None:
    llm = open_model(runs(call("get_weather", '{"city": "Paris"}'), "Sunny."), chat_template=PLAIN)
    answer = llm.run_tools(ASK, tools=[get_weather])
    assert answer.content == "Sunny."
    assert answer.notes
    first, second = prompts(record)
    assert "get_weather" in first
    assert "Paris" in second
    assert "It is sunny in Paris." in second


def test_rendering_runs_nothing(open_model: Opener, record: Path) -> None:
    llm = open_model(runs("a"), chat_template=TEMPLATE)
    assert llm.render_chat(ASK) == PROMPT
    assert llm.render_chat(ASK, add_generation_prompt=False) == "<|im_start|>user\nHi<|im_end|>\n"
    assert llm.render_chat(ASK, thinking=False) == PROMPT + "<think>\n\n</think>\n\n"
    assert "get_weather" in llm.render_chat(ASK, tools=[get_weather])
    assert not calls(record, "rkllm_run")


def test_in_an_event_loop(open_model: Opener) -> None:
    asked = call("get_time", '{"city": "Rome"}')
    llm = aio(open_model(runs("Hi", "Hi", asked, "Noon."), chat_template=TEMPLATE))

    async def program() -> tuple[ChatAnswer, str, ChatAnswer, str]:
        answer = await llm.chat(ASK)
        text = "".join([delta.content async for delta in llm.chat_stream(ASK)])
        last = await llm.run_tools(ASK, tools=[get_time, get_weather])
        return answer, text, last, await llm.render_chat(ASK)

    answer, text, last, rendered = asyncio.run(program())
    assert (answer.content, text, last.content, rendered) == ("Hi", "Hi", "Noon.", PROMPT)


def test_a_task_that_is_cancelled_ends_the_tool_that_runs(open_model: Opener) -> None:
    ended = False

    async def program() -> None:
        begun = asyncio.Event()

        async def wait() -> str:
            """Waits."""
            nonlocal ended
            begun.set()
            try:
                await asyncio.sleep(3600)
            finally:
                ended = True
            return ""

        task = asyncio.ensure_future(llm.run_tools(ASK, tools=[wait]))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    llm = aio(open_model(runs(call("wait", "{}"), "x"), chat_template=TEMPLATE))
    asyncio.run(program())
    assert ended


def test_a_cancelled_answer_keeps_what_came(open_model: Opener) -> None:
    script = {"runs": [{"steps": ["Hel", "lo", {"text": " ", "repeat": 100_000, "delay_ms": 5}]}]}
    stream = open_model(script, chat_template=TEMPLATE).chat_stream(ASK)
    assert next(stream).content == "Hel"
    stream.cancel()
    answer = stream.result()
    assert answer.finish_reason == "cancelled"
    assert answer.content.startswith("Hel")


def test_a_deadline_has_the_partial_answer(open_model: Opener) -> None:
    script = {"runs": [{"steps": ["Hel", "lo", {"text": " ", "repeat": 100_000, "delay_ms": 5}]}]}
    llm = open_model(script, chat_template=TEMPLATE)
    with pytest.raises(GenerationTimeout) as caught:
        llm.chat(ASK, timeout=1)
    partial = caught.value.partial
    assert isinstance(partial, ChatAnswer)
    assert partial.content.startswith("Hello")


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        ([], "messages"),
        ("Hi", "messages"),
        ({"role": "user", "content": "Hi"}, "messages"),
        (5, "messages"),
        (b"Hi", "messages must be a list of dicts"),
        ([5], "messages[0]"),
        ([*ASK, {"role": "boss", "content": "Hi"}], "messages[1]"),
        ([*ASK, {"content": "Hi"}], "messages[1]"),
        ([{"role": "user"}], "messages[0]"),
        ([{"role": "user", "content": 5}], "messages[0]"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0]"),
        ([{"role": "assistant", "tool_calls": 5, "content": "x"}], "messages[0]"),
    ],
    ids=str,
)
def test_messages_that_are_none(open_model: Opener, messages: Any, place: str) -> None:
    llm = open_model(runs("a"), chat_template=TEMPLATE)
    with pytest.raises((InvalidArgumentError, InvalidTypeError)) as caught:
        llm.chat(messages)
    assert str(caught.value).startswith(place)
    assert caught.value.hint
    with pytest.raises(type(caught.value)) as again:
        llm.run_tools(messages, tools=[get_weather])
    assert str(again.value).splitlines()[0] == str(caught.value).splitlines()[0]


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"role": "user"}, InvalidTypeError),
        ({"keep_history": True}, InvalidTypeError),
        ({"max_tokens": 5}, InvalidTypeError),
        ({"thinking": "yes"}, InvalidTypeError),
        ({"overflow": "shift"}, InvalidArgumentError),
        ({"tool_choice": "always"}, InvalidArgumentError),
        ({"max_reasoning_tokens": -1}, InvalidArgumentError),
        ({"template_kwargs": 5}, InvalidTypeError),
        ({"tools": 5}, InvalidTypeError),
        ({"tools": [get_weather, get_weather]}, ToolError),
        ({"tools": [lambda x: x]}, ToolError),
        ({"chat_template": "/no/such/file"}, FileMissingError),
        ({"chat_template": "{% for %}"}, TemplateError),
        ({"chat_template": "{{ raise_exception('no cats') }}"}, TemplateError),
    ],
)
def test_wrong_arguments(open_model: Opener, record: Path, keywords: dict[str, Any], error: type) -> None:
    llm = open_model(runs("a"), chat_template=TEMPLATE)
    with pytest.raises(error) as caught:
        llm.chat(ASK, **keywords)
    assert caught.value.hint
    assert not calls(record, "rkllm_run")


@pytest.mark.parametrize("what", ["image", "thinking"])
def test_what_a_model_cannot_do(open_model: Opener, what: str) -> None:
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
    llm = open_model(runs("a"), chat_template=PLAIN)
    with pytest.raises(UnsupportedFeatureError) as caught:
        llm.chat(image if what == "image" else ASK, thinking=True if what == "thinking" else None)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "family", "prompt"),
    [
        ("Qwen3-1.7B-w8a8.rkllm", None, PROMPT),
        (
            "model.rkllm",
            "llama3",
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>",
        ),
    ],
)
def test_a_file_without_a_template_gets_that_of_its_family(
    make_model: Callable[..., Path],
    open_model: Opener,
    record: Path,
    name: str,
    family: str | None,
    prompt: str,
) -> None:
    path = make_model(["Hello"])
    answer = open_model(path.rename(path.with_name(name)), family=family).chat(ASK)
    assert answer.content == "Hello"
    assert answer.notes
    assert prompts(record)[0].startswith(prompt)


RESULTS = [
    {"role": "developer", "content": "Be brief."},
    *ASK,
    {"role": "assistant", "content": "I look."},
    {"role": "tool", "tool_call_id": "1", "name": "f", "content": "one"},
    {"role": "tool", "tool_call_id": "2", "name": "f", "content": "two"},
]


@pytest.mark.parametrize(
    ("name", "result"),
    [
        (
            "Qwen3-1.7B-w8a8.rkllm",
            "<|im_start|>user\n<tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</tool_response><|im_end|>",
        ),
        (
            "Llama-3.2-1B.rkllm",
            "<|start_header_id|>ipython<|end_header_id|>\n\ntwo<|eot_id|>",
        ),
        ("internlm2.rkllm", "<|im_start|>environment name=<|plugin|>\none<|im_end|>"),
        ("chatglm3-6b.rkllm", "<|observation|>\n one<|observation|>\n two"),
        (
            "DeepSeek-R1-Distill-Qwen-1.5B.rkllm",
            "<｜User｜><tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</tool_response>",  # noqa: RUF001 - the marker
        ),
    ],
)
@pytest.mark.parametrize("abi_version", ["v1_2_1"])
def test_a_lone_file_gets_the_roles_that_its_family_has(
    make_model: Callable[..., Path],
    open_model: Opener,
    record: Path,
    name: str,
    result: str,
    abi_version: str,
) -> None:
    path = make_model(["Hello"])
    open_model(path.rename(path.with_name(name))).chat(RESULTS)
    (prompt,) = prompts(record)
    assert result in prompt
    assert "developer" not in prompt
    assert prompt.index("Be brief.") < prompt.index("Hi")


@pytest.mark.parametrize(
    ("name", "thinks"),
    [
        ("Qwen3.5-0.8B-w8a8.rkllm", False),
        ("qwen3_5_2b.rkllm", False),
        ("Qwen3.5-4B-2bit.rkllm", True),
        ("Qwen3.5-122B.rkllm", True),
    ],
)
@pytest.mark.parametrize("abi_version", ["v1_2_1"])
def test_small_models_of_a_family_that_thinks_do_so_only_when_told(
    make_model: Callable[..., Path],
    open_model: Opener,
    record: Path,
    name: str,
    *,
    thinks: bool,
    abi_version: str,
) -> None:
    path = make_model({"runs": [{"steps": ["Hello"]}] * 4})
    llm = open_model(path.rename(path.with_name(name)))
    llm.chat(ASK)
    llm.chat(ASK, thinking=True)
    llm.chat(ASK, thinking=False)
    llm.chat(ASK, template_kwargs={"enable_thinking": True})
    closed = [prompt.endswith("</think>\n\n") for prompt in prompts(record)]
    assert closed == [not thinks, False, True, False]


def test_a_bad_template_or_family_is_told_when_the_model_is_opened(open_model: Opener, record: Path) -> None:
    with pytest.raises(TemplateError):
        open_model(runs("a"), chat_template="{% if %}")
    with pytest.raises(InvalidArgumentError, match="family"):
        open_model(runs("a"), chat_template=TEMPLATE, family="qwen99")
    assert not calls(record, "rkllm_init")
