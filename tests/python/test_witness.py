"""Whether the CPU runtime computes right: its values beside those of a model computed here, with NumPy.

What must agree on every processor: the models are made for the test, so that no number was taken from a
machine. `benches/witness.py` compares the real model's values with another program's.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import numpy as np
import pytest

from rkllm_rs import RKLLM, SamplingParams, Tokens
from tiny_lora import read_gguf
from tiny_model import HEADS, KINDS, KV_HEADS, LAYERS, VOCABULARY, WIDTH, make_model

if TYPE_CHECKING:
    from pathlib import Path

# Read before the fixtures take the variables of this project away.
LIBRARY = os.environ.get("RKLLM_RS_CPU_PREBUILT")
VARIANT = os.environ.get("RKLLM_RS_CPU_VARIANT")

#: One decode; a whole block of 64, for which attention has code of its own; several, and a part of one.
LENGTHS = [1, 11, 64, 300]
#: The most that the root of the mean square of what differs may be, over that of the values. 32 and 16
#: bits: keys, values and queries are rounded to 16 bits, by up to 1/2048. BF16: what enters a product is
#: rounded to 8 bits of mantissa. Others: to eight bits within a block of 32 or 256, by up to 1/254 of the
#: largest in it, which is two to three times the usual number in it: by 0.4 to 0.7 % in the mean. The
#: products of two layers, 15 in a row or beside each other, add that up as roots of sums of squares.
TOLERANCE = {"F32": 0.004, "F16": 0.004, "BF16": 0.02}
QUANTISED: Final = 0.05
GREEDY = SamplingParams(top_k=1, repeat_penalty=1.0)

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


def matrix(path: Path, kind: str, offset: int, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor of the file as numbers; the last index runs fastest."""
    fields = {
        "Q4_0": [("d", "<f2"), ("q", "u1", 16)],
        "Q4_1": [("d", "<f2"), ("m", "<f2"), ("q", "u1", 16)],
        "Q8_0": [("d", "<f2"), ("q", "i1", 32)],
        "Q4_K": [("d", "<f2"), ("m", "<f2"), ("s", "u1", 12), ("q", "u1", (4, 32))],
        "Q6_K": [("low", "u1", (2, 64)), ("high", "u1", (2, 32)), ("s", "i1", 16), ("d", "<f2")],
    }
    count = int(np.prod(shape))
    plain = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
    if kind in plain:
        values = np.fromfile(path, plain[kind], count, offset=offset)
        if kind == "BF16":
            values = (values.astype("<u4") << 16).view("<f4")
        return values.astype(np.float64).reshape(shape[::-1])
    blocks = np.fromfile(
        path, np.dtype(fields[kind]), count // (256 if kind.endswith("K") else 32), offset=offset
    )
    scale = blocks["d"].astype(np.float64)[:, None]
    if kind == "Q8_0":
        values = blocks["q"] * scale
    elif kind == "Q4_K":
        # All scales are 32 in the models made here.
        halves = np.stack([blocks["q"] & 15, blocks["q"] >> 4], axis=2).reshape(len(blocks), 256)
        values = 32 * (halves * scale - blocks["m"].astype(np.float64)[:, None])
    elif kind == "Q6_K":
        low, high = blocks["low"], blocks["high"]
        parts = [
            (low[:, :, :32] & 15) | ((high & 3) << 4),
            (low[:, :, 32:] & 15) | (((high >> 2) & 3) << 4),
            (low[:, :, :32] >> 4) | (((high >> 4) & 3) << 4),
            (low[:, :, 32:] >> 4) | (((high >> 6) & 3) << 4),
        ]
        values = (np.stack(parts, axis=2).reshape(len(blocks), 256).astype(np.float64) - 32) * 16 * scale
    else:
        halves = np.concatenate([blocks["q"] & 15, blocks["q"] >> 4], axis=1).astype(np.float64)
        values = (
            halves * scale + blocks["m"].astype(np.float64)[:, None]
            if kind == "Q4_1"
            else (halves - 8) * scale
        )
    return values.reshape(shape[::-1])


def normed(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5)


