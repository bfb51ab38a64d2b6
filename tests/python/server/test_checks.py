"""The table of the server's checks is that of the tests."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_page_has_the_checks_of_the_tests() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "server_checks.py"))
    assert script["PAGE"].read_text(encoding="utf-8") == script["page"]()
    assert sum(script["PARTS"].values()) == 103
    assert "**nothing**" not in script["table"]()


def test_the_tests_that_hold_advisories_exist() -> None:
    page = (ROOT / "docs/developing/verification.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/.]+)::(\w+)`", page.partition("## Advisories")[2])
    assert len(named) > 20
    for path, name in named:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^ *(?:def|fn) {name}\(", text, re.MULTILINE), (path, name)


def test_the_clients_of_rust_are_locked() -> None:
    """Cargo is asked to change nothing, and would not start with a list of another name."""
    folder = ROOT / "tests/clients/rust"
    manifest = (folder / "Cargo.toml").read_text(encoding="utf-8")
    (name,) = re.findall(r'^name = "(.+)"$', manifest, re.MULTILINE)
    (own,) = re.findall(rf'^name = "{name}"\n.*?\n\n', _lock(folder), re.MULTILINE | re.DOTALL)
    needed = re.findall(r"^([\w-]+) = .*\d", manifest.partition("[dependencies]")[2], re.MULTILINE)
    assert len(needed) > 3
    assert all(f'"{one}"' in own for one in needed)


def _lock(folder: Path) -> str:
    return (folder / "Cargo.lock").read_text(encoding="utf-8")
