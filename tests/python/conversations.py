"""Conversations that chat templates are rendered with, and the options beside them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What ends a message with its calls, and the conversation: the switch of thinking.
ENDING = """\
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined and enable_thinking is false %}<think>

</think>

{% endif %}{% endif %}"""
#: Shows everything that a template can show: tools, calls, results, the switch of thinking.
TEMPLATE = (
    """\
{%- if tools %}<|im_start|>system
# Tools
<tools>{% for tool in tools %}
{{ tool | tojson }}{% endfor %}
</tools><|im_end|>
{% endif -%}
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content or '' }}
"""
    + ENDING
)

TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather of a city, in °C.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "The city's name"},
                "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
            },
            "required": ["city"],
        },
    },
}
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": 'Adds <two> numbers & says "it\'s" so.',
        "parameters": {
            "type": "object",
            "properties": {
                "numbers": {"type": "array", "items": {"type": "number"}},
                "round": {"type": ["boolean", "null"]},
                "nested": {"type": "object", "properties": {"deep": {"type": "integer", "minimum": 1.5}}},
            },
            "required": ["numbers"],
        },
        "return": {"type": "number"},
    },
}
TOOLS = [WEATHER, ADD]


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def system(text: Any) -> dict[str, Any]:
    return {"role": "system", "content": text}


def call(name: str, arguments: Any, number: int = 1) -> dict[str, Any]:
    return {
        "id": f"call{number:05}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def result(text: Any, number: int = 1, **more: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"call{number:05}", "content": text, **more}


PARIS = {"city": "Paris", "unit": "C"}
SUM = {"numbers": [1, 2.5, 1e20, -3], "round": None, "nested": {"deep": True, "text": "a\"b'c\n<é>"}}

#: By name: the messages, and whether there are tools.
CONVERSATIONS: dict[str, tuple[list[Any], list[Any] | None]] = {
    "nothing": ([], None),
    "one": ([user("Hello there!")], None),
    "white space": ([system(" \n Be brief.\n"), user("\n  What now? \n\n")], None),
    "system": ([system("You are a pirate."), user("Hello")], None),
    "two turns": ([user("Hi"), assistant("Hello!"), user("How are you?")], None),
    "ends with an answer": ([user("Hi"), assistant("Hello! ")], None),
    "many turns": (
        [
            system("Be kind & <brief>."),
            *(
                turn
                for at in range(4)
                for turn in (user(f"Question {at}: naïve ß 日本 😀?"), assistant(f"Answer {at}."))
            ),
            user("The last."),
        ],
        None,
    ),
    "thinking in the text": (
        [user("Hi"), assistant("<think>\nLet me see.\n</think>\n\nHello!"), user("And now? /no_think")],
        None,
    ),
    "thinking beside the text": (
        [
            user("Hi"),
            assistant("Hello!", reasoning_content="Let me see."),
            user("And?"),
            assistant("So.", thinking="Hm."),
        ],
        None,
    ),
    "markers as text": ([user("<|im_end|> [INST] </s> {{ 7 }} {% raw %} <tool_call>")], None),
    "parts": (
        [
            system([{"type": "text", "text": "Be brief."}]),
            user([{"type": "text", "text": "What is"}, {"type": "text", "text": " this?"}]),
        ],
        None,
    ),
    "image": ([user([{"type": "image"}, {"type": "text", "text": "What is it?"}])], None),
    "tools": ([user("What is the weather in Paris?")], TOOLS),
    "tools and system": ([system("Use tools."), user("What is the weather in Paris?")], TOOLS),
    "call": ([user("Weather?"), assistant("", tool_calls=[call("get_weather", PARIS)])], TOOLS),
    "call without content": (
        [user("Weather?"), assistant(None, tool_calls=[call("get_weather", PARIS)]), result("18 °C")],
        TOOLS,
    ),
    "call as text": (
        [
            user("Weather?"),
            assistant("I look.", tool_calls=[call("get_weather", '{"city": "Paris"}')]),
            result("18 °C"),
            assistant("It is 18 °C."),
            user("Thanks"),
        ],
        TOOLS,
    ),
    "two calls": (
        [
            system("Use tools."),
            user("Weather, and a sum?"),
            assistant(
                None,
                reasoning_content="Two things.",
                tool_calls=[call("get_weather", PARIS), call("add", SUM, 2)],
            ),
            result('{"t": 18}', 1, name="get_weather"),
            result("-0.5", 2, name="add"),
        ],
        TOOLS,
    ),
    "two rounds": (
        [
            user("Weather?"),
            assistant("", tool_calls=[call("get_weather", PARIS)]),
            result({"t": 18.0, "sky": None}),
            assistant("", reasoning_content="Now Rome.", tool_calls=[call("get_weather", {"city": "Rome"})]),
            result([{"type": "text", "text": "20"}]),
            assistant("18 and 20."),
            user("And tomorrow?"),
        ],
        [WEATHER],
    ),
    "calls without tools": (
        [user("Weather?"), assistant("", tool_calls=[call("get_weather", PARIS)]), result("18")],
        None,
    ),
    "no tools at all": ([user("Hello")], []),
    "two users": ([user("Hello"), user("Are you there?")], None),
    "begins with an answer": ([assistant("Hello!"), user("Hi")], None),
    "system in the middle": ([user("Hi"), assistant("Hello!"), system("Be rude."), user("Well?")], None),
    "strange role": ([{"role": "critic", "content": "Bad."}], None),
    "developer": ([{"role": "developer", "content": "Be brief."}, user("Hi")], None),
    "empty texts": ([system(""), user(""), assistant(""), user("x")], None),
    "names": ([{**user("Hi"), "name": "Ada"}, {**assistant("Hello"), "name": "Bot"}, user("x")], None),
}

#: Keywords of the caller.
KEYWORDS: dict[str, dict[str, Any]] = {
    "": {},
    "thinking on": {"enable_thinking": True, "thinking": True},
    "thinking off": {"enable_thinking": False, "thinking": False},
}


def inputs() -> Iterator[tuple[str, list[Any], dict[str, Any]]]:
    """All of them: a name, the messages, and what is given beside them."""
    everything = itertools.product(CONVERSATIONS.items(), (False, True), KEYWORDS.items())
    for (name, (messages, tools)), prompt, (words, keywords) in everything:
        title = f"{name}, {'prompt' if prompt else 'no prompt'}, {words or 'no keywords'}"
        yield title, messages, {"tools": tools, "add_generation_prompt": prompt, **keywords}
