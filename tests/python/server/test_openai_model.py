"""OpenAI's own client against a server on the real model: what needs a tokenizer, a seed or probabilities."""

from __future__ import annotations

import enum
import json
from typing import TYPE_CHECKING, Any, Literal, Optional

import openai
import pydantic
import pytest
from serving import on_model, read_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Serving

pytestmark = pytest.mark.model
ASK: Any = [{"role": "user", "content": "Tell me about a city."}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    serving = on_model(tmp_path_factory.mktemp("server"), 512)
    yield serving.ready()
    serving.stop()


@pytest.fixture
def lenient(server: Serving) -> Iterator[openai.OpenAI]:
    """For completions: the package's types have no chunk without a reason, and no token without a number."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as made:
        yield made


@pytest.fixture
def client(server: Serving) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{server.url}/v1", api_key="x", max_retries=0, _strict_response_validation=True
    ) as made:
        yield made


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Mayor(pydantic.BaseModel):
    age: int


class City(pydantic.BaseModel):
    size: Size
    mayor: Mayor
    name: Optional[Literal["x", "y"]]  # noqa: UP045 - as programs for older Pythons have it
    digits: list[Literal[1, 2]] = pydantic.Field(min_length=1, max_length=2)


def test_a05_answers_are_parsed(client: openai.OpenAI) -> None:
    parsed = client.chat.completions.parse(
        model="small", messages=ASK, response_format=City, temperature=0, max_tokens=150
    )
    assert isinstance(parsed.choices[0].message.parsed, City)


def test_a06_formats_of_answers(client: openai.OpenAI) -> None:
    ask = client.chat.completions.create
    schema: Any = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    schema["additionalProperties"] = False
    kept: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    answer = ask(model="small", messages=ASK, response_format=kept, max_tokens=60, temperature=0)
    assert isinstance(json.loads(answer.choices[0].message.content or "")["ok"], bool)
    # One that ends before it is complete is an answer, too.
    cut = ask(model="small", messages=ASK, response_format={"type": "json_object"}, max_tokens=2)
    assert cut.choices[0].finish_reason == "length"
    assert (cut.choices[0].message.content or "").strip().startswith("{")
    for wrong in ({"type": "nonsense"}, {"type": "string", "pattern": "("}):
        kept["json_schema"]["schema"] = wrong
        with pytest.raises(openai.BadRequestError) as raised:
            ask(model="small", messages=ASK, response_format=kept)
        assert (raised.value.param or "").startswith("response_format")


def test_a07_a_call_can_be_forced(client: openai.OpenAI) -> None:
    parameters = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
    tool: Any = {"type": "function", "function": {"name": "get_weather", "parameters": parameters}}
    answer = client.chat.completions.create(
        model="small", messages=ASK, tools=[tool], tool_choice="required", max_tokens=200, temperature=0
    )
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    made: Any = calls[0]
    assert json.loads(made.function.arguments)["city"] in ("Paris", "Rome")
    assert (made.function.name, answer.choices[0].finish_reason) == ("get_weather", "tool_calls")


@pytest.mark.parametrize("stream", [False, True])
def test_a12_probabilities_of_tokens(client: openai.OpenAI, stream: Any) -> None:
    asked: Any = {"model": "small", "messages": ASK, "max_tokens": 8, "logprobs": True, "top_logprobs": 3}
    if stream:
        chunks = [one.choices[0] for one in client.chat.completions.create(**asked, stream=True)]
        tokens: Any = [token for one in chunks if one.logprobs for token in one.logprobs.content or []]
        text = "".join(one.delta.content or "" for one in chunks)
    else:
        choice = client.chat.completions.create(**asked).choices[0]
        assert choice.logprobs is not None
        tokens, text = choice.logprobs.content, choice.message.content or ""
    assert bytes(byte for token in tokens for byte in token.bytes).decode() == text
    assert all(len(token.top_logprobs) == 3 for token in tokens)
    assert all(token.logprob <= 0 for token in tokens)


def test_a13_seeds_and_greedy_answers_repeat(client: openai.OpenAI) -> None:
    def text(**more: Any) -> str | None:
        answer = client.chat.completions.create(model="small", messages=ASK, max_tokens=8, **more)
        return answer.choices[0].message.content

    assert text(seed=-7, temperature=1.5) == text(seed=-7, temperature=1.5)
    assert text(temperature=0) == text(temperature=0)
    assert len({text(seed=seed, temperature=2) for seed in range(3)}) > 1


def test_a18_a_prompt_that_is_too_long(client: openai.OpenAI, server: Serving) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as raised:
            client.chat.completions.create(
                model="small", messages=[{"role": "user", "content": "word " * 600}], stream=stream
            )
        assert raised.value.code == "context_length_exceeded"
        assert "512" in raised.value.message
        assert raised.value.param == "messages"
    answer = server.post("/v1/completions", {"prompt": "word " * 600})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")


def test_prompts_are_reused_across_requests(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "system", "content": "Be brief. " * 20}, *ASK]
    first = client.chat.completions.create(model="small", messages=messages, max_tokens=4)
    messages += [
        {"role": "assistant", "content": first.choices[0].message.content},
        {"role": "user", "content": "Go on."},
    ]
    again = client.chat.completions.create(model="small", messages=messages, max_tokens=4)
    assert first.usage is not None
    assert again.usage is not None
    assert again.usage.prompt_tokens_details is not None
    assert (again.usage.prompt_tokens_details.cached_tokens or 0) >= 0.9 * first.usage.prompt_tokens


def test_a20_completions(client: openai.OpenAI, lenient: openai.OpenAI) -> None:
    complete = client.completions.create
    prompts = ["Once upon a", "The capital of France is"]
    answer = complete(model="small", prompt=prompts, max_tokens=3, temperature=0, n=1)
    assert [(one.index, one.finish_reason) for one in answer.choices] == [(0, "length"), (1, "length")]
    texts = [one.text for one in answer.choices]
    assert "Paris" in texts[1]
    streamed = ["", ""]
    for chunk in lenient.completions.create(
        model="small", prompt=prompts, max_tokens=3, temperature=0, stream=True
    ):
        for one in chunk.choices:
            streamed[one.index] += one.text
    assert streamed == texts
    ids = [9, 10, 11]
    by_ids = complete(model="small", prompt=[ids], max_tokens=2)
    assert by_ids.usage is not None
    assert by_ids.usage.prompt_tokens == 3
    # The default is 16 tokens.
    long = complete(model="small", prompt="One two three", temperature=0)
    assert long.usage is not None
    assert long.usage.completion_tokens <= 16
    for more in ({"suffix": "end"}, {"prompt": []}, {"prompt": [[]]}, {"logprobs": 6}, {"best_of": 3}):
        with pytest.raises(openai.BadRequestError) as raised:
            complete(**{"model": "small", "prompt": "x", **more})
        assert (raised.value.param or "").startswith(next(iter(more)))


def test_a20_what_was_given_is_told_with_its_probabilities(lenient: openai.OpenAI) -> None:
    prompt = "The capital of France is Paris"
    asked: Any = {"model": "small", "prompt": prompt, "echo": True, "logprobs": 2, "temperature": 0}
    choice = lenient.completions.create(**asked, max_tokens=2).choices[0]
    told = choice.logprobs
    assert told is not None
    assert told.tokens is not None
    assert told.token_logprobs is not None
    assert told.text_offset is not None
    assert told.top_logprobs is not None
    assert choice.text.startswith(prompt)
    assert "".join(told.tokens) == choice.text
    # Nothing comes before the first token.
    assert told.token_logprobs[0] is None
    assert all(value is not None and value <= 0 for value in told.token_logprobs[1:])
    assert told.text_offset == [sum(map(len, told.tokens[:at])) for at in range(len(told.tokens))]
    assert len(told.top_logprobs) == len(told.tokens)
    for at, top in enumerate(told.top_logprobs[1:], 1):
        assert top
        assert max(top.values()) >= told.token_logprobs[at] - 1e-4
    # As evaluations ask for it: nothing is generated.
    only = lenient.completions.create(**{**asked, "max_tokens": 0}).choices[0]
    assert only.text == prompt
    assert only.logprobs is not None
    assert only.logprobs.token_logprobs == pytest.approx(
        told.token_logprobs[: len(told.tokens) - 2], abs=1e-3
    )
    plain = lenient.completions.create(model="small", prompt=prompt, echo=True, max_tokens=1)
    assert plain.choices[0].text.startswith(prompt)


def test_a_stream_that_is_left_has_its_prompt_in_the_figures(server: Serving) -> None:
    """Anthropic's streams count their prompt beforehand, so that it is known although the run is cut off."""
    asked = {"model": "small", "max_tokens": 400, "stream": True, "messages": ASK}
    sock = server.connect("/v1/messages", asked)
    read_until(sock, b"text_delta")
    sock.close()

    def line() -> str:
        return next((one for one in server.told().splitlines() if "reason=client_gone" in one), "")

    server.wait_for(line, "its line")
    tokens = int(line().partition(" prompt_tokens=")[2].split()[0])
    assert tokens > 0


def test_c01_generate_goes_on_where_its_context_ends(server: Serving) -> None:
    """As Ollama's older clients keep a conversation: by the tokens that the last answer told."""

    def ask(prompt: str, *, stream: bool = False, **more: Any) -> dict[str, Any]:
        body = {"model": "small", "prompt": prompt, "stream": stream, "options": {"num_predict": 8}, **more}
        answer = server.post("/api/generate", body)
        assert answer.status_code == 200, answer.text
        lines = [json.loads(line) for line in answer.text.splitlines()]
        text = "".join(line["response"] for line in lines)
        return {**lines[-1], "response": text}

    def text_of(tokens: list[int]) -> str:
        told: str = server.post("/detokenize", {"model": "small", "tokens": tokens}).json()["content"]
        return told

    first = ask("My name is Ann.")
    said = text_of(first["context"])
    assert "My name is Ann." in said
    assert said.endswith(first["response"])
    assert len(first["context"]) == first["prompt_eval_count"] + first["eval_count"]
    second = ask("What is my name?", stream=True, context=first["context"])
    more = text_of(second["context"])
    assert more.startswith(said)
    assert "What is my name?" in more[len(said) :]
    assert more.endswith(second["response"])
    assert second["prompt_eval_count"] > len(first["context"])
    # Without a chat template there is none.
    assert "context" not in ask("as it is", raw=True)
    for wrong in ([10**6], ["x"], "x", [-1], [True]):
        refused = server.post("/api/generate", {"model": "small", "prompt": "x", "context": wrong})
        assert refused.status_code == 400
        assert "context" in refused.json()["error"]
