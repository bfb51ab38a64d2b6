"""LlamaIndex, over its models for servers like OpenAI's and for Ollama."""

from __future__ import annotations

from typing import Any

from checks import KEY, URL, V1, equal, example, main
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.ollama import Ollama
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel


class City(BaseModel):
    """A city."""

    city: str


def get_weather(city: str) -> str:
    """Tells the weather of a city."""
    return f"sunny in {city}"


def openai(name: str) -> Any:
    return OpenAILike(
        model=name,
        api_base=V1,
        api_key=KEY,
        is_chat_model=True,
        is_function_calling_model=True,
        max_retries=0,
    )


def ollama(name: str) -> Any:
    return Ollama(model=name, base_url=URL, request_timeout=60, context_window=4096)


def _all_of(make: Any) -> None:
    asked = [ChatMessage(role="user", content="Hi")]
    equal(make("words").chat(asked).message.content, "Hello world!")
    equal("".join(part.delta or "" for part in make("words").stream_chat(asked)), "Hello world!")
    tool = FunctionTool.from_defaults(get_weather)
    model = make("agent")
    answer = model.chat_with_tools([tool], user_msg="How is it?")
    (call,) = model.get_tool_calls_from_response(answer)
    equal((call.tool_name, call.tool_kwargs), ("get_weather", {"city": "Paris"}))
    equal(model.predict_and_call([tool], user_msg="How is it?").response, "sunny in Paris")
    asked = [ChatMessage(role="user", content='{"city": "Paris"}')]
    equal(model.as_structured_llm(City).chat(asked).raw, City(city="Paris"))


def a26_openai_like() -> None:
    _all_of(openai)


def c09_ollama() -> None:
    _all_of(ollama)


def a26_what_the_guide_shows() -> None:
    example("LlamaIndex")


if __name__ == "__main__":
    main("llama-index-core", "llama-index-llms-openai-like", "llama-index-llms-ollama", "openai", "ollama")
