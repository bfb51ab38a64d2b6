"""Writes what transformers makes of the functions in tool_functions.py, for test_tool_schemas.py.

It needs transformers (5.24.0 has been used; torch is not needed), which the tests do not:

    python -m venv /tmp/transformers && /tmp/transformers/bin/pip install transformers==5.24.0
    /tmp/transformers/bin/python tests/python/chat/transformers_schemas.py
"""

from __future__ import annotations

import json
from pathlib import Path

from tool_functions import FUNCTIONS

PATH = Path(__file__).with_suffix(".json")


def main() -> None:
    from transformers import __version__
    from transformers.utils import get_json_schema

    schemas = {name: get_json_schema(function) for name, function in FUNCTIONS.items()}
    text = json.dumps({"transformers": __version__, "schemas": schemas}, ensure_ascii=False, indent=1)
    PATH.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