def turned(x: np.ndarray) -> np.ndarray:
    """Heads with their positions worked in: pairs of neighbours, turned by an angle."""
    half = x.shape[-1] // 2
    angles = np.arange(len(x))[:, None] * 10_000.0 ** (-np.arange(half) / half)
    cosine, sine = np.cos(angles)[:, None], np.sin(angles)[:, None]
    out = np.empty_like(x)
    out[..., 0::2] = x[..., 0::2] * cosine - x[..., 1::2] * sine
    out[..., 1::2] = x[..., 0::2] * sine + x[..., 1::2] * cosine
    return out


def computed(path: Path, kind: str, tokens: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Hidden states and logits of all positions, in 64 bits."""
    _, tensors = read_gguf(path)

    def weights(name: str) -> np.ndarray:
        tensor = tensors[f"{name}.weight"]
        return matrix(path, kind, tensor.offset, tensor.dimensions)

    count, size = len(tokens), WIDTH // HEADS
    future = np.triu(np.full((count, count), -np.inf), 1)
    x = weights("token_embd")[tokens]
    for layer in range(LAYERS):
        h = normed(x)
        q = turned((h @ weights(f"blk.{layer}.attn_q").T).reshape(count, HEADS, size))
        k = turned((h @ weights(f"blk.{layer}.attn_k").T).reshape(count, KV_HEADS, size))
        v = (h @ weights(f"blk.{layer}.attn_v").T).reshape(count, KV_HEADS, size)
        heads = []
        for head in range(HEADS):
            of = head // (HEADS // KV_HEADS)
            scores = q[:, head] @ k[:, of].T / np.sqrt(size) + future
            part = np.exp(scores - scores.max(axis=1, keepdims=True))
            heads.append(part / part.sum(axis=1, keepdims=True) @ v[:, of])
        x = x + np.concatenate(heads, axis=1) @ weights(f"blk.{layer}.attn_output").T
        h = normed(x)
        gate = h @ weights(f"blk.{layer}.ffn_gate").T
        inner = gate / (1 + np.exp(-gate)) * (h @ weights(f"blk.{layer}.ffn_up").T)
        x = x + inner @ weights(f"blk.{layer}.ffn_down").T
    hidden = normed(x)
    return hidden, hidden @ weights("output").T


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Relative, in the mean of squares."""
    assert ours.shape == theirs.shape
    return float(np.sqrt(((ours - theirs) ** 2).mean() / (theirs**2).mean()))


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_of_the_arithmetic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if VARIANT:
        monkeypatch.setenv("RKLLM_RS_CPU_VARIANT", VARIANT)
    most = TOLERANCE.get(kind, QUANTISED)
    path = make_model(tmp_path / "model.gguf", kind)
    draw = np.random.default_rng(1)
    with RKLLM(path, max_context_len=512, backend="cpu", library=LIBRARY) as llm:
        for length in LENGTHS:
            tokens = draw.integers(300, VOCABULARY, length).tolist()
            hidden, logits = computed(path, kind, tokens)
            assert difference(llm.hidden_states(Tokens(tokens)).to_numpy(), hidden) < most
            assert difference(llm.logits(Tokens(tokens)).to_numpy(), logits) < most
            if length > 1:
                score = llm.score(Tokens(tokens[:1]), Tokens(tokens[1:]))
                total = logits - logits.max(axis=1, keepdims=True)
                total -= np.log(np.exp(total).sum(axis=1, keepdims=True))
                expected = total[np.arange(length - 1), tokens[1:]]
                spread = float(logits.std())
                np.testing.assert_allclose(score.logprobs, expected, rtol=0, atol=6 * most * spread)
        # A token at a time: each made one is the best, or as good within the tolerance.
        tokens = draw.integers(300, VOCABULARY, 60).tolist()
        made = llm.generate(Tokens(tokens), max_new_tokens=12, sampling=GREEDY).token_ids
        _, logits = computed(path, kind, [*tokens, *made])
        for row, token in zip(logits[len(tokens) - 1 :], made, strict=False):
            assert row[token] >= row.max() - 6 * most * float(row.std())
