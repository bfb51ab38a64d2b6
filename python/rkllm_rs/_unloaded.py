"""What is left where the native module cannot be loaded: a hint, and the command that tells why."""

from __future__ import annotations

import os
import sys


def tell(error: ImportError) -> None:
    """Adds a hint; for the command ``rkllm-rs``, prints it and ends the process, or runs ``doctor``."""
    words = sys.argv[1:]
    while words[:1] == ["--debug"]:
        del words[0]
    if words[:1] == ["doctor"] and _is_command():
        from .doctor.command import main

        raise SystemExit(main(words[1:]))
    error.msg = f"the compiled part of rkllm_rs cannot be loaded: {error.msg}\nhint: Run `rkllm-rs doctor`."
    if "--debug" not in sys.argv and _is_command():
        sys.stderr.write(f"rkllm-rs: {error.msg}\n")
        raise SystemExit(1)


def _is_command() -> bool:
    """Whether the process is ``rkllm-rs`` or ``python -m rkllm_rs``, and not a program that imports us."""
    if sys.argv[0] == "-m":
        return "rkllm_rs" in sys.orig_argv
    return os.path.basename(sys.argv[0]) == "rkllm-rs"
