"""The command ``python -m rkllm_rs``, which is ``rkllm-rs``."""

from __future__ import annotations

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
