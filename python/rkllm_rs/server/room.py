"""Whether there is memory for one more model."""

from __future__ import annotations


def has_memory(path: str, max_context_len: int | None = None) -> bool:
    """Whether there is RAM for one more model, opened with this context."""
    from rkllm_rs.doctor.facts import Facts
    from rkllm_rs.doctor.memory import meminfo
    from rkllm_rs.doctor.root import Root
    from rkllm_rs.models import plan

    free = meminfo(Facts(Root("/"))).get("MemAvailable")
    needed = sum(model.resident_bytes for model in plan([path], max_context_len=max_context_len).models)
    return free is None or needed * 11 // 10 <= free * 1024
