"""LiteLLM, as the ways in which it speaks to servers of others."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import litellm
from checks import KEY, URL, V1, equal, example, holds, main

HI = [{"role": "user", "content": "Hi"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
litellm.suppress_debug_info = True


def ask(model: str, messages: Any = HI, **more: Any) -> Any:
    base = V1 if model.startswith(("openai/", "hosted_vllm/")) else URL
    return litellm.completion(
        model=model, messages=messages, api_base=base, api_key=KEY, num_retries=0, **more
    )


def _all_of(way: str) -> None:
    answer = ask(f"{way}/words")
    equal(answer.choices[0].message.content, "Hello world!")
    equal(answer.usage.completion_tokens, 4)
    parts = list(ask(f"{way}/words", stream=True, stream_options={"include_usage": True}))
    equal("".join(part.choices[0].delta.content or "" for part in parts if part.choices), "Hello world!")
    equal([part.choices[0].finish_reason for part in parts if part.choices][-1], "stop")
    called = ask(f"{way}/agent", tools=[WEATHER]).choices[0]
    equal(called.finish_reason, "tool_calls")
    (made,) = called.message.tool_calls
    equal((made.function.name, made.function.arguments.replace(" ", "")), ("get_weather", '{"city":"Paris"}'))
    result = {"role": "tool", "tool_call_id": made.id, "name": "get_weather", "content": "sunny"}
    again = ask(f"{way}/agent", [*HI, called.message.model_dump(), result], tools=[WEATHER])
    equal(again.choices[0].message.content, "It is sunny.")


def a23_openai() -> None:
    _all_of("openai")


def a23_hosted_vllm() -> None:
    _all_of("hosted_vllm")


def a23_a_refusal_has_its_class() -> None:
    try:
        ask("openai/nobody")
    except litellm.NotFoundError as error:
        holds("not found" in str(error), error)
    else:
        holds(False, "an unknown model")  # noqa: FBT003


def a23_embeddings() -> None:
    got = litellm.embedding(model="openai/embeds", input=["a", "b"], api_base=V1, api_key=KEY)
    equal([one["index"] for one in got.data], [0, 1])


def b14_anthropic() -> None:
    _all_of("anthropic")
    equal(ask("anthropic/words", max_tokens=128_000).choices[0].message.content, "Hello world!")


def c08_ollama_chat() -> None:
    _all_of("ollama_chat")


def c08_ollama() -> None:
    equal(ask("ollama/words").choices[0].message.content, "Hello world!")
    # It looks at the template to learn whether a model takes tools, and at its facts for the context.
    about = litellm.get_model_info("ollama/agent", api_base=URL)
    holds(about["supports_function_calling"], about)
    equal(about["max_tokens"], 4096)


def d04_rerank() -> None:
    got = litellm.rerank(
        model="hosted_vllm/ranks",
        query="a",
        documents=["b", "a"],
        top_n=2,
        api_base=URL,
        api_key=KEY,
    )
    equal(got.results[0]["index"], 1)
    holds(got.results[0]["relevance_score"] > got.results[1]["relevance_score"], got)


#: Two servers of their own, which take one request at a time: see ``boards`` in scripts/test_clients.py.
BOARDS: list[dict[str, Any]] = json.loads(os.environ.get("RKLLM_RS_TEST_BOARDS", "[]"))


def router() -> Any:
    """The guide's router before both servers."""
    first, second = (one["url"] for one in BOARDS)
    return example("LiteLLM", "several-boards.md", board1=first, board2=second)["router"]


def _runs() -> list[int]:
    """How many runs each server has had."""
    lines = [Path(one["record"]).read_text(encoding="utf-8").splitlines() for one in BOARDS]
    return [sum(json.loads(line)["fn"] == "rkllm_run" for line in one) for one in lines]


def g05_all_busy() -> None:
    asked = router()
    before = _runs()
    held: list[threading.Thread] = []
    texts: list[str] = []
    for _ in BOARDS:
        one = threading.Thread(target=lambda: texts.append(_said(asked)))
        one.start()
        held.append(one)
    until = time.monotonic() + 60
    while not all(now > then for now, then in zip(_runs(), before, strict=True)):
        holds(time.monotonic() < until, _runs())
        time.sleep(0.02)
    try:
        _said(asked, num_retries=0)
    except litellm.RateLimitError:
        pass
    else:
        holds(False, "an answer of a busy server")  # noqa: FBT003
    for one in BOARDS:
        Path(one["gate"]).touch()
    for thread in held:
        thread.join()
    equal(texts, ["Hello world!"] * 2)


def g05_one_dies() -> None:
    asked = router()
    for number in range(20):
        if number == 10:
            seen = _runs()
            os.kill(BOARDS[0]["pid"], signal.SIGKILL)
        equal(_said(asked), "Hello world!")
    # The other one has had the rest.
    equal([now - then for now, then in zip(_runs(), seen, strict=True)], [0, 10])


def _said(asked: Any, **more: Any) -> str:
    return str(asked.completion(model="agent", messages=HI, **more).choices[0].message.content)


def a23_what_the_guide_shows() -> None:
    example("LiteLLM")


if __name__ == "__main__":
    main("litellm", "openai")
