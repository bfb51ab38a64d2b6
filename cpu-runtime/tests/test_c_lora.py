"""Adapters: really applied, by name, at their scale."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import numpy as np
import pytest

from capi import LOGITS, Library, Model
from tiny_lora import make_lora, write_gguf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)

PROMPT = [504, 3575, 282, 4649, 314]


@pytest.fixture(scope="module")
def adapter(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lora(model, tmp_path_factory.mktemp("lora") / "tiny.gguf")


@pytest.fixture(scope="module")
def styled(capi: Library, model: Path, adapter: Path) -> Iterator[Model]:
    """A model with the adapter at three scales."""
    with Model(capi, model) as opened:
        assert opened.template() == 0
        for name, scale in (("none", 0.0), ("half", 0.5), ("whole", 1.0)):
            assert opened.load_lora(adapter, name, scale) == 0
        yield opened


def test_scale_0_is_the_base_model_and_1_is_not(styled: Model) -> None:
    base = styled.go(PROMPT, most=24).tokens
    assert styled.go(PROMPT, most=24, lora="none").tokens == base
    whole = styled.go(PROMPT, most=24, lora="whole").tokens
    assert whole != base
    # No name: the base model again, though the adapter was used last.
    assert styled.go(PROMPT, most=24).tokens == base
    assert styled.go(PROMPT, most=24, lora="whole").tokens == whole


def test_the_scale_counts(styled: Model) -> None:
    logits = {
        name: styled.go(PROMPT, mode=LOGITS, lora=name).values for name in (None, "none", "half", "whole")
    }
    assert np.array_equal(logits["none"], logits[None])
    near, far = (np.abs(logits[name] - logits[None]).max() for name in ("half", "whole"))
    assert 0.01 < near < far
    assert all(np.isfinite(values).all() for values in logits.values())


def test_another_adapter_takes_nothing_from_the_cache(styled: Model) -> None:
    prompt = PROMPT * 13
    held = len(prompt) - 64
    styled.clear()
    assert styled.go(prompt, most=2).prefilled == len(prompt)
    assert styled.go(prompt, most=2).prefilled == held
    assert styled.go(prompt, most=2, lora="whole").prefilled == len(prompt)
    assert styled.go(prompt, most=2, lora="whole").prefilled == held
    assert styled.go(prompt, most=2).prefilled == len(prompt)


def test_a_paused_run_may_go_on_with_another_adapter(styled: Model) -> None:
    styled.clear()
    paused = styled.go(PROMPT, most=4, answer=lambda _: 1)
    run = styled.go(paused.tokens, most=4, lora="whole")
    assert run.prefilled == 1
    # What is in the cache now is of both, and serves neither.
    assert styled.go(PROMPT, most=1, lora="whole").prefilled == len(PROMPT)


def test_wrong_adapters_are_refused_and_nothing_else_happens(
    capi: Library, model: Path, adapter: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    foreign = write_gguf(
        tmp_path / "foreign.gguf",
        {"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora"},
        {
            "blk.0.attn_output.weight.lora_a": ((64, 1), array("f", [0.1] * 64)),
            "blk.0.attn_output.weight.lora_b": ((1, 64), array("f", [0.1] * 64)),
        },
    )
    unrelated = write_gguf(
        tmp_path / "unrelated.gguf",
        {"general.type": "adapter", "general.architecture": "qwen2", "adapter.type": "lora"},
        {},
    )
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(adapter.read_bytes()[:-4096])
    words = tmp_path / "words.gguf"
    words.write_text("no adapter at all")
    with Model(capi, model) as llm:
        assert llm.template() == 0
        base = llm.go(PROMPT, most=8).tokens
        assert llm.load_lora(adapter, "style") == 0

        def refused(path: Path, name: str, reason: str) -> None:
            capfd.readouterr()
            assert llm.load_lora(path, name) == -1
            errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("E rkllm: ")]
            assert reason in errors[-1]

        refused(adapter, "style", "a LoRA adapter named style is already loaded")
        refused(tmp_path / "gone.gguf", "gone", "gone.gguf: No such file")
        refused(tmp_path, "folder", "folder")
        for path in (foreign, unrelated, cut, words, model):
            refused(path, path.stem, "adapter for this model")
            # Its name is free.
            refused(path, path.stem, "adapter for this model")
        capfd.readouterr()
        assert llm.run(PROMPT, most=8, lora="nobody").code == -1
        assert "E rkllm: no LoRA adapter named nobody is loaded" in capfd.readouterr().err
        assert llm.load_lora(adapter, "endless", float("nan")) == -1
        assert llm.go(PROMPT, most=8).tokens == base
        assert llm.go(PROMPT, most=8, lora="style").tokens != base
