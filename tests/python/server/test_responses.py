"""``/v1/responses`` with OpenAI's own client, against a server on a scripted library.

Long because each check of this route is a test of its own.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args

import openai
import pydantic
import pytest
from openai.types import responses as types
from openai.types.responses import response_create_params, response_stream_event
from serving import on_fake, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from serving import Serving

CALLS = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
SECOND = '<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>'
SCRIPTS: dict[str, Any] = {
    "echo": {"runs": [{"steps": [{"echo": True}]}]},
    "words": {"runs": [run("Hello", " ", "world", "!", obey_max_new_tokens=True)]},
    "thinks": {"runs": [run("<think>", "\nHm", "m", "\n</think>\n\n", "So", ".")]},
    "all": {"runs": [run("<think>", "\nHm", "\n</think>\n\n", "I see.", "\n", CALLS, SECOND)]},
    "calls": {"runs": [run(CALLS, "\n", SECOND)]},
    "object": {"runs": [run('{"ok"', ": true}")]},
    "empty": {"runs": [run()]},
    "slow": {"runs": [run("Hi", delay_ms=800)]},
    "fails": {"runs": [run("One ", error=True)]},
}
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Tells the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
TIME: Any = {"type": "function", "name": "get_time", "parameters": {"type": "object", "properties": {}}}
#: The types of events, by their names.
EVENTS: dict[str, type[pydantic.BaseModel]] = {
    get_args(kind.model_fields["type"].annotation)[0]: kind
    for kind in get_args(get_args(response_stream_event.ResponseStreamEvent)[0])
}
#: What all response objects have.
KEYS = {
    *("id", "object", "created_at", "completed_at", "status", "error", "incomplete_details", "instructions"),
    *("max_output_tokens", "max_tool_calls", "model", "output", "parallel_tool_calls", "reasoning", "store"),
    *("previous_response_id", "service_tier", "temperature", "text", "tool_choice", "tools", "top_logprobs"),
    *(
        "top_p",
        "truncation",
        "usage",
        "user",
        "metadata",
        "background",
        "presence_penalty",
        "prompt_cache_key",
    ),
    *("frequency_penalty", "safety_identifier"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    serving = on_fake(
        tmp_path_factory.mktemp("server"),
        SCRIPTS,
        keep_alive=-1,
        max_context_len=4096,
        limits={"beat_seconds": 0.1, "header_seconds": 0.05},
    )
    yield serving.ready()
    serving.stop()


@pytest.fixture
def client(server: Serving) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{server.url}/v1", api_key="x", max_retries=0, _strict_response_validation=True
    ) as made:
        yield made


def events_of(answer: httpx.Response) -> list[dict[str, Any]]:
    """The events of a stream, each of which is as the package's types say."""
    found: list[dict[str, Any]] = []
    for part in answer.text.strip().split("\n\n"):
        if part.startswith(":"):  # a heartbeat, which comes where the machine is busy
            continue
        name, data = part.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
        # No field is missing, none is of another type, and none is unknown.
        EVENTS[found[-1]["type"]].model_validate(known(found[-1]), extra="forbid")
        if "response" in found[-1]:
            assert found[-1]["response"].keys() == KEYS
    assert [one["sequence_number"] for one in found] == list(range(len(found)))
    return found


def known(event: dict[str, Any]) -> dict[str, Any]:
    """The event without what only other releases of the package, and other clients, know."""
    if event["type"] == "response.function_call_arguments.done":
        return {key: one for key, one in event.items() if key != "name"}
    if "response" not in event:
        return event
    left = {"store", "presence_penalty", "frequency_penalty"}
    return {**event, "response": {key: one for key, one in event["response"].items() if key not in left}}


def kinds(events: list[dict[str, Any]]) -> list[str]:
    """The events in short, each kind once where it comes several times in a row."""
    found: list[str] = []
    for one in events:
        kind = one["type"].removeprefix("response.")
        if "item" in one:
            kind += " " + one["item"]["type"]
        if found[-1:] != [kind]:
            found.append(kind)
    return found


