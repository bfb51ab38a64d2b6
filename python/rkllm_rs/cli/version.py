"""The command ``rkllm-rs version``."""

from __future__ import annotations

import os
import sys

from rkllm_rs import _native

from .output import add_json, report

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

HELP = "Print the version of this package; with --json, of what it runs on as well."
EXAMPLES = """\
examples:
  rkllm-rs version
  rkllm-rs version --json
"""
add_arguments = add_json


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    data = {
        "version": _native.__version__,
        "abis": list(_native.abi_layouts()),
        "python": ".".join(map(str, sys.version_info[:3])),
        "machine": os.uname().machine,
    }
    report(arguments, data, f"rkllm-rs {_native.__version__}")
    return 0
