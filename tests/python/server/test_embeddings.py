"""Embeddings, rerank and tokens of a server on the real model, with OpenAI's own client."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import openai
import pytest
from serving import Serving, on_fake, on_model

from support import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.model
TEXTS = ["The cat sat on the mat.", "A kitten was sitting on a rug.", "Interest rates rose by 2 percent."]
ASK: Any = [{"role": "user", "content": "Tell me about a city. 世界 🙂"}]
TOOL: Any = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    serving = on_model(tmp_path_factory.mktemp("server"), 256)
    yield serving.ready()
    serving.stop()


@pytest.fixture
def client(server: Serving) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as made:
        yield made


def close(one: list[float], other: list[float]) -> bool:
    return len(one) == len(other) and max(abs(a - b) for a, b in zip(one, other, strict=True)) <= 1e-6


def test_d01_all_forms_have_the_same_numbers(server: Serving, client: openai.OpenAI) -> None:
    # The client asks for base64 if nothing is said.
    packed = client.embeddings.create(model="small", input=TEXTS[:2])
    plain = client.embeddings.create(model="small", input=TEXTS[:2], encoding_format="float")
    ollama = server.post("/api/embed", {"model": "small", "input": TEXTS[:2]}).json()["embeddings"]
    raw = server.post("/v1/embeddings", {"model": "small", "input": TEXTS[0]}).json()
    assert isinstance(raw["data"][0]["embedding"], list)
    for at in range(2):
        vector = packed.data[at].embedding
        assert close(vector, plain.data[at].embedding)
        assert close(vector, ollama[at])
        assert math.isclose(math.hypot(*vector), 1, abs_tol=1e-5)
    counts = [len(server.post("/tokenize", {"prompt": text}).json()["tokens"]) for text in TEXTS[:2]]
    assert packed.usage.prompt_tokens == packed.usage.total_tokens == sum(counts)


def test_d02_limits_and_dimensions(server: Serving, client: openai.OpenAI) -> None:
    alone = client.embeddings.create(model="small", input=TEXTS[0]).data[0].embedding
    short = client.embeddings.create(model="small", input=TEXTS[0], dimensions=64).data[0].embedding
    length = math.hypot(*alone[:64])
    assert close(short, [one / length for one in alone[:64]])
    long = "word " * 300
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": [[]]}, "input[0]"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": ["a", 1.5]}, "input[1]"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": ["a", long]}, "input[1]"),
        ({"input": "a", "dimensions": 577}, "dimensions"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
    ]
    for fields, param in wrong:
        answer = server.post("/v1/embeddings", {"model": "small", **fields})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), fields
    assert server.post("/v1/embeddings", {"input": long, "truncate": True}).status_code == 200


def test_d02_many_inputs_keep_their_order(tmp_path: Path) -> None:
    runs = [{"hidden": {"rows": 1, "width": 2, "start": float(at)}} for at in range(64)]
    scripted = on_fake(tmp_path, {"many": {"runs": runs}}).ready()
    try:
        for count in (64, 2048):
            answer = scripted.post("/v1/embeddings", {"input": [f"text {at}" for at in range(count)]}).json()
            assert [one["index"] for one in answer["data"]] == list(range(count))
            for at, one in enumerate(answer["data"][:64]):
                start = at if count == 64 else 63
                expected = [start / math.hypot(start, start + 1), (start + 1) / math.hypot(start, start + 1)]
                assert close(one["embedding"], expected)
    finally:
        scripted.stop()


def test_d03_token_ids_are_those_of_this_model(server: Serving, client: openai.OpenAI) -> None:
    ids = server.post("/tokenize", {"prompt": TEXTS[0]}).json()["tokens"]
    by_id = client.embeddings.create(model="small", input=ids)
    by_ids = client.embeddings.create(model="small", input=[ids, ids[:2]])
    by_text = client.embeddings.create(model="small", input=TEXTS[0]).data[0].embedding
    assert close(by_id.data[0].embedding, by_text)
    assert close(by_ids.data[0].embedding, by_text)
    # Those of OpenAI's vocabulary are beyond it.
    with pytest.raises(openai.BadRequestError) as raised:
        client.embeddings.create(model="small", input=[[9906, 99_999]])
    assert (raised.value.param, raised.value.code) == ("input[0]", "invalid_token")


def test_d04_documents_by_their_meaning(server: Serving, client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "small", "query": TEXTS[0], "documents": [TEXTS[2], {"text": TEXTS[1]}]}
    vectors = [one.embedding for one in client.embeddings.create(model="small", input=TEXTS).data]
    cosines = [sum(map(float.__mul__, vectors[0], vectors[at])) for at in (2, 1)]
    for path in ("/v1/rerank", "/rerank", "/v1/reranking", "/reranking"):
        answer = server.post(path, {**asked, "top_n": 9, "return_documents": True}).json()
        assert [one["index"] for one in answer["results"]] == [1, 0], path
    assert answer["results"][0]["document"] == {"text": TEXTS[1]}
    assert [one["relevance_score"] for one in answer["results"]] == pytest.approx(cosines[::-1], abs=1e-5)
    assert (
        answer["usage"]["total_tokens"]
        == client.embeddings.create(model="small", input=TEXTS).usage.total_tokens
    )
    assert answer["model"] == "small"
    (best,) = server.post("/v1/rerank", {**asked, "top_n": 1}).json()["results"]
    assert best.keys() == {"index", "relevance_score"}
    long = "word " * 300
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"query": ""}, "query"),
        ({"query": None}, "query"),
        ({"query": long}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": "text"}, "documents"),
        ({"documents": ["a", ""]}, "documents[1]"),
        ({"documents": ["a", {"title": "b"}]}, "documents[1]"),
        ({"documents": ["a", long]}, "documents[1]"),
        ({"documents": ["a"] * 2048}, "documents"),
        ({"top_n": 0}, "top_n"),
    ]
    for fields, param in wrong:
        refused = server.post("/v1/rerank", {**asked, **fields})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param), fields


def test_d05_tokens_and_back(server: Serving) -> None:
    source = random.Random(5)  # noqa: S311 - the same texts in every run
    kinds = ["abc xyz\n\t", "äöüßñ", "世界你好", "🙂👩‍👩‍👧🇩🇪", "\u0000\u200d\u0301\ufeff", "<|im_start|>"]
    for _ in range(20):
        text = "".join(source.choice(source.choice(kinds)) for _ in range(40))
        plain = server.post("/tokenize", {"content": text}).json()
        assert plain.keys() == {"tokens"}
        told = server.post("/tokenize", {"model": "small", "prompt": text, "return_token_strs": True}).json()
        assert (told["count"], len(told["token_strs"])) == (len(told["tokens"]), len(told["tokens"]))
        for ids in (plain["tokens"], told["tokens"]):
            assert server.post("/detokenize", {"tokens": ids}).json() == {"content": text, "prompt": text}
    pieces = server.post("/tokenize", {"content": "Hello world", "with_pieces": True}).json()["tokens"]
    assert "".join(one["piece"] for one in pieces) == "Hello world"
    assert server.post("/tokenize", {"content": ""}).json() == {"tokens": []}


def test_d05_a_conversation_has_the_tokens_of_its_usage(server: Serving, client: openai.OpenAI) -> None:
    for more in ({}, {"tools": [TOOL]}):
        used = client.chat.completions.create(model="small", messages=ASK, max_tokens=1, **more).usage
        assert used is not None
        counted = server.post("/tokenize", {"model": "small", "messages": ASK, **more}).json()
        assert counted["count"] == len(counted["tokens"]) == used.prompt_tokens
        assert counted["max_model_len"] == 256
        shown = server.post("/apply-template", {"messages": ASK, **more}).json()["prompt"]
        assert server.post("/tokenize", {"content": shown}).json()["tokens"] == counted["tokens"]
    begun = server.post("/apply-template", {"messages": ASK}).json()["prompt"]
    rest = server.post("/apply-template", {"messages": ASK, "add_generation_prompt": False}).json()["prompt"]
    assert begun.startswith(rest)
    assert len(begun) > len(rest)
    said = {"messages": [*ASK, {"role": "assistant", "content": "Well,"}], "continue_final_message": True}
    assert server.post("/apply-template", said).json()["prompt"] == begun + "Well,"
    used = server.post("/v1/chat/completions", {**said, "max_tokens": 1}).json()["usage"]
    assert used["prompt_tokens"] == server.post("/tokenize", said).json()["count"]


def test_d05_what_is_asked_wrongly(server: Serving) -> None:
    size = 49152
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"content": 1}, "content"),
        ("/tokenize", {"prompt": ["a"]}, "prompt"),
        ("/tokenize", {"messages": []}, "messages"),
        ("/tokenize", {"content": "a", "parse_special": False}, "parse_special"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": "a"}, "tokens"),
        ("/detokenize", {"tokens": [1, size]}, "tokens[1]"),
        ("/detokenize", {"tokens": [True]}, "tokens[0]"),
        ("/detokenize", {"tokens": [-1]}, "tokens[0]"),
        ("/apply-template", {}, "messages"),
        ("/apply-template", {"messages": ASK, "continue_final_message": True}, "continue_final_message"),
    ]
    for path, fields, param in wrong:
        answer = server.post(path, fields)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), (path, fields)
    for path in ("/tokenize", "/detokenize", "/apply-template", "/v1/rerank", "/v1/embeddings"):
        fields = {
            "content": "a",
            "tokens": [1],
            "messages": ASK,
            "query": "a",
            "documents": ["a"],
            "input": "a",
        }
        assert server.post(path, {**fields, "model": "nobody"}).status_code == 404, path


def test_f8_variables_of_the_template_change_no_token(server: Serving) -> None:
    """Names that would take the place of what the server passes are not passed on, on any route."""
    for path in ("/tokenize", "/apply-template", "/v1/chat/completions"):

        def told(path: str = path, **more: Any) -> Any:
            got = server.post(path, {"messages": ASK, "max_tokens": 1, **more})
            assert got.status_code == 200, (path, more, got.text)
            return got.json().get("usage", got.json()).get("prompt_tokens", got.json())

        plain = told()
        for kwargs in (
            {"messages": []},
            {"tools": [TOOL], "documents": ["x"], "chat_template": "{{ 1 }}"},
            {"add_generation_prompt": False, "continue_final_message": True},
            {"tokenize": True, "add_special_tokens": False, "return_token_strs": True},
            {"__class__": "x", "self": 1, "conversation": 2, "model": "nobody"},
        ):
            assert told(chat_template_kwargs=kwargs) == plain, (path, kwargs)


def test_b10_input_tokens_are_those_of_the_usage(client: openai.OpenAI) -> None:
    schema: Any = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    tool: Any = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
    asked: list[Any] = [
        {"input": "Tell me about a city. 世界 🙂"},
        {"input": ASK, "instructions": "Be brief."},
        {"input": ASK, "tools": [{**tool, "strict": False}]},
        {"input": ASK, "text": {"format": {"type": "json_schema", "name": "said", "schema": schema}}},
        {"input": ASK, "instructions": "Be brief.", "text": {"format": {"type": "json_object"}}},
    ]
    counts: set[int] = set()
    for one in asked:
        counted = client.responses.input_tokens.count(model="small", **one)
        used = client.responses.create(model="small", max_output_tokens=1, **one).usage
        assert used is not None
        assert (counted.object, counted.input_tokens) == ("response.input_tokens", used.input_tokens), one
        counts.add(counted.input_tokens)
    assert len(counts) == len(asked)


def test_d05_counting_holds_up_nobody(server: Serving) -> None:
    asked = {"messages": ASK, "max_tokens": 400, "stream": True, "temperature": 0}
    talking = server.connect("/v1/chat/completions", asked)
    told = b""
    while told.count(b'"content":"') < 3:
        told += talking.recv(4096)
    counting = [server.connect("/tokenize", {"content": "Hello"}) for _ in range(6)]
    counting += [server.connect("/detokenize", {"tokens": [1]}) for _ in range(6)]
    assert server.post("/apply-template", {"messages": ASK}).status_code == 200
    assert server.http.get("/status").json()["models"][0]["running"] == 1
    talking.close()
    for one in counting:
        assert one.recv(12) == b"HTTP/1.1 200"


def test_d05_a_busy_model_tells_tokens_and_what_never_fits(tmp_path: Path) -> None:
    serving = on_model(tmp_path, 512).ready()
    story: Any = [{"role": "user", "content": "Tell a long story."}]
    # Without the tokens that would end it.
    endless = {"messages": story, "stream": True, "max_tokens": 450, "logit_bias": {"0": -100, "2": -100}}
    running = serving.connect("/v1/chat/completions", endless)
    running.settimeout(PATIENCE)
    seen = b""
    while b'"content":"' not in seen.replace(b'"content":""', b""):
        seen += running.recv(65536)
    assert serving.post("/tokenize", {"content": "x"}).status_code == 200
    counted = serving.post("/v1/messages/count_tokens", {"model": "small", "messages": ASK})
    assert counted.json()["input_tokens"] > 0
    long = "word " * 600
    for path, asked in (
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": long}], "stream": True}),
        ("/v1/completions", {"prompt": long, "stream": True}),
    ):
        answer = serving.post(path, asked)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
    # The answer goes on all the while.
    assert serving.http.get("/status").json()["models"][0]["running"] == 1
    running.close()
    serving.stop()
