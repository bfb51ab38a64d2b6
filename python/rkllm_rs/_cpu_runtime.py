"""The CPU runtime's package, as far as Python alone knows it: nothing here needs the native module."""

from __future__ import annotations

#: How to get the CPU runtime: the only text that says so in Python. Rust has its own in `abi`.
GET_CPU_RUNTIME = (
    "run `make build` in a checkout of rkllm_rs (see docs/start/laptop.md), or "
    "`pip install 'rkllm_rs[cpu]'` once it is released"
)


def cpu_library() -> str | None:
    """The CPU runtime's file, if the distribution ``rkllm-rs-cpu`` is installed."""
    try:
        from rkllm_rs_cpu import library_path  # type: ignore[import-not-found, unused-ignore]
    except ModuleNotFoundError:
        return None
    try:
        return str(library_path())
    except FileNotFoundError:
        return None