def plain(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in ("id", "call_id")}


def test_b01_text_items_and_instructions(server: Serving, client: openai.OpenAI) -> None:
    answer = client.responses.create(model="words", input="Hi", instructions="Be brief.", metadata={"a": "b"})
    assert (answer.output_text, answer.status, answer.model) == ("Hello world!", "completed", "words")
    assert (answer.instructions, answer.store, answer.metadata) == ("Be brief.", False, {"a": "b"})
    assert answer.usage is not None
    assert answer.usage.output_tokens == 4
    assert answer.usage.total_tokens == answer.usage.input_tokens + 4
    said = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert server.prompts()[-1] == said
    items: Any = [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]
    client.responses.create(model="words", input=items, instructions="Be brief.")
    assert server.prompts()[-1] == said
    raw = server.post("/v1/responses", {"input": "Hi", "model": "words"}).json()
    assert raw.keys() == KEYS


def test_b01_a_turn_of_items_is_a_message(server: Serving, client: openai.OpenAI) -> None:
    items: Any = [
        {"role": "user", "content": "Weather?"},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I see."}]},
        {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": '{"city": "Paris"}'},
        {"type": "function_call", "call_id": "c2", "name": "get_time", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "noon"}]},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
    ]
    client.responses.create(model="words", input=items)
    prompt = server.prompts()[-1]
    assert prompt.count("<|im_start|>assistant") == 2
    assert prompt.index("I see.") < prompt.index("get_weather") < prompt.index("get_time")
    # Results stand in the order of their calls.
    assert prompt.index("sunny") < prompt.index("noon")


@pytest.mark.parametrize("stream", [False, True])
def test_b02_an_answer_has_its_items(server: Serving, *, stream: bool) -> None:
    asked = {"model": "all", "input": "Hi", "tools": [WEATHER, TIME], "stream": stream}
    answer = server.post("/v1/responses", asked)
    whole = events_of(answer)[-1]["response"] if stream else answer.json()
    types.Response.model_validate(whole, strict=False)
    assert whole["status"] == "completed"
    assert [plain(one) for one in whole["output"]] == [
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "Hm"}],
            "status": "completed",
        },
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "I see.", "annotations": [], "logprobs": []}],
            "status": "completed",
        },
        {
            "type": "function_call",
            "name": "get_weather",
            "arguments": '{"city": "Paris"}',
            "status": "completed",
        },
        {"type": "function_call", "name": "get_time", "arguments": "{}", "status": "completed"},
    ]
    assert whole["usage"]["output_tokens_details"]["reasoning_tokens"] > 0
    shown = {"description": None, "strict": False}
    assert whole["tools"] == [{**shown, **WEATHER}, {**shown, **TIME}]


def test_b02_events_have_their_order(server: Serving) -> None:
    events = events_of(
        server.post(
            "/v1/responses", {"model": "all", "input": "Hi", "tools": [WEATHER, TIME], "stream": True}
        )
    )
    call = [
        "output_item.added function_call",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done function_call",
    ]
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added reasoning",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done reasoning",
        "output_item.added message",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done message",
        *call,
        *call,
        "completed",
    ]
    last = events[-1]["response"]
    assert {one["response"]["id"] for one in events if "response" in one} == {last["id"]}
    for at, item in enumerate(last["output"]):
        mine = [one for one in events if one.get("output_index") == at]
        assert {one.get("item_id") or one["item"]["id"] for one in mine} == {item["id"]}
        assert mine[-1]["item"] == item
    text = "".join(one["delta"] for one in events if one["type"] == "response.output_text.delta")
    assert text == "I see."


def test_b02_the_helper_puts_a_stream_together(client: openai.OpenAI) -> None:
    tools: Any = [WEATHER, TIME]
    with client.responses.stream(model="all", input="Hi", tools=tools) as stream:
        seen = [event.type for event in stream]
        final = stream.get_final_response()
    assert seen[-1] == "response.completed"
    assert [one.type for one in final.output] == ["reasoning", "message", "function_call", "function_call"]
    assert final.output_text == "I see."
    assert final.usage is not None


