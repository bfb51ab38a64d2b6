"""What takes the real model longer than ``make test`` has time for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import pytest

TESTS = Path(__file__).parents[1] / "python"
sys.path[:0] = [str(TESTS), str(TESTS / "server")]

from serving import on_model  # noqa: E402 - the folders are named above
from test_openai_model import ASK, City  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Serving

TIMES = 50


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    serving = on_model(tmp_path_factory.mktemp("model"), 512)
    yield serving.ready()
    serving.stop()


def test_a05_fifty_answers_are_parsed(server: Serving) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0, timeout=600) as client:
        for seed in range(TIMES):
            asked: Any = {"messages": ASK, "response_format": City, "seed": seed, "max_tokens": 200}
            answer = client.chat.completions.parse(model="small", temperature=0.8, **asked)
            assert isinstance(answer.choices[0].message.parsed, City), answer
