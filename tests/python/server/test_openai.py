"""OpenAI's own client against a server on a scripted library: the checks A1 to A20 that need exact texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import openai
import pytest
from serving import on_fake, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Serving

ASK: Any = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    serving = on_fake(
        tmp_path_factory.mktemp("server"),
        {
            "org/plain:1b": {"runs": [run("Hello", " ", "world", "!", obey_max_new_tokens=True)]},
            "thinks": {"runs": [run("<think>", "\nHm", "m", "\n</think>\n\n", "So", ".")]},
        },
    )
    yield serving.ready()
    serving.stop()


@pytest.fixture
def client(server: Serving) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as made:
        yield made


def test_a01_models_have_names(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["org/plain:1b", "thinks"]
    model = client.models.retrieve("org/plain:1b")
    assert (model.id, model.object, model.owned_by) == ("org/plain:1b", "model", "rkllm_rs")
    for ask in (
        lambda: client.models.retrieve("../x"),
        lambda: client.chat.completions.create(model="nobody", messages=ASK),
    ):
        with pytest.raises(openai.NotFoundError) as raised:
            ask()
        assert raised.value.code == "model_not_found"
        assert "not found" in raised.value.message


def test_a02_a_stream_says_what_the_answer_says(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="org/plain:1b", messages=ASK, seed=1, max_tokens=3)
    choice = whole.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("Hello world", "length")
    stream = client.chat.completions.create(
        model="org/plain:1b",
        messages=ASK,
        seed=1,
        max_tokens=3,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == choice.message.content
    assert [one.choices[0].finish_reason for one in chunks if one.choices][-1] == "length"
    assert chunks[-1].usage == whole.usage
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 3