class Said(pydantic.BaseModel):
    ok: bool


def test_b02_answers_are_parsed(client: openai.OpenAI, server: Serving) -> None:
    with client.responses.stream(model="object", input="Hi", text_format=Said) as stream:
        stream.until_done()
        assert stream.get_final_response().output_parsed == Said(ok=True)
    answer = client.responses.parse(model="object", input="Hi", text_format=Said)
    assert answer.output_parsed == Said(ok=True)
    assert answer.text is not None
    assert answer.text.format is not None
    assert answer.text.format.type == "json_schema"
    assert '"ok"' in server.prompts()[-1]


def test_b02_an_empty_answer_has_an_empty_text(client: openai.OpenAI) -> None:
    with client.responses.stream(model="empty", input="Hi") as stream:
        final = stream.get_final_response()
    (message,) = final.output
    assert message.type == "message"
    assert final.output_text == ""
    assert client.responses.create(model="empty", input="Hi").output_text == ""


def test_b02_silence_is_filled_with_events(server: Serving) -> None:
    events = events_of(server.post("/v1/responses", {"model": "slow", "input": "Hi", "stream": True}))
    beats = [one["response"] for one in events if one["type"] == "response.in_progress"]
    assert len(beats) > 1
    assert {one["status"] for one in beats} == {"in_progress"}
    assert events[0]["type"] == "response.created"
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "Hi"


def test_b03_the_limit_is_told(server: Serving, client: openai.OpenAI) -> None:
    asked = {"model": "words", "input": "Hi", "max_output_tokens": 3}
    events = events_of(server.post("/v1/responses", {**asked, "stream": True}))
    last = events[-1]["response"]
    assert events[-1]["type"] == "response.incomplete"
    assert (last["status"], last["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert last["output"][0]["status"] == "incomplete"
    assert last["completed_at"] is None
    whole = client.responses.create(model="words", input="Hi", max_output_tokens=3)
    assert (whole.output_text, whole.status, whole.max_output_tokens) == ("Hello world", "incomplete", 3)


def test_b03_a_failure_has_what_was_said(server: Serving, client: openai.OpenAI) -> None:
    # Its text and its error come at once, or one after the other.
    for _ in range(5):
        events = events_of(server.post("/v1/responses", {"model": "fails", "input": "Hi", "stream": True}))
        last = events[-1]["response"]
        assert (events[-1]["type"], last["status"]) == ("response.failed", "failed")
        assert last["error"]["code"] == "server_error"
        assert last["output"][0]["content"][0]["text"] == "One "
        assert last["output"][0]["status"] == "incomplete"
    with pytest.raises(openai.InternalServerError):
        client.responses.create(model="fails", input="Hi")


def test_b04_what_needs_memory_is_refused(server: Serving) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"type": "computer_call"}]}, "input[0].type"),
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": [{"content": "Hi"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].type"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [TIME, TIME]}, "tools[1].name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TIME], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice.name"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
    ]
    for fields, param in wrong:
        answer = server.post("/v1/responses", {"model": "words", "input": "Hi", **fields})
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, param), fields
        if param in ("previous_response_id", "conversation", "background", "prompt"):
            assert error["code"] == "unsupported_parameter"
    nothing = {"previous_response_id": None, "background": False, "conversation": None, "truncation": "auto"}
    assert server.post("/v1/responses", {"model": "words", "input": "Hi", **nothing}).status_code == 200
    assert server.post("/v1/responses", {"model": "nobody", "input": "Hi"}).status_code == 404


