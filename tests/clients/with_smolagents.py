"""smolagents, with an agent that calls tools."""

from __future__ import annotations

from checks import KEY, V1, equal, main
from smolagents import OpenAIServerModel, Tool, ToolCallingAgent


class Weather(Tool):
    """Tells the weather."""

    name = "get_weather"
    description = "Tells the weather of a city."
    inputs = {"city": {"type": "string", "description": "The city."}}  # noqa: RUF012 - its own way
    output_type = "string"

    def forward(self, city: str) -> str:
        return f"sunny in {city}"


def a26_an_agent_with_a_tool() -> None:
    model = OpenAIServerModel(model_id="agent", api_base=V1, api_key=KEY)
    for stream in (False, True):
        agent = ToolCallingAgent(tools=[Weather()], model=model, stream_outputs=stream, verbosity_level=0)
        equal(agent.run("How is it?", max_steps=4), "Paris")
        calls = [call.name for step in agent.memory.steps for call in getattr(step, "tool_calls", None) or []]
        equal(calls, ["get_weather", "final_answer"])


if __name__ == "__main__":
    main("smolagents", "openai")
