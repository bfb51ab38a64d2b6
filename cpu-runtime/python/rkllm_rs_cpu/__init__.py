"""The CPU runtime of rkllm_rs: RKLLM's C ABI for `.gguf` models, without an NPU.

The package only carries the library; `rkllm_rs` finds it here by itself.
"""

import os

__all__ = ["__version__", "library_path"]

__version__ = "0.1.0"


def library_path() -> str:
    """Tells where the library is.

    Returns:
        The absolute path of `librkllmrt_cpu.so`.

    Raises:
        FileNotFoundError: If the file is missing, as in a source tree that has not been built.
    """
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib", "librkllmrt_cpu.so")
    if not os.path.isfile(path):
        hint = "reinstall rkllm-rs-cpu, or run cpu-runtime/build.sh in a source tree"
        message = f"{path} is missing: {hint}"
        raise FileNotFoundError(message)
    return path
