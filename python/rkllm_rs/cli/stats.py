"""Performance statistics of an answer, as data and as lines for people."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rkllm_rs import PerfStats

_NAMES = (
    "prompt_tokens",
    "cached_tokens",
    "prefill_tokens",
    "prefill_time_ms",
    "prefill_tokens_per_second",
    "generate_tokens",
    "generate_time_ms",
    "generate_tokens_per_second",
    "time_to_first_token_ms",
    "queued_time_ms",
    "total_time_ms",
    "memory_usage_mb",
    "source",
)


def perf_dict(perf: PerfStats) -> dict[str, Any]:
    """The statistics by the names of ``PerfStats``; ``None`` for what is not known."""
    return {name: getattr(perf, name) for name in _NAMES}


def perf_lines(perf: PerfStats) -> list[str]:
    """The statistics in lines; what is not known is left out."""
    lines: list[str] = []
    if perf.prompt_tokens is not None:
        cached = f", {perf.cached_tokens} of them from the KV cache" if perf.cached_tokens else ""
        lines.append(f"prompt:       {perf.prompt_tokens} tokens{cached}")
    if perf.prefill_time_ms is not None:
        lines.append(f"prefill:      {perf.prefill_time_ms:.0f} ms{_speed(perf.prefill_tokens_per_second)}")
    time = "" if perf.generate_time_ms is None else f" in {perf.generate_time_ms:.0f} ms"
    lines.append(
        f"answer:       {perf.generate_tokens} tokens{time}{_speed(perf.generate_tokens_per_second)}"
    )
    if perf.time_to_first_token_ms is not None:
        lines.append(f"first token:  {perf.time_to_first_token_ms:.0f} ms")
    if perf.memory_usage_mb is not None:
        lines.append(f"memory:       {perf.memory_usage_mb:.0f} MB")
    return lines


def _speed(tokens: float | None) -> str:
    return "" if tokens is None else f" ({tokens:.1f} tokens/s)"
