"""pydantic-ai, over chat completions and over Responses."""

from __future__ import annotations

from typing import Any

from checks import KEY, V1, equal, example, main
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, PromptedOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

PROVIDER = OpenAIProvider(base_url=V1, api_key=KEY)


class City(BaseModel):
    """A city."""

    city: str


def get_weather(city: str) -> str:
    """Tells the weather of a city."""
    return f"sunny in {city}"


def _all_of(model: Any) -> None:
    answer = Agent(model).run_sync("Bonjour")
    equal(answer.output, "Bonjour")
    equal(Agent(model, tools=[get_weather]).run_sync("How is it?").output, "It is sunny in Paris.")
    # By a tool of its own, by a schema, and by a prompt.
    equal(Agent(model, output_type=City).run_sync("Where?").output, City(city="Paris"))
    equal(Agent(model, output_type=NativeOutput(City)).run_sync('{"city": "Oslo"}').output, City(city="Oslo"))
    told = Agent(model, output_type=PromptedOutput(City)).run_sync('{"city": "Oslo"}')
    equal(told.output, City(city="Oslo"))


async def _stream(model: Any) -> None:
    async with Agent(model).run_stream("Bonjour") as stream:
        parts = [part async for part in stream.stream_text(delta=True, debounce_by=None)]
    equal("".join(parts), "Bonjour")


def a26_chat() -> None:
    _all_of(OpenAIChatModel("agent", provider=PROVIDER))


async def a26_chat_streams() -> None:
    await _stream(OpenAIChatModel("agent", provider=PROVIDER))


def b07_responses() -> None:
    _all_of(OpenAIResponsesModel("agent", provider=PROVIDER))


async def b07_responses_stream() -> None:
    await _stream(OpenAIResponsesModel("agent", provider=PROVIDER))


def a26_what_the_guide_shows() -> None:
    example("pydantic-ai")


if __name__ == "__main__":
    main("pydantic-ai-slim", "openai")
