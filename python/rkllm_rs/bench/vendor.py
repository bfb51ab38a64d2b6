"""What Rockchip published: the figure of a model, and how fast a chip's memory lets any model be."""

from __future__ import annotations

import functools
import importlib.resources
import json
import os
import re
from typing import Any

DATA = "vendor-benchmarks.json"

#: What a file's name may say besides the model, and which changes nothing of its speed.
_BESIDE = re.compile(
    r"""(?<![a-z0-9])(?:
        rk3588s? | rk3576 | rk3562 | rv1126b
      | w\d{1,2}a\d{1,2} (?: [-_. ]? g\d{2,3} )?
      | (?: rkllm | toolkit )? v? 1\.[0-3]\.\d (?: b\d )? | rkllm
      | v\d\.\d
      | opt (?: imization )? (?: [-_ ]? level )? [-_ ]? 0
      | hybrid [-_ ]? ratio [-_ ]? 0 (?: \.0+ )?
      | ctx \d+
      | (?: npu )? [1-3] [-_ ]? cores? | (?: npu | core ) [1-3]
      | instruct | chat | it
    )(?![a-z0-9])""",
    re.VERBOSE,
)
#: A size whose point is written `_`.
_SIZE = re.compile(r"(?<=[-_ ])(\d)_(\d{1,2}b)(?![a-z0-9])")
_APART = re.compile(r"[-_ ()]+")
#: Names that say no size, or another one than the vendor's table.
_ALIASES = {
    "phi3mini4k": "phi33.8b",
    "phi3mini": "phi33.8b",
    "gemma3ne2b": "gemma3n2b",
    "deepseekocr": "deepseekocr3ba570m",
}


@functools.cache
def data() -> dict[str, Any]:
    """The vendor's figures, as they are shipped with this package."""
    text = importlib.resources.files(__package__ or "").joinpath(DATA).read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def model_of(path: str) -> str | None:
    """Which of the vendor's models a file has, by its name; ``None`` if that says anything else."""
    folder, name = os.path.split(os.path.abspath(path))
    stem = os.path.splitext(name)[0] if name.lower().endswith((".rkllm", ".gguf")) else name
    if stem.lower() == "model":
        stem = os.path.basename(folder)
    plain = _plain(_SIZE.sub(r"\1.\2", _BESIDE.sub("-", stem.lower())))
    plain = _ALIASES.get(plain, plain)
    return next((row["canonical"] for row in data()["rows"] if _plain(row["canonical"]) == plain), None)


def _plain(name: str) -> str:
    return _APART.sub("", name).strip(".")


def figures(model: str | None, chip: str | None, dtype: str | None) -> list[dict[str, Any]]:
    """The vendor's figures of a model on a chip, newest release first.

    Args:
        model: The model, as ``model_of`` names it.
        chip: The chip, such as ``"rk3588"``.
        dtype: The quantisation, such as ``"w8a8_g128"``.

    Returns:
        The figures with their conditions and sources; none unless all three are known, and exactly these.
    """
    if model is None or chip is None or dtype is None:
        return []
    wanted = (model, chip.upper(), dtype.lower())
    sources = {source["id"]: source for source in data()["sources"]}
    rows = [row for row in data()["rows"] if (row["canonical"], row["chip"], row["dtype"]) == wanted]
    return [_figure(row, sources[row["source"]]) for row in rows]


def _figure(row: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
    ttft, tokens = row["ttft_ms"], row["prompt_tokens"]
    return {
        "model": row["model"],
        "chip": row["chip"],
        "dtype": row["dtype"],
        "release": source["release"],
        "prompt_tokens": tokens,
        "generate_tokens": row["new_tokens"],
        "time_to_first_token_ms": ttft,
        "prefill_tokens_per_second": round(1000 * tokens / ttft, 2) if ttft else None,
        "generate_tokens_per_second": row["decode_tokens_per_s"],
        "memory_mb": row["memory_mb"],
        "source": f"{source['url']}#L{row['line']}",
    }


def memory_bound(model: str | None, chip: str | None) -> float | None:
    """The practical limit of a chip's memory in GB/s; ``None`` if unknown, or meaningless for the model.

    Mixtures of experts, and models with layers that are left out, do not read all weights for each token.
    """
    if chip is None or model in data()["not_dense"]:
        return None
    limit: float | None = data()["memory_bound_gb_per_s"].get(chip.upper())
    return limit
