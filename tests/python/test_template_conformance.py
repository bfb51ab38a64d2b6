"""Chat templates of the world, rendered by our engine and by jinja2 as transformers sets it up."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import conversations
from rkllm_rs import TemplateError
from rkllm_rs._native import ChatTemplate

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
fetch_templates = importlib.import_module("fetch_templates")
template_cases = importlib.import_module("template_cases")
# Under emulation the tests run without jinja2: the engine's own tests have what it gives.
jinja_witness = pytest.importorskip("jinja_witness", reason="jinja2 is not installed")

EXCEPTIONS = json.loads(Path(__file__).with_name("template_exceptions.json").read_text())
INPUTS = list(conversations.inputs())


def ours(template: ChatTemplate, messages: list[Any], given: dict[str, Any]) -> str | None:
    """What our engine gives; ``None`` where it raises."""
    given = dict(given)
    tools, prompt = given.pop("tools"), given.pop("add_generation_prompt")
    try:
        return template.render(
            messages,
            tools=tools,
            add_generation_prompt=prompt,
            template_kwargs=given,
            now=jinja_witness.NOW,
        )
    except TemplateError:
        return None


def theirs(template: Any, messages: list[Any], given: dict[str, Any]) -> str | None:
    """What jinja2 gives; ``None`` where it raises, whatever that is."""
    try:
        return jinja_witness.render(template, messages, conversations.TOKENS, **given)
    except Exception:  # noqa: BLE001 - a template can raise anything
        return None


def differences(source: str) -> list[str]:
    """The inputs for which the two do not give the same."""
    template = ChatTemplate(source, tokens=conversations.TOKENS)
    witness = jinja_witness.compiled(source)
    return [
        title
        for title, messages, given in INPUTS
        if ours(template, messages, given) != theirs(witness, messages, given)
    ]


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    """The templates; without a network they can be missing, but not where ``CI`` is set."""
    try:
        found: dict[str, str] = fetch_templates.sources()
    except (OSError, subprocess.SubprocessError) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the templates of llama-cpp-python and vllm cannot be downloaded: {error}")
    return found


@pytest.mark.timeout(600)
def test_public_templates_give_what_transformers_gives(sources: dict[str, str]) -> None:
    assert len(sources) == 126
    assert len(sources) * len(INPUTS) >= 7000
    different = {name: found for name, source in sources.items() if (found := differences(source))}
    # An exception that is none any more goes from the list.
    assert set(different) == set(EXCEPTIONS), different
    assert len(sources) - len(different) >= 110


def test_the_witness_tells_conversations_apart() -> None:
    source = "{% for m in messages %}{{ m }}{% endfor %}{{ tools }}{{ add_generation_prompt }}{{ thinking }}"
    witness = jinja_witness.compiled(source)
    texts = {theirs(witness, messages, given) for _, messages, given in INPUTS}
    assert None not in texts
    assert len(texts) == len(INPUTS)


def test_the_committed_renderings_are_those_of_jinja2() -> None:
    path = template_cases.FOLDER / "expected.json"
    assert path.read_text() == template_cases.written(), "run scripts/template_cases.py"


def test_our_own_templates_give_what_transformers_gives() -> None:
    sources = {path.name: path.read_bytes().decode() for path in template_cases.FOLDER.glob("*.jinja")}
    assert len(sources) >= 20
    assert {name: found for name, source in sources.items() if (found := differences(source))} == {}
