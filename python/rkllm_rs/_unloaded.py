"""What is left where the native module cannot be loaded: a hint, and ``doctor``, which tells why."""

from __future__ import annotations

import os
import sys


def tell(error: ImportError) -> ImportError:
    """Adds a hint, and gives the error to a program that imports ``rkllm_rs.doctor``; raises it for others.

    For the command ``rkllm-rs``, prints it and ends the process, or runs ``doctor``.
    """
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
    if not _for_doctor():
        raise error
    return error


def _for_doctor() -> bool:
    """Whether the import that brought us here is one of ``rkllm_rs.doctor``, in any of its spellings."""
    frame = sys._getframe(2).f_back  # noqa: SLF001 - the second is the package itself
    machinery = ("importlib", "_frozen_importlib")
    while frame is not None and str(frame.f_globals.get("__name__")).startswith(machinery):
        # Of `import rkllm_rs.doctor`, Python imports the package first.
        if f"{frame.f_locals.get('name')}.".startswith("rkllm_rs.doctor."):
            return True
        frame = frame.f_back
    if frame is None:
        return False
    import dis

    # Of `from rkllm_rs import doctor`, only the statement itself says so.
    names: object = None
    for one in dis.get_instructions(frame.f_code):
        if one.offset == frame.f_lasti:
            return one.opname == "IMPORT_NAME" and isinstance(names, tuple) and "doctor" in names
        if one.opname == "LOAD_CONST":
            names = one.argval
    return False


def _is_command() -> bool:
    """Whether the process is ``rkllm-rs`` or ``python -m rkllm_rs``, and not a program that imports us."""
    if sys.argv[0] == "-m":
        return "rkllm_rs" in sys.orig_argv
    return os.path.basename(sys.argv[0]) == "rkllm-rs"
