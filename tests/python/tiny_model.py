"""Makes tiny models of random weights, in any of several kinds of quantisation: .gguf files of 2 to 8 MB.

What such a model says has no sense, and hangs on the last digits of what was computed: a difference of
rounding soon becomes another token.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

WIDTH, INNER, HEADS, KV_HEADS, LAYERS, VOCABULARY = 256, 512, 4, 2, 2, 512
ALIGNMENT: Final = 32
TEXT, LIST, SIGNED, UNSIGNED, FLOAT = 8, 9, 5, 4, 6
#: ggml's numbers of the kinds of tensors.
KINDS: Final = {"F32": 0, "F16": 1, "BF16": 30, "Q4_0": 2, "Q4_1": 3, "Q8_0": 8, "Q4_K": 12, "Q6_K": 14}


def _plain(draw: np.random.Generator, count: int, size: float, kind: str) -> bytes:
    values = (draw.standard_normal(count) * size).astype("<f4")
    if kind == "BF16":
        return (values.view("<u4") >> 16).astype("<u2").tobytes()
    return values.astype("<f2" if kind == "F16" else "<f4").tobytes()


def _blocks(draw: np.random.Generator, count: int, size: float, kind: str) -> bytes:
    """Blocks filled at random, with scales that give values around zero of about that size."""
    length = 256 if kind.endswith("K") else 32
    fields: dict[str, list[tuple[str, str] | tuple[str, str, int]]] = {
        "Q4_0": [("scale", "<f2"), ("values", "u1", 16)],
        "Q4_1": [("scale", "<f2"), ("least", "<f2"), ("values", "u1", 16)],
        "Q8_0": [("scale", "<f2"), ("values", "i1", 32)],
        "Q4_K": [("scale", "<f2"), ("least", "<f2"), ("scales", "u1", 12), ("values", "u1", 128)],
        "Q6_K": [("values", "u1", 192), ("scales", "i1", 16), ("scale", "<f2")],
    }
    blocks = np.zeros(count // length, np.dtype(fields[kind]))
    drawn = draw.integers(0, 256, blocks["values"].shape, np.uint8)
    blocks["values"] = drawn.view(np.int8) if kind == "Q8_0" else drawn
    # The spread of what a block's numbers stand for: 0 to 15, -128 to 127, or -32 to 31.
    spread = {"Q8_0": 74.0, "Q6_K": 18.5}.get(kind, 4.6)
    scale = size / spread * draw.uniform(0.7, 1.3, len(blocks))
    if kind == "Q4_K":
        # Eight scales of six bits, and as many for the offsets: all of them 32.
        blocks["scales"][:, :8] = 0b1010_0000
        scale /= 32
    if kind == "Q6_K":
        blocks["scales"] = 16
        scale /= 16
    blocks["scale"] = scale
    if kind == "Q4_1":
        blocks["least"] = -7.5 * scale
    if kind == "Q4_K":
        blocks["least"] = 7.5 * scale
    return blocks.tobytes()


def _named(name: str) -> bytes:
    return struct.pack("<Q", len(name.encode())) + name.encode()


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", TEXT) + _named(value)
    if isinstance(value, list):
        if isinstance(value[0], int):
            return struct.pack(f"<IIQ{len(value)}i", LIST, SIGNED, len(value), *value)
        inner = _value(value[0])[:4]
        return (
            struct.pack("<I", LIST)
            + inner
            + struct.pack("<Q", len(value))
            + b"".join(_value(one)[4:] for one in value)
        )
    if isinstance(value, float):
        return struct.pack("<If", FLOAT, value)
    return struct.pack("<II", UNSIGNED, value)


def make_model(out: Path, kind: str, *, seed: int = 0) -> Path:
    """Writes a model whose matrices are all of one kind, and returns its path."""
    draw = np.random.default_rng(seed)
    head = WIDTH // HEADS
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += [f"\N{LOWER ONE EIGHTH BLOCK}w{at}" for at in range(VOCABULARY - len(tokens))]
    metadata: dict[str, Any] = {
        "general.architecture": "llama",
        "general.name": f"tiny random {kind}",
        "llama.context_length": 4096,
        "llama.embedding_length": WIDTH,
        "llama.block_count": LAYERS,
        "llama.feed_forward_length": INNER,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": KV_HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": head,
        "llama.vocab_size": VOCABULARY,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [-float(at) for at in range(VOCABULARY)],
        # Unknown, control, bytes, normal.
        "tokenizer.ggml.token_type": [2, 3, 3] + [6] * 256 + [1] * (VOCABULARY - 259),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }
    key = KV_HEADS * head
    shapes = {
        "attn_q": (WIDTH, WIDTH),
        "attn_k": (WIDTH, key),
        "attn_v": (WIDTH, key),
        "attn_output": (WIDTH, WIDTH),
        "ffn_gate": (WIDTH, INNER),
        "ffn_up": (WIDTH, INNER),
        "ffn_down": (INNER, WIDTH),
    }
    tensors: dict[str, tuple[tuple[int, ...], str, float]] = {
        "token_embd.weight": ((WIDTH, VOCABULARY), kind, 1.0),
        "output.weight": ((WIDTH, VOCABULARY), kind, 0.1),
        "output_norm.weight": ((WIDTH,), "ones", 1.0),
    }
    for layer in range(LAYERS):
        for name, shape in shapes.items():
            tensors[f"blk.{layer}.{name}.weight"] = (shape, kind, 1.5 / shape[0] ** 0.5)
        for name in ("attn_norm", "ffn_norm"):
            tensors[f"blk.{layer}.{name}.weight"] = ((WIDTH,), "ones", 1.0)

    written = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    written += b"".join(_named(name) + _value(value) for name, value in metadata.items())
    body = bytearray()
    for name, (shape, of, size) in tensors.items():
        number = KINDS["F32"] if of == "ones" else KINDS[of]
        written += _named(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        written += struct.pack("<IQ", number, len(body))
        count = int(np.prod(shape))
        if of == "ones":
            body += np.ones(count, "<f4").tobytes()
        else:
            fill = _plain if of in {"F32", "F16", "BF16"} else _blocks
            body += fill(draw, count, size, of)
        body += bytes(-len(body) % ALIGNMENT)
    out.write_bytes(written + bytes(-len(written) % ALIGNMENT) + bytes(body))
    return out
