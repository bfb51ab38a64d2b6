"""OpenAI's own client against a server on the real model: what needs a tokenizer, a seed or probabilities."""

from __future__ import annotations

import enum
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import pydantic
import pytest

from serving import Serving

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, real_model: Path) -> Iterator[Serving]:
    serving = Serving(tmp_path_factory.mktemp("server"), {"small": str(real_model)}, backend="cpu")
    yield serving.ready()
    serving.stop()
