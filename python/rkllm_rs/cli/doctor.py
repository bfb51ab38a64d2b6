"""The command ``rkllm-rs doctor``: what this machine has that RKLLM needs."""

from __future__ import annotations

from rkllm_rs.doctor import command

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds ``doctor``."""
    import argparse

    sub = commands.add_parser(
        "doctor",
        help=command.HELP,
        description=command.HELP,
        epilog=command.EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(sub)
