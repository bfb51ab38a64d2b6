"""Lets a model call Python functions, and shows each call by hand and all of them by run_tools().

Usage: python examples/tools.py model.rkllm [QUESTION]
"""

from __future__ import annotations

import argparse
from typing import Any, Literal

from rkllm_rs import RKLLM
from rkllm_rs.chat.tools import Tools


def get_weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius") -> str:
    """Returns the current weather of a city.

    Args:
        city: The name of the city.
        unit: The unit of the temperature.
    """
    degrees = 21 if unit == "celsius" else 70
    return f"Sunny, {degrees} degrees {unit} in {city}."


async def get_time(city: str) -> str:
    """Returns the local time of a city.

    Args:
        city: The name of the city.
    """
    return f"It is noon in {city}."


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a .rkllm file, or a .gguf file for the CPU runtime")
    parser.add_argument("question", nargs="?", default="What is the weather in Paris?")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="limit of each answer")
    arguments = parser.parse_args()

    messages: list[dict[str, Any]] = [{"role": "user", "content": arguments.question}]
    tools = Tools([get_weather, get_time])
    with RKLLM(arguments.model, max_context_len=2048, top_k=1) as llm:
        answer = llm.chat(messages, tools=tools, max_new_tokens=arguments.max_new_tokens)
        for call in answer.tool_calls:
            print(f"{call.name}({call.arguments_json})", call.error or "")
        if not answer.tool_calls:
            print("no call:", answer.content)

        # The same, and the calls are made until the model has its answer.
        answer = llm.run_tools(
            messages, tools=[get_weather, get_time], max_new_tokens=arguments.max_new_tokens
        )
        print("answer:", answer.content, f"({answer.finish_reason})")


if __name__ == "__main__":
    main()
