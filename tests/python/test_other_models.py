"""Files that are whole, and not what was meant; on the CPU runtime, which reads GGUF."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Final

import pytest

from rkllm_rs import RKLLM, ModelFormatError, ModelVersionError, RkllmError, RkllmWarning
from tiny_lora import changed_gguf, make_lora, write_gguf

pytest.importorskip("rkllm_rs_cpu")

# Read before the fixtures take the variables of this project away.
MODEL = os.environ.get("RKLLM_RS_TEST_GGUF", "")


@pytest.fixture(scope="module")
def real() -> Path:
    assert MODEL, "set RKLLM_RS_TEST_GGUF to what scripts/fetch_model.py prints"
    return Path(MODEL)


KINDS: Final[dict[str, tuple[dict[str, str | float], str, str]]] = {
    "projector": ({"general.architecture": "clip"}, "projector", "language model"),
    "newer projector": ({"general.type": "mmproj", "general.architecture": "x"}, "projector", "language"),
    "adapter": ({"general.type": "adapter", "general.architecture": "llama"}, "adapter", "load_lora"),
    "embedding": ({"general.architecture": "nomic-bert"}, "nomic-bert", "embed"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_generates_no_text_is_named(tmp_path: Path, kind: str) -> None:
    metadata, word, advice = KINDS[kind]
    path = write_gguf(tmp_path / "model.gguf", metadata, {})
    with pytest.raises(ModelFormatError, match=word) as caught:
        RKLLM(path)
    assert str(path) in str(caught.value)
    assert advice in str(caught.value.hint)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"general.architecture": "newest"}, "newest"),
        ({"tokenizer.ggml.pre": "newest"}, "newest"),
    ],
    ids=["architecture", "pre-tokenizer"],
)
def test_what_is_newer_than_llama_cpp_is_told_with_its_build(
    real: Path, tmp_path: Path, changes: dict[str, str], word: str
) -> None:
    path = changed_gguf(real, tmp_path / "model.gguf", changes)
    with pytest.raises(ModelVersionError, match=word) as caught:
        RKLLM(path)
    assert "llama.cpp" in str(caught.value.hint)
    assert any(letter.isdigit() for letter in str(caught.value.hint))


def test_an_adapter_of_another_model_is_refused_as_a_file(real: Path, tmp_path: Path) -> None:
    fitting = make_lora(real, tmp_path / "style.gguf", layers=[0])
    other = changed_gguf(fitting, tmp_path / "other.gguf", {"general.architecture": "qwen2"})
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(fitting.read_bytes()[:-1000])
    with RKLLM(real, max_context_len=256) as llm:
        for path in (other, damaged, real):
            with pytest.raises(ModelFormatError) as caught:
                llm.load_lora(path, name="style")
            assert "adapter" in str(caught.value.hint)
        llm.load_lora(fitting)
        assert llm.generate("Hi", max_new_tokens=2, lora="style").text


LOOPS: Final = (
    "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}"
    "{% endfor %}"
)
DOUBLED: Final = (
    "{% set n = namespace(s='x' * 99) %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}"
    "{{ n.s }}"
)
UNUSABLE: Final = {
    "filter": ("{{ messages | from_json }}", "from_json"),
    "syntax": ("{% frobnicate %}", "frobnicate"),
    "endless": (LOOPS, "steps"),
    "growing": (DOUBLED, "memory"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_template_that_cannot_be_used_is_a_warning(real: Path, tmp_path: Path, case: str) -> None:
    template, missing = UNUSABLE[case]
    path = changed_gguf(real, tmp_path / "model.gguf", {"tokenizer.chat_template": template})
    with pytest.warns(RkllmWarning, match=missing) as caught:
        llm = RKLLM(path, max_context_len=256)
    assert len(caught) == 1
    with llm:
        assert missing in str(llm.info.template_problem)
        assert llm.info.sources["template_problem"] == "cpu runtime"
        assert llm.generate("Hi", max_new_tokens=2).token_ids
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with RKLLM(path, max_context_len=256, template="raw") as llm:
            assert llm.info.template_problem is None


def test_a_template_that_fails_in_a_run_fails_that_run(real: Path, tmp_path: Path) -> None:
    template = (
        "{% if messages[0].content == 'Loop' %}" + LOOPS + "{% endif %}"
        "{% generation %}{{ messages[0].content }}{% endgeneration %}"
    )
    path = changed_gguf(real, tmp_path / "model.gguf", {"tokenizer.chat_template": template})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        llm = RKLLM(path, max_context_len=256)
    with llm:
        with pytest.raises(RkllmError, match="steps"):
            llm.generate("Loop", max_new_tokens=2, timeout=60)
        assert llm.generate("Hi", max_new_tokens=2).token_ids
