"""Whether the CPU runtime computes right: its values beside llama-cpp-python's, on the same file.

    python benches/cpu_runtime.py --install     builds llama-cpp-python in a venv of its own (minutes)
    python benches/witness.py [--library librkllmrt_cpu.so] [--model model.gguf] [--threads N] [--f32]

Ours comes through the C ABI. Prints the largest absolute difference of logits, log-probabilities and
hidden states (last layer, no pooling) and how often the best tokens agree; ends with 1 where they do
not within the tolerance.
"""

from __future__ import annotations

import argparse
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from cpu_runtime import venv_python

HERE = Path(__file__).resolve().parent
#: Where both sides compute the same. llama.cpp sums attention over many positions at once in another
#: order than over one, and adapters in another order from release to release; every layer makes the
#: difference larger, most of all where it rounds activations to eight bits.
SAME = 1e-3
#: Where they do not, with 32-bit weights; with the file's own such rows are printed, not judged.
NEAR = 0.2
SCALE = 0.7
GREEDY = 48
SHORT = [504, 3575, 282, 4649, 314]
LONG = [100 + at * 7919 % 30_000 for at in range(300)]


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Natural logarithms of the softmax, in 64 bits."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))


def dequantised(model: Path, out: Path) -> Path:
    """The model in 32 bits: what differs then is the computing, not the rounding of activations."""
    from tiny_lora import ALIGNMENT, F32, Q4_1, Q8_0, read_gguf

    q8 = np.dtype([("scale", "<f2"), ("values", "i1", 32)])
    q4 = np.dtype([("scale", "<f2"), ("least", "<f2"), ("values", "u1", 16)])
    _, tensors = read_gguf(model)
    head = bytearray(model.read_bytes()[: min(tensor.offset for tensor in tensors.values())])
    place = len(head)
    with out.open("wb") as file:
        file.write(head)
        for name, tensor in tensors.items():
            count = int(np.prod(tensor.dimensions))
            if tensor.kind == F32:
                values = np.fromfile(model, "<f4", count, offset=tensor.offset)
            elif tensor.kind == Q8_0:
                blocks = np.fromfile(model, q8, count // 32, offset=tensor.offset)
                values = blocks["values"] * blocks["scale"].astype("<f4")[:, None]
            else:
                assert tensor.kind == Q4_1, tensor  # noqa: S101 - the test model has no other
                blocks = np.fromfile(model, q4, count // 32, offset=tensor.offset)
                halves = np.concatenate([blocks["values"] & 15, blocks["values"] >> 4], axis=1)
                values = halves * blocks["scale"].astype("<f4")[:, None]
                values += blocks["least"].astype("<f4")[:, None]
            # Name, dimensions; then what changes: kind and offset.
            field = name.encode() + struct.pack(
                f"<I{len(tensor.dimensions)}Q", len(tensor.dimensions), *tensor.dimensions
            )
            at = head.index(field) + len(field)
            struct.pack_into("<IQ", head, at, F32, file.tell() - place)
            file.write(values.astype("<f4").tobytes())
            file.write(bytes(-file.tell() % ALIGNMENT))
        file.seek(0)
        file.write(head)
    return out


def check(code: int) -> None:
    """Ends where the library says that it failed."""
    if code:
        sys.exit("the CPU runtime has failed")


def ours(arguments: argparse.Namespace) -> dict[str, Any]:
    """By the C ABI."""
    sys.path.insert(0, str(HERE.parent / "cpu-runtime/tests"))
    from capi import HIDDEN_STATES, LOGITS, PAUSE, Library, Model

    with Model(Library(arguments.library), arguments.model, context=1024) as llm:
        check(llm.template())
        check(llm.load_lora(arguments.adapter, "tiny", SCALE))
        values: dict[str, Any] = {}
        for name, tokens in (("short", SHORT), ("long", LONG)):
            values[f"{name} logits"] = llm.go(tokens, mode=LOGITS).values
            values[f"{name} hidden"] = llm.go(tokens, mode=HIDDEN_STATES).values
        values["adapter logits"] = llm.go(LONG, mode=LOGITS, lora="tiny").values
        values["greedy"] = llm.go(SHORT, most=GREEDY).tokens
        check(llm.clear())
        stepped = [llm.go([token], mode=LOGITS, answer=lambda _: PAUSE).values for token in LONG]
        values["stepped logits"] = np.concatenate(stepped)
        return values


def theirs(arguments: argparse.Namespace) -> dict[str, Any]:
    """By llama-cpp-python."""
    import llama_cpp  # type: ignore[import-not-found]

    def opened(**keywords: Any) -> Any:
        return llama_cpp.Llama(
            str(arguments.model),
            n_ctx=1024,
            n_threads=arguments.threads,
            n_threads_batch=arguments.threads,
            # As the CPU runtime computes prompts: values depend on how many tokens are computed at once.
            n_batch=64,
            n_ubatch=64,
            logits_all=True,
            embedding=True,
            pooling_type=llama_cpp.LLAMA_POOLING_TYPE_NONE,
            verbose=False,
            # As llama.cpp chooses for itself, and with it the CPU runtime. Without, a model of four bits
            # gives logits that differ by 1: activations are rounded to eight bits.
            flash_attn=True,
            **keywords,
        )

    llm = opened()
    values: dict[str, Any] = {}
    for name, tokens in (("short", SHORT), ("long", LONG)):
        llm.reset()
        llm.eval(tokens)
        values[f"{name} logits"] = np.array(llm.scores[: len(tokens)])
        rows = [llama_cpp.llama_get_embeddings_ith(llm.ctx, at)[: llm.n_embd()] for at in range(len(tokens))]
        values[f"{name} hidden"] = np.array(rows, np.float32)
    values["stepped logits"] = values["long logits"]
    llm.reset()
    tokens = list(SHORT)
    while len(tokens) < len(SHORT) + GREEDY:
        llm.eval(tokens[-1:] if llm.n_tokens else tokens)
        tokens.append(int(llm.scores[llm.n_tokens - 1].argmax()))
    values["greedy"] = tokens[len(SHORT) :]
    styled = opened(lora_path=str(arguments.adapter), lora_scale=SCALE)
    styled.eval(LONG)
    values["adapter logits"] = np.array(styled.scores[: len(LONG)])
    return values


def compared(one: dict[str, Any], other: dict[str, Any], near: float) -> bool:
    """Prints the differences; whether all are within the tolerance."""
    good = True
    print(f"{'':<36}{'largest difference':>20}{'largest value':>16}{'same best token':>18}")

    def row(name: str, a: np.ndarray, b: np.ndarray, *, best: bool = False, most: float = SAME) -> None:
        nonlocal good
        difference = float(np.abs(a - b).max())
        good &= a.shape == b.shape and difference <= most
        agree = f"{(a.argmax(axis=1) == b.argmax(axis=1)).sum()} of {len(a)}" if best else ""
        print(f"{name:<36}{difference:>20.2e}{float(np.abs(b).max()):>16.2f}{agree:>18}")

    for name, most in (("short", SAME), ("long", SAME), ("stepped", near), ("adapter", near)):
        a, b = one[f"{name} logits"], other[f"{name} logits"]
        row(f"{name}: logits", a, b, best=True, most=most)
        a, b = log_probabilities(a), log_probabilities(b)
        row(f"{name}: log-probabilities", a, b, most=most)
        if len(a) == len(LONG):
            following = np.arange(len(LONG) - 1), np.array(LONG[1:])
            means = (side[following].mean(keepdims=True) for side in (a, b))
            row(f"{name}: mean of the text's", *means, most=most)
    for name in ("short", "long"):
        row(f"{name}: hidden states", one[f"{name} hidden"], other[f"{name} hidden"])
    # Theirs does not stop at the end of the answer.
    made = one["greedy"]
    equal = made == list(other["greedy"])[: len(made)]
    print(f"{len(made)} greedy tokens: {'the same' if equal else 'NOT the same'}")
    return good and equal


def main() -> None:
    """Both sides, in a process each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, help="a .gguf file; the small one of the tests if not given")
    parser.add_argument("--library", type=Path, help="librkllmrt_cpu.so; the package's if not given")
    parser.add_argument("--f32", action="store_true", help="with the weights written out in 32 bits")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--adapter", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.out:
        np.savez(arguments.out, **theirs(arguments))
        return
    if not os.path.exists(venv_python()):
        parser.error("llama-cpp-python is not there; build it with benches/cpu_runtime.py --install")
    if not arguments.model:
        fetch = [sys.executable, HERE.parent / "scripts/fetch_model.py"]
        arguments.model = Path(
            subprocess.run(fetch, check=True, stdout=subprocess.PIPE).stdout.decode().strip()
        )
    if not arguments.library:
        arguments.library = HERE.parent / "cpu-runtime/python/rkllm_rs_cpu/lib/librkllmrt_cpu.so"
    sys.path.insert(0, str(HERE.parent / "tests/python"))
    from tiny_lora import make_lora, read_gguf

    with tempfile.TemporaryDirectory() as folder:
        if arguments.f32:
            arguments.model = dequantised(arguments.model, Path(folder) / "f32.gguf")
        last = read_gguf(arguments.model)[0]["llama.block_count"] - 1
        # One layer: further ones would make a difference in rounding larger.
        arguments.adapter = make_lora(arguments.model, Path(folder) / "tiny.gguf", layers=[last])
        out = Path(folder) / "theirs.npz"
        command = [venv_python(), __file__, "--model", arguments.model, "--adapter", arguments.adapter]
        subprocess.run([*command, "--threads", str(arguments.threads), "--out", out], check=True)
        with np.load(out) as other:
            good = compared(ours(arguments), dict(other), NEAR if arguments.f32 else np.inf)
    sys.exit(not good)


if __name__ == "__main__":
    main()
