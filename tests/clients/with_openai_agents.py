"""openai-agents, over Responses (its default) and over chat completions."""

from __future__ import annotations

from typing import Any

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from checks import KEY, V1, equal, example, holds, main
from openai import AsyncOpenAI
from pydantic import BaseModel

set_tracing_disabled(disabled=True)


class City(BaseModel):
    """A city."""

    city: str


@function_tool
def get_weather(city: str) -> str:
    """Tells the weather of a city."""
    return f"sunny in {city}"


def chat(name: str = "agent") -> Any:
    return OpenAIChatCompletionsModel(model=name, openai_client=AsyncOpenAI(base_url=V1, api_key=KEY))


def responses(name: str = "agent") -> Any:
    return OpenAIResponsesModel(model=name, openai_client=AsyncOpenAI(base_url=V1, api_key=KEY))


async def _run(model: Any, asked: str, **more: Any) -> Any:
    agent = Agent(name="board", instructions="Be brief.", model=model, **more)
    whole = (await Runner.run(agent, asked)).final_output
    streamed = Runner.run_streamed(agent, asked)
    async for _ in streamed.stream_events():
        pass
    equal(streamed.final_output, whole)
    return whole


async def _all_of(make: Any) -> None:
    equal(await _run(make(), "Bonjour"), "Bonjour")
    equal(await _run(make(), "How is it?", tools=[get_weather]), "It is sunny in Paris.")
    equal(await _run(make(), '{"city": "Oslo"}', output_type=City), City(city="Oslo"))


async def a22_chat() -> None:
    await _all_of(chat)


async def a22_reasoning_comes_once() -> None:
    said = await Runner.run(Agent(name="board", model=chat("thinks")), "Hi")
    equal(said.final_output.strip(), "So.")
    texts = [
        "".join(part.text for part in item.raw_item.summary)
        for item in said.new_items
        if item.type == "reasoning_item"
    ]
    equal([text.strip() for text in texts], ["Hmm"])


async def b05_responses() -> None:
    await _all_of(responses)


async def b05_handoff() -> None:
    other = Agent(name="other", instructions="Be brief.", model=responses("words"))
    first = Agent(name="first", model=responses(), handoffs=[other])
    done = await Runner.run(first, "Hi")
    equal((done.last_agent.name, done.final_output), ("other", "Hello world!"))


async def b05_three_rounds() -> None:
    asked: list[int] = []

    @function_tool
    def count_rounds(city: str) -> str:
        """Counts."""
        asked.append(len(asked) + 1)
        return f"round {len(asked)}"

    done = await Runner.run(Agent(name="board", model=responses(), tools=[count_rounds]), "Go on")
    holds(asked == [1, 2, 3], asked)
    equal(done.final_output, "It is round 3.")


def a22_what_the_guide_shows() -> None:
    example("openai-agents")


if __name__ == "__main__":
    main("openai-agents", "openai")