def test_b06_the_request_of_home_assistant(server: Serving) -> None:
    # As openai_conversation of Home Assistant 2026.2 makes it for a model that thinks, in its second round.
    request: dict[str, Any] = {
        "model": "all",
        "input": [
            {"type": "message", "role": "developer", "content": "You are a voice assistant."},
            {"type": "message", "role": "user", "content": "Turn on the light"},
            {"type": "message", "role": "assistant", "content": "I will."},
            {
                "type": "function_call",
                "name": "HassTurnOn",
                "arguments": '{"name": "light"}',
                "call_id": "call_1",
            },
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "The light."}]}
            | {"encrypted_content": None},
            {"type": "function_call_output", "call_id": "call_1", "output": '{"success": true}'},
        ],
        "max_output_tokens": 3000,
        "top_p": 1.0,
        "temperature": 1.0,
        "user": "01JV",
        "store": False,
        "stream": True,
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content", "code_interpreter_call.outputs"],
        "text": {"verbosity": "medium"},
        "tools": [
            {
                "type": "function",
                "name": "HassTurnOn",
                "parameters": {"type": "object", "properties": {"name": {"type": "string"}}, "required": []},
                "description": "Turns on a device",
                "strict": False,
            },
            {"type": "web_search_preview", "search_context_size": "medium"},
            {"type": "code_interpreter", "container": {"type": "auto"}},
        ],
    }
    pydantic.TypeAdapter(response_create_params.ResponseCreateParamsStreaming).validate_python(request)
    answer = server.post("/v1/responses", request)
    assert answer.status_code == 200
    assert "web_search_preview" in answer.headers["warning"]
    # What it reads of the stream.
    thought, said, tools, call = "", "", list[Any](), dict[str, Any]()
    for one in events_of(answer):
        if one["type"] == "response.output_item.added" and one["item"]["type"] == "function_call":
            call = one["item"]
        elif one["type"] == "response.output_text.delta":
            said += one["delta"]
        elif one["type"] == "response.reasoning_summary_text.delta":
            thought += one["delta"]
        elif one["type"] == "response.function_call_arguments.delta":
            call["arguments"] += one["delta"]
        elif one["type"] == "response.function_call_arguments.done":
            tools.append((call["call_id"], call["name"], json.loads(call["arguments"])))
    assert (thought, said) == ("Hm", "I see.")
    assert [one[1:] for one in tools] == [("get_weather", {"city": "Paris"}), ("get_time", {})]
    prompt = server.prompts()[-1]
    assert prompt.count("HassTurnOn") == 2
    assert "web_search" not in prompt
    # The thought, which comes last, belongs to the turn before it.
    assert prompt.count("<|im_start|>assistant") == 2


def test_b09_tools_of_other_kinds_are_left_out(server: Serving) -> None:
    tools = [{"type": "local_shell"}, TIME, {"type": "namespace", "name": "n", "tools": [WEATHER]}]
    answer = server.post("/v1/responses", {"model": "words", "input": "Hi", "tools": tools})
    assert [one["name"] for one in answer.json()["tools"]] == ["get_time"]
    assert "local_shell" in answer.headers["warning"]
    assert "namespace" in answer.headers["warning"]
    packed = server.http.post("/v1/responses", content=b"x", headers={"content-encoding": "zstd"})
    assert packed.status_code == 415


def test_d05_a_library_without_a_tokenizer_has_templates(server: Serving) -> None:
    asked = {"model": "words", "messages": [{"role": "user", "content": "Hi"}]}
    shown = server.post("/apply-template", {**asked, "chat_template_kwargs": {"enable_thinking": False}})
    assert shown.json()["prompt"].endswith("<think>\n\n</think>\n\n")
    for path, more in (
        ("/tokenize", {"content": "a"}),
        ("/tokenize", {}),
        ("/detokenize", {"tokens": [1]}),
        ("/v1/responses/input_tokens", {"input": "Hi"}),
    ):
        assert server.post(path, {**asked, **more}).status_code == 400, path


def test_b08_the_sampling_of_an_answer_is_told_in_numbers(server: Serving) -> None:
    names = ("temperature", "top_p", "presence_penalty", "frequency_penalty")

    def told(**more: Any) -> list[Any]:
        answer = server.post("/v1/responses", {"model": "words", "input": "Hi", **more}).json()
        return [answer[name] for name in names]

    # What the library has for itself, as its defaults are written, and what is asked for.
    own = told()
    assert own == [0.8, 0.9, 0.0, 0.0]
    assert told(temperature=0.5) == [0.5, *own[1:]]
