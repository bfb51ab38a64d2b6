"""The child process of ``isolate=True``: it loads the library and runs the model.

The package starts this file itself, by its path, so that whatever ``sys.path`` and ``PYTHONPATH`` say, the
child runs the very code of the program that started it. Nothing but the native module is imported.
"""

from __future__ import annotations

import sys


def main(parent: int) -> None:
    """Serves the process of that number until it closes the model or ends.

    Args:
        parent: The process that started this one, with a socket as standard input.
    """
    import os
    from types import ModuleType

    # The package without what its __init__ imports.
    package = ModuleType("rkllm_rs")
    package.__path__ = [os.path.dirname(os.path.abspath(__file__))]
    sys.modules["rkllm_rs"] = package
    from rkllm_rs import _native

    _native.serve(parent)


def _put_back() -> None:
    """Puts the folders of ``PYTHONPATH`` last: it came with ``PYTHONHOME``, which this Python needs."""
    import posix  # built in, and so found nowhere else

    folders = posix.environ.get(b"PYTHONPATH", b"")
    count = len(folders.split(b":")) if folders else 0
    sys.path[:] = sys.path[count:] + sys.path[:count]


if __name__ == "__main__":
    if not (len(sys.argv) > 1 and sys.argv[1].isdecimal()):
        sys.exit("this file is started by rkllm_rs; a program passes isolate=True")
    # The folder of this file, whose modules are nobody's but the package's.
    del sys.path[0]
    if not sys.flags.ignore_environment:
        _put_back()
    main(int(sys.argv[1]))
