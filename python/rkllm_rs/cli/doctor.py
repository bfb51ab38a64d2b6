"""The command ``rkllm-rs doctor``: what this machine has that RKLLM needs."""

from __future__ import annotations

from rkllm_rs.doctor.command import EXAMPLES, HELP, add_arguments, run

__all__ = ["EXAMPLES", "HELP", "add_arguments", "run"]
