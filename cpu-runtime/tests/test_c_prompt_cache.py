"""Prompt cache files: the same continuation for fewer tokens, and nothing that does not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from capi import Library, Model, sampling
from tiny_lora import make_lora

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)

#: Two whole blocks of 64, which are what a prompt takes from a cache, and two tokens.
PROMPT = [504, 3575, 282, 4649, 314] * 26
BLOCKS = 128
DAMAGED = "it is truncated or damaged"


@pytest.fixture
def saved(llm: Model, tmp_path: Path) -> Path:
    path = tmp_path / "prompt.cache"
    llm.go(PROMPT, most=1, save=path)
    assert llm.clear() == 0
    return path


def refused(llm: Model, path: Path, reason: str, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert llm.load_cache(path) == -1
    log = capfd.readouterr().err
    assert "E rkllm: failed to read the prompt cache " in log
    assert reason in log


def test_it_saves_the_prefill_and_changes_nothing(llm: Model, saved: Path) -> None:
    longer = [*PROMPT, 3575, 282]
    expected = llm.go(longer, most=12)
    assert expected.prefilled == len(longer)
    assert llm.clear() == 0
    assert llm.load_cache(saved) == 0
    assert llm.sizes() == [len(PROMPT)]
    loaded = llm.go(longer, most=12)
    assert loaded.tokens == expected.tokens
    assert loaded.prefilled == len(longer) - BLOCKS
    # It stays for the next prompt, until it is released.
    other = [*PROMPT, 19, 20]
    assert llm.go(other, most=1).prefilled == len(other) - BLOCKS
    assert llm.library.release_prompt_cache(llm.handle) == 0
    assert llm.sizes() == [0]
    assert llm.go(other, most=1).prefilled == len(other)


def test_one_at_a_time(llm: Model, saved: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert llm.load_cache(saved) == 0
    assert llm.load_cache(saved) == -1
    assert "already loaded; release it first" in capfd.readouterr().err
    assert llm.library.release_prompt_cache(llm.handle) == 0
    assert llm.load_cache(saved) == 0
    assert llm.library.release_prompt_cache(llm.handle) == 0


def test_damaged_files_are_refused(llm: Model, saved: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = saved.read_bytes()
    expected = llm.go(PROMPT, most=4).tokens
    for length in (8, 15, 40, len(content) // 2, len(content) - 1):
        saved.write_bytes(content[:length])
        refused(llm, saved, DAMAGED, capfd)
    for at in (20, 60, len(content) // 2):
        changed = bytearray(content)
        changed[at] ^= 0x20
        saved.write_bytes(changed)
        refused(llm, saved, DAMAGED, capfd)
    for other in (b"", b"GGUF", b"ggsn\2\0\0\0" + bytes(64)):
        saved.write_bytes(other)
        refused(llm, saved, "not a prompt cache", capfd)
    refused(llm, saved.with_name("gone"), "No such file", capfd)
    refused(llm, saved.parent, "directory", capfd)
    # What was in the cache is still there.
    run = llm.go(PROMPT, most=4)
    assert (run.tokens, run.prefilled) == (expected, len(PROMPT) - BLOCKS)


def test_another_model_or_context_is_refused(
    capi: Library, model: Path, llm: Model, saved: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # Of the same shape: only its file tells that it is another.
    renamed = tmp_path / "renamed.gguf"
    renamed.write_bytes(model.read_bytes().replace(b"Smollm2 135M 8k", b"Smollm3 135M 8k", 1))
    with Model(capi, renamed) as other:
        refused(other, saved, "it was made with another model", capfd)
        assert other.go(PROMPT, most=2).prefilled == len(PROMPT)
    with Model(capi, model, context=16) as small:
        refused(small, saved, "its 130 tokens exceed max_context_len 16", capfd)
        assert small.go(PROMPT[:8], most=2).tokens
    with Model(capi, model, rows=2) as batch:
        refused(batch, saved, "n_batch", capfd)
    with Model(capi, model, context=160) as fitting:
        assert fitting.load_cache(saved) == 0


def test_it_knows_its_adapter(
    capi: Library, model: Path, saved: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    adapter = make_lora(model, tmp_path / "tiny.gguf")
    styled = tmp_path / "styled.cache"
    with Model(capi, model) as llm:
        assert llm.load_lora(adapter, "style") == 0
        expected = llm.go(PROMPT, most=8, lora="style", save=styled).tokens
        assert llm.clear() == 0
        assert llm.load_cache(styled) == 0
        run = llm.go(PROMPT, most=8, lora="style")
        assert (run.tokens, run.prefilled) == (expected, len(PROMPT) - BLOCKS)
        # The base model takes nothing from it, nor the adapter from the base model's.
        assert llm.go(PROMPT, most=8).prefilled == len(PROMPT)
        assert llm.library.release_prompt_cache(llm.handle) == 0
        assert llm.load_cache(saved) == 0
        assert llm.go(PROMPT, most=8, lora="style").prefilled == len(PROMPT)
    with Model(capi, model) as llm:
        refused(llm, styled, "a LoRA adapter that is not loaded", capfd)
        assert llm.load_lora(adapter, "weak", 0.5) == 0
        refused(llm, styled, "or at another scale", capfd)
        assert llm.load_lora(adapter, "renamed", 1.0) == 0
        assert llm.load_cache(styled) == 0
        assert llm.go(PROMPT, most=8, lora="renamed").tokens == expected


def test_a_place_that_cannot_be_written_fails_the_file_only(
    llm: Model, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = llm.go(PROMPT, most=2, save=tmp_path / "no/such/folder")
    assert len(run.tokens) == 2
    assert "E rkllm: failed to write the prompt cache " in capfd.readouterr().err


def test_what_a_shift_has_moved_is_not_saved(
    capi: Library, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "moved.cache"
    with Model(capi, model, context=40) as llm:
        llm.go(PROMPT[:30], most=20, keep=True, settings=sampling(repeat_penalty=1.5))
        llm.go(PROMPT[:5], most=1, keep=True, save=path)
    assert not path.exists()
    assert "adapters" in capfd.readouterr().err
