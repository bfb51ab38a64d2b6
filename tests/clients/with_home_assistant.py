"""The older packages that Home Assistant 2026.2.3 pins, with the calls that it makes."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import ollama
import openai
from checks import KEY, URL, V1, equal, example, holds, main

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
HI: Any = [{"role": "system", "content": "You control a home."}, {"role": "user", "content": "Hi"}]
CHAT: Any = {"stream": True, "keep_alive": "-1s", "think": False, "options": {"num_ctx": 8192}}


def a01_openai_2_15() -> None:
    with openai.OpenAI(base_url=V1, api_key=KEY, _strict_response_validation=True, max_retries=0) as client:
        holds("words" in [model.id for model in client.models.list()])
        equal(client.models.retrieve("words").id, "words")
        answer = client.chat.completions.create(model="words", messages=HI)
        equal((answer.choices[0].message.content, answer.usage.completion_tokens), ("Hello world!", 4))
        options: Any = {"stream_options": {"include_usage": True}}
        with client.chat.completions.stream(model="agent", messages=HI, tools=[WEATHER], **options) as events:
            final = events.get_final_completion()
        (call,) = final.choices[0].message.tool_calls
        equal(json.loads(call.function.arguments), {"city": "Paris"})
        # By default it asks for base64, which its own types do not have.
        asked: Any = {"model": "embeds", "input": ["a", "b"]}
        floats = client.embeddings.create(**asked, encoding_format="float").data
        coded = openai.OpenAI(base_url=V1, api_key=KEY).embeddings.create(**asked).data
        equal([one.index for one in coded], [0, 1])
        holds(max(abs(a - b) for a, b in zip(floats[1].embedding, coded[1].embedding, strict=True)) < 1e-6)
        try:
            client.models.retrieve("nobody")
        except openai.NotFoundError as error:
            equal(error.code, "model_not_found")
        else:
            holds(False, "an unknown model")  # noqa: FBT003


async def b06_the_request_of_openai_conversation() -> None:
    tool = {"type": "function", "strict": False, **WEATHER["function"]}
    async with openai.AsyncOpenAI(base_url=V1, api_key=KEY, max_retries=0) as client:
        items: list[Any] = [
            {"type": "message", "role": "developer", "content": "You control a home."},
            {"type": "message", "role": "user", "content": "How is it?"},
        ]
        asked: Any = {
            "model": "agent",
            "tools": [tool],
            "max_output_tokens": 3000,
            "user": "01J",
            "store": False,
            "stream": True,
            "top_p": 1.0,
            "temperature": 1.0,
        }
        kinds = []
        done: Any = None
        async for event in await client.responses.create(input=items, **asked):
            kinds.append(event.type)
            if event.type == "response.output_item.done" and event.item.type == "function_call":
                done = event.item
        equal((kinds[0], kinds[-1]), ("response.created", "response.completed"))
        equal(json.loads(done.arguments), {"city": "Paris"})
        items += [
            done.to_dict(),
            {"type": "function_call_output", "call_id": done.call_id, "output": '"sunny"'},
        ]
        text = ""
        async for event in await client.responses.create(input=items, **asked):
            if event.type == "response.output_text.delta":
                text += event.delta
        equal(text, 'It is "sunny".')


def c01_ollama_0_5_1() -> None:
    client = ollama.Client(host=URL)
    holds("words" in [one.model for one in client.list().models])
    equal(client.chat("words", HI).message.content, "Hello world!")
    equal(client.generate("words", "Hi").response, "Hello world!")
    holds("words" in [one.model for one in client.ps().models])
    holds(client.show("words").modelinfo)
    equal(len(client.embed("embeds", ["a", "b"]).embeddings), 2)
    holds(client.embeddings("embeds", "a").embedding)
    parts = list(client.chat("thinks", HI, stream=True, think=True))
    equal("".join(part.message.thinking or "" for part in parts).strip(), "Hmm")
    equal("".join(part.message.content or "" for part in parts).strip(), "So.")


async def c10_ten_rounds_of_tools() -> None:
    client = ollama.AsyncClient(host=URL)
    messages: list[Any] = list(HI)
    for at in range(10):
        calls: list[Any] = []
        async for part in await client.chat("agent", messages, tools=[WEATHER], **CHAT):
            calls += part.message.tool_calls or []
        equal(
            [(call.function.name, call.function.arguments) for call in calls],
            [("get_weather", {"city": "Paris"})],
        )
        messages += [{"role": "assistant", "content": "", "tool_calls": calls}]
        messages += [{"role": "tool", "content": f'{{"round": {at}}}'}]
        text = "".join(
            [
                part.message.content or ""
                async for part in await client.chat("agent", messages, tools=[WEATHER], **CHAT)
            ]
        )
        equal(text, f'It is {{"round": {at}}}.')
        messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "And now?"}]


async def c10_the_list_comes_while_a_model_answers() -> None:
    client = ollama.AsyncClient(host=URL)
    running = asyncio.ensure_future(client.chat("slow", HI, keep_alive="-1s"))
    await asyncio.sleep(0.5)
    began = time.monotonic()
    listed = await client.list()
    holds(listed.models and time.monotonic() - began < 5 and not running.done(), running)
    equal((await running).message.content, "At last.")


def a01_what_the_guide_shows() -> None:
    example("openai")


if __name__ == "__main__":
    main("ollama", "openai")
