"""LangChain's packages for OpenAI and Ollama."""

from __future__ import annotations

from typing import Any

from checks import KEY, URL, V1, equal, example, holds, main
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel


class City(BaseModel):
    """A city."""

    city: str


@tool
def get_weather(city: str) -> str:
    """Tells the weather of a city."""
    return f"sunny in {city}"


def openai(model: str = "agent", **more: Any) -> ChatOpenAI:
    return ChatOpenAI(model=model, base_url=V1, api_key=KEY, max_retries=0, **more)


def ollama(model: str = "agent", **more: Any) -> ChatOllama:
    return ChatOllama(model=model, base_url=URL, **more)


def a24_invoke_and_limit() -> None:
    answer = openai("words").invoke("Hi")
    equal(answer.content, "Hello world!")
    equal(answer.usage_metadata["output_tokens"], 4)
    equal(answer.response_metadata["finish_reason"], "stop")
    short = openai("words", max_tokens=2).invoke("Hi")
    equal((short.content.strip(), short.response_metadata["finish_reason"]), ("Hello", "length"))


async def a24_astream_with_usage() -> None:
    parts = [part async for part in openai("words", stream_usage=True).astream("Hi")]
    equal("".join(part.content for part in parts), "Hello world!")
    equal([part.usage_metadata["output_tokens"] for part in parts if part.usage_metadata], [4])


def a24_tools_until_the_answer() -> None:
    _tools(openai())


def a24_structured_output() -> None:
    for method in ("json_schema", "function_calling", "json_mode"):
        model = openai().with_structured_output(City, method=method)
        equal(model.invoke('{"city": "Paris"}'), City(city="Paris"))


async def a25_a_long_prefill_is_no_timeout() -> None:
    # 120 s by default. Its clock is reset by chunks alone, so a heartbeat must be a chunk now and then.
    model = openai("slow", stream_chunk_timeout=3)
    parts = [part.content async for part in model.astream("Hi")]
    equal("".join(parts), "At last.")


def b07_responses() -> None:
    model = openai(use_responses_api=True)
    equal(model.invoke("Bonjour").text, "Bonjour")
    equal("".join(part.text for part in model.stream("Bonjour")), "Bonjour")
    _tools(model)


def c07_ollama_chat_and_thinking() -> None:
    model = ollama("words", validate_model_on_init=True)
    answer = model.invoke("Hi")
    equal(answer.content, "Hello world!")
    equal(answer.usage_metadata["output_tokens"], 4)
    equal("".join(part.content for part in model.stream("Hi")), "Hello world!")
    thought = ollama("thinks", reasoning=True).invoke("Hi")
    equal((thought.additional_kwargs["reasoning_content"].strip(), thought.content.strip()), ("Hmm", "So."))


def c07_ollama_tools() -> None:
    _tools(ollama())


def c07_ollama_structured_output() -> None:
    for method in ("json_schema", "function_calling", "json_mode"):
        model = ollama().with_structured_output(City, method=method)
        equal(model.invoke('{"city": "Paris"}'), City(city="Paris"))


def c07_ollama_embeddings() -> None:
    one, other = OllamaEmbeddings(model="embeds", base_url=URL).embed_documents(["a", "b"])
    equal(len(one), len(other))
    holds(abs(sum(value * value for value in one) - 1) < 1e-4, one)


def d03_embeddings() -> None:
    made = OpenAIEmbeddings(
        model="embeds", base_url=V1, api_key=KEY, check_embedding_ctx_length=False, max_retries=0
    )
    one, other = made.embed_documents(["a", "b"])
    equal(len(one), len(other))
    equal(made.embed_query("a"), one)
    other_way = OllamaEmbeddings(model="embeds", base_url=URL).embed_query("a")
    holds(max(abs(a - b) for a, b in zip(one, other_way)) < 1e-6)  # noqa: B905 - Python 3.9 runs it too


def _tools(model: Any) -> None:
    bound = model.bind_tools([get_weather])
    messages: list[Any] = [HumanMessage("How is it?")]
    call = bound.invoke(messages)
    (made,) = call.tool_calls
    equal((made["name"], made["args"]), ("get_weather", {"city": "Paris"}))
    streamed: Any = None
    for part in bound.stream(messages):
        streamed = part if streamed is None else streamed + part
    equal([(one["name"], one["args"]) for one in streamed.tool_calls], [("get_weather", {"city": "Paris"})])
    messages += [call, ToolMessage(get_weather.invoke(made["args"]), tool_call_id=made["id"])]
    equal(bound.invoke(messages).text, "It is sunny in Paris.")


def a24_what_the_guide_shows() -> None:
    example("LangChain")


if __name__ == "__main__":
    main("langchain-openai", "langchain-ollama", "langchain-core", "openai", "ollama")
