"""Structured output: what is refused on every backend, and what the real small model is kept to."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json
import math
import operator
import os
import pickle
import re
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import pytest

from rkllm_rs import (
    RKLLM,
    AsyncRKLLM,
    GenerationError,
    InvalidArgumentError,
    InvalidTypeError,
    SchemaError,
    UnsupportedFeatureError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

ASK = [{"role": "user", "content": "Tell me about Rex, a dog of 3 years."}]
LISTED = {"type": "array", "items": {"type": "integer"}, "maxItems": 4}


@dataclasses.dataclass
class Animal:
    """An animal."""

    name: str
    years: int
    kind: Literal["cat", "dog"]


class Place(TypedDict):
    """A place."""

    city: str


def len_of(text: str) -> int:
    """Returns the length of a text.

    Args:
        text: The text.
    """
    return len(text)


@pytest.fixture(scope="module")
def llm() -> Iterator[RKLLM]:
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    with RKLLM(MODEL, backend="cpu", max_context_len=1024, max_new_tokens=120) as llm:
        yield llm


@pytest.fixture(autouse=True)
def nothing_open(llm: RKLLM) -> None:
    """The model of this module stays open."""


def test_the_mask_leaves_the_shares_of_the_tokens_that_fit(llm: RKLLM) -> None:
    digits = [llm.tokenize(digit)[-1] for digit in "0123456789"]
    temperature = 1.5
    shares: list[list[float]] = []

    def look(_: list[int], row: Any) -> None:
        logits = [float(row[digit]) / temperature for digit in digits]
        weights = [math.exp(logit - max(logits)) for logit in logits]
        shares.append([weight / sum(weights) for weight in weights])

    whole = {"top_k": 0, "top_p": 1, "repeat_penalty": 1, "temperature": temperature, "seed": 3}
    answer = llm.generate(
        "Random digits: ", regex="[0-9]{200}", logits_processor=look, max_new_tokens=200, **whole
    )
    drawn = [digits.index(token_id) for token_id in answer.token_ids]
    assert len(drawn) == 200
    # How far the draws are from what was to be expected: of each digit, and of how likely they were. If what
    # does not fit were replaced by the likeliest that does, this would be far off.
    for of in (*range(10), None):
        excess = variance = 0.0
        for row, at in zip(shares, drawn, strict=True):
            value = [math.log(p) if of is None else float(place == of) for place, p in enumerate(row)]
            mean = sum(map(operator.mul, row, value))
            variance += sum(p * (v - mean) ** 2 for p, v in zip(row, value, strict=True))
            excess += value[at] - mean
        assert abs(excess) < 4 * math.sqrt(variance), of


@pytest.mark.parametrize(
    ("wanted", "pattern"),
    [
        ({"choices": ["red", "green", "light green"]}, "red|green|light green"),
        ({"regex": r"[0-9]{3}-[a-z]{4}"}, r"[0-9]{3}-[a-z]{4}"),
        ({"grammar": 'start: "a" ("b" | "c")+ "d"'}, "a[bc]+d"),
    ],
    ids=["choices", "regex", "grammar"],
)
def test_text_is_kept_to_what_is_asked(llm: RKLLM, wanted: dict[str, Any], pattern: str) -> None:
    for seed in range(5):
        answer = llm.generate("Say anything.", temperature=2.0, seed=seed, **wanted)
        assert re.fullmatch(pattern, answer.text) if answer.finish_reason == "stop" else True
        assert answer.constraint is not None
        assert answer.constraint.complete == (answer.finish_reason == "stop")
        assert answer.constraint.way == "mask"
        assert answer.parsed is None


def test_greedy_text_that_is_legal_anyway_is_the_same(llm: RKLLM) -> None:
    free = llm.generate("Count to three.", top_k=1, max_new_tokens=12)
    kept = llm.generate("Count to three.", top_k=1, max_new_tokens=12, regex="(?s:.*)")
    assert kept.token_ids == free.token_ids


@pytest.mark.parametrize("schema", [LISTED, json.dumps(LISTED), list[int]], ids=["dict", "text", "type"])
def test_a_schema_gives_its_value(llm: RKLLM, schema: Any) -> None:
    answer = llm.generate("List three numbers.", top_k=1, json_schema=schema)
    assert answer.finish_reason == "stop"
    assert isinstance(answer.parsed, list)
    assert answer.parsed == json.loads(answer.text)


def test_a_class_gives_its_instance(llm: RKLLM) -> None:
    answer = llm.chat(ASK, json_schema=Animal, top_k=1)
    assert isinstance(answer.parsed, Animal)
    assert answer.parsed.kind in ("cat", "dog")
    assert json.loads(answer.content) == dataclasses.asdict(answer.parsed)
    typed = llm.chat(ASK, json_schema=Place, top_k=1)
    assert list(typed.parsed) == ["city"]


def test_a_tuple_has_as_many_items_as_its_type(llm: RKLLM) -> None:
    for seed in range(4):
        answer = llm.chat(ASK, json_schema=tuple[bool, Literal["a", "b"]], seed=seed)
        yes, letter = answer.parsed
        assert (type(yes), letter in ("a", "b")) == (bool, True)


def test_a_pydantic_model_gives_its_instance(llm: RKLLM) -> None:
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Animal", name=(str, ...), years=(int, ...))
    answer = llm.chat(ASK, json_schema=model, top_k=1)
    assert isinstance(answer.parsed, model)
    assert llm.chat(ASK, response_format=model, top_k=1).parsed == answer.parsed


def test_a_value_that_its_type_refuses_is_an_error_with_the_cause(llm: RKLLM) -> None:
    refuses = ValueError("never")

    @dataclasses.dataclass
    class Refusing:
        a: Literal[1]

        def __post_init__(self) -> None:
            raise refuses

    answer = llm.generate("?", json_schema=Refusing)
    with pytest.raises(GenerationError) as caught:
        _ = answer.parsed
    assert caught.value.hint is not None
    assert caught.value.__cause__ is refuses
    assert json.loads(answer.text) == {"a": 1}


def test_response_formats_are_those_of_openai(llm: RKLLM) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    schema["additionalProperties"] = False
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    assert set(llm.chat(ASK, response_format=wanted, top_k=1).parsed) == {"a"}
    assert llm.chat(ASK, response_format=list[Literal["cat", "dog"]] | None, top_k=1).constraint is not None
    answer = llm.chat(ASK, response_format={"type": "json_object"}, top_k=1)
    assert isinstance(answer.parsed, dict) if answer.finish_reason == "stop" else answer.parsed is None
    assert llm.chat(ASK, response_format={"type": "text"}, max_new_tokens=2).constraint is None


def test_the_schema_is_in_the_prompt_unless_it_is_switched_off(llm: RKLLM) -> None:
    told = llm.chat(ASK, json_schema=Place, max_new_tokens=1).perf.prompt_tokens
    hidden = llm.chat(ASK, json_schema=Place, max_new_tokens=1, schema_in_prompt=False)
    plain = llm.chat(ASK, max_new_tokens=1).perf.prompt_tokens
    assert told is not None
    assert plain is not None
    assert told > plain == hidden.perf.prompt_tokens


def test_an_answer_that_was_cut_has_no_value(llm: RKLLM) -> None:
    answer = llm.chat(ASK, json_schema=Animal, max_new_tokens=4)
    assert answer.finish_reason == "length"
    assert answer.parsed is None
    assert answer.constraint is not None
    assert not answer.constraint.complete
    stopped = llm.generate("A list.", json_schema=LISTED, top_k=1, stop=[",", "]"])
    assert stopped.finish_reason == "stop"
    assert stopped.parsed is None
    assert stopped.constraint is not None
    assert not stopped.constraint.complete


@pytest.mark.parametrize("way", ["mask", "guided"])
def test_a_grammar_names_special_tokens_of_the_model(llm: RKLLM, way: Literal["mask", "guided"]) -> None:
    ask: dict[str, Any] = {"constraint": way, "max_new_tokens": 20}
    answer = llm.generate("?", grammar='start: "a" <|im_start|> "b" <|im_end|>', **ask)
    a, middle, b = answer.token_ids
    assert [a, b] == [llm.tokenize(letter)[-1] for letter in "ab"]
    assert llm.tokenize("<|im_start|>") == [middle]
    assert way == "mask" or answer.text == "a<|im_start|>b"
    assert answer.constraint is not None
    assert answer.constraint.complete
    with pytest.raises(UnsupportedFeatureError) as caught:
        llm.generate("?", grammar='start: "a" <|no_such|>', **ask)
    assert "<|no_such|>" in str(caught.value)


def test_an_answer_that_is_whole_with_the_last_token_allowed_is_not_cut(llm: RKLLM) -> None:
    ask: dict[str, Any] = {"json_schema": {"const": [1]}, "top_k": 1}
    needed = len(llm.generate("?", **ask).token_ids)
    for way in ("mask", "guided"):
        answer = llm.generate("?", max_new_tokens=needed, constraint=way, **ask)
        assert (answer.finish_reason, answer.parsed) == ("stop", [1])
        assert len(answer.token_ids) <= needed


def test_streams_and_batches_are_kept_to_it_too(llm: RKLLM) -> None:
    with llm.stream("Yes or no?", choices=["yes", "no"]) as stream:
        text = "".join(stream.texts())
        assert text in ("yes", "no")
        assert stream.result().constraint == llm.generate("?", choices=["a"]).constraint
    few = {"type": "array", "items": {"type": "boolean"}, "maxItems": 2}
    with RKLLM(MODEL, backend="cpu", max_context_len=256, max_new_tokens=80, n_batch=2) as batch:
        answers = batch.generate_batch(["One?", "Two?"], json_schema=few)
        assert [answer.parsed == json.loads(answer.text) for answer in answers] == [True, True]


def test_thinking_is_free_and_the_answer_after_it_is_not(llm: RKLLM) -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "<|im_start|>assistant\n<think>\n"
    )
    answer = llm.chat(
        ASK,
        chat_template=template,
        choices=["cat", "dog"],
        max_reasoning_tokens=6,
        top_k=1,
    )
    assert answer.reasoning
    assert answer.content.strip() in ("cat", "dog")
    assert answer.constraint is not None
    assert answer.constraint.complete


def test_a_model_that_may_not_end_its_answer_ends_a_complete_one() -> None:
    with RKLLM(MODEL, backend="cpu", max_context_len=256, ignore_eos_token=True) as llm:
        answer = llm.generate("Yes or no?", choices=["yes", "no"], max_new_tokens=20)
        assert answer.text in ("yes", "no")
        assert answer.finish_reason == "stop"


def test_an_answer_and_how_it_was_kept_can_be_copied(llm: RKLLM) -> None:
    answer = llm.generate("List.", json_schema=list[int], top_k=1)
    for other in (copy.copy(answer), pickle.loads(pickle.dumps(answer))):  # noqa: S301 - our own
        assert other.parsed == answer.parsed
        assert other.constraint == answer.constraint


def test_it_is_the_same_in_a_worker_and_for_event_loops() -> None:
    asyncio.run(in_a_worker())


async def in_a_worker() -> None:
    async with AsyncRKLLM(MODEL, backend="cpu", max_context_len=512, max_new_tokens=120, isolate=True) as llm:
        assert (await llm.generate("Yes or no?", choices=["yes", "no"])).text in ("yes", "no")
        answer = await llm.chat(ASK, json_schema=Animal, top_k=1)
        assert isinstance(answer.parsed, Animal)
        with pytest.raises(SchemaError):
            await llm.generate("?", json_schema={"not": {}})


def lists_of_lists(depth: int, **innermost: Any) -> dict[str, Any]:
    """A schema whose parts refer to each other."""
    parts = {f"a{at}": {"type": "array", "items": {"$ref": f"#/$defs/a{at + 1}"}} for at in range(depth)}
    return {"$ref": "#/$defs/a0", "$defs": {**parts, f"a{depth}": innermost or {"type": "null"}}}


@pytest.mark.parametrize(
    ("wanted", "kind", "word"),
    [
        ({"json_schema": {"type": "object", "not": {}}}, SchemaError, "not"),
        (
            {"json_schema": {"properties": {"a": {"type": "array", "uniqueItems": True}}}},
            SchemaError,
            "properties.a",
        ),
        (
            {"json_schema": {"type": "integer", "minimum": 3, "maximum": 2}},
            SchemaError,
            "json_schema",
        ),
        # The process would end, or take minutes.
        ({"json_schema": lists_of_lists(2000)}, SchemaError, "$defs"),
        ({"json_schema": json.dumps(lists_of_lists(300))}, SchemaError, "$defs"),
        ({"json_schema": {"items": {"type": "integer", "multipleOf": 999983}}}, SchemaError, "items"),
        (
            {"json_schema": {"allOf": [{"type": "integer", "multipleOf": 9973}, {"multipleOf": 9967}]}},
            SchemaError,
            "allOf[",
        ),
        (
            {"json_schema": {"allOf": [{"type": "string", "pattern": f"{n}.*a.{{8}}b"} for n in range(30)]}},
            SchemaError,
            "patterns",
        ),
        ({"json_schema": {"items": {"enum": []}}}, SchemaError, "enum must not be empty (at items)"),
        ({"json_schema": {"$ref": "#"}}, SchemaError, "$ref #"),
        ({"json_schema": "{"}, SchemaError, "json_schema"),
        ({"grammar": 'start: %json {"items": {"not": {}}}'}, UnsupportedFeatureError, "not (at items)"),
        ({"choices": ["a"] * 300_000}, UnsupportedFeatureError, "262144 bytes"),
        ({"json_schema": {"const": "\ud800"}}, SchemaError, "json_schema"),
        ({"json_schema": {"a": {1, 2}}}, SchemaError, "json_schema"),
        ({"json_schema": 5}, InvalidTypeError, "json_schema"),
        ({"json_schema": [1]}, InvalidTypeError, "json_schema"),
        ({"regex": "("}, InvalidArgumentError, "regex"),
        ({"regex": 5}, InvalidTypeError, "regex"),
        # Libraries hand text over as C strings.
        ({"regex": "a\0b"}, InvalidArgumentError, "regex"),
        ({"choices": ["\0"]}, InvalidArgumentError, "choices"),
        ({"choices": []}, InvalidArgumentError, "choices"),
        ({"choices": ["a", 5]}, InvalidTypeError, "choices[1]"),
        ({"choices": "yes"}, InvalidTypeError, "choices"),
        ({"grammar": "start: missing"}, InvalidArgumentError, "grammar"),
        ({"regex": "a", "choices": ["b"]}, InvalidArgumentError, "regex"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_kept_to_is_refused_by_name(
    llm: RKLLM, wanted: dict[str, Any], kind: type[Exception], word: str
) -> None:
    with pytest.raises(kind) as caught:
        llm.generate("?", **wanted)
    assert word in str(caught.value)


@pytest.mark.parametrize(
    "schema",
    [
        lists_of_lists(90),
        # Many of them, but none is deep; round in a circle; and numbers that end soon.
        {
            "anyOf": [{"$ref": f"#/$defs/a{at}"} for at in range(150)],
            "$defs": {f"a{at}": {"const": at} for at in range(150)},
        },
        lists_of_lists(50, anyOf=[{"type": "null"}, {"$ref": "#/$defs/a0"}, {"$ref": "#"}]),
        {"type": "number", "multipleOf": 0.01, "$ref": "#/$defs/a", "$defs": {"a": {"multipleOf": 100000}}},
    ],
    ids=["deep", "wide", "circle", "fine"],
)
def test_what_is_within_the_bounds_is_served(llm: RKLLM, schema: dict[str, Any]) -> None:
    assert llm.generate("?", json_schema=schema, max_new_tokens=1).constraint is not None


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [
        ({"response_format": {"type": "yaml"}}, InvalidArgumentError),
        ({"response_format": {"type": "json_schema"}}, InvalidArgumentError),
        ({"response_format": 5}, InvalidTypeError),
        ({"response_format": {"type": "json_object"}, "json_schema": {}}, InvalidArgumentError),
        ({"choices": ["a"], "tools": [len_of]}, InvalidArgumentError),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_a_chat_cannot_be_asked_for_is_refused(
    llm: RKLLM, wanted: dict[str, Any], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        llm.chat(ASK, **wanted)
