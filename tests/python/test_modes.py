"""Every public call of a model has a case that runs in this process and in a worker."""

from __future__ import annotations

import ast
from pathlib import Path

from rkllm_rs import RKLLM

TESTS = Path(__file__).parent


def names(tree: ast.AST) -> set[str]:
    """What is named in a piece of code."""
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return found | {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def in_both_modes(path: Path) -> set[str]:
    """What is named by those tests of a file that run in both modes."""
    module = ast.parse(path.read_text())
    found = set()
    whole = any(
        isinstance(node, ast.Assign) and "pytestmark" in names(node) and "both_modes" in names(node)
        for node in module.body
    )
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            marked = whole or any("both_modes" in names(mark) for mark in node.decorator_list)
            found |= names(node) if marked else set()
    return found


def test_each_public_call_is_tested_in_both_modes() -> None:
    calls = {name for name in dir(RKLLM) if not name.startswith("_") and callable(getattr(RKLLM, name))}
    assert len(calls) > 20
    tested = set().union(*map(in_both_modes, TESTS.rglob("test_*.py")))
    assert not calls - tested
