"""Draws docs/guides/chat.svg: a chat with the small real model, as it stands on a terminal.

    python scripts/chat_screen.py [MODEL]

pexpect types, pyte is the terminal. Needs what the tests need, and the CPU runtime.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests/python"))

from terminals import Terminal  # noqa: E402 - from the tests

if TYPE_CHECKING:
    import pyte

PAGE = ROOT / "docs/guides/chat.svg"
COLUMNS, ROWS = 72, 26
#: What is typed. The answers are the model's own; greedy, so that another run gives the same.
TYPED = ["Write a python function that adds two numbers.", "/stats"]
ARGUMENTS = ["--top-k", "1", "--max-new-tokens", "240"]

_WIDTH, _HEIGHT, _MARGIN = 8.4, 18, 12
_COLOURS = {
    "default": "#d8dee9",
    "red": "#e06c75",
    "green": "#98c379",
    "brown": "#e5c07b",
    "blue": "#61afef",
    "magenta": "#c678dd",
    "cyan": "#56b6c2",
}


def svg(screen: pyte.Screen) -> str:
    """What is on a screen, as a picture: a text for each stretch of characters of one style."""
    width = round(screen.columns * _WIDTH + 2 * _MARGIN)
    height = screen.lines * _HEIGHT + 2 * _MARGIN
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    font = 'font-family="monospace" font-size="14" xml:space="preserve"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>',
        f'<rect width="{width}" height="{height}" rx="6" fill="#1e222a"/>',
    ]
    for row in range(screen.lines):
        line = screen.buffer[row]
        at = 0
        while at < screen.columns:
            first, begun = line[at], at
            text = ""
            while at < screen.columns and _style(line[at]) == _style(first):
                text += line[at].data
                at += 1
            if text.strip():
                lead = len(text) - len(text.lstrip())
                x, y = _MARGIN + (begun + lead) * _WIDTH, _MARGIN + (row + 1) * _HEIGHT - 5
                length = len(text.strip()) * _WIDTH
                lines.append(
                    f'<text x="{x:.1f}" y="{y}" textLength="{length:.1f}" {_style(first)}>'
                    f"{escape(text.strip())}</text>"
                )
    return "\n".join([*lines, "</svg>", ""])


def _style(cell: pyte.screens.Char) -> str:
    colour = cell.fg.removeprefix("bright")
    fill = _COLOURS.get(colour) or (f"#{colour}" if len(colour) == 6 else _COLOURS["default"])  # noqa: PLR2004
    return f'fill="{fill}"' + ' font-weight="bold"' * cell.bold + ' font-style="italic"' * cell.italics


def main() -> int:
    """Draws the picture."""
    model = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.environ["RKLLM_RS_TEST_GGUF"])
    command = (
        f"cd {os.path.dirname(model)} && exec {sys.executable} -m rkllm_rs chat {os.path.basename(model)}"
    )
    with tempfile.TemporaryDirectory() as home:
        words = ["sh", "-c", " ".join([command, *ARGUMENTS])]
        with Terminal(words, columns=COLUMNS, rows=ROWS, RKLLM_RS_HOME=home) as terminal:
            for count, text in enumerate(TYPED, 1):
                terminal.ready(count)
                terminal.send(text + "\r")
            terminal.ready(len(TYPED) + 1)
            PAGE.write_text(svg(terminal.screen), encoding="utf-8")
            print(terminal.text)
    print(f"{PAGE.relative_to(ROOT)}: {PAGE.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
