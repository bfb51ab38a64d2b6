"""instructor, in the modes that servers of others take."""

from __future__ import annotations

from typing import Any

import instructor
import openai
from checks import KEY, V1, equal, main
from pydantic import BaseModel


class City(BaseModel):
    """A city."""

    city: str


def _ask(mode: instructor.Mode, name: str = "agent") -> Any:
    client = instructor.from_openai(openai.OpenAI(base_url=V1, api_key=KEY, max_retries=0), mode=mode)
    return client.chat.completions.create(
        model=name,
        messages=[{"role": "user", "content": '{"city": "Paris"}'}],
        response_model=City,
        max_retries=1,
    )


def a26_tools() -> None:
    equal(_ask(instructor.Mode.TOOLS).city, "Paris")


def a26_json() -> None:
    equal(_ask(instructor.Mode.JSON).city, "Paris")


def a26_json_schema() -> None:
    equal(_ask(instructor.Mode.JSON_SCHEMA).city, "Paris")


if __name__ == "__main__":
    main("instructor", "openai")
