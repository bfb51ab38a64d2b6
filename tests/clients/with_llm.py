"""``llm``, with an entry in its file of models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(tempfile.mkdtemp(prefix="llm-"))
os.environ.update(LLM_USER_PATH=str(FOLDER), LLM_OPENAI_KEY="any")

import llm  # noqa: E402 - it reads its folder when it is imported
from checks import V1, equal, holds, main  # noqa: E402

ENTRY = """\
- model_id: board-{name}
  model_name: {name}
  api_base: "{base}"
  supports_tools: true
  supports_schema: true
"""
(FOLDER / "extra-openai-models.yaml").write_text(
    "".join(ENTRY.format(name=name, base=V1) for name in ("words", "agent"))
)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def get_weather(city: str) -> str:
    """Tells the weather of a city."""
    return f"sunny in {city}"


def a27_text() -> None:
    model = llm.get_model("board-words")
    answer = model.prompt("Hi", stream=False)
    equal(answer.text(), "Hello world!")
    equal(answer.usage().output, 4)
    equal("".join(model.prompt("Hi")), "Hello world!")


def a27_schema_and_tools() -> None:
    model = llm.get_model("board-agent")
    equal(json.loads(model.prompt('{"city": "Oslo"}', schema=SCHEMA, stream=False).text()), {"city": "Oslo"})
    equal(model.chain("How is it?", tools=[get_weather]).text(), "It is sunny in Paris.")
    equal(model.chain("How is it?", tools=[get_weather], stream=False).text(), "It is sunny in Paris.")


async def a27_async() -> None:
    model = llm.get_async_model("board-words")
    equal(await model.prompt("Hi").text(), "Hello world!")


def a27_command() -> None:
    def command(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "llm", *words], capture_output=True, text=True, timeout=60, check=False
        )
        holds(done.returncode == 0, done.stderr)
        return done.stdout.strip()

    equal(command("-m", "board-words", "Hi"), "Hello world!")
    said = command("-m", "board-agent", "--schema", json.dumps(SCHEMA), '{"city": "Oslo"}')
    equal(json.loads(said), {"city": "Oslo"})


if __name__ == "__main__":
    main("llm", "openai")
