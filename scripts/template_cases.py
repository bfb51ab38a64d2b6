"""Writes what jinja2 makes of the templates in ``tests/templates/``, set up as transformers does.

    scripts/template_cases.py          rewrites tests/templates/expected.json

The Rust tests of the engine read it; a Python test demands that it is up to date.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "tests" / "templates"
sys.path.insert(0, str(ROOT / "tests" / "python"))

#: Of the conversations of the larger test, those that show the most.
CHOSEN = (
    "nothing, prompt, no keywords",
    "white space, prompt, no keywords",
    "two turns, prompt, thinking off",
    "ends with an answer, no prompt, no keywords",
    "many turns, prompt, thinking on",
    "thinking in the text, prompt, no keywords",
    "parts, prompt, no keywords",
    "image, prompt, no keywords",
    "tools and system, prompt, no keywords",
    "call as text, prompt, no keywords",
    "two calls, prompt, no keywords",
    "two rounds, prompt, thinking on",
    "names, prompt, no keywords",
)


def cases() -> dict[str, Any]:
    """The content of the file."""
    import conversations
    import jinja_witness

    inputs = [one for one in conversations.inputs() if one[0] in CHOSEN]
    if len(inputs) != len(CHOSEN):
        message = "a conversation of CHOSEN is not there any more"
        raise SystemExit(message)

    def rendered(template: Any, messages: list[Any], given: dict[str, Any]) -> str | None:
        try:
            text: str = jinja_witness.render(template, messages, conversations.TOKENS, **given)
        except Exception:  # noqa: BLE001 - a template can raise anything
            return None
        return text

    expected = {}
    for path in sorted(FOLDER.glob("*.jinja")):
        template = jinja_witness.compiled(path.read_bytes().decode())
        expected[path.name] = [rendered(template, messages, given) for _, messages, given in inputs]
    return {
        "now": int(jinja_witness.NOW),
        "tokens": conversations.TOKENS,
        "inputs": [
            {"title": title, "messages": messages, "given": given} for title, messages, given in inputs
        ],
        "expected": expected,
    }


def written() -> str:
    """The text of the file."""
    return json.dumps(cases(), ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    (FOLDER / "expected.json").write_text(written())
