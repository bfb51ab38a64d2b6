"""What is left where the native module cannot be loaded: a hint, and the command that tells why."""

from __future__ import annotations

import os
import sys


def tell(error: ImportError) -> None:
    """Runs ``rkllm-rs doctor`` and ends the process, if that is what was asked for; else adds a hint."""
    if sys.argv[1:2] == ["doctor"] and _is_command():
        from .doctor.command import main

        raise SystemExit(main(sys.argv[2:]))
    error.msg = f"the compiled part of rkllm_rs cannot be loaded: {error.msg}\nhint: Run `rkllm-rs doctor`."


def _is_command() -> bool:
    """Whether the process is ``rkllm-rs`` or ``python -m rkllm_rs``, and not a program that imports us."""
    if sys.argv[0] == "-m":
        return "rkllm_rs" in sys.orig_argv
    return os.path.basename(sys.argv[0]) == "rkllm-rs"
