"""Lets a model call a Python function and use its result.

Usage: python examples/function_tools.py model.rkllm

Needs RKLLM 1.2.1 or later and a model that was trained for tools, such as Qwen3.
"""

from __future__ import annotations

import argparse
import json
import re

from rkllm_rs import RKLLM

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_temperature",
            "description": "The temperature in a city, in degrees Celsius.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "Name of the city"}},
                "required": ["city"],
            },
        },
    }
]
# The markers of a call in Qwen's answers; other models use others.
CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


def get_temperature(city: str) -> dict[str, object]:
    """Stands for a weather service."""
    return {"city": city, "temperature": 21}


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a .rkllm file, or a .gguf file for the CPU runtime")
    parser.add_argument("question", nargs="?", default="How warm is it in Paris?")
    arguments = parser.parse_args()

    # Calls must be well-formed, so always pick the most likely token.
    with RKLLM(arguments.model, max_context_len=2048, top_k=1) as llm:
        llm.set_function_tools(TOOLS, system_prompt="You may call functions.")
        # keep_history: the result belongs to the same conversation as the prompt.
        answer = llm.generate(arguments.question, keep_history=True, max_new_tokens=256)
        calls = [json.loads(text) for text in CALL.findall(answer.text)]
        if not calls:
            print("answered without a tool:", answer.text.strip())
            return
        results = []
        for call in calls:
            print(f"called: {call['name']}({call['arguments']})")
            results.append(get_temperature(**call["arguments"]))
        # Pass results as JSON text, with the role "tool".
        answer = llm.generate(json.dumps(results), role="tool", keep_history=True, max_new_tokens=256)
        print("answered:", answer.text.strip())


if __name__ == "__main__":
    main()
